/*
 * bhyve's block_if, on what it has in common with ACRN's (blockif_disk.h).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "block_if.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blockif_disk.h"

struct blockif_ctxt {
    struct blockif_disk *disk;
    bool can_delete;
};

static int own_word(const char *word, struct blockif_choices *choices,
                    void *opaque)
{
    bool *no_delete = opaque;

    if (strcmp(word, "sync") == 0 || strcmp(word, "direct") == 0)
        choices->flags |= BLKALIGN_O_WRITETHROUGH;
    else if (strcmp(word, "lock") == 0)
        choices->flags |= BLKALIGN_O_LOCK;
    else if (strcmp(word, "nodelete") == 0)
        *no_delete = true;
    else
        return 0;
    return 1;
}

struct blockif_ctxt *blockif_open(const char *options, const char *ident)
{
    struct blockif_ctxt *bc = calloc(1, sizeof(*bc));
    struct blockif_choices choices;
    bool no_delete = false;

    if (bc == NULL)
        return NULL;
    memset(&choices, 0, sizeof(choices));
    choices.flags = BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP;
    choices.range_sector = 512;
    bc->disk = blockif_disk_open(options, ident, 1, &choices, own_word,
                                 &no_delete);
    if (bc->disk == NULL) {
        free(bc);
        return NULL;
    }
    bc->can_delete = !no_delete && !blockif_disk_read_only(bc->disk);
    return bc;
}

int blockif_close(struct blockif_ctxt *bc)
{
    int ret = blockif_disk_close(bc->disk);

    if (ret != EDEADLK)
        free(bc);
    return ret;
}

/* Questions. */

off_t blockif_size(struct blockif_ctxt *bc)
{
    return (off_t)blockif_disk_size(bc->disk);
}

void blockif_chs(struct blockif_ctxt *bc, uint16_t *cylinders,
                 uint8_t *heads, uint8_t *sectors)
{
    blockif_disk_geometry(bc->disk, cylinders, heads, sectors);
}

int blockif_sectsz(struct blockif_ctxt *bc)
{
    return blockif_disk_sector(bc->disk);
}

void blockif_psectsz(struct blockif_ctxt *bc, int *size, int *offset)
{
    *size = blockif_disk_physical(bc->disk);
    *offset = 0;
}

int blockif_queuesz(struct blockif_ctxt *bc)
{
    (void)bc;
    return BLOCKIF_RING_MAX - 1;
}

int blockif_is_ro(struct blockif_ctxt *bc)
{
    return blockif_disk_read_only(bc->disk);
}

int blockif_candelete(struct blockif_ctxt *bc)
{
    return bc->can_delete;
}

void blockif_set_wce(struct blockif_ctxt *bc, int enable)
{
    blockif_disk_set_cache(bc->disk, enable != 0);
}

uint8_t blockif_get_wce(struct blockif_ctxt *bc)
{
    return blockif_disk_cache(bc->disk);
}

/* Requests. */

static void done(void *request, int error)
{
    struct blockif_req *br = request;

    if (error == 0)
        br->br_resid = 0;
    br->br_callback(br, error);
}

static int submit_vector(struct blockif_ctxt *bc, struct blockif_req *br,
                         uint32_t op)
{
    blkalign_request what = BLKALIGN_REQUEST_INIT;
    int64_t bytes = 0;
    int i;

    if (br->br_iovcnt < 0 || br->br_iovcnt > BLOCKIF_IOV_MAX)
        return blockif_disk_refuse(bc->disk, 0, br, EINVAL, done);
    for (i = 0; i < br->br_iovcnt; i++) {
        if (br->br_iov[i].iov_len > (size_t)INT64_MAX / BLOCKIF_IOV_MAX)
            return blockif_disk_refuse(bc->disk, 0, br, EINVAL, done);
        bytes += (int64_t)br->br_iov[i].iov_len;
    }
    br->br_resid = (ssize_t)bytes;
    what.op = op;
    what.offset = br->br_offset;
    what.bytes = bytes;
    what.iov = br->br_iov;
    what.iovcnt = br->br_iovcnt;
    return blockif_disk_submit(bc->disk, 0, br, &what, done);
}

int blockif_read(struct blockif_ctxt *bc, struct blockif_req *br)
{
    return submit_vector(bc, br, BLKALIGN_OP_READ);
}

int blockif_write(struct blockif_ctxt *bc, struct blockif_req *br)
{
    return submit_vector(bc, br, BLKALIGN_OP_WRITE);
}

int blockif_flush(struct blockif_ctxt *bc, struct blockif_req *br)
{
    blkalign_request what = BLKALIGN_REQUEST_INIT;

    what.op = BLKALIGN_OP_FLUSH;
    return blockif_disk_submit(bc->disk, 0, br, &what, done);
}

int blockif_delete(struct blockif_ctxt *bc, struct blockif_req *br)
{
    blkalign_request what = BLKALIGN_REQUEST_INIT;

    if (blockif_disk_read_only(bc->disk))
        return blockif_disk_refuse(bc->disk, 0, br, EROFS, done);
    if (!bc->can_delete)
        return blockif_disk_refuse(bc->disk, 0, br, EOPNOTSUPP, done);
    what.op = BLKALIGN_OP_DISCARD;
    what.offset = br->br_offset;
    what.bytes = br->br_resid;
    return blockif_disk_submit(bc->disk, 0, br, &what, done);
}

int blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *br)
{
    return blockif_disk_cancel(bc->disk, 0, br);
}
