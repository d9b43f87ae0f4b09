/*
 * A disk in memory: see memory.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct memory_disk {
    pthread_mutex_t lock;       /* guards all below */
    int64_t length, rounded;
    unsigned char *seen;        /* what reads get */
    unsigned char *durable;     /* what is left after a power cut */
    bool reads_fail;
};

struct memory_disk *memory_disk_new(int64_t length)
{
    struct memory_disk *disk = calloc(1, sizeof *disk);

    if (!disk)
        return NULL;
    pthread_mutex_init(&disk->lock, NULL);
    disk->length = length;
    disk->rounded = (length + MEMORY_BLOCK - 1) / MEMORY_BLOCK * MEMORY_BLOCK;
    disk->seen = calloc(1, (size_t)disk->rounded);
    disk->durable = calloc(1, (size_t)disk->rounded);
    if (disk->seen && disk->durable)
        return disk;
    memory_disk_free(disk);
    return NULL;
}

void memory_disk_free(struct memory_disk *disk)
{
    if (!disk)
        return;
    pthread_mutex_destroy(&disk->lock);
    free(disk->seen);
    free(disk->durable);
    free(disk);
}

int64_t memory_disk_length(const struct memory_disk *disk)
{
    return disk->length;
}

static bool whole_blocks(const struct memory_disk *disk, int64_t offset,
                         int64_t bytes)
{
    return offset >= 0 && bytes >= 0 && offset % MEMORY_BLOCK == 0 &&
           bytes % MEMORY_BLOCK == 0 && offset <= disk->rounded &&
           bytes <= disk->rounded - offset;
}

int memory_disk_read(struct memory_disk *disk, int64_t offset, int64_t bytes,
                     void *to)
{
    int result = whole_blocks(disk, offset, bytes) ? 0 : -EINVAL;

    pthread_mutex_lock(&disk->lock);
    if (disk->reads_fail)
        result = -EIO;
    if (result == 0)
        memcpy(to, disk->seen + offset, (size_t)bytes);
    pthread_mutex_unlock(&disk->lock);
    return result;
}

int memory_disk_write(struct memory_disk *disk, int64_t offset,
                      int64_t bytes, const void *from, bool fua)
{
    if (!whole_blocks(disk, offset, bytes))
        return -EINVAL;
    pthread_mutex_lock(&disk->lock);
    memcpy(disk->seen + offset, from, (size_t)bytes);
    if (fua)
        memcpy(disk->durable + offset, from, (size_t)bytes);
    pthread_mutex_unlock(&disk->lock);
    return 0;
}

void memory_disk_flush(struct memory_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    memcpy(disk->durable, disk->seen, (size_t)disk->rounded);
    pthread_mutex_unlock(&disk->lock);
}

void memory_disk_fail_reads(struct memory_disk *disk, bool on)
{
    pthread_mutex_lock(&disk->lock);
    disk->reads_fail = on;
    pthread_mutex_unlock(&disk->lock);
}

void memory_disk_cut_power(struct memory_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    memcpy(disk->seen, disk->durable, (size_t)disk->rounded);
    pthread_mutex_unlock(&disk->lock);
}
