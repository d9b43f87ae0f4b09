/* The simulated disk as a blkalign_driver: see common_sim.h. */
#include "common_sim_inside.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

static int run_now(struct sim *sim, enum sim_op op, int64_t offset,
                   int64_t bytes, const struct iovec *iov, int iovcnt,
                   uint32_t flags)
{
    struct sim_io io;

    memset(&io, 0, sizeof(io));
    io.op = op;
    io.offset = offset;
    io.bytes = bytes;
    io.iov = (struct iovec *)iov;
    io.iovcnt = iovcnt;
    io.answer = sim_admit(sim, &io, flags);
    return sim_carry_out(sim, &io);
}

static int64_t sim_getlength(void *opaque)
{
    struct sim *sim = opaque;
    int64_t bytes;

    pthread_mutex_lock(&sim->lock);
    bytes = sim->options.bytes;
    pthread_mutex_unlock(&sim->lock);
    return bytes;
}

static int sim_preadv(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags)
{
    return run_now(opaque, SIM_READ, offset, bytes, iov, iovcnt, flags);
}

static int sim_pwritev(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags)
{
    return run_now(opaque, SIM_WRITE, offset, bytes, iov, iovcnt, flags);
}

static int sim_flush(void *opaque)
{
    return run_now(opaque, SIM_FLUSH, 0, 0, NULL, 0, 0);
}

static int sim_pwrite_zeroes(void *opaque, int64_t offset, int64_t bytes,
                             uint32_t flags)
{
    return run_now(opaque, SIM_ZEROES, offset, bytes, NULL, 0, flags);
}

static int sim_pdiscard(void *opaque, int64_t offset, int64_t bytes)
{
    return run_now(opaque, SIM_DISCARD, offset, bytes, NULL, 0, 0);
}

static int sim_truncate(void *opaque, int64_t length)
{
    return run_now(opaque, SIM_TRUNCATE, length, 0, NULL, 0, 0);
}

static void sim_close(void *opaque)
{
    struct sim *sim = opaque;

    pthread_mutex_lock(&sim->lock);
    sim->counts.closes++;
    pthread_mutex_unlock(&sim->lock);
}

void *sim_thread(void *opaque)
{
    struct sim *sim = opaque;
    struct sim_io *io;

    for (;;) {
        pthread_mutex_lock(&sim->lock);
        while (!sim->first && !sim->stopping)
            pthread_cond_wait(&sim->queued, &sim->lock);
        io = sim->first;
        if (io && !(sim->first = io->next))
            sim->last = &sim->first;
        pthread_mutex_unlock(&sim->lock);
        if (!io)
            return NULL;
        io->done(io->token, sim_carry_out(sim, io));
        free(io->iov);
        free(io);
    }
}

static void enqueue(struct sim *sim, const struct sim_io *io)
{
    size_t iov_bytes = (size_t)io->iovcnt * sizeof(*io->iov);
    struct sim_io *copy = malloc(sizeof(*copy));

    *copy = *io;
    copy->next = NULL;
    copy->iov = malloc(iov_bytes + 1);
    if (iov_bytes)
        memcpy(copy->iov, io->iov, iov_bytes);
    pthread_mutex_lock(&sim->lock);
    *sim->last = copy;
    sim->last = &copy->next;
    pthread_cond_signal(&sim->queued);
    pthread_mutex_unlock(&sim->lock);
}

static int start(struct sim *sim, struct sim_io *io, uint32_t flags)
{
    io->answer = sim_admit(sim, io, flags);
    if (io->answer && sim->refuse_at_call)
        return io->answer;
    if (sim->options.mode == SIM_ASYNC_AT_ONCE)
        io->done(io->token, sim_carry_out(sim, io));
    else
        enqueue(sim, io);
    return 0;
}

static int sim_aio(void *opaque, enum sim_op op, int64_t offset,
                   int64_t bytes, const struct iovec *iov, int iovcnt,
                   uint32_t flags, blkalign_driver_done_fn done, void *token)
{
    struct sim_io io = { NULL, op, offset, bytes, (struct iovec *)iov,
                         iovcnt, 0, done, token };

    return start(opaque, &io, flags);
}

static int sim_aio_preadv(void *opaque, int64_t offset, int64_t bytes,
                          const struct iovec *iov, int iovcnt,
                          uint32_t flags, blkalign_driver_done_fn done,
                          void *token)
{
    return sim_aio(opaque, SIM_READ, offset, bytes, iov, iovcnt, flags,
                   done, token);
}

static int sim_aio_pwritev(void *opaque, int64_t offset, int64_t bytes,
                           const struct iovec *iov, int iovcnt,
                           uint32_t flags, blkalign_driver_done_fn done,
                           void *token)
{
    return sim_aio(opaque, SIM_WRITE, offset, bytes, iov, iovcnt, flags,
                   done, token);
}

static int sim_aio_flush(void *opaque, blkalign_driver_done_fn done,
                         void *token)
{
    return sim_aio(opaque, SIM_FLUSH, 0, 0, NULL, 0, 0, done, token);
}

blkalign_driver sim_driver(const struct sim *sim)
{
    blkalign_driver driver;

    memset(&driver, 0, sizeof(driver));
    driver.size = sizeof(driver);
    driver.name = "simulated disk";
    driver.request_alignment = sim->declared.request_alignment;
    driver.mem_alignment = sim->declared.mem_alignment;
    driver.segment_alignment = sim->declared.segment_alignment;
    driver.max_transfer = sim->declared.max_transfer;
    driver.max_segments = sim->declared.max_segments;
    driver.getlength = sim_getlength;
    driver.close = sim_close;
    driver.pwrite_zeroes = sim->declared.zeroes ? sim_pwrite_zeroes : NULL;
    driver.pdiscard = sim->declared.discards ? sim_pdiscard : NULL;
    driver.truncate = sim->declared.bytes_max ? sim_truncate : NULL;
    if (sim->declared.mode == SIM_SYNC) {
        driver.preadv = sim_preadv;
        driver.pwritev = sim_pwritev;
        driver.flush = sim->declared.no_flush ? NULL : sim_flush;
    } else {
        driver.aio_preadv = sim_aio_preadv;
        driver.aio_pwritev = sim_aio_pwritev;
        driver.aio_flush = sim->declared.no_flush ? NULL : sim_aio_flush;
    }
    return driver;
}
