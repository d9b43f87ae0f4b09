/*
 * A small stage for the tests with the holding disk: eight blocks, up to
 * sixteen writes, and what the disk must hold when all of them are done.
 */
#ifndef COMMON_SCENE_H
#define COMMON_SCENE_H

#include "common_aio.h"
#include "common_held.h"

#define SCENE_BLOCKS 8
#define SCENE_WRITES 16

/* Long enough for a request that need not wait to reach the storage. */
#define SCENE_QUIET_MS 40

struct scene {
    struct held *held;
    blkalign_handle *handle, *second;
    uint8_t want[SCENE_BLOCKS * HELD_BLOCK];
    uint8_t *bufs[SCENE_WRITES];
    struct answer answers[SCENE_WRITES];
    int writes;
};

/* Opens a disk filled with pattern 1, and dup's the handle.  Without
 * options each scene has the completion mode after the last one's. */
void scene_begin(struct scene *scene, const blkalign_open_options *options);

/* Submits a write of pattern 2, 3, ... and lays it over scene->want; the
 * number of its answer.  `again` goes through the second handle. */
int scene_write(struct scene *scene, int64_t offset, size_t bytes);
int scene_write_again(struct scene *scene, int64_t offset, size_t bytes);

/* Holds nothing back any more, and asserts that every write answered 0
 * just once and that the disk holds scene->want. */
void scene_end(struct scene *scene, const char *words);

#endif
