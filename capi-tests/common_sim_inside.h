/*
 * What the two halves of the simulated disk share: common_sim.c (what the disk
 * does) and common_sim_driver.c (the disk as a driver).
 */
#ifndef COMMON_SIM_INSIDE_H
#define COMMON_SIM_INSIDE_H

#include "common_sim.h"

#include <pthread.h>

struct sim_io {
    struct sim_io *next;
    enum sim_op op;
    int64_t offset, bytes;
    struct iovec *iov;
    int iovcnt;
    int answer;
    blkalign_driver_done_fn done;
    void *token;
};

struct sim_fault {
    unsigned countdown;         /* 0 = none */
    int countdown_error;
    int64_t offset, bytes;
    int range_error;            /* 0 = none */
};

struct sim {
    struct sim_options declared;     /* as the test asked */
    struct sim_options options;      /* the same, 0 made 1 */
    /* Guards everything below, the disk's memory included. */
    pthread_mutex_t lock;
    pthread_cond_t queued;
    uint8_t *memory;
    struct sim_fault faults[SIM_OPS];
    int refuse_at_call;
    uint32_t demand;
    const uint8_t *watched;
    size_t watched_bytes;
    struct sim_counts counts;
    char violation[160];
    uint64_t random;
    struct sim_io *first, **last;
    int stopping;
    pthread_t threads[16];
};

/* Checks and counts an I/O; returns the errno with which it must fail, or 0.
 * */
int sim_admit(struct sim *sim, const struct sim_io *io, uint32_t flags);
/* Waits for the delay and moves the bytes; returns the result. */
int sim_carry_out(struct sim *sim, const struct sim_io *io);
void *sim_thread(void *opaque);

#endif
