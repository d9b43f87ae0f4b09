/*
 * How the deliberately wrong back end reads, changes and writes blocks: see
 * adapter-broken.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "broken.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOCK = BROKEN_BLOCK, PAUSE_NS = 20000, RARELY = 97 };

const struct fault_text fault_texts[] = {
    { "nothing", "no fault" },
    { "no-serialise", "read-modify-write without a lock" },
    { "no-serialise-handles", "each handle has locks of its own" },
    { "no-serialise-aligned", "aligned writes take no lock" },
    { "no-serialise-straddle", "only the first block is locked" },
    { "no-serialise-zero", "zeroing takes no lock" },
    { "edge-error-zeroes", "zeros in place of an edge that was not read" },
    { "edge-error-writes", "an edge not read is an error, but it writes" },
    { "write-neighbours", "writes are rounded to 512, the rest zeros" },
    { "zero-neighbours", "zeroing is rounded out to blocks" },
    { "discard-neighbours", "discarding is rounded out to blocks" },
    { "grow", "a write to the last, partial block makes it whole" },
    { "cut", "the last, partial block is not shown" },
    { "drop-last-block", "writes to the last, partial block do nothing" },
    { "past-end", "writes past the end succeed" },
    { "vectors", "elements past the 1024th are forgotten" },
    { "large", "bytes past the first MiB are forgotten" },
    { "memory", "what crosses a page is wrong, of memory at odd 512s" },
    { "elements", "an element of 512 bytes behind another is wrong" },
    { "noise", "no fault: what is discarded reads as noise" },
    { "spill", "reads leave a byte behind the caller's memory" },
    { "stale", "each handle remembers a block that others change" },
    { "no-flush", "flush does nothing" },
    { "no-fua", "FUA is not obeyed" },
    { "torn", "reads see halves of writes, against its promise" },
    { "lost-write", "one write of 97 is not done" },
    { "misplaced", "one write of 97 lands 512 bytes further" },
    { "error", "one request of 97 fails" },
    { "hang", "one request of 97 is never answered" },
    { NULL, NULL }
};

bool rarely(struct store *store, enum fault fault)
{
    return store->fault == fault &&
           __atomic_add_fetch(&store->requests, 1, __ATOMIC_RELAXED) %
                   RARELY == 0;
}

static void pause_a_moment(void)
{
    struct timespec moment = { 0, PAUSE_NS };

    nanosleep(&moment, NULL);
}

pthread_mutex_t *make_locks(int64_t blocks)
{
    pthread_mutex_t *locks = calloc((size_t)blocks, sizeof *locks);
    int64_t i;

    for (i = 0; locks && i < blocks; i++)
        pthread_mutex_init(&locks[i], NULL);
    return locks;
}

/* FAULT_STALE: a read gets this handle's copy of the block, if there is one.
 * */
static void remember(struct handle *handle, const struct range *range,
                     unsigned char *image)
{
    if (handle->store->fault != FAULT_STALE ||
        range->last - range->first != BLOCK)
        return;
    pthread_mutex_lock(&handle->remembering);
    if (handle->remembered == range->first) {
        memcpy(image, handle->copy, BLOCK);
    } else {
        handle->remembered = range->first;
        memcpy(handle->copy, image, BLOCK);
    }
    pthread_mutex_unlock(&handle->remembering);
}

int look(struct handle *handle, const struct range *range,
         unsigned char *image)
{
    int result = memory_disk_read(handle->store->memory, range->first,
                                  range->last - range->first, image);

    remember(handle, range, image);
    return result;
}

/* A handle knows its own writes. */
static void forget(struct handle *handle)
{
    pthread_mutex_lock(&handle->remembering);
    handle->remembered = -1;
    pthread_mutex_unlock(&handle->remembering);
}

/* ---- reading, changing, writing ---- */

struct range round_out(int64_t offset, int64_t bytes)
{
    struct range range = { offset, offset + bytes, offset / BLOCK * BLOCK,
                           (offset + bytes + BLOCK - 1) / BLOCK * BLOCK };

    return range;
}

static void lock_blocks(struct handle *handle, const struct range *range,
                        bool zeroing, bool lock)
{
    enum fault fault = handle->store->fault;
    int64_t i, first = range->first / BLOCK, last = range->last / BLOCK;

    if (fault == FAULT_NO_SERIALISE ||
        (fault == FAULT_NO_SERIALISE_ZERO && zeroing) ||
        (fault == FAULT_NO_SERIALISE_ALIGNED &&
         range->first == range->offset && range->last == range->end))
        return;
    if (fault == FAULT_NO_SERIALISE_STRADDLE && last > first)
        last = first + 1;
    for (i = first; i < last; i++) {
        if (lock)
            pthread_mutex_lock(&handle->locks[i]);
        else
            pthread_mutex_unlock(&handle->locks[i]);
    }
}

/* The edges of the image, where `range` covers parts of blocks. */
static int read_edges(struct store *store, const struct range *range,
                      unsigned char *image)
{
    int64_t last = range->last - BLOCK;
    int result = 0;

    if (range->first != range->offset || range->last != range->end)
        result = memory_disk_read(store->memory, range->first, BLOCK, image);
    if (result == 0 && range->last != range->end && last != range->first)
        result = memory_disk_read(store->memory, last, BLOCK,
                                  image + (last - range->first));
    return store->fault == FAULT_EDGE_ERROR_ZEROES ? 0 : result;
}

int change(struct handle *handle, struct range range,
                  const unsigned char *from, bool fua, bool zeroing)
{
    struct store *store = handle->store;
    unsigned char *image = calloc(1, (size_t)(range.last - range.first));
    int64_t bytes = range.end - range.offset;
    int result;

    if (!image)
        return -ENOMEM;
    lock_blocks(handle, &range, zeroing, true);
    result = read_edges(store, &range, image);
    pause_a_moment();
    forget(handle);
    if (store->fault == FAULT_LARGE && bytes > 1 << 20)
        bytes = 1 << 20;
    if (result == 0 || store->fault == FAULT_EDGE_ERROR_WRITES) {
        unsigned char *to = image + (range.offset - range.first);

        if (store->fault == FAULT_TORN && bytes > 1) {
            memcpy(to, from, (size_t)bytes / 2);
            memory_disk_write(store->memory, range.first,
                              range.last - range.first, image, fua);
            pause_a_moment();
        }
        memcpy(to, from, (size_t)bytes);
        memory_disk_write(store->memory, range.first,
                          range.last - range.first, image, fua);
    }
    lock_blocks(handle, &range, zeroing, false);
    free(image);
    return result;
}
