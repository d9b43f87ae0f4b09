/* strict-driver PATH COPY: the load of guest-load.c without a disk of
 * 4096-byte blocks. The file PATH is behind a driver of our own that refuses
 * what such a disk refuses.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _DEFAULT_SOURCE                 /* preadv, pwritev */
#include <blkalign.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BLOCK = 4096, ADDRESS = 512, LENGTH = 512 };

static int file;

/* What Linux answers to O_DIRECT on a disk of 4096-byte blocks. */
static int refused(int64_t offset, int64_t bytes, const struct iovec *iov,
                   int iovcnt)
{
    int i;

    if (offset % BLOCK || bytes % BLOCK)
        return -EINVAL;
    for (i = 0; i < iovcnt; i++)
        if ((uintptr_t)iov[i].iov_base % ADDRESS || iov[i].iov_len % LENGTH)
            return -EINVAL;
    return 0;
}

static int strict_preadv(void *opaque, int64_t offset, int64_t bytes,
                         const struct iovec *iov, int iovcnt, uint32_t flags)
{
    int ret = refused(offset, bytes, iov, iovcnt);

    (void)opaque, (void)flags;
    if (ret == 0 && preadv(file, iov, iovcnt, offset) != bytes)
        ret = -EIO;
    return ret;
}

static int strict_pwritev(void *opaque, int64_t offset, int64_t bytes,
                          const struct iovec *iov, int iovcnt, uint32_t flags)
{
    int ret = refused(offset, bytes, iov, iovcnt);

    (void)opaque;
    if (ret == 0 && pwritev(file, iov, iovcnt, offset) != bytes)
        ret = -EIO;
    if (ret == 0 && flags & BLKALIGN_REQ_FUA && fdatasync(file) < 0)
        ret = -errno;
    return ret;
}

static int strict_flush(void *opaque)
{
    (void)opaque;
    return fdatasync(file) < 0 ? -errno : 0;
}

static int64_t strict_getlength(void *opaque)
{
    struct stat status;

    (void)opaque;
    return fstat(file, &status) < 0 ? -errno : (int64_t)status.st_size;
}

/* Takes the place of blkalign_open() in guest-load.c. */
static int strict_open(const char *path, const blkalign_open_options *options,
                       blkalign_handle **out)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    char sector[512] = "a sector";
    struct iovec iov = { sector, sizeof sector };
    int ret;

    file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    ret = strict_pwritev(NULL, 0, sizeof sector, &iov, 1, 0);
    printf("  a plain write of 512 bytes to the driver: %s\n",
           ret < 0 ? strerror(-ret) : "accepted");
    driver.name = path;
    driver.request_alignment = BLOCK;
    driver.mem_alignment = ADDRESS;
    driver.segment_alignment = LENGTH;
    driver.getlength = strict_getlength;
    driver.preadv = strict_preadv;
    driver.pwritev = strict_pwritev;
    driver.flush = strict_flush;
    return blkalign_open_driver(&driver, NULL, options, out);
}

#define blkalign_open strict_open
#include "guest-load.c"
