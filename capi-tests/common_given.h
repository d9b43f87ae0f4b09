/*
 * A bed that the environment gives: BLKALIGN_TEST_BED is a block device, whose
 * first bytes are overwritten, or a directory for files. Tests have that bed
 * then and make none. See proof/storage.
 */
#ifndef COMMON_GIVEN_H
#define COMMON_GIVEN_H

#include "common_disk.h"

/* The given directory, or NULL. */
const char *given_directory(void);
/* The given block device, or NULL. */
const char *given_disk(void);

/* Whether a bed is given that is none of this kind. A device with blocks of
 * 4096 bytes is BED_LOOP, one with smaller blocks BED_LOOP_512, and a file in
 * the directory BED_FILE. */
int given_another(enum bed_kind kind);

/* Makes the given disk the bed: its first `bytes` bytes, all zeros. Handles
 * get a window of that length. Returns 0 or -1, with bed->why_not. */
int given_make(struct bed *bed, int64_t bytes);

#endif
