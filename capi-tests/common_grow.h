/*
 * An object that grows and shrinks, and its model. After every step the length
 * and each byte are compared with the model.
 */
#ifndef COMMON_GROW_H
#define COMMON_GROW_H

#include "common_disk.h"

/* No test makes the object longer than this. */
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

/* Counts differences from the model in growing->wrong; prints the first. */
void grow_look(struct growing *growing);
void grow_write(struct growing *growing, int64_t offset, int64_t bytes,
                uint64_t seed);
void grow_zeroes(struct growing *growing, int64_t offset, int64_t bytes);
void grow_truncate(struct growing *growing, int64_t length);

#endif
