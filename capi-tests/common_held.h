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

/* Stands for "any offset" in held_find and held_release. */
#define HELD_ANYWHERE INT64_C(-1)

struct held;

/* Makes a disk of this many blocks, filled with pattern 1. */
struct held *held_new(int64_t blocks);
/* Before the disk is opened: it takes blocks of `alignment` bytes (default
 * 4096). */
void held_align(struct held *held, uint32_t alignment);
blkalign_handle *held_open(struct held *held,
                           const blkalign_open_options *options);
/* After close. */
void held_free(struct held *held);
uint8_t *held_bytes(struct held *held);

/* Waits up to five seconds until `count` or more I/Os are held; returns
 * whether that happened. */
int held_wait(struct held *held, int count);
/* Waits until no new I/O arrived for `ms`; returns how many are held then. */
int held_quiet(struct held *held, int ms);

/* How many I/Os of this kind are held that touch this block (or ANYWHERE). */
int held_find(struct held *held, enum held_op op, int64_t block);
/* The same for all kinds. */
int held_on_block(struct held *held, int64_t block);
/* How many I/Os arrived since the beginning. */
int held_seen(struct held *held, enum held_op op);
/* Flags of the latest write that arrived. */
uint32_t held_write_flags(struct held *held);

/*
 * Releases the oldest I/O of this kind that touches the block: if `ret` is 0
 * its bytes move now, then done(ret) runs on this thread. Returns 0 if no such
 * I/O is held.
 */
int held_release(struct held *held, enum held_op op, int64_t block, int ret);
/* Releases all I/Os, oldest first, and those that arrive until nothing came
 * for `ms`. */
void held_release_all(struct held *held, int ms);
/* From now on no I/O is held any more; those that are held are released now.
 * */
void held_pass(struct held *held);

#endif
