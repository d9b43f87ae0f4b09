/*
 * A handle on a simulated disk, and a copy of the disk's bytes that is
 * compared with the disk in the end.
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

/* A simulated disk, and a handle on it in the present mode. */
blkalign_handle *sim_begin(struct sim **sim, const struct sim_options *disk,
                           uint32_t flags);
/* Closes the handle; asserts that no misaligned I/O reached the disk. */
void sim_end(struct sim *sim, blkalign_handle *handle, const char *words);

/* Fills `model`, which belongs to the caller, and the disk with the same
 * pattern. */
void stage_begin(struct stage *stage, const struct sim_options *disk,
                 uint32_t flags, uint8_t *model);
/* Closes the handle; asserts that disk and model are equal, and that no
 * misaligned I/O reached the disk. */
void stage_end(struct stage *stage, const char *words);

#endif
