/*
 * The faults of the deliberately wrong back end: adapter-broken.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef BROKEN_H
#define BROKEN_H

#include "memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { BROKEN_BLOCK = MEMORY_BLOCK };

enum fault {
    FAULT_NOTHING, FAULT_NO_SERIALISE, FAULT_NO_SERIALISE_HANDLES,
    FAULT_NO_SERIALISE_ALIGNED, FAULT_NO_SERIALISE_STRADDLE,
    FAULT_NO_SERIALISE_ZERO, FAULT_EDGE_ERROR_ZEROES,
    FAULT_EDGE_ERROR_WRITES, FAULT_WRITE_NEIGHBOURS, FAULT_ZERO_NEIGHBOURS,
    FAULT_DISCARD_NEIGHBOURS, FAULT_GROW, FAULT_CUT, FAULT_DROP_LAST_BLOCK,
    FAULT_PAST_END, FAULT_VECTORS, FAULT_LARGE, FAULT_MEMORY, FAULT_ELEMENTS,
    FAULT_NOISE, FAULT_SPILL, FAULT_STALE, FAULT_NO_FLUSH, FAULT_NO_FUA,
    FAULT_TORN, FAULT_LOST_WRITE, FAULT_MISPLACED, FAULT_ERROR, FAULT_HANG
};

struct fault_text {
    const char *name, *words;
};

/* In the order of enum fault; ends with NULLs. */
extern const struct fault_text fault_texts[];

struct store {
    struct memory_disk *memory;
    enum fault fault;
    int64_t length;             /* atomic, for "grow" */
    int64_t blocks;
    pthread_mutex_t *locks;     /* one for each block */
    unsigned requests, users;   /* atomic */
};

/* One handle of several. */
struct handle {
    struct store *store;
    pthread_mutex_t *locks;     /* the store's, but for one fault */
    pthread_mutex_t remembering;        /* guards the two below */
    int64_t remembered;         /* "stale": number of the block; -1: none */
    unsigned char copy[BROKEN_BLOCK];
};

struct range {
    int64_t offset, end, first, last;   /* bytes; rounded out to blocks */
};

pthread_mutex_t *make_locks(int64_t blocks);
/* True for one call in 97, if the store has this fault. */
bool rarely(struct store *store, enum fault fault);
struct range round_out(int64_t offset, int64_t bytes);
/* The read-modify-write: `from` replaces the bytes of `range`. */
int change(struct handle *handle, struct range range,
           const unsigned char *from, bool fua, bool zeroing);
/* Reads whole blocks into `image`, as the handle sees them. */
int look(struct handle *handle, const struct range *range,
         unsigned char *image);

#endif
