/*
 * From libblkalign's calls to librbd's. librbd has vectors, and takes any
 * offset and length.
 *
 * Divisions: one I/O, reading and writing, zeros and discards, the table.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <stdlib.h>

enum {
    LARGEST = 32 << 20,         /* one I/O: librbd copies what it writes */
    CLEAR_BYTES = 1 << 30       /* one zero write or discard: librbd's results
                                   are ints */
};

/* ---- one I/O ---- */

enum kind { RBD_READ, RBD_WRITE, RBD_FLUSH };

struct operation {
    struct disk *disk;
    enum kind kind;
    bool flush_after;           /* FUA, which librbd has not */
    int64_t offset, bytes;
    const struct iovec *iov;
    int iovcnt;
    blkalign_driver_done_fn done;
    void *token;
};

static int start(struct operation *operation);

static void completed(rbd_completion_t completion, void *opaque)
{
    struct operation *operation = opaque;
    ssize_t result = rbd_aio_get_return_value(completion);

    rbd_aio_release(completion);
    /* Less than all: the image has become shorter. */
    if (operation->kind == RBD_READ && result >= 0 &&
        result < operation->bytes)
        result = -EIO;
    if (result >= 0 && operation->flush_after) {
        operation->flush_after = false;
        operation->kind = RBD_FLUSH;
        result = start(operation);
        if (result == 0)
            return;
    }
    operation->done(operation->token, result < 0 ? (int)result : 0);
    free(operation);
}

static int start(struct operation *operation)
{
    rbd_image_t image = operation->disk->image;
    rbd_completion_t completion;
    int result = rbd_aio_create_completion(operation, completed,
                                           &completion);

    if (result < 0)
        return result;
    if (operation->kind == RBD_READ)
        result = rbd_aio_readv(image, operation->iov, operation->iovcnt,
                               (uint64_t)operation->offset, completion);
    else if (operation->kind == RBD_WRITE)
        result = rbd_aio_writev(image, operation->iov, operation->iovcnt,
                                (uint64_t)operation->offset, completion);
    else
        result = rbd_aio_flush(image, completion);
    if (result < 0)
        rbd_aio_release(completion);
    return result < 0 ? result : 0;
}

static int submit(struct operation like)
{
    struct operation *operation = malloc(sizeof *operation);
    int result;

    if (!operation)
        return -ENOMEM;
    *operation = like;
    result = start(operation);
    if (result < 0)
        free(operation);
    return result;
}

/* ---- reading and writing ---- */

static int64_t driver_getlength(void *opaque)
{
    struct disk *disk = opaque;
    uint64_t length;
    int result = rbd_get_size(disk->image, &length);

    return result < 0 ? result : (int64_t)length;
}

static int driver_aio_preadv(void *opaque, int64_t offset, int64_t bytes,
                             const struct iovec *iov, int iovcnt,
                             uint32_t flags, blkalign_driver_done_fn done,
                             void *token)
{
    (void)flags;
    return submit((struct operation) {
        .disk = opaque, .kind = RBD_READ, .offset = offset, .bytes = bytes,
        .iov = iov, .iovcnt = iovcnt, .done = done, .token = token });
}

static int driver_aio_pwritev(void *opaque, int64_t offset, int64_t bytes,
                              const struct iovec *iov, int iovcnt,
                              uint32_t flags, blkalign_driver_done_fn done,
                              void *token)
{
    return submit((struct operation) {
        .disk = opaque, .kind = RBD_WRITE, .offset = offset, .bytes = bytes,
        .iov = iov, .iovcnt = iovcnt, .done = done, .token = token,
        .flush_after = flags & BLKALIGN_REQ_FUA });
}

static int driver_aio_flush(void *opaque, blkalign_driver_done_fn done,
                            void *token)
{
    return submit((struct operation) {
        .disk = opaque, .kind = RBD_FLUSH, .done = done, .token = token });
}

/* ---- zeros and discards: synchronous, on a thread of the library ---- */

static size_t piece(int64_t bytes)
{
    return bytes < CLEAR_BYTES ? (size_t)bytes : CLEAR_BYTES;
}

static int driver_pwrite_zeroes(void *opaque, int64_t offset, int64_t bytes,
                                uint32_t flags)
{
    rbd_image_t image = ((struct disk *)opaque)->image;
    int how = flags & BLKALIGN_REQ_MAY_UNMAP
                  ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION;
    ssize_t result = 0;

    for (; bytes > 0 && result >= 0; offset += CLEAR_BYTES,
                                     bytes -= CLEAR_BYTES)
        result = rbd_write_zeroes(image, (uint64_t)offset, piece(bytes), how,
                                  0);
    if (result >= 0 && flags & BLKALIGN_REQ_FUA)
        result = rbd_flush(image);
    return result < 0 ? (int)result : 0;
}

static int driver_pdiscard(void *opaque, int64_t offset, int64_t bytes)
{
    rbd_image_t image = ((struct disk *)opaque)->image;
    int result = 0;

    for (; bytes > 0 && result >= 0; offset += CLEAR_BYTES,
                                     bytes -= CLEAR_BYTES)
        result = rbd_discard(image, (uint64_t)offset, piece(bytes));
    return result < 0 ? result : 0;
}

static int driver_truncate(void *opaque, int64_t length)
{
    return rbd_resize(((struct disk *)opaque)->image, (uint64_t)length);
}

/* ---- the table ---- */

void blkalign_rbd_driver_close(void *opaque)
{
    struct disk *disk = opaque;

    if (disk->image)
        rbd_close(disk->image);
    if (disk->pool)
        rados_ioctx_destroy(disk->pool);
    if (disk->cluster)
        rados_shutdown(disk->cluster);
    free(disk->name);
    free(disk);
}

void blkalign_rbd_driver_fill(struct disk *disk, blkalign_driver *driver)
{
    driver->name = disk->name;
    driver->max_transfer = LARGEST;
    driver->getlength = driver_getlength;
    driver->aio_preadv = driver_aio_preadv;
    driver->aio_pwritev = driver_aio_pwritev;
    driver->aio_flush = driver_aio_flush;
    driver->pdiscard = driver_pdiscard;
    driver->pwrite_zeroes = driver_pwrite_zeroes;
    driver->truncate = driver_truncate;
    driver->close = blkalign_rbd_driver_close;
}
