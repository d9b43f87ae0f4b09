/*
 * A scene for tests with the holding disk: eight blocks, up to sixteen writes,
 * and the expected content of the disk when all writes are done.
 */
#ifndef COMMON_SCENE_H
#define COMMON_SCENE_H

#include "common_aio.h"
#include "common_held.h"

#define SCENE_BLOCKS 8
#define SCENE_WRITES 16

/* Time in which a request that need not wait reaches the storage. */
#define SCENE_QUIET_MS 40

struct scene {
    struct held *held;
    blkalign_handle *handle, *second;
    uint8_t want[SCENE_BLOCKS * HELD_BLOCK];
    uint8_t *bufs[SCENE_WRITES];
    struct answer answers[SCENE_WRITES];
    int writes;
};

/* Opens a disk filled with pattern 1, and a second handle by dup. Without
 * options each scene has the completion mode after that of the last scene. */
void scene_begin(struct scene *scene, const blkalign_open_options *options);

/* Submits a write of pattern 2, 3, ... and applies it to scene->want; returns
 * the number of its answer. `again` uses the second handle. */
int scene_write(struct scene *scene, int64_t offset, size_t bytes);
int scene_write_again(struct scene *scene, int64_t offset, size_t bytes);

/* Ends all holding, and asserts that every write completed with 0 exactly once
 * and that the disk holds scene->want. */
void scene_end(struct scene *scene, const char *words);

#endif
