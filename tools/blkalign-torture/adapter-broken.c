/*
 * A back end in memory that reads, changes and writes blocks correctly
 * ("broken:nothing"), or with one fault, to show that the suite finds the
 * fault.
 *
 * It is written to be easy to read, not to be fast: a lock for each block, all
 * locks of a request taken in order, and a pause between reading and writing
 * (broken.c), so that a missing lock loses data.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "adapters.h"
#include "broken.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = BROKEN_BLOCK };

static struct store *make_store(const struct place *place, char *why)
{
    struct store *store = calloc(1, sizeof *store);
    unsigned kind = 0;

    while (fault_texts[kind].name && place->kind &&
           strcmp(fault_texts[kind].name, place->kind) != 0)
        kind++;
    if (!store || !fault_texts[kind].name) {
        snprintf(why, WHY_BYTES, "no such fault: see --list");
        free(store);
        return NULL;
    }
    store->fault = (enum fault)kind;
    store->memory = place->memory;
    store->length = memory_disk_length(place->memory);
    store->blocks = (store->length + BLOCK - 1) / BLOCK + 1;
    store->locks = make_locks(store->blocks);
    if (store->fault == FAULT_CUT)
        store->length = store->length / BLOCK * BLOCK;
    return store;
}

static int broken_open(const struct place *place, void *first, void **out,
                       char *why)
{
    struct handle *handle = calloc(1, sizeof *handle);

    if (!handle)
        return -ENOMEM;
    handle->store = first ? ((struct handle *)first)->store
                          : make_store(place, why);
    if (!handle->store) {
        free(handle);
        return -EINVAL;
    }
    handle->store->users++;
    handle->locks = handle->store->locks;
    if (handle->store->fault == FAULT_NO_SERIALISE_HANDLES && first)
        handle->locks = make_locks(handle->store->blocks);
    pthread_mutex_init(&handle->remembering, NULL);
    handle->remembered = -1;
    *out = handle;
    return 0;
}

static void broken_close(void *opaque)
{
    struct handle *handle = opaque;
    struct store *store = handle->store;

    if (handle->locks != store->locks)
        free(handle->locks);
    free(handle);
    if (--store->users == 0) {
        free(store->locks);
        free(store);
    }
}

static int broken_describe(void *opaque, struct facts *facts)
{
    struct store *store = ((struct handle *)opaque)->store;

    memset(facts, 0, sizeof *facts);
    facts->length = __atomic_load_n(&store->length, __ATOMIC_RELAXED);
    facts->block = BLOCK;
    facts->smallest = facts->memory = 1;
    facts->untorn = 512;
    facts->fits_memory = facts->fits_segment = 512;
    facts->vectors = facts->flush = facts->fua = true;
    facts->zero = facts->discard = true;
    snprintf(facts->words, sizeof facts->words, "built to be wrong: %s",
             fault_texts[store->fault].words);
    return 0;
}

/* ---- the operations ---- */

/* 1: the operation is done already; 0: go on; or -errno. */
static int admit(struct store *store, int64_t offset, int64_t bytes)
{
    int64_t length = __atomic_load_n(&store->length, __ATOMIC_RELAXED);

    while (rarely(store, FAULT_HANG))
        pause();
    if (rarely(store, FAULT_ERROR))
        return -EIO;
    if (offset < 0 || offset > length || bytes > length - offset)
        return store->fault == FAULT_PAST_END ? 1 : -EIO;
    return 0;
}

static int broken_pread(void *opaque, int64_t offset, struct iovec *iov,
                        int iovcnt)
{
    struct handle *handle = opaque;
    struct store *store = handle->store;
    unsigned char *image, *from;
    struct range range;
    int64_t bytes = 0;
    int i, result;

    for (i = 0; i < iovcnt; i++)
        bytes += (int64_t)iov[i].iov_len;
    result = admit(store, offset, bytes);
    if (result)
        return result < 0 ? result : 0;
    range = round_out(offset, bytes);
    image = malloc((size_t)(range.last - range.first) + 1);
    if (!image)
        return -ENOMEM;
    result = look(handle, &range, image);
    from = image + (offset - range.first);
    for (i = 0; result == 0 && i < iovcnt; from += iov[i++].iov_len)
        memcpy(iov[i].iov_base, from, iov[i].iov_len);
    if (store->fault == FAULT_SPILL)
        ((unsigned char *)iov[0].iov_base)[iov[0].iov_len] = 0x5a;
    free(image);
    return result;
}

static int write_all(struct handle *handle, int64_t offset, int64_t bytes,
                     const unsigned char *from, bool fua)
{
    struct store *store = handle->store;
    struct range range = round_out(offset, bytes);
    int result = admit(store, offset, bytes);
    int64_t whole = store->length / BLOCK * BLOCK;

    if (result)
        return result < 0 ? result : 0;
    if (rarely(store, FAULT_LOST_WRITE))
        return 0;
    if (rarely(store, FAULT_MISPLACED) && range.last > range.end + 512)
        range = round_out(offset + 512, bytes);
    if (range.end > whole && store->length != whole) {
        if (store->fault == FAULT_DROP_LAST_BLOCK)
            return 0;
        if (store->fault == FAULT_GROW)
            __atomic_store_n(&store->length, whole + BLOCK,
                             __ATOMIC_RELAXED);
    }
    return change(handle, range, from, fua && store->fault != FAULT_NO_FUA,
                  false);
}

/* FAULT_MEMORY, FAULT_ELEMENTS: a byte of an element is wrong, as from storage
 * that claims less than it needs. */
static void garble(const struct store *store, const struct iovec *iov,
                   int number, unsigned char *copy)
{
    uintptr_t address = (uintptr_t)iov->iov_base;
    size_t to_page = 4096 - address % 4096;

    if (store->fault == FAULT_MEMORY && address % 1024 == 512 &&
        to_page < iov->iov_len)
        copy[to_page] ^= 0x5a;
    if (store->fault == FAULT_ELEMENTS && number && iov->iov_len == 512)
        copy[0] ^= 0x5a;
}

static int broken_pwrite(void *opaque, int64_t offset, struct iovec *iov,
                         int iovcnt, bool fua)
{
    struct handle *handle = opaque;
    int64_t bytes = 0, at = 0, padded;
    unsigned char *all;
    int i, result;

    if (handle->store->fault == FAULT_VECTORS && iovcnt > 1024)
        iovcnt = 1024;
    for (i = 0; i < iovcnt; i++)
        bytes += (int64_t)iov[i].iov_len;
    padded = bytes;
    if (handle->store->fault == FAULT_WRITE_NEIGHBOURS &&
        (offset + bytes) % 512)
        padded += 512 - (offset + bytes) % 512;
    all = calloc(1, (size_t)padded + 1);
    if (!all)
        return -ENOMEM;
    for (i = 0; i < iovcnt; at += (int64_t)iov[i++].iov_len) {
        memcpy(all + at, iov[i].iov_base, iov[i].iov_len);
        garble(handle->store, &iov[i], i, all + at);
    }
    result = write_all(handle, offset, padded, all, fua);
    free(all);
    return result;
}

static int broken_flush(void *opaque)
{
    struct store *store = ((struct handle *)opaque)->store;

    if (store->fault != FAULT_NO_FLUSH)
        memory_disk_flush(store->memory);
    return 0;
}

/* Bytes `value` over `range`, which the caller may have rounded. */
static int make_all(struct handle *handle, struct range range, int value,
                    bool fua)
{
    unsigned char *bytes;
    int result;

    if (range.end <= range.offset)
        return 0;
    bytes = malloc((size_t)(range.end - range.offset));
    if (!bytes)
        return -ENOMEM;
    memset(bytes, value, (size_t)(range.end - range.offset));
    result = change(handle, range, bytes, fua, true);
    free(bytes);
    return result;
}

static int broken_zero(void *opaque, int64_t offset, int64_t bytes, bool fua)
{
    struct handle *handle = opaque;
    struct range range = round_out(offset, bytes);
    int result = admit(handle->store, offset, bytes);

    if (result)
        return result < 0 ? result : 0;
    if (handle->store->fault == FAULT_ZERO_NEIGHBOURS)
        range = round_out(range.first, range.last - range.first);
    return make_all(handle, range, 0, fua);
}

static int broken_discard(void *opaque, int64_t offset, int64_t bytes)
{
    struct handle *handle = opaque;
    struct range range = round_out(offset, bytes);
    int result = admit(handle->store, offset, bytes);

    if (result)
        return result < 0 ? result : 0;
    if (handle->store->fault != FAULT_DISCARD_NEIGHBOURS) {
        range.first += range.first < range.offset ? BLOCK : 0;
        range.last -= range.last > range.end ? BLOCK : 0;
    }
    if (range.last <= range.first)
        return 0;
    return make_all(handle, round_out(range.first,
                                      range.last - range.first),
                    handle->store->fault == FAULT_NOISE ? 0xd1 : 0, false);
}

const struct adapter broken_adapter = {
    .name = "broken",
    .help = "broken:FAULT, a back end in memory with one fault that the\n"
            "suite must find; see --list. No TARGET",
    .option_names = " ",
    .own_memory = true,
    .takes_memory = true,
    .open = broken_open,
    .close = broken_close,
    .describe = broken_describe,
    .pread = broken_pread,
    .pwrite = broken_pwrite,
    .flush = broken_flush,
    .zero = broken_zero,
    .discard = broken_discard,
};
