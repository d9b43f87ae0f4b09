/* The disk that holds every I/O: see common_held.h. */
#include "common_held.h"

#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct held_io {
    struct held_io *next;
    enum held_op op;
    int64_t offset, bytes;
    struct iovec *iov;
    int iovcnt;
    blkalign_driver_done_fn done;
    void *token;
};

struct held {
    int64_t bytes;
    uint32_t alignment;
    /* Guards everything below; not held while done() runs. */
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    uint8_t *memory;
    struct held_io *first;
    int held, seen[HELD_OPS];
    uint32_t write_flags;
    int pass;
};

static void finish(struct held *held, struct held_io *io, int ret)
{
    uint8_t *at = held->memory + io->offset;
    int i;

    pthread_mutex_lock(&held->lock);
    for (i = 0; ret == 0 && i < io->iovcnt; i++) {
        if (io->op == HELD_READ)
            memcpy(io->iov[i].iov_base, at, io->iov[i].iov_len);
        else
            memcpy(at, io->iov[i].iov_base, io->iov[i].iov_len);
        at += io->iov[i].iov_len;
    }
    if (ret == 0 && io->op >= HELD_ZEROES)
        memset(at, io->op == HELD_ZEROES ? 0 : 0xdd, (size_t)io->bytes);
    pthread_mutex_unlock(&held->lock);
    io->done(io->token, ret);
    free(io->iov);
    free(io);
}

static void hold(struct held *held, struct held_io *io)
{
    struct held_io **last = &held->first;

    while (*last)
        last = &(*last)->next;
    *last = io;
    held->held++;
    pthread_cond_broadcast(&held->arrived);
}

static int arrive(struct held *held, enum held_op op, int64_t offset,
                  int64_t bytes, const struct iovec *iov, int iovcnt,
                  blkalign_driver_done_fn done, void *token)
{
    struct held_io *io = calloc(1, sizeof(*io));
    size_t iov_bytes = (size_t)iovcnt * sizeof(*iov);
    int pass;

    if (offset < 0 || offset % held->alignment || bytes % held->alignment ||
        offset > held->bytes - bytes) {
        free(io);
        return -EINVAL;
    }
    io->op = op;
    io->offset = offset;
    io->bytes = bytes;
    io->iov = malloc(iov_bytes + 1);
    if (iov_bytes)
        memcpy(io->iov, iov, iov_bytes);
    io->iovcnt = iovcnt;
    io->done = done;
    io->token = token;
    pthread_mutex_lock(&held->lock);
    held->seen[op]++;
    pass = held->pass;
    if (!pass)
        hold(held, io);
    pthread_mutex_unlock(&held->lock);
    if (pass)
        finish(held, io, 0);
    return 0;
}

static int held_aio_preadv(void *opaque, int64_t offset, int64_t bytes,
                           const struct iovec *iov, int iovcnt,
                           uint32_t flags, blkalign_driver_done_fn done,
                           void *token)
{
    (void)flags;
    return arrive(opaque, HELD_READ, offset, bytes, iov, iovcnt, done,
                  token);
}

static int held_aio_pwritev(void *opaque, int64_t offset, int64_t bytes,
                            const struct iovec *iov, int iovcnt,
                            uint32_t flags, blkalign_driver_done_fn done,
                            void *token)
{
    struct held *held = opaque;

    pthread_mutex_lock(&held->lock);
    held->write_flags = flags;
    pthread_mutex_unlock(&held->lock);
    return arrive(held, HELD_WRITE, offset, bytes, iov, iovcnt, done,
                  token);
}

static int held_aio_flush(void *opaque, blkalign_driver_done_fn done,
                          void *token)
{
    return arrive(opaque, HELD_FLUSH, 0, 0, NULL, 0, done, token);
}

/* Functions that block: a thread of the library waits inside them. */
struct standstill {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int is_done, ret;
};

static void wake(void *token, int ret)
{
    struct standstill *wait = token;

    pthread_mutex_lock(&wait->lock);
    wait->is_done = 1;
    wait->ret = ret;
    pthread_cond_signal(&wait->done);
    pthread_mutex_unlock(&wait->lock);
}

static int arrive_and_wait(struct held *held, enum held_op op,
                           int64_t offset, int64_t bytes)
{
    struct standstill wait = { PTHREAD_MUTEX_INITIALIZER,
                              PTHREAD_COND_INITIALIZER, 0, 0 };
    int ret = arrive(held, op, offset, bytes, NULL, 0, wake, &wait);

    if (ret)
        return ret;
    pthread_mutex_lock(&wait.lock);
    while (!wait.is_done)
        pthread_cond_wait(&wait.done, &wait.lock);
    pthread_mutex_unlock(&wait.lock);
    return wait.ret;
}

static int held_pwrite_zeroes(void *opaque, int64_t offset, int64_t bytes,
                              uint32_t flags)
{
    (void)flags;
    return arrive_and_wait(opaque, HELD_ZEROES, offset, bytes);
}

static int held_pdiscard(void *opaque, int64_t offset, int64_t bytes)
{
    return arrive_and_wait(opaque, HELD_DISCARD, offset, bytes);
}

static int64_t held_getlength(void *opaque)
{
    return ((struct held *)opaque)->bytes;
}

struct held *held_new(int64_t blocks)
{
    struct held *held = calloc(1, sizeof(*held));
    pthread_condattr_t monotonic;

    held->bytes = blocks * HELD_BLOCK;
    held->alignment = HELD_BLOCK;
    held->memory = aligned_memory((size_t)held->bytes);
    pattern_fill(held->memory, 1, 0, (size_t)held->bytes);
    pthread_mutex_init(&held->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&held->arrived, &monotonic);
    return held;
}

void held_align(struct held *held, uint32_t alignment)
{
    held->alignment = alignment;
}

blkalign_handle *held_open(struct held *held,
                           const blkalign_open_options *options)
{
    blkalign_handle *handle = NULL;
    blkalign_driver driver;
    int ret;

    memset(&driver, 0, sizeof(driver));
    driver.size = sizeof(driver);
    driver.name = "holding disk";
    driver.request_alignment = held->alignment;
    driver.mem_alignment = 512;
    driver.segment_alignment = 512;
    driver.getlength = held_getlength;
    driver.aio_preadv = held_aio_preadv;
    driver.aio_pwritev = held_aio_pwritev;
    driver.aio_flush = held_aio_flush;
    driver.pwrite_zeroes = held_pwrite_zeroes;
    driver.pdiscard = held_pdiscard;
    ret = blkalign_open_driver(&driver, held, options, &handle);
    if (ret || !handle)
        bail("open_driver: %d %s", ret, blkalign_errmsg());
    return handle;
}

void held_free(struct held *held)
{
    free(held->memory);
    free(held);
}

uint8_t *held_bytes(struct held *held)
{
    return held->memory;
}

/* Waits for an arrival until now_ms() reaches `end`; returns whether one came.
 * */
static int wait_arrival(struct held *held, int64_t end)
{
    struct timespec until;

    until.tv_sec = end / 1000;
    until.tv_nsec = end % 1000 * 1000000;
    return pthread_cond_timedwait(&held->arrived, &held->lock, &until) == 0;
}

int held_wait(struct held *held, int count)
{
    int64_t end = now_ms() + 5000 * run_slowness();
    int enough;

    pthread_mutex_lock(&held->lock);
    while (held->held < count && wait_arrival(held, end))
        ;
    enough = held->held >= count;
    pthread_mutex_unlock(&held->lock);
    return enough;
}

int held_quiet(struct held *held, int ms)
{
    int count;

    pthread_mutex_lock(&held->lock);
    while (wait_arrival(held, now_ms() + ms))
        ;
    count = held->held;
    pthread_mutex_unlock(&held->lock);
    return count;
}

static int touches(const struct held_io *io, int64_t block)
{
    return block == HELD_ANYWHERE ||
           (io->offset <= block * HELD_BLOCK &&
            block * HELD_BLOCK < io->offset + io->bytes);
}

static int count_held(struct held *held, int any_op, enum held_op op,
                      int64_t block)
{
    const struct held_io *io;
    int count = 0;

    pthread_mutex_lock(&held->lock);
    for (io = held->first; io; io = io->next)
        count += (any_op || io->op == op) && touches(io, block);
    pthread_mutex_unlock(&held->lock);
    return count;
}

int held_find(struct held *held, enum held_op op, int64_t block)
{
    return count_held(held, 0, op, block);
}

int held_on_block(struct held *held, int64_t block)
{
    return count_held(held, 1, HELD_READ, block);
}

int held_seen(struct held *held, enum held_op op)
{
    int seen;

    pthread_mutex_lock(&held->lock);
    seen = held->seen[op];
    pthread_mutex_unlock(&held->lock);
    return seen;
}

uint32_t held_write_flags(struct held *held)
{
    uint32_t flags;

    pthread_mutex_lock(&held->lock);
    flags = held->write_flags;
    pthread_mutex_unlock(&held->lock);
    return flags;
}

static int release(struct held *held, int any_op, enum held_op op,
                   int64_t block, int ret)
{
    struct held_io **at, *io;

    pthread_mutex_lock(&held->lock);
    for (at = &held->first; *at; at = &(*at)->next)
        if ((any_op || (*at)->op == op) && touches(*at, block))
            break;
    io = *at;
    if (io) {
        *at = io->next;
        held->held--;
    }
    pthread_mutex_unlock(&held->lock);
    if (io)
        finish(held, io, ret);
    return io != NULL;
}

int held_release(struct held *held, enum held_op op, int64_t block, int ret)
{
    return release(held, 0, op, block, ret);
}

void held_release_all(struct held *held, int ms)
{
    do {
        while (release(held, 1, HELD_READ, HELD_ANYWHERE, 0))
            ;
    } while (held_quiet(held, ms));
}

void held_pass(struct held *held)
{
    pthread_mutex_lock(&held->lock);
    held->pass = 1;
    pthread_mutex_unlock(&held->lock);
    while (release(held, 1, HELD_READ, HELD_ANYWHERE, 0))
        ;
}
