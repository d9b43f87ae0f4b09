/*
 * A disk in memory with a block size, a volatile cache and a switch that makes
 * its reads fail: the storage below a back end when a fault is wanted.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stdint.h>

enum { MEMORY_BLOCK = 4096 };

struct memory_disk;

/* A disk of zeros, with as many blocks as `length` needs. NULL: no memory. */
struct memory_disk *memory_disk_new(int64_t length);
void memory_disk_free(struct memory_disk *disk);
int64_t memory_disk_length(const struct memory_disk *disk);

/* Whole blocks only (-EINVAL). Each call by itself is atomic. */
int memory_disk_read(struct memory_disk *disk, int64_t offset, int64_t bytes,
                     void *to);
int memory_disk_write(struct memory_disk *disk, int64_t offset,
                      int64_t bytes, const void *from, bool fua);
void memory_disk_flush(struct memory_disk *disk);

/* Every read fails with EIO while this is on. */
void memory_disk_fail_reads(struct memory_disk *disk, bool on);
/* Bytes that were neither flushed nor written with FUA become those before. */
void memory_disk_cut_power(struct memory_disk *disk);

#endif
