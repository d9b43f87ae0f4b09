/*
 * A disk image type for kvmtool: raw files and block devices on libblkalign.
 * The guest has sectors of 512 bytes whatever the blocks of the disk are.
 *
 * Goes into kvmtool's disk/ as it is. Requests are asynchronous; callbacks
 * come one at a time for each disk, as kvmtool's virtio-blk wants them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "kvm/disk-image.h"

#include <linux/err.h>

#include <errno.h>
#include <blkalign.h>

struct pending {
    struct disk_image *disk;
    void *param;
    long bytes;
};

static void done(void *opaque, int ret)
{
    struct pending *pending = opaque;
    struct disk_image *disk = pending->disk;
    void *param = pending->param;
    long result = ret < 0 ? ret : pending->bytes;

    free(pending);
    disk->disk_req_cb(param, result);
}

typedef int64_t (*start_fn)(blkalign_handle *, int64_t, const struct iovec *,
                            int, uint32_t, blkalign_completion_fn, void *);

/* What can't even be started is told the same way as what fails later:
 * kvmtool completes the guest's request in its callback alone. */
static ssize_t start(struct disk_image *disk, start_fn function, u64 sector,
                     const struct iovec *iov, int iovcount, void *param)
{
    struct pending *pending = malloc(sizeof(*pending));
    int64_t id = -ENOMEM;
    int i;

    if (pending != NULL) {
        pending->disk = disk;
        pending->param = param;
        pending->bytes = 0;
        for (i = 0; i < iovcount; i++)
            pending->bytes += (long)iov[i].iov_len;
        id = sector > INT64_MAX >> SECTOR_SHIFT ? -EINVAL :
             function(disk->priv, (int64_t)(sector << SECTOR_SHIFT), iov,
                      iovcount, 0, done, pending);
    }
    if (id < 0) {
        free(pending);
        disk->disk_req_cb(param, (long)id);
    }
    return 0;
}

static ssize_t blkalign_image__read(struct disk_image *disk, u64 sector,
                                    const struct iovec *iov, int iovcount,
                                    void *param)
{
    return start(disk, blkalign_aio_preadv, sector, iov, iovcount, param);
}

static ssize_t blkalign_image__write(struct disk_image *disk, u64 sector,
                                     const struct iovec *iov, int iovcount,
                                     void *param)
{
    return start(disk, blkalign_aio_pwritev, sector, iov, iovcount, param);
}

static int blkalign_image__flush(struct disk_image *disk)
{
    return blkalign_flush(disk->priv);
}

static int blkalign_image__wait(struct disk_image *disk)
{
    return blkalign_drain(disk->priv);
}

static int blkalign_image__close(struct disk_image *disk)
{
    int ret = blkalign_close(disk->priv);

    close(disk->fd);
    free(disk);
    return ret;
}

static struct disk_image_operations blkalign_image_ops = {
    .read = blkalign_image__read,
    .write = blkalign_image__write,
    .flush = blkalign_image__flush,
    .wait = blkalign_image__wait,
    .close = blkalign_image__close,
    /* Our callbacks are what disk->async promises. Where kvmtool has libaio it
     * ends a disk that has that set by ending its own thread for the disk's
     * results, which it starts only if this is set, too. It idles. */
    .async = true,
};

/* The descriptor that kvmtool wants of a disk. A device that is mounted, or
 * held by a volume group, say, is refused (EBUSY) unless it is only read; and
 * as long as it is open nobody else gets it like this. */
static int open_unused(const char *filename, bool readonly)
{
    struct stat st;
    int flags = O_RDONLY | O_CLOEXEC;

    if (stat(filename, &st) == 0 && S_ISBLK(st.st_mode) && !readonly)
        flags |= O_EXCL;
    return open(filename, flags);
}

struct disk_image *blkalign_image__probe(const char *filename, bool readonly,
                                         bool direct)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_handle *handle;
    struct disk_image *disk;
    int ret, fd = open_unused(filename, readonly);

    if (fd < 0)
        return ERR_PTR(-errno);
    options.flags = (readonly ? 0 : BLKALIGN_O_RDWR) |
                    (direct ? BLKALIGN_O_DIRECT : 0);
    ret = blkalign_open(filename, &options, &handle);
    if (ret < 0) {
        close(fd);
        return ERR_PTR(ret);
    }
    disk = disk_image__new(fd, (u64)blkalign_getlength(handle),
                           &blkalign_image_ops, DISK_IMAGE_REGULAR);
    if (IS_ERR_OR_NULL(disk)) {
        blkalign_close(handle);
        close(fd);
        return disk;
    }
    disk->priv = handle;
    disk->readonly = readonly;
    disk->async = true;         /* without libaio nobody else sets it */
    return disk;
}
