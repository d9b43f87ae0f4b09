/*
 * An object that is to grow and shrink, and what it must hold: every step
 * is followed by a look at its length and at each byte.
 */
#ifndef COMMON_GROW_H
#define COMMON_GROW_H

#include "common_disk.h"

/* No test makes it longer. */
#define GROW_ROOM (64 * 4096)

/* What the object must hold; zeros past its length. */
extern uint8_t grow_model[GROW_ROOM];

struct growing {
    struct bed *bed;
    blkalign_handle *handle;
    int64_t length;
    char path[200];
    int wrong;
    const char *doing;
};

/* An empty simulated disk that can grow, in place of a bed. */
void grow_sim(struct bed *bed, enum sim_mode mode, uint32_t block);
/* Opens growing->path, or the bed's simulated disk, with RESIZE. */
void grow_open(struct growing *growing, struct bed *bed, uint32_t flags);

/* What differs from the model counts in growing->wrong; the first time is
 * told. */
void grow_look(struct growing *growing);
void grow_write(struct growing *growing, int64_t offset, int64_t bytes,
                uint64_t seed);
void grow_zeroes(struct growing *growing, int64_t offset, int64_t bytes);
void grow_truncate(struct growing *growing, int64_t length);

#endif
