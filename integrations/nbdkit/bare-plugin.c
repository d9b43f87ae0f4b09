/*
 * The least that an nbdkit plugin can do for a disk: pread and pwrite, with
 * O_DIRECT. What bench.sh measures beside ours, to tell what nbdkit itself
 * costs. It takes whole blocks only, and is nothing to serve a disk with.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE             /* O_DIRECT */
#endif
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum { BYTES_MAX = 64 << 10 };

static char *path;
static int disk = -1;

static int bare_config(const char *key, const char *value)
{
    if (strcmp(key, "file") != 0)
        return -1;
    path = nbdkit_absolute_path(value);
    return path == NULL ? -1 : 0;
}

static int bare_ready(void)
{
    disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    return disk < 0 ? -1 : 0;
}

static void *bare_open(int readonly)
{
    (void)readonly;
    return &disk;
}

static int64_t bare_get_size(void *handle)
{
    (void)handle;
    return lseek(disk, 0, SEEK_END);
}

/* nbdkit's own buffers lie anywhere; one of these for each of its threads. */
static void *aligned(uint32_t bytes)
{
    static __thread void *buffer;

    if (bytes > BYTES_MAX)
        return NULL;
    if (buffer == NULL && posix_memalign(&buffer, 4096, BYTES_MAX) != 0)
        return NULL;
    return buffer;
}

static int bare_pread(void *handle, void *to, uint32_t bytes, uint64_t offset,
                      uint32_t flags)
{
    void *buffer = aligned(bytes);

    (void)handle;
    (void)flags;
    if (buffer == NULL || pread(disk, buffer, bytes, (off_t)offset) != bytes)
        return -1;
    memcpy(to, buffer, bytes);
    return 0;
}

static int bare_pwrite(void *handle, const void *from, uint32_t bytes,
                       uint64_t offset, uint32_t flags)
{
    void *buffer = aligned(bytes);

    (void)handle;
    (void)flags;
    if (buffer == NULL)
        return -1;
    memcpy(buffer, from, bytes);
    return pwrite(disk, buffer, bytes, (off_t)offset) == bytes ? 0 : -1;
}

static struct nbdkit_plugin plugin = {
    .name = "bare",
    .config = bare_config,
    .get_ready = bare_ready,
    .open = bare_open,
    .get_size = bare_get_size,
    .pread = bare_pread,
    .pwrite = bare_pwrite,
};

NBDKIT_REGISTER_PLUGIN(plugin)
