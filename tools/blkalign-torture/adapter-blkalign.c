/*
 * libblkalign: on a path, on a driver in C over a memory disk, or on one of
 * its drivers for remote storage. Requests are asynchronous. Each further
 * handle of a path is opened by the path again, as by a program that does not
 * know of the first handle.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "adapters.h"
#include "memory.h"
#include "remote.h"

#include <blkalign.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct queue {
    blkalign_handle *disk;
    const struct place *place;
    const char *remote;         /* what it is if it is not a path, or NULL */
    bool events;                /* BLKALIGN_COMPLETION_EVENTFD */
    bool grows, untorn;
    pthread_mutex_t lock;       /* guards `completed` */
    pthread_cond_t some;
    unsigned completed;         /* since the last poll */
};

/* ---- a driver on a memory disk ---- */

static int64_t driver_length(void *opaque)
{
    return memory_disk_length(opaque);
}

static int driver_read(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags)
{
    unsigned char *all = malloc((size_t)bytes), *from = all;
    int result, i;

    (void)flags;
    if (!all)
        return -ENOMEM;
    result = memory_disk_read(opaque, offset, bytes, all);
    for (i = 0; result == 0 && i < iovcnt; from += iov[i++].iov_len)
        memcpy(iov[i].iov_base, from, iov[i].iov_len);
    free(all);
    return result;
}

static int driver_write(void *opaque, int64_t offset, int64_t bytes,
                        const struct iovec *iov, int iovcnt, uint32_t flags)
{
    unsigned char *all = malloc((size_t)bytes), *to = all;
    int result, i;

    if (!all)
        return -ENOMEM;
    for (i = 0; i < iovcnt; to += iov[i++].iov_len)
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
    result = memory_disk_write(opaque, offset, bytes, all,
                               flags & BLKALIGN_REQ_FUA);
    free(all);
    return result;
}

static int driver_flush(void *opaque)
{
    memory_disk_flush(opaque);
    return 0;
}

static int open_driver(struct memory_disk *memory,
                       const blkalign_open_options *options,
                       blkalign_handle **disk)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;

    driver.name = "memory disk";
    driver.request_alignment = MEMORY_BLOCK;
    driver.segment_alignment = 512;
    driver.getlength = driver_length;
    driver.preadv = driver_read;
    driver.pwritev = driver_write;
    driver.flush = driver_flush;
    return blkalign_open_driver(&driver, memory, options, disk);
}

/* ---- opening ---- */

static bool read_options(const struct place *place,
                         blkalign_open_options *options, char *why)
{
    const char *untorn = place_option(place, "guest-block-size");
    const char *align = place_option(place, "align");

    options->flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT |
                     BLKALIGN_O_BUFFERED_OK | BLKALIGN_O_UNMAP;
    if (place_option(place, "buffered"))
        options->flags &= ~(uint32_t)BLKALIGN_O_DIRECT;
    if (place_option(place, "no-merge"))
        options->flags |= BLKALIGN_O_NO_MERGE;
    if (place_option_is(place, "engine", "threads"))
        options->engine = BLKALIGN_ENGINE_THREADS;
    else if (place_option_is(place, "engine", "io_uring"))
        options->engine = BLKALIGN_ENGINE_IO_URING;
    else if (place_option(place, "engine"))
        return strcpy(why, "engine is threads or io_uring"), false;
    if (place_option_is(place, "completion", "concurrent"))
        options->completion = BLKALIGN_COMPLETION_CONCURRENT;
    else if (place_option_is(place, "completion", "eventfd"))
        options->completion = BLKALIGN_COMPLETION_EVENTFD;
    else if (place_option(place, "completion") &&
             !place_option_is(place, "completion", "serial"))
        return strcpy(why, "completion is serial, concurrent or eventfd"),
               false;
    if (untorn)
        options->guest_block_size = (uint32_t)strtoul(untorn, NULL, 0);
    if (align && !place->memory)
        options->request_alignment = (uint32_t)strtoul(align, NULL, 0);
    return true;
}

/* `remote` is NULL for a path. */
static int queue_open_at(const struct place *place, remote_open *remote,
                         void *first, void **handle, char *why)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    struct queue *queue = calloc(1, sizeof *queue);
    int result = -EINVAL;

    if (!queue)
        return -ENOMEM;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->some, NULL);
    queue->place = place;
    queue->remote = remote == remote_open_nbd   ? "its driver for NBD"
                    : remote == remote_open_rbd ? "its driver for Ceph"
                                                : NULL;
    why[0] = '\0';
    if (read_options(place, &options, why)) {
        queue->events = options.completion == BLKALIGN_COMPLETION_EVENTFD;
        queue->untorn = options.guest_block_size != 0;
        if (first && (remote || place->memory))
            result = blkalign_dup(((struct queue *)first)->disk, &options,
                                  &queue->disk);
        else if (remote)
            result = remote(place, &options, why, &queue->disk);
        else if (place->memory)
            result = open_driver(place->memory, &options, &queue->disk);
        else
            result = blkalign_open(place->target, &options, &queue->disk);
        if (result && !why[0])
            snprintf(why, WHY_BYTES, "%s", blkalign_errmsg());
    }
    if (result == 0)
        *handle = queue;
    else
        free(queue);
    return result;
}

static int queue_open(const struct place *place, void *first, void **handle,
                      char *why)
{
    return queue_open_at(place, NULL, first, handle, why);
}

static int queue_open_nbd(const struct place *place, void *first,
                          void **handle, char *why)
{
    return queue_open_at(place, remote_open_nbd, first, handle, why);
}

static int queue_open_rbd(const struct place *place, void *first,
                          void **handle, char *why)
{
    return queue_open_at(place, remote_open_rbd, first, handle, why);
}

static void queue_close(void *handle)
{
    struct queue *queue = handle;

    blkalign_close(queue->disk);
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->some);
    free(queue);
}

static int queue_describe(void *handle, struct facts *facts)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    struct queue *queue = handle;
    const char *untorn = place_option(queue->place, "guest-block-size");

    memset(facts, 0, sizeof *facts);
    blkalign_get_limits(queue->disk, &limits);
    facts->length = blkalign_getlength(queue->disk);
    facts->block = limits.request_alignment > 1 ? limits.request_alignment
                                                : 0;
    facts->smallest = 1;
    facts->memory = 1;
    facts->fits_memory = limits.mem_alignment;
    facts->fits_segment = limits.segment_alignment;
    facts->untorn = untorn ? (uint32_t)strtoul(untorn, NULL, 0) : 0;
    facts->vectors = facts->flush = facts->fua = true;
    facts->zero = facts->discard = true;
    snprintf(facts->words, sizeof facts->words,
             "libblkalign %s, %s, %s, alignment %u%s", blkalign_version(),
             limits.engine == BLKALIGN_ENGINE_IO_URING ? "io_uring"
                                                       : "threads",
             queue->place->memory ? "a driver in memory"
             : queue->remote      ? queue->remote
             : limits.direct      ? "direct I/O"
                                  : "page cache",
             (unsigned)limits.request_alignment,
             queue->events ? ", eventfd" : "");
    return facts->length < 0 ? (int)facts->length : 0;
}

/* ---- requests ---- */

static void completed(void *opaque, int result)
{
    struct request *request = opaque;
    struct queue *queue = request->adapter_own;

    if (queue->events) {
        request_done(request, result);
        return;
    }
    /* Under the lock: a thread that sees the request done may close the queue,
     * but not before the lock is free. */
    pthread_mutex_lock(&queue->lock);
    request_done(request, result);
    queue->completed++;
    pthread_cond_signal(&queue->some);
    pthread_mutex_unlock(&queue->lock);
}

static int queue_submit(void *handle, struct request *request)
{
    static const uint32_t operations[] = {
        BLKALIGN_OP_READ, BLKALIGN_OP_WRITE, BLKALIGN_OP_WRITE_ZEROES,
        BLKALIGN_OP_DISCARD, BLKALIGN_OP_FLUSH
    };
    blkalign_request ours = BLKALIGN_REQUEST_INIT;
    struct queue *queue = handle;
    int64_t result;

    ours.op = operations[request->operation];
    ours.flags = request->fua ? BLKALIGN_REQ_FUA : 0;
    if (request->operation != OP_FLUSH) {
        ours.offset = request->offset;
        ours.bytes = request->bytes;
    }
    if (request->operation <= OP_WRITE) {
        ours.iov = request->iov;
        ours.iovcnt = request->iovcnt;
    }
    ours.cb = completed;
    ours.opaque = request;
    request->adapter_own = queue;
    result = blkalign_aio_submit(queue->disk, &ours);
    return result < 0 ? (int)result : 0;
}

static int queue_poll(void *handle, int timeout_ms)
{
    struct queue *queue = handle;
    struct timespec until;
    int result = 0;

    if (queue->events) {
        result = blkalign_poll(queue->disk, 64, timeout_ms);
        return result < 0 ? result : 0;
    }
    if (timeout_ms == 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += timeout_ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&queue->lock);
    while (!queue->completed && result == 0)
        result = pthread_cond_timedwait(&queue->some, &queue->lock, &until);
    queue->completed = 0;
    pthread_mutex_unlock(&queue->lock);
    return 0;
}

const struct adapter blkalign_adapter = {
    .name = "blkalign",
    .help = "libblkalign on a path. -o buffered, engine=threads|io_uring,\n"
            "completion=serial|concurrent|eventfd, no-merge, align=BYTES,\n"
            "guest-block-size=BYTES",
    .option_names = " buffered engine completion no-merge align "
                    "guest-block-size ",
    .takes_memory = true,
    .open = queue_open,
    .close = queue_close,
    .describe = queue_describe,
    .submit = queue_submit,
    .poll = queue_poll,
};

const struct adapter blkalign_nbd_adapter = {
    .name = "blkalign-nbd",
    .help = REMOTE_NBD_HELP,
    .option_names = " connections completion no-merge guest-block-size ",
    .open = queue_open_nbd,
    .close = queue_close,
    .describe = queue_describe,
    .submit = queue_submit,
    .poll = queue_poll,
};

const struct adapter blkalign_rbd_adapter = {
    .name = "blkalign-rbd",
    .help = REMOTE_RBD_HELP,
    .option_names = " completion no-merge align guest-block-size ",
    .open = queue_open_rbd,
    .close = queue_close,
    .describe = queue_describe,
    .submit = queue_submit,
    .poll = queue_poll,
};
