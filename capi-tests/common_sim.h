/*
 * A simulated disk as a C driver: memory that refuses what a real disk of the
 * same alignments refuses, and records each such violation.
 */
#ifndef COMMON_SIM_H
#define COMMON_SIM_H

#include <blkalign.h>
#include <stdint.h>

enum sim_mode {
    SIM_SYNC,           /* synchronous functions only */
    SIM_ASYNC,          /* answers later, from threads of its own */
    SIM_ASYNC_AT_ONCE   /* answers before its function returns */
};

enum sim_op {
    SIM_READ, SIM_WRITE, SIM_FLUSH, SIM_ZEROES, SIM_DISCARD, SIM_TRUNCATE,
    SIM_OPS
};

/* The value of a discarded byte, so that a byte discarded in error shows. */
#define SIM_DISCARDED 0xdd

struct sim_options {
    int64_t bytes;
    uint32_t request_alignment, mem_alignment, segment_alignment;
    uint32_t max_transfer, max_segments;
    enum sim_mode mode;
    unsigned threads;           /* SIM_ASYNC; 0 = 4 */
    unsigned latency_us_max;    /* every fourth lasts 0 to this */
    int no_flush;               /* the driver has no flush at all */
    int zeroes, discards;       /* it has these functions */
    int64_t bytes_max;          /* it has truncate, to no more than this */
    uint32_t torn_bytes;        /* moves so much at a time; 0 = all at once */
};

struct sim_counts {
    uint64_t ios[SIM_OPS];      /* accepted or failed on purpose */
    uint64_t fua_writes;
    uint32_t flags[SIM_OPS];    /* of the latest */
    int64_t offsets[SIM_OPS], lengths[SIM_OPS];     /* the same */
    uint64_t refused;           /* because of sim_demand */
    uint64_t closes, violations;
    uint64_t pointer_hits;      /* elements inside the watched memory */
    uint64_t most_segments;     /* longest vector seen */
    int64_t most_bytes;         /* longest transfer seen */
};

struct sim;

/* 4096-byte blocks, memory aligned to 512, elements to 512. */
struct sim_options sim_disk_4k(int64_t bytes, enum sim_mode mode);

struct sim *sim_new(const struct sim_options *options);
/* The opaque of the driver is the struct sim itself. */
blkalign_driver sim_driver(const struct sim *sim);
/* Opens the disk with `options`; ends the program if that fails. */
blkalign_handle *sim_open(struct sim *sim,
                          const blkalign_open_options *options);
/* After close: waits for the threads of the simulation. */
void sim_free(struct sim *sim);

/* The disk's memory, for looking at and preparing while it is idle. */
uint8_t *sim_bytes(struct sim *sim);

/* The nth (1 = next) I/O of this kind fails with -error. */
void sim_fail_nth(struct sim *sim, enum sim_op op, unsigned nth, int error);
/* Every I/O of this kind that touches the range fails with -error; 0 ends
 * that. */
void sim_fail_range(struct sim *sim, enum sim_op op, int64_t offset,
                    int64_t bytes, int error);
/* An asynchronous disk returns an injected error from the starting function,
 * and does not call done. */
void sim_refuse_at_call(struct sim *sim, int on);
/* From now on reads and writes that are no multiples of `alignment` fail with
 * -EINVAL, and that is no violation; 0 ends this. */
void sim_demand(struct sim *sim, uint32_t alignment);
/* Counts elements that lie in this memory. */
void sim_watch(struct sim *sim, const void *memory, size_t bytes);

struct sim_counts sim_counts(struct sim *sim);
/* Words for the first violation, "" if there was none. */
const char *sim_violation(struct sim *sim);

#endif
