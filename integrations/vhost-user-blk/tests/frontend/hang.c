/*
 * Preloaded into the daemon: while the file that HANG names is there, reads
 * and writes do not come back, as on a disk that has died.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static void hang(void)
{
    const char *file = getenv("HANG");

    while (file != NULL && access(file, F_OK) == 0)
        usleep(10000);
}

ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
    ssize_t (*next)(int, void *, size_t, off64_t);

    hang();
    *(void **)&next = dlsym(RTLD_NEXT, "pread64");
    return next(fd, buffer, bytes, offset);
}

ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset,
                int flags)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t, int);

    hang();
    *(void **)&next = dlsym(RTLD_NEXT, "preadv2");
    return next(fd, iov, count, offset, flags);
}
