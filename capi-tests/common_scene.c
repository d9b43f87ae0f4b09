/* The scene for tests with the holding disk: see common_scene.h. */
#include "common_scene.h"

#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

void scene_begin(struct scene *scene, const blkalign_open_options *options)
{
    blkalign_open_options writable = mode_options(0);
    int ret;

    if (options)
        writable = *options;
    writable.flags |= BLKALIGN_O_RDWR;
    writable.queue_depth = 64;
    memset(scene, 0, sizeof(*scene));
    scene->held = held_new(SCENE_BLOCKS);
    scene->handle = held_open(scene->held, &writable);
    ret = blkalign_dup(scene->handle, &writable, &scene->second);
    if (ret)
        bail("dup: %d %s", ret, blkalign_errmsg());
    pattern_fill(scene->want, 1, 0, sizeof(scene->want));
}

static int write_through(struct scene *scene, blkalign_handle *handle,
                         int64_t offset, size_t bytes)
{
    int number = scene->writes++;
    uint8_t *buf = aligned_memory(bytes);

    pattern_fill(buf, (uint64_t)number + 2, offset, bytes);
    memcpy(scene->want + offset, buf, bytes);
    scene->bufs[number] = buf;
    aio_write(handle, offset, buf, bytes, 0, &scene->answers[number]);
    return number;
}

int scene_write(struct scene *scene, int64_t offset, size_t bytes)
{
    return write_through(scene, scene->handle, offset, bytes);
}

int scene_write_again(struct scene *scene, int64_t offset, size_t bytes)
{
    return write_through(scene, scene->second, offset, bytes);
}

void scene_end(struct scene *scene, const char *words)
{
    int i, wrong = 0, twice = 0;

    held_pass(scene->held);
    for (i = 0; i < scene->writes; i++)
        wrong += answer_wait(&scene->answers[i]) != 0;
    is_int(blkalign_close(scene->second), 0, "%s: second close", words);
    is_int(blkalign_close(scene->handle), 0, "%s: close", words);
    for (i = 0; i < scene->writes; i++)
        twice += answer_calls(&scene->answers[i]) != 1;
    is_int(wrong, 0, "%s: every write succeeds", words);
    is_int(twice, 0, "%s: every callback runs once", words);
    ok(!memcmp(held_bytes(scene->held), scene->want, sizeof(scene->want)),
       "%s: every byte is right", words);
    for (i = 0; i < scene->writes; i++)
        free(scene->bufs[i]);
    held_free(scene->held);
    mode_next();
}
