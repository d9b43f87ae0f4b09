/*
 * A simulated disk of 4096-byte blocks that holds every I/O until the test
 * lets it go, so that any interleaving can be made to happen.
 */
#ifndef COMMON_HELD_H
#define COMMON_HELD_H

#include <blkalign.h>
#include <stdint.h>

#define HELD_BLOCK 4096

enum held_op {
    HELD_READ, HELD_WRITE, HELD_FLUSH, HELD_ZEROES, HELD_DISCARD, HELD_OPS
};

/* "Any offset" for held_find and held_release. */
#define HELD_ANYWHERE INT64_C(-1)

struct held;

/* A disk of this many blocks, filled with pattern 1. */
struct held *held_new(int64_t blocks);
/* Before it is opened: it takes blocks of `alignment` bytes (4096 else). */
void held_align(struct held *held, uint32_t alignment);
blkalign_handle *held_open(struct held *held,
                           const blkalign_open_options *options);
/* After close. */
void held_free(struct held *held);
uint8_t *held_bytes(struct held *held);

/* Waits up to five seconds until `count` or more I/Os are held; whether
 * that happened. */
int held_wait(struct held *held, int count);
/* Waits until nothing new arrived for `ms`; how many are held then. */
int held_quiet(struct held *held, int ms);

/* How many are held of this kind, that touch this block (or ANYWHERE). */
int held_find(struct held *held, enum held_op op, int64_t block);
/* The same of every kind. */
int held_on_block(struct held *held, int64_t block);
/* How many arrived since the beginning. */
int held_seen(struct held *held, enum held_op op);
/* Flags of the latest write that arrived. */
uint32_t held_write_flags(struct held *held);

/*
 * Lets the oldest one of this kind that touches the block go: bytes move
 * now if `ret` is 0, then done(ret) runs on this thread.  0 if none is held.
 */
int held_release(struct held *held, enum held_op op, int64_t block, int ret);
/* Lets all go, oldest first, and those that come until `ms` are quiet. */
void held_release_all(struct held *held, int ms);
/* From now on nothing is held any more; what is held goes now. */
void held_pass(struct held *held);

#endif
