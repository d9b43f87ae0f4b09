/*
 * block_if on libblkalign.
 *
 * Each request in flight has an `element`, which names the caller's request
 * and the library's id for it. Elements are in a list under a lock, for
 * blockif_cancel alone; callbacks run without it. Life of an element:
 *
 *   blockif_read etc.: made, listed, submitted
 *   done():            unlisted; br_callback unless cancelled; freed
 *   blockif_cancel:    finds it listed, asks the library. 0: the library calls
 *                      done() with -ECANCELED, which then says nothing.
 *
 * Divisions: options, opening, questions, requests, cancelling.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "block_if.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <blkalign.h>

/* Of the guest's requests at once; more wait in the library. */
#define QUEUE 128

struct element {
    struct blockif_ctxt *bc;
    struct blockif_req *br;
    int64_t id;
    bool cancelled;
    struct element *next, **link;
};

struct blockif_ctxt {
    blkalign_handle *disk;
    int sector, physical;
    bool read_only, can_delete;
    int write_cache;
    pthread_mutex_t lock;       /* the list; nothing else is taken under it
                                 * but what blkalign_aio_cancel takes */
    struct element *elements;
};

/* Options. */

struct choices {
    char *path;
    uint32_t flags;
    int sector, physical;
    bool no_delete;
    uint64_t first, sectors;
};

static bool parse_sizes(const char *value, struct choices *choices)
{
    int used = 0;

    choices->physical = 0;
    if (sscanf(value, "%d/%d%n", &choices->sector, &choices->physical,
               &used) < 2 || value[used] != '\0') {
        used = 0;
        if (sscanf(value, "%d%n", &choices->sector, &used) != 1 ||
            value[used] != '\0')
            return false;
        choices->physical = choices->sector;
    }
    return choices->sector >= 512 && choices->physical >= choices->sector &&
           (choices->sector & (choices->sector - 1)) == 0 &&
           (choices->physical & (choices->physical - 1)) == 0;
}

static bool parse_range(const char *value, struct choices *choices)
{
    int used = 0;

    return sscanf(value, "%" SCNu64 "/%" SCNu64 "%n", &choices->first,
                  &choices->sectors, &used) == 2 && value[used] == '\0' &&
           choices->first < UINT64_C(1) << 53 &&
           choices->sectors < UINT64_C(1) << 53;
}

static bool parse_word(const char *word, struct choices *choices)
{
    if (strcmp(word, "ro") == 0)
        choices->flags &= ~(uint32_t)BLKALIGN_O_RDWR;
    else if (strcmp(word, "nocache") == 0 || strcmp(word, "direct") == 0)
        choices->flags |= BLKALIGN_O_DIRECT;
    else if (strcmp(word, "sync") == 0 || strcmp(word, "writethru") == 0)
        choices->flags |= BLKALIGN_O_WRITETHROUGH;
    else if (strcmp(word, "lock") == 0)
        choices->flags |= BLKALIGN_O_LOCK;
    else if (strcmp(word, "nodelete") == 0)
        choices->no_delete = true;
    else if (strncmp(word, "sectorsize=", 11) == 0)
        return parse_sizes(word + 11, choices);
    else if (strncmp(word, "range=", 6) == 0)
        return parse_range(word + 6, choices);
    else
        return false;
    return true;
}

/* False, and words on stderr. `choices->path` is the caller's to free. */
static bool parse(const char *options, const char *ident,
                  struct choices *choices)
{
    char *rest, *word;

    memset(choices, 0, sizeof(*choices));
    choices->flags = BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP;
    choices->path = strdup(options);
    if (choices->path == NULL || choices->path[0] == ',' ||
        choices->path[0] == '\0') {
        fprintf(stderr, "%s: the path is missing\n", ident);
        return false;
    }
    word = strtok_r(choices->path, ",", &rest);
    while ((word = strtok_r(NULL, ",", &rest)) != NULL) {
        if (!parse_word(word, choices)) {
            fprintf(stderr, "%s: not understood: %s\n", ident, word);
            return false;
        }
    }
    if (!(choices->flags & BLKALIGN_O_RDWR) || choices->no_delete)
        choices->flags &= ~(uint32_t)BLKALIGN_O_UNMAP;
    return true;
}

/* Opening. */

static int open_disk(struct blockif_ctxt *bc, const struct choices *choices)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    int ret;

    options.flags = choices->flags;
    options.window_offset = choices->first * 512;
    options.window_length = choices->sectors * 512;
    ret = blkalign_open(choices->path, &options, &bc->disk);
    if (ret < 0)
        return ret;
    blkalign_get_limits(bc->disk, &limits);
    bc->read_only = !(choices->flags & BLKALIGN_O_RDWR);
    bc->can_delete = (choices->flags & BLKALIGN_O_UNMAP) != 0;
    bc->write_cache = !(choices->flags & BLKALIGN_O_WRITETHROUGH);
    bc->sector = choices->sector ? choices->sector : 512;
    bc->physical = choices->physical;
    if (bc->physical == 0)
        bc->physical = limits.request_alignment > 512 ?
                       (int)limits.request_alignment : 512;
    return 0;
}

struct blockif_ctxt *blockif_open(const char *options, const char *ident)
{
    struct blockif_ctxt *bc = calloc(1, sizeof(*bc));
    struct choices choices;
    bool good;

    if (bc == NULL)
        return NULL;
    good = parse(options, ident, &choices);
    if (good && open_disk(bc, &choices) < 0) {
        fprintf(stderr, "%s: %s\n", ident, blkalign_errmsg());
        good = false;
    }
    free(choices.path);
    if (!good) {
        free(bc);
        return NULL;
    }
    pthread_mutex_init(&bc->lock, NULL);
    return bc;
}

int blockif_close(struct blockif_ctxt *bc)
{
    int ret = blkalign_close(bc->disk);

    if (ret < 0)
        return -ret;
    pthread_mutex_destroy(&bc->lock);
    free(bc);
    return 0;
}

/* Questions. */

off_t blockif_size(struct blockif_ctxt *bc)
{
    return (off_t)blkalign_getlength(bc->disk);
}

/* The geometry that old guests ask for, as virtual hard disks have it: heads
 * and sectors such that the cylinders fit. */
void blockif_chs(struct blockif_ctxt *bc, uint16_t *cylinders,
                 uint8_t *heads, uint8_t *sectors)
{
    uint64_t total = (uint64_t)blockif_size(bc) / (uint64_t)bc->sector;
    uint64_t most = UINT64_C(65535) * 16 * 255, tracks, h;

    if (total > most)
        total = most;
    if (total >= UINT64_C(65535) * 16 * 63) {
        *sectors = 255;
        h = 16;
        tracks = total / 255;
    } else {
        *sectors = 17;
        tracks = total / 17;
        h = (tracks + 1023) / 1024;
        if (h < 4)
            h = 4;
        if (tracks >= h * 1024 || h > 16) {
            *sectors = 31;
            h = 16;
            tracks = total / 31;
        }
        if (tracks >= h * 1024) {
            *sectors = 63;
            tracks = total / 63;
        }
    }
    *heads = (uint8_t)h;
    *cylinders = (uint16_t)(tracks / h);
}

int blockif_sectsz(struct blockif_ctxt *bc)
{
    return bc->sector;
}

void blockif_psectsz(struct blockif_ctxt *bc, int *size, int *offset)
{
    *size = bc->physical;
    *offset = 0;
}

int blockif_queuesz(struct blockif_ctxt *bc)
{
    (void)bc;
    return QUEUE;
}

int blockif_is_ro(struct blockif_ctxt *bc)
{
    return bc->read_only;
}

int blockif_candelete(struct blockif_ctxt *bc)
{
    return bc->can_delete;
}

void blockif_set_wce(struct blockif_ctxt *bc, int enable)
{
    __atomic_store_n(&bc->write_cache, enable != 0, __ATOMIC_RELAXED);
    blkalign_set_write_cache(bc->disk, enable);
}

uint8_t blockif_get_wce(struct blockif_ctxt *bc)
{
    return (uint8_t)__atomic_load_n(&bc->write_cache, __ATOMIC_RELAXED);
}

/* Requests. */

static void unlist(struct element *element)
{
    *element->link = element->next;
    if (element->next != NULL)
        element->next->link = element->link;
}

static void done(void *opaque, int ret)
{
    struct element *element = opaque;
    struct blockif_ctxt *bc = element->bc;
    struct blockif_req *br = element->br;
    bool cancelled;

    pthread_mutex_lock(&bc->lock);
    cancelled = element->cancelled;
    unlist(element);
    pthread_mutex_unlock(&bc->lock);
    free(element);
    if (cancelled)
        return;
    if (ret == 0)
        br->br_resid = 0;
    br->br_callback(br, -ret);
}

static int submit(struct blockif_ctxt *bc, struct blockif_req *br,
                  blkalign_request *request)
{
    struct element *element = calloc(1, sizeof(*element));
    int64_t id;

    if (element == NULL)
        return ENOMEM;
    element->bc = bc;
    element->br = br;
    request->cb = done;
    request->opaque = element;
    /* The lock is held until the id is known: done() may already be there. */
    pthread_mutex_lock(&bc->lock);
    element->next = bc->elements;
    element->link = &bc->elements;
    if (element->next != NULL)
        element->next->link = &element->next;
    bc->elements = element;
    id = blkalign_aio_submit(bc->disk, request);
    if (id > 0)
        element->id = id;
    else
        unlist(element);
    pthread_mutex_unlock(&bc->lock);
    if (id > 0)
        return 0;
    free(element);
    return (int)-id;
}

static int submit_vector(struct blockif_ctxt *bc, struct blockif_req *br,
                         uint32_t op)
{
    blkalign_request request = BLKALIGN_REQUEST_INIT;
    int64_t bytes = 0;
    int i;

    if (br->br_iovcnt < 0 || br->br_iovcnt > BLOCKIF_IOV_MAX)
        return EINVAL;
    for (i = 0; i < br->br_iovcnt; i++) {
        if (br->br_iov[i].iov_len > (size_t)INT64_MAX / BLOCKIF_IOV_MAX)
            return EINVAL;
        bytes += (int64_t)br->br_iov[i].iov_len;
    }
    br->br_resid = (ssize_t)bytes;
    request.op = op;
    request.offset = br->br_offset;
    request.bytes = bytes;
    request.iov = br->br_iov;
    request.iovcnt = br->br_iovcnt;
    return submit(bc, br, &request);
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
    blkalign_request request = BLKALIGN_REQUEST_INIT;

    request.op = BLKALIGN_OP_FLUSH;
    return submit(bc, br, &request);
}

int blockif_delete(struct blockif_ctxt *bc, struct blockif_req *br)
{
    blkalign_request request = BLKALIGN_REQUEST_INIT;

    if (bc->read_only)
        return EROFS;
    if (!bc->can_delete)
        return EOPNOTSUPP;
    request.op = BLKALIGN_OP_DISCARD;
    request.offset = br->br_offset;
    request.bytes = br->br_resid;
    return submit(bc, br, &request);
}

/* Cancelling. */

int blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *br)
{
    struct element *element;
    int ret = -ENOENT;

    pthread_mutex_lock(&bc->lock);
    for (element = bc->elements; element != NULL; element = element->next)
        if (element->br == br && !element->cancelled)
            break;
    if (element != NULL) {
        ret = blkalign_aio_cancel(bc->disk, element->id);
        element->cancelled = ret == 0;
    }
    pthread_mutex_unlock(&bc->lock);
    if (ret == 0)
        return 0;
    /* Listed, but its result is decided: its callback is about to run. */
    return element != NULL ? EBUSY : EINVAL;
}
