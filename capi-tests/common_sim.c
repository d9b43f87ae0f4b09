/* What the simulated disk does: see common_sim.h. */
#include "common_sim_inside.h"

#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Call with the lock held. Only the first violation keeps its words. */
static void violation(struct sim *sim, const char *words, int64_t value)
{
    if (sim->counts.violations++ == 0)
        snprintf(sim->violation, sizeof(sim->violation), "%s: %lld", words,
                 (long long)value);
}

static int is_watched(const struct sim *sim, const struct iovec *element)
{
    const uint8_t *start = element->iov_base;

    return sim->watched && start >= sim->watched &&
           start + element->iov_len <= sim->watched + sim->watched_bytes;
}

/* Storage may work in the memory that it reads into: dm-crypt does. */
static void check_once(struct sim *sim, const struct sim_io *io)
{
    int i, k;

    if (io->op != SIM_READ || sim->options.request_alignment == 1)
        return;
    for (i = 0; i < io->iovcnt; i++)
        for (k = i + 1; k < io->iovcnt && k < i + 64; k++) {
            const uint8_t *a = io->iov[i].iov_base, *b = io->iov[k].iov_base;

            if (a < b + io->iov[k].iov_len && b < a + io->iov[i].iov_len)
                violation(sim, "memory that is twice in a read, element", k);
        }
}

static void check_vector(struct sim *sim, const struct sim_io *io)
{
    const struct sim_options *is = &sim->options;
    int64_t total = 0;
    int i;

    for (i = 0; i < io->iovcnt; i++) {
        const struct iovec *element = &io->iov[i];

        total += (int64_t)element->iov_len;
        sim->counts.pointer_hits += (uint64_t)is_watched(sim, element);
        if (element->iov_len == 0)
            violation(sim, "empty element at", i);
        if ((uintptr_t)element->iov_base % is->mem_alignment)
            violation(sim, "misaligned address in element", i);
        if (element->iov_len % is->segment_alignment)
            violation(sim, "misaligned element length",
                      (int64_t)element->iov_len);
    }
    if (total != io->bytes)
        violation(sim, "vector's total differs from bytes", total);
    check_once(sim, io);
}

/* The flags that each kind of I/O may have. */
static const uint32_t flags_allowed[SIM_OPS] = {
    0, BLKALIGN_REQ_FUA, 0,
    BLKALIGN_REQ_FUA | BLKALIGN_REQ_MAY_UNMAP | BLKALIGN_REQ_NO_FALLBACK,
    0, 0
};

/* Checks for what a disk of these alignments would refuse. */
static void check_io(struct sim *sim, const struct sim_io *io,
                     uint32_t flags)
{
    const struct sim_options *is = &sim->options;

    if (io->offset < 0 || io->offset % is->request_alignment)
        violation(sim, "misaligned offset", io->offset);
    if (io->bytes <= 0 || io->bytes % is->request_alignment)
        violation(sim, "misaligned length", io->bytes);
    if (io->offset > is->bytes - io->bytes)
        violation(sim, "past the end", io->offset + io->bytes);
    if (is->max_transfer && io->bytes > is->max_transfer)
        violation(sim, "above max_transfer", io->bytes);
    if (flags & ~flags_allowed[io->op])
        violation(sim, "unexpected flags", flags);
    if (io->op != SIM_READ && io->op != SIM_WRITE)
        return;
    if (io->iovcnt <= 0)
        violation(sim, "element count", io->iovcnt);
    if (is->max_segments && io->iovcnt > (int)is->max_segments)
        violation(sim, "above max_segments", io->iovcnt);
    check_vector(sim, io);
    if ((uint64_t)io->iovcnt > sim->counts.most_segments)
        sim->counts.most_segments = (uint64_t)io->iovcnt;
    if (io->bytes > sim->counts.most_bytes)
        sim->counts.most_bytes = io->bytes;
}

static void check_truncate(struct sim *sim, const struct sim_io *io)
{
    if (io->offset < 0 || io->offset % sim->options.request_alignment)
        violation(sim, "misaligned new length", io->offset);
}

/* The error that the test ordered for this I/O, or 0. */
static int injected(struct sim *sim, const struct sim_io *io)
{
    struct sim_fault *fault = &sim->faults[io->op];

    if (fault->countdown && --fault->countdown == 0)
        return -fault->countdown_error;
    if (fault->range_error && io->offset < fault->offset + fault->bytes &&
        fault->offset < io->offset + io->bytes)
        return -fault->range_error;
    if (io->op == SIM_TRUNCATE && io->offset > sim->options.bytes_max)
        return -ENOSPC;
    if (sim->demand && io->op <= SIM_WRITE &&
        (io->offset % sim->demand || io->bytes % sim->demand)) {
        sim->counts.refused++;
        return -EINVAL;
    }
    return 0;
}

int sim_admit(struct sim *sim, const struct sim_io *io, uint32_t flags)
{
    uint64_t before;
    int answer;

    pthread_mutex_lock(&sim->lock);
    before = sim->counts.violations;
    if (io->op == SIM_TRUNCATE)
        check_truncate(sim, io);
    else if (io->op != SIM_FLUSH)
        check_io(sim, io, flags);
    sim->counts.ios[io->op]++;
    sim->counts.flags[io->op] = flags;
    sim->counts.offsets[io->op] = io->offset;
    sim->counts.lengths[io->op] = io->bytes;
    if (io->op == SIM_WRITE && (flags & BLKALIGN_REQ_FUA))
        sim->counts.fua_writes++;
    answer = injected(sim, io);
    if (sim->counts.violations != before)
        answer = -EINVAL;
    pthread_mutex_unlock(&sim->lock);
    return answer;
}

static void linger(struct sim *sim)
{
    uint64_t us = 0;

    if (!sim->options.latency_us_max)
        return;
    pthread_mutex_lock(&sim->lock);
    if (random_below(&sim->random, 4) == 0)
        us = random_below(&sim->random, sim->options.latency_us_max + 1);
    pthread_mutex_unlock(&sim->lock);
    if (us)
        usleep((useconds_t)us);
}

/* Call with the lock held. The lock is released between pieces of
 * `torn_bytes`, counted from the start of the I/O. */
static void move_element(struct sim *sim, const struct sim_io *io,
                         uint8_t *at, uint8_t *guest, size_t bytes)
{
    size_t torn = sim->options.torn_bytes, piece;

    while (bytes) {
        piece = bytes;
        if (torn)
            piece = torn - (size_t)(at - sim->memory) % torn;
        piece = piece < bytes ? piece : bytes;
        if (io->op == SIM_READ)
            memcpy(guest, at, piece);
        else
            memcpy(at, guest, piece);
        at += piece;
        guest += piece;
        bytes -= piece;
        if (!torn)
            continue;
        pthread_mutex_unlock(&sim->lock);
        sched_yield();
        pthread_mutex_lock(&sim->lock);
    }
}

static void move_bytes(struct sim *sim, const struct sim_io *io)
{
    uint8_t *at = sim->memory + io->offset;
    int i;

    pthread_mutex_lock(&sim->lock);
    for (i = 0; i < io->iovcnt; i++) {
        move_element(sim, io, at, io->iov[i].iov_base, io->iov[i].iov_len);
        at += io->iov[i].iov_len;
    }
    if (io->op == SIM_ZEROES)
        memset(at, 0, (size_t)io->bytes);
    if (io->op == SIM_DISCARD)
        memset(at, SIM_DISCARDED, (size_t)io->bytes);
    if (io->op == SIM_TRUNCATE) {
        if (io->offset < sim->options.bytes)
            memset(at, 0, (size_t)(sim->options.bytes - io->offset));
        sim->options.bytes = io->offset;
    }
    pthread_mutex_unlock(&sim->lock);
}

/* Half of the delay comes before the bytes move, half after. */
int sim_carry_out(struct sim *sim, const struct sim_io *io)
{
    linger(sim);
    if (io->answer == 0 && io->op != SIM_FLUSH)
        move_bytes(sim, io);
    linger(sim);
    return io->answer;
}

struct sim_options sim_disk_4k(int64_t bytes, enum sim_mode mode)
{
    struct sim_options options;

    memset(&options, 0, sizeof(options));
    options.bytes = bytes;
    options.request_alignment = 4096;
    options.mem_alignment = 512;
    options.segment_alignment = 512;
    options.mode = mode;
    return options;
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    unsigned i;

    if (!sim)
        bail("no memory for a simulated disk");
    sim->declared = sim->options = *options;
    if (!sim->options.request_alignment)
        sim->options.request_alignment = 1;
    if (!sim->options.mem_alignment)
        sim->options.mem_alignment = 1;
    if (!sim->options.segment_alignment)
        sim->options.segment_alignment = 1;
    pthread_mutex_init(&sim->lock, NULL);
    pthread_cond_init(&sim->queued, NULL);
    sim->memory = aligned_memory((size_t)(
        options->bytes > options->bytes_max ? options->bytes
                                            : options->bytes_max));
    sim->last = &sim->first;
    if (options->mode != SIM_ASYNC)
        sim->options.threads = 0;
    else if (!options->threads)
        sim->options.threads = 4;
    for (i = 0; i < sim->options.threads; i++)
        pthread_create(&sim->threads[i], NULL, sim_thread, sim);
    return sim;
}

blkalign_handle *sim_open(struct sim *sim,
                          const blkalign_open_options *options)
{
    blkalign_driver driver = sim_driver(sim);
    blkalign_handle *handle = NULL;
    int ret = blkalign_open_driver(&driver, sim, options, &handle);

    if (ret || !handle)
        bail("open_driver: %d %s", ret, blkalign_errmsg());
    return handle;
}

void sim_free(struct sim *sim)
{
    unsigned i;

    pthread_mutex_lock(&sim->lock);
    sim->stopping = 1;
    pthread_cond_broadcast(&sim->queued);
    pthread_mutex_unlock(&sim->lock);
    for (i = 0; i < sim->options.threads; i++)
        pthread_join(sim->threads[i], NULL);
    free(sim->memory);
    free(sim);
}

uint8_t *sim_bytes(struct sim *sim)
{
    return sim->memory;
}

void sim_fail_nth(struct sim *sim, enum sim_op op, unsigned nth, int error)
{
    pthread_mutex_lock(&sim->lock);
    sim->faults[op].countdown = nth;
    sim->faults[op].countdown_error = error;
    pthread_mutex_unlock(&sim->lock);
}

void sim_fail_range(struct sim *sim, enum sim_op op, int64_t offset,
                    int64_t bytes, int error)
{
    pthread_mutex_lock(&sim->lock);
    sim->faults[op].offset = offset;
    sim->faults[op].bytes = bytes;
    sim->faults[op].range_error = error;
    pthread_mutex_unlock(&sim->lock);
}

void sim_refuse_at_call(struct sim *sim, int on)
{
    pthread_mutex_lock(&sim->lock);
    sim->refuse_at_call = on;
    pthread_mutex_unlock(&sim->lock);
}

void sim_demand(struct sim *sim, uint32_t alignment)
{
    pthread_mutex_lock(&sim->lock);
    sim->demand = alignment;
    pthread_mutex_unlock(&sim->lock);
}

void sim_watch(struct sim *sim, const void *memory, size_t bytes)
{
    pthread_mutex_lock(&sim->lock);
    sim->watched = memory;
    sim->watched_bytes = bytes;
    pthread_mutex_unlock(&sim->lock);
}

struct sim_counts sim_counts(struct sim *sim)
{
    struct sim_counts counts;

    pthread_mutex_lock(&sim->lock);
    counts = sim->counts;
    pthread_mutex_unlock(&sim->lock);
    return counts;
}

const char *sim_violation(struct sim *sim)
{
    return sim->violation;
}
