/*
 * A file or device by pread and pwrite: the disk of a virtual machine, a loop
 * device, a file system. It shows what the kernel makes of small requests.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "adapters.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIAL_BYTES = 65536 };

struct opened {
    int fd;
    bool direct;
    uint32_t smallest, memory;  /* by trial */
};

/* The smallest steps that a write may have. They are found by trial writes,
 * which the target allows, since storage often takes reads of a size that it
 * refuses to write. */
static int try_alignments(struct opened *opened)
{
    static const uint32_t steps[] = { 1, 512, 1024, 2048, 4096, 16384 };
    unsigned char *memory;
    unsigned i;

    opened->smallest = opened->memory = 1;
    if (!opened->direct)
        return 0;
    memory = aligned_alloc(TRIAL_BYTES, 2 * TRIAL_BYTES);
    if (!memory)
        return -ENOMEM;
    memset(memory, 0, 2 * TRIAL_BYTES);
    for (i = 0; i < sizeof steps / sizeof *steps; i++) {
        opened->smallest = steps[i];
        if (pwrite(opened->fd, memory, steps[i], steps[i]) == steps[i])
            break;
    }
    for (i = 0; i < sizeof steps / sizeof *steps; i++) {
        opened->memory = steps[i];
        if (pwrite(opened->fd, memory + steps[i], opened->smallest,
                   opened->smallest) == opened->smallest)
            break;
    }
    free(memory);
    return i < sizeof steps / sizeof *steps ? 0 : -EINVAL;
}

static int path_open(const struct place *place, void *first, void **handle,
                     char *why)
{
    struct opened *opened = calloc(1, sizeof *opened);
    int result = -ENOMEM;

    (void)first;
    if (!opened)
        return result;
    opened->direct = place_option(place, "direct") != NULL;
    opened->fd = open(place->target,
                      O_RDWR | O_CLOEXEC | (opened->direct ? O_DIRECT : 0));
    if (opened->fd < 0)
        result = -errno;
    else
        result = try_alignments(opened);
    if (result == 0) {
        *handle = opened;
        return 0;
    }
    snprintf(why, WHY_BYTES, "%s: %s", place->target, strerror(-result));
    if (opened->fd >= 0)
        close(opened->fd);
    free(opened);
    return result;
}

static void path_close(void *handle)
{
    close(((struct opened *)handle)->fd);
    free(handle);
}

static int path_describe(void *handle, struct facts *facts)
{
    struct opened *opened = handle;
    struct stat status;

    memset(facts, 0, sizeof *facts);
    facts->length = lseek(opened->fd, 0, SEEK_END);
    if (facts->length < 0 || fstat(opened->fd, &status) < 0)
        return -errno;
    facts->smallest = opened->smallest;
    facts->memory = facts->fits_memory = opened->memory;
    facts->block = opened->direct ? opened->smallest : 0;
    facts->flush = facts->fua = facts->zero = facts->discard = true;
    facts->grows = S_ISREG(status.st_mode);
    snprintf(facts->words, sizeof facts->words,
             "pread and pwrite of %s, %s",
             S_ISREG(status.st_mode) ? "a file" : "a device",
             opened->direct ? "O_DIRECT" : "page cache");
    if (opened->smallest > 1)
        snprintf(facts->words + strlen(facts->words), WHY_BYTES / 2,
                 ", which takes multiples of %u from addresses of %u",
                 (unsigned)opened->smallest, (unsigned)opened->memory);
    return 0;
}

static int moved(ssize_t got, const struct iovec *iov, int iovcnt)
{
    size_t wanted = 0;
    int i;

    if (got < 0)
        return -errno;
    for (i = 0; i < iovcnt; i++)
        wanted += iov[i].iov_len;
    /* The end of the device or file; nothing else shortens these requests. */
    return (size_t)got == wanted ? 0 : -ENOSPC;
}

static int path_pread(void *handle, int64_t offset, struct iovec *iov,
                      int iovcnt)
{
    int fd = ((struct opened *)handle)->fd;

    return moved(preadv(fd, iov, iovcnt, offset), iov, iovcnt);
}

static int path_pwrite(void *handle, int64_t offset, struct iovec *iov,
                       int iovcnt, bool fua)
{
    int fd = ((struct opened *)handle)->fd;

    return moved(pwritev2(fd, iov, iovcnt, offset, fua ? RWF_DSYNC : 0), iov,
                 iovcnt);
}

static int path_flush(void *handle)
{
    return fdatasync(((struct opened *)handle)->fd) ? -errno : 0;
}

static int path_zero(void *handle, int64_t offset, int64_t bytes, bool fua)
{
    if (fallocate(((struct opened *)handle)->fd,
                  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, bytes))
        return -errno;
    return fua ? path_flush(handle) : 0;
}

static int path_discard(void *handle, int64_t offset, int64_t bytes)
{
    return fallocate(((struct opened *)handle)->fd,
                     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                     bytes) ? -errno : 0;
}

const struct adapter path_adapter = {
    .name = "path",
    .help = "a file or device by pread and pwrite, with nothing of ours in\n"
            "between. -o direct: O_DIRECT, with the requests it takes",
    .option_names = " direct ",
    .open = path_open,
    .close = path_close,
    .describe = path_describe,
    .pread = path_pread,
    .pwrite = path_pwrite,
    .flush = path_flush,
    .zero = path_zero,
    .discard = path_discard,
};
