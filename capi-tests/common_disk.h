/*
 * Test beds: real and simulated storage that wants large aligned blocks.
 *
 * Whatever a bed needs is gone after bed_remove(), and also when the
 * program is killed: mounts live in a private namespace, backing files are
 * unlinked, loop devices detach by themselves, the janitor does the rest.
 */
#ifndef COMMON_DISK_H
#define COMMON_DISK_H

#include "common_sim.h"

enum bed_kind {
    BED_LOOP,           /* a loop disk with 4096-byte sectors */
    BED_XFS,            /* a file on XFS on such a disk */
    BED_EXT4,           /* a file on ext4 on such a disk */
    BED_FILE,           /* a file on this machine's own file system */
    BED_ZRAM,           /* a RAM disk with 4096-byte sectors */
    BED_SIM_SYNC, BED_SIM_ASYNC, BED_SIM_AT_ONCE,
    BED_KINDS,
    /* Beds that only some tests ask for. */
    BED_BTRFS = BED_KINDS, /* a file on btrfs on such a disk */
    BED_TMPFS,          /* a file on tmpfs, through the page cache */
    BED_RAMFS,          /* the same on ramfs: no O_DIRECT, no fallocate */
    BED_LOOP_512,       /* a loop disk with 512-byte sectors */
    BED_SIM_ZEROES,     /* like BED_SIM_SYNC; zeroes, discards, shrinks */
    BED_XFS_16K,        /* XFS of 16 KiB blocks that asks for long I/O */
    BED_XFS_64K,        /* the same of 64 KiB blocks */
    BED_EXT4_JOURNAL,   /* ext4 whose data go through its journal, as all of
                           its direct I/O goes through the page cache */
    BED_ALL_KINDS
};

struct bed {
    enum bed_kind kind;
    const char *name;           /* for the sentences of tests */
    int64_t bytes;
    char path[160];             /* "" for a simulated disk */
    char dir[128];              /* for more files; "" where there is none */
    struct sim *sim;            /* NULL for a real one */
    char why_not[200];          /* when it could not be made */
    int loop_fd, backing_fd;    /* of a loop disk; -1 if none */
    int mounted;
};

/* Makes a bed of `bytes` bytes (a multiple of 4096), all zeros. Returns 0, or
 * -1 with bed->why_not if that is impossible or not allowed on this machine.
 * */
int bed_make(struct bed *bed, enum bed_kind kind, int64_t bytes);
/* After the last close. */
void bed_remove(struct bed *bed);

/* For loop disks: sets the length, as losetup --set-capacity does. */
void bed_resize_disk(struct bed *bed, int64_t bytes);

int bed_is_file(const struct bed *bed);
int bed_is_buffered(const struct bed *bed);

/* Opens the bed for reading and writing with O_DIRECT, and otherwise with
 * these options (NULL: mode_options(0)). Ends the program if that fails. */
blkalign_handle *bed_open(struct bed *bed,
                          const blkalign_open_options *options);
/* A second handle: by the path, or by dup on a simulated disk. */
blkalign_handle *bed_open_again(struct bed *bed, blkalign_handle *first,
                                const blkalign_open_options *options);

/* Reads or writes whole 4096-byte blocks behind the library's back. */
void bed_peek(struct bed *bed, int64_t offset, void *buf, size_t bytes);
void bed_poke(struct bed *bed, int64_t offset, const void *buf,
              size_t bytes);

#endif
