/*
 * As much of kvmtool's header as blkalign.c and its test need, as commit
 * b48735e of July 2024 declares it: the members of both structs are all there,
 * in its order. `check` compiles and runs blkalign.c with the header itself.
 * Not for use with kvmtool.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef STUB_DISK_IMAGE_H
#define STUB_DISK_IMAGE_H

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

typedef uint64_t u64;

#define SECTOR_SHIFT 9
enum { DISK_IMAGE_REGULAR };

struct disk_image;

struct disk_image_operations {
    ssize_t (*read)(struct disk_image *, u64, const struct iovec *, int,
                    void *);
    ssize_t (*write)(struct disk_image *, u64, const struct iovec *, int,
                     void *);
    int (*flush)(struct disk_image *);
    int (*wait)(struct disk_image *);
    int (*close)(struct disk_image *);
    bool async;
};

struct disk_image {
    int fd;
    u64 size;
    struct disk_image_operations *ops;
    void *priv;
    void *disk_req_cb_param;
    void (*disk_req_cb)(void *param, long len);
    bool readonly;
    bool async;
#ifdef CONFIG_HAS_AIO
    void *ctx;                  /* an io_context_t, libaio's pointer */
    int evt;
    pthread_t thread;
    u64 aio_inflight;
#endif
    const char *wwpn;
    int debug_iodelay;
};

struct disk_image *disk_image__new(int fd, u64 size,
                                   struct disk_image_operations *ops,
                                   int mmap);
struct disk_image *blkalign_image__probe(const char *filename, bool readonly,
                                         bool direct);

#endif
