/*
 * A file system in user space with one file, for root: the server speaks the
 * kernel's protocol by itself, so no libfuse is needed. It has no cache
 * (FOPEN_DIRECT_IO), and answers reads and writes short, as it may.
 */
#ifndef COMMON_FUSE_H
#define COMMON_FUSE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fuse_bed {
    char dir[128], path[160];   /* of the file system, of the file */
    char why_not[200];
    uint8_t *bytes;             /* what the file holds; shared with the server
                                   */
    size_t length;
    pid_t server;
};

/* Mounts it; no read or write is answered with more than `most` bytes. Returns
 * 0, or -1 with why_not. Must come before any thread starts. */
int fuse_bed_make(struct fuse_bed *bed, size_t length, size_t most);
void fuse_bed_remove(struct fuse_bed *bed);

#endif
