/*
 * From libblkalign's calls to commands.
 *
 * The library sees to it that requests are made of the server's blocks, so
 * there is no read-modify-write here. NBD has no vectors: what is not one
 * piece goes through a copy, of at most LARGEST bytes.
 *
 * Divisions: commands, reading and writing, zeros and discards, the table.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- commands ---- */

static struct command *command_new(enum kind kind, int64_t offset,
                                   int64_t bytes)
{
    struct command *command = calloc(1, sizeof *command);

    if (!command)
        return NULL;
    command->kind = kind;
    command->offset = (uint64_t)offset;
    command->bytes = (uint64_t)bytes;
    return command;
}

static void set_fua(const struct disk *disk, struct command *command,
                    uint32_t flags)
{
    if (!(flags & BLKALIGN_REQ_FUA))
        return;
    if (disk->export.fua)
        command->flags |= LIBNBD_CMD_FLAG_FUA;
    else
        command->flush_after = disk->export.flush;
}

static bool bring_together(struct command *command, const struct iovec *iov,
                           int iovcnt)
{
    unsigned char *to;
    int i;

    command->memory = iov[0].iov_base;
    if (iovcnt == 1)
        return true;
    command->memory = command->gathered = to = malloc(command->bytes);
    if (!to)
        return false;
    command->iov = iov;
    command->iovcnt = iovcnt;
    for (i = 0; command->kind == NBD_WRITE && i < iovcnt;
         to += iov[i++].iov_len)
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
    return true;
}

static int give(struct disk *disk, struct command *command, bool waits,
                struct connection **to_drive)
{
    int result = disk_submit(disk, command, waits, to_drive);

    if (result < 0) {
        free(command->gathered);
        free(command);
    }
    return result;
}

static int submit(struct disk *disk, struct command *command,
                  blkalign_driver_done_fn done, void *token)
{
    struct connection *to_drive;
    int result;

    command->done = done;
    command->token = token;
    result = give(disk, command, false, &to_drive);
    if (to_drive)
        drive_to_send(to_drive);
    return result;
}

/* For those that are synchronous to the library: its thread waits here, and
 * does what the command needs, if it may drive a connection. */
struct waiter {
    pthread_mutex_t lock;               /* guards the rest */
    pthread_cond_t is_done;
    bool done;                          /* atomic, too */
    int result;
};

static void waiter_done(void *token, int result)
{
    struct waiter *waiter = token;

    pthread_mutex_lock(&waiter->lock);
    waiter->result = result;
    __atomic_store_n(&waiter->done, true, __ATOMIC_RELEASE);
    pthread_cond_signal(&waiter->is_done);
    pthread_mutex_unlock(&waiter->lock);
}

static int submit_and_wait(struct disk *disk, struct command *command)
{
    struct waiter waiter = { .lock = PTHREAD_MUTEX_INITIALIZER,
                             .is_done = PTHREAD_COND_INITIALIZER };
    struct connection *to_drive;
    int result;

    command->done = waiter_done;
    command->token = &waiter;
    result = give(disk, command, true, &to_drive);
    if (result < 0)
        return result;
    if (to_drive)
        drive_until(to_drive, &waiter.done);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.done)
        pthread_cond_wait(&waiter.is_done, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    return waiter.result;
}

/* ---- reading and writing ---- */

static int64_t driver_getlength(void *opaque)
{
    return ((struct disk *)opaque)->export.length;
}

static struct command *transfer(const struct disk *disk, enum kind kind,
                                int64_t offset, int64_t bytes,
                                const struct iovec *iov, int iovcnt,
                                uint32_t flags)
{
    struct command *command = command_new(kind, offset, bytes);

    if (command && !bring_together(command, iov, iovcnt)) {
        free(command);
        return NULL;
    }
    if (command && kind == NBD_WRITE)
        set_fua(disk, command, flags);
    return command;
}

static int driver_preadv(void *opaque, int64_t offset, int64_t bytes,
                         const struct iovec *iov, int iovcnt, uint32_t flags)
{
    struct command *command = transfer(opaque, NBD_READ, offset, bytes, iov,
                                       iovcnt, flags);

    return command ? submit_and_wait(opaque, command) : -ENOMEM;
}

static int driver_pwritev(void *opaque, int64_t offset, int64_t bytes,
                          const struct iovec *iov, int iovcnt, uint32_t flags)
{
    struct command *command = transfer(opaque, NBD_WRITE, offset, bytes, iov,
                                       iovcnt, flags);

    return command ? submit_and_wait(opaque, command) : -ENOMEM;
}

static int driver_flush(void *opaque)
{
    struct command *command = command_new(NBD_FLUSH, 0, 0);

    return command ? submit_and_wait(opaque, command) : -ENOMEM;
}

static int driver_aio_preadv(void *opaque, int64_t offset, int64_t bytes,
                             const struct iovec *iov, int iovcnt,
                             uint32_t flags, blkalign_driver_done_fn done,
                             void *token)
{
    struct command *command = transfer(opaque, NBD_READ, offset, bytes, iov,
                                       iovcnt, flags);

    return command ? submit(opaque, command, done, token) : -ENOMEM;
}

static int driver_aio_pwritev(void *opaque, int64_t offset, int64_t bytes,
                              const struct iovec *iov, int iovcnt,
                              uint32_t flags, blkalign_driver_done_fn done,
                              void *token)
{
    struct command *command = transfer(opaque, NBD_WRITE, offset, bytes, iov,
                                       iovcnt, flags);

    return command ? submit(opaque, command, done, token) : -ENOMEM;
}

static int driver_aio_flush(void *opaque, blkalign_driver_done_fn done,
                            void *token)
{
    struct command *command = command_new(NBD_FLUSH, 0, 0);

    return command ? submit(opaque, command, done, token) : -ENOMEM;
}

/* ---- zeros and discards ---- */

static int driver_pwrite_zeroes(void *opaque, int64_t offset, int64_t bytes,
                                uint32_t flags)
{
    struct disk *disk = opaque;
    struct command *command;

    if (flags & BLKALIGN_REQ_NO_FALLBACK && !disk->export.fast_zero)
        return -ENOTSUP;
    command = command_new(NBD_ZERO, offset, bytes);
    if (!command)
        return -ENOMEM;
    if (flags & BLKALIGN_REQ_NO_FALLBACK)
        command->flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
    if (!(flags & BLKALIGN_REQ_MAY_UNMAP))
        command->flags |= LIBNBD_CMD_FLAG_NO_HOLE;
    set_fua(disk, command, flags);
    return submit_and_wait(disk, command);
}

static int driver_pdiscard(void *opaque, int64_t offset, int64_t bytes)
{
    struct command *command = command_new(NBD_TRIM, offset, bytes);

    return command ? submit_and_wait(opaque, command) : -ENOMEM;
}

/* ---- the table ---- */

void disk_free(struct disk *disk)
{
    unsigned i;

    pthread_mutex_destroy(&disk->lock);
    for (i = 0; i < disk->count; i++) {
        close(disk->connections[i].wake);
        pthread_cond_destroy(&disk->connections[i].back);
    }
    free(disk->uri);
    free(disk);
}

/* Called when no request is left, by the thread that closes. */
void driver_close(void *opaque)
{
    struct disk *disk = opaque;
    unsigned i;

    pthread_mutex_lock(&disk->lock);
    disk->closing = true;
    pthread_mutex_unlock(&disk->lock);
    for (i = 0; i < disk->count; i++)
        wake(&disk->connections[i]);
    for (i = 0; i < disk->count; i++)
        pthread_join(disk->connections[i].thread, NULL);
    disk_free(disk);
}

/* Where the server cannot, there is no function. */
void driver_fill(struct disk *disk, blkalign_driver *driver)
{
    const struct export *export = &disk->export;

    driver->name = disk->uri;
    driver->request_alignment = disk->alignment;
    /* A piece that is part of a block would only be copied here. */
    driver->segment_alignment = disk->alignment;
    driver->max_transfer = LARGEST;
    if (export->largest > 0 && export->largest < LARGEST)
        driver->max_transfer = (uint32_t)export->largest &
                               ~(disk->alignment - 1);
    driver->getlength = driver_getlength;
    driver->preadv = driver_preadv;
    driver->pwritev = driver_pwritev;
    driver->aio_preadv = driver_aio_preadv;
    driver->aio_pwritev = driver_aio_pwritev;
    driver->close = driver_close;
    if (export->flush) {
        driver->flush = driver_flush;
        driver->aio_flush = driver_aio_flush;
    }
    if (export->trim)
        driver->pdiscard = driver_pdiscard;
    if (export->zero)
        driver->pwrite_zeroes = driver_pwrite_zeroes;
}
