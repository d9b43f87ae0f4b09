/* An overlay in a test: two layers on two beds, and the bytes to be seen. */
#ifndef COMMON_OVERLAY_H
#define COMMON_OVERLAY_H

#include "common_disk.h"

struct layers {
    const char *name;           /* for the sentences of tests */
    struct bed top, below;
    char path[200], map[210];   /* of the top, in the top's directory */
    blkalign_handle *backing, *overlay;
    int64_t bytes;              /* of the overlay */
    uint8_t *seen;              /* what the overlay has to show */
};

/* Makes both beds, writes the backing object full of a pattern, and creates an
 * overlay of `bytes` bytes over `backing_bytes` of it (0: all) with clusters
 * of `cluster` bytes. Returns 0, or -1 with a skipped test if a bed cannot be
 * had. `sim`: options of the disk below if that is a simulated one. */
int layers_make(struct layers *layers, enum bed_kind top, enum bed_kind below,
                const struct sim_options *sim, int64_t bytes,
                int64_t backing_bytes, uint32_t cluster);
/* Opens the overlay with BLKALIGN_OVERLAY_* flags; ends the program if that
 * fails. */
void layers_open(struct layers *layers, uint32_t open_flags,
                 uint32_t overlay_flags);
void layers_close(struct layers *layers);
void layers_remove(struct layers *layers);

/* Compares all bytes with `seen`; one result. */
int layers_check(struct layers *layers, const char *when);
/* Whether byte `offset` is there: 1, 0 or -errno. */
int layers_there(struct layers *layers, int64_t offset);

#endif
