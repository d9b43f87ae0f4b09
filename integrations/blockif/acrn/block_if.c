/*
 * ACRN's block_if, on what it has in common with bhyve's (blockif_disk.h).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "block_if.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockif_disk.h"

/* Of the guest's requests at once in a queue; more wait in the library. */
#define QUEUE 64
/* The most ranges that a discard may have, as in ACRN. */
#define SEGMENTS 256

/* What `discard` says; -1 where it says nothing. */
struct discards {
    bool allowed;
    int sectors, segments, alignment;
};

struct blockif_ctxt {
    struct blockif_disk *disk;
    struct discards discards;
    bool ranges_in_iov;
};

static bool parse_discards(const char *value, struct discards *discards)
{
    int used = 0;

    return sscanf(value, "%d:%d:%d%n", &discards->sectors, &discards->segments,
                  &discards->alignment, &used) == 3 && value[used] == '\0' &&
           discards->sectors >= 0 && discards->alignment >= 0 &&
           discards->segments >= 0 && discards->segments <= SEGMENTS;
}

static int own_word(const char *word, struct blockif_choices *choices,
                    void *opaque)
{
    struct discards *discards = opaque;

    if (strcmp(word, "writeback") == 0) {
        choices->flags &= ~(uint32_t)BLKALIGN_O_WRITETHROUGH;
    } else if (strcmp(word, "aio=threads") == 0) {
        choices->engine = BLKALIGN_ENGINE_THREADS;
    } else if (strcmp(word, "aio=io_uring") == 0) {
        choices->engine = BLKALIGN_ENGINE_IO_URING;
    } else if (strcmp(word, "discard") == 0) {
        discards->allowed = true;
    } else if (strncmp(word, "discard=", 8) == 0) {
        discards->allowed = parse_discards(word + 8, discards);
        return discards->allowed ? 1 : -1;
    } else {
        return strcmp(word, "no_bst_block") == 0;
    }
    return 1;
}

struct blockif_ctxt *blockif_open(const char *options, const char *ident,
                                  int queues, struct iothreads_info *threads)
{
    struct blockif_ctxt *bc = calloc(1, sizeof(*bc));
    struct blockif_choices choices;
    int64_t sectors;

    if (bc == NULL)
        return NULL;
    memset(&choices, 0, sizeof(choices));
    choices.flags = BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP |
                    BLKALIGN_O_WRITETHROUGH;
    bc->discards.sectors = bc->discards.segments = -1;
    bc->ranges_in_iov = threads != NULL;
    bc->disk = blockif_disk_open(options, ident, queues, &choices, own_word,
                                 &bc->discards);
    if (bc->disk == NULL) {
        free(bc);
        return NULL;
    }
    sectors = blockif_disk_size(bc->disk) / 512;
    if (bc->discards.sectors < 0)
        bc->discards.sectors = sectors > INT_MAX ? INT_MAX : (int)sectors;
    if (bc->discards.segments < 0)
        bc->discards.segments = 1;
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
    return QUEUE;
}

int blockif_is_ro(struct blockif_ctxt *bc)
{
    return blockif_disk_read_only(bc->disk);
}

int blockif_candiscard(struct blockif_ctxt *bc)
{
    return bc->discards.allowed && !blockif_disk_read_only(bc->disk);
}

int blockif_max_discard_sectors(struct blockif_ctxt *bc)
{
    return bc->discards.sectors;
}

int blockif_max_discard_seg(struct blockif_ctxt *bc)
{
    return bc->discards.segments;
}

int blockif_discard_sector_alignment(struct blockif_ctxt *bc)
{
    return bc->discards.alignment;
}

uint8_t blockif_get_wce(struct blockif_ctxt *bc)
{
    return blockif_disk_cache(bc->disk);
}

void blockif_set_wce(struct blockif_ctxt *bc, uint8_t wce)
{
    blockif_disk_set_cache(bc->disk, wce != 0);
}

int blockif_flush_all(struct blockif_ctxt *bc)
{
    return blockif_disk_flush(bc->disk);
}

/* Requests. */

static void done(void *request, int error)
{
    struct blockif_req *req = request;

    if (error == 0)
        req->resid = 0;
    req->callback(req, error);
}

/* What ACRN says of a queue that is not there. */
static int of_queue(int ret)
{
    return ret == EINVAL ? ENOENT : ret;
}

static int refuse(struct blockif_ctxt *bc, struct blockif_req *req, int error)
{
    return of_queue(blockif_disk_refuse(bc->disk, req->qidx, req, error,
                                        done));
}

static int submit(struct blockif_ctxt *bc, struct blockif_req *req,
                  const blkalign_request *what)
{
    return of_queue(blockif_disk_submit(bc->disk, req->qidx, req, what, done));
}

static int submit_vector(struct blockif_ctxt *bc, struct blockif_req *req,
                         uint32_t op)
{
    blkalign_request what = BLKALIGN_REQUEST_INIT;
    int64_t bytes = 0;
    int i;

    if (req->iovcnt < 0 || req->iovcnt > BLOCKIF_IOV_MAX)
        return refuse(bc, req, EINVAL);
    for (i = 0; i < req->iovcnt; i++) {
        if (req->iov[i].iov_len > (size_t)INT64_MAX / BLOCKIF_IOV_MAX)
            return refuse(bc, req, EINVAL);
        bytes += (int64_t)req->iov[i].iov_len;
    }
    req->resid = (ssize_t)bytes;
    what.op = op;
    what.offset = req->offset;
    what.bytes = bytes;
    what.iov = req->iov;
    what.iovcnt = req->iovcnt;
    return submit(bc, req, &what);
}

int blockif_read(struct blockif_ctxt *bc, struct blockif_req *req)
{
    return submit_vector(bc, req, BLKALIGN_OP_READ);
}

int blockif_write(struct blockif_ctxt *bc, struct blockif_req *req)
{
    return submit_vector(bc, req, BLKALIGN_OP_WRITE);
}

int blockif_flush(struct blockif_ctxt *bc, struct blockif_req *req)
{
    blkalign_request what = BLKALIGN_REQUEST_INIT;

    what.op = BLKALIGN_OP_FLUSH;
    return submit(bc, req, &what);
}

/* Discards. */

/* As virtio has it, in the guest's memory. */
struct guest_range {
    uint64_t sector;
    uint32_t sectors;
    uint32_t flags;
};

static bool may_be_discarded(const struct blockif_ctxt *bc, int64_t size,
                             const struct guest_range *range)
{
    const struct discards *limits = &bc->discards;

    return range->sectors != 0 &&
           range->sectors <= (uint32_t)limits->sectors &&
           range->sector <= (uint64_t)size / 512 &&
           range->sectors <= (uint64_t)size / 512 - range->sector &&
           (limits->alignment == 0 ||
            range->sector % (uint64_t)limits->alignment == 0);
}

/* The ranges in the guest's memory: how many, or -1. Each is read once: the
 * guest may write there meanwhile. */
static int take_ranges(struct blockif_ctxt *bc, const struct blockif_req *req,
                       struct blockif_range *ranges)
{
    size_t count = req->iovcnt == 1 ?
                   req->iov[0].iov_len / sizeof(struct guest_range) : 0;
    int64_t size = blockif_disk_size(bc->disk);
    struct guest_range range;
    size_t i;

    if (req->iovcnt != 1 || count > (size_t)bc->discards.segments)
        return -1;
    for (i = 0; i < count; i++) {
        memcpy(&range, (const char *)req->iov[0].iov_base + i * sizeof(range),
               sizeof(range));
        if (!may_be_discarded(bc, size, &range))
            return -1;
        ranges[i].offset = (int64_t)range.sector * 512;
        ranges[i].bytes = (int64_t)range.sectors * 512;
    }
    return (int)count;
}

int blockif_discard(struct blockif_ctxt *bc, struct blockif_req *req)
{
    struct blockif_range ranges[SEGMENTS];
    blkalign_request what = BLKALIGN_REQUEST_INIT;
    int count;

    if (!bc->discards.allowed)
        return refuse(bc, req, EOPNOTSUPP);
    if (blockif_disk_read_only(bc->disk))
        return refuse(bc, req, EROFS);
    if (!bc->ranges_in_iov) {
        what.op = BLKALIGN_OP_DISCARD;
        what.offset = req->offset;
        what.bytes = req->resid;
        return submit(bc, req, &what);
    }
    count = take_ranges(bc, req, ranges);
    if (count < 0)
        return refuse(bc, req, EINVAL);
    return of_queue(blockif_disk_discard(bc->disk, req->qidx, req, ranges,
                                         count, done));
}

int blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *req)
{
    return blockif_disk_cancel(bc->disk, req->qidx, req);
}
