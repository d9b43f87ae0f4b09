/*
 * A handle on a simulated disk whose bytes have a copy, to be held against it
 * in the end.
 */
#ifndef COMMON_STAGE_H
#define COMMON_STAGE_H

#include "common_mode.h"
#include "common_sim.h"

struct stage {
    struct sim *sim;
    blkalign_handle *handle;
    uint8_t *model;
    size_t bytes;
};

/* A simulated disk, and a handle on it in the mode of now. */
blkalign_handle *sim_begin(struct sim **sim, const struct sim_options *disk,
                           uint32_t flags);
/* Closes; nothing that the disk refuses may have been asked of it. */
void sim_end(struct sim *sim, blkalign_handle *handle, const char *words);

/* Fills `model`, the caller's, and the disk with the same pattern. */
void stage_begin(struct stage *stage, const struct sim_options *disk,
                 uint32_t flags, uint8_t *model);
/* Closes; disk and model must be equal, and nothing misaligned was asked. */
void stage_end(struct stage *stage, const char *words);

#endif
