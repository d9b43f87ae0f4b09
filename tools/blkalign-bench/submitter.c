/*
 * A submitter: a thread that keeps its share of the depth in flight. It
 * replaces completed requests by new ones as one batch, as after the kick of a
 * virtqueue.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <stdlib.h>

void slot_aim(struct slot *slot, struct aims *aims)
{
    struct submitter *submitter = slot->owner;
    struct aim aim = aims_next(aims);

    slot->offset = aim.offset;
    slot->read = aim.read;
    if (submitter->run->content && !aim.read)
        content_stamp(submitter->run->content, slot->iov.iov_base,
                      aim.offset, (int64_t)slot->iov.iov_len);
    if (submitter->latency)
        slot->started_ns = clock_ns();
}

void slot_check(struct slot *slot)
{
    struct submitter *submitter = slot->owner;
    struct run *run = submitter->run;
    int64_t at;

    if (submitter->latency)
        latency_add(submitter->latency, slot->ended_ns - slot->started_ns);
    if (!run->content || !slot->read ||
        __atomic_load_n(&run->stop, __ATOMIC_RELAXED))
        return;
    at = content_damage(run->content, slot->iov.iov_base, slot->offset,
                        (int64_t)slot->iov.iov_len);
    if (at >= 0)
        run_fail(run, "damage: the read of %lld bytes at %lld got a wrong "
                 "byte at %lld", (long long)slot->iov.iov_len,
                 (long long)slot->offset, (long long)at);
}

static bool submit_one(struct submitter *submitter)
{
    struct slot *slot = submitter->free;
    uint32_t request_flags = submitter->run->settings->request_flags;
    int64_t result;

    if (slot->read)
        result = blkalign_aio_preadv(submitter->handle, slot->offset,
                                     &slot->iov, 1, request_flags,
                                     submitter->read_or_write_done, slot);
    else
        result = blkalign_aio_pwritev(submitter->handle, slot->offset,
                                      &slot->iov, 1, request_flags,
                                      submitter->read_or_write_done, slot);
    if (result < 0) {
        run_fail_request(submitter, slot->read ? "read" : "write",
                         slot->offset, (int)result);
        return false;
    }
    /* The callback of this slot may have run: only the owner's part of the
     * slot is ours, and `next` is in use by now. */
    return true;
}

void submit_aimed(struct submitter *submitter, unsigned requests)
{
    bool plug = requests > 1;

    if (plug)
        blkalign_plug(submitter->handle);
    for (; requests; requests--) {
        struct slot *next = submitter->free->next;

        if (!submit_one(submitter))
            break;
        submitter->free = next;
        submitter->free_count--;
        submitter->in_flight++;
    }
    if (plug)
        blkalign_unplug(submitter->handle);
}

static void submit_batch(struct submitter *submitter, unsigned requests)
{
    struct slot *slot = submitter->free;
    unsigned i;

    for (i = 0; i < requests; i++, slot = slot->next)
        slot_aim(slot, &submitter->aims);
    submitter->unsent -= requests;
    submitter->until_flush -= requests;
    submit_aimed(submitter, requests);
}

/* Submits what may be submitted now. */
static void refill(struct submitter *submitter)
{
    unsigned batch = submitter->run->settings->batch;

    if (__atomic_load_n(&submitter->run->stop, __ATOMIC_RELAXED))
        submitter->unsent = 0;
    while (submitter->unsent > 0 && submitter->until_flush > 0) {
        int64_t most = submitter->unsent < submitter->until_flush ?
            submitter->unsent : submitter->until_flush;
        unsigned requests = submitter->free_count;

        if (batch && batch < requests)
            requests = batch;
        if (most <= requests)
            requests = (unsigned)most;
        else if (requests == 0 || requests < batch)
            return;
        submit_batch(submitter, requests);
        if (__atomic_load_n(&submitter->run->stop, __ATOMIC_RELAXED))
            submitter->unsent = 0;
    }
}

/* A flush for which no thread waits until the end: --no-drain. */
static void flushed_aside(void *opaque, int ret)
{
    if (ret < 0)
        run_fail_request(opaque, "flush", 0, ret);
}

static void flush_if_due(struct submitter *submitter)
{
    const struct settings *settings = submitter->run->settings;
    int64_t result;

    if (submitter->until_flush > 0 || submitter->flushing)
        return;
    if (!settings->drain_on_flush) {
        result = blkalign_aio_flush(submitter->handle, flushed_aside,
                                    submitter);
        submitter->until_flush = settings->flush_interval;
    } else {
        if (submitter->in_flight)
            return;
        submitter->flushing = true;
        submitter->in_flight++;
        if (submitter->latency)
            submitter->flush.started_ns = clock_ns();
        result = blkalign_aio_flush(submitter->handle,
                                    submitter->read_or_write_done,
                                    &submitter->flush);
        if (result < 0)
            submitter->in_flight--;
    }
    if (result < 0)
        run_fail_request(submitter, "flush", 0, (int)result);
}

/* Takes back the slots of completed requests. */
static void collect(struct submitter *submitter)
{
    struct slot *slot, *next;
    int64_t done = submitter->done;

    for (slot = inbox_wait(submitter); slot; slot = next) {
        next = slot->next;
        submitter->in_flight--;
        if (slot == &submitter->flush) {
            submitter->flushing = false;
            submitter->until_flush = submitter->run->settings->flush_interval;
            continue;
        }
        slot_check(slot);
        slot->next = submitter->free;
        submitter->free = slot;
        submitter->free_count++;
        done++;
    }
    __atomic_store_n(&submitter->done, done, __ATOMIC_RELAXED);
}

static void asynchronous_loop(struct submitter *submitter)
{
    for (;;) {
        refill(submitter);
        flush_if_due(submitter);
        if (submitter->in_flight)
            collect(submitter);
        else if (submitter->unsent <= 0)
            return;
    }
}

/* The callbacks of other submitters of this handle run in our poll. */
static void poll_for_others(struct submitter *submitter)
{
    struct run *run = submitter->run;
    unsigned others = run->settings->threads - run->settings->handles;

    while (__atomic_load_n(&run->finished, __ATOMIC_ACQUIRE) < others)
        inbox_wait(submitter);
}

void *submitter_run(void *opaque)
{
    struct submitter *submitter = opaque;
    struct run *run = submitter->run;

    pthread_barrier_wait(&run->start);
    submitter->started_ns = clock_ns();
    if (run->settings->completion == COMPLETION_SYNC)
        blocking_loop(submitter);
    else if (run->settings->poll == POLL_ALL)
        return taking_loop(submitter), NULL;
    else
        asynchronous_loop(submitter);
    submitter->ended_ns = clock_ns();
    if (submitter->polls && submitter->shared)
        poll_for_others(submitter);
    else
        __atomic_add_fetch(&run->finished, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* An equal share of `whole`; the first shares are larger by one if needed. */
static int64_t share(int64_t whole, unsigned parts, unsigned part)
{
    return whole / parts + (part < whole % parts);
}

bool submitter_open(struct run *run, unsigned number)
{
    const struct settings *settings = run->settings;
    struct submitter *submitter = &run->submitters[number];
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    size_t room, i;
    unsigned char *memory;

    submitter->run = run;
    submitter->number = number;
    submitter->handle = run->handles[number % settings->handles];
    if (settings->poll == POLL_ALL)
        submitter->unsent = number ? 0 : settings->count;
    else
        submitter->unsent = share(settings->count, settings->threads, number);
    submitter->until_flush = settings->flush_interval ?
        settings->flush_interval : INT64_MAX;
    submitter->slot_count = settings->completion == COMPLETION_SYNC ? 1 :
        (unsigned)share(settings->depth, settings->threads, number);
    submitter->flush.owner = submitter;
    aims_init(&submitter->aims, settings, run->length, number);
    inbox_choose(submitter);
    sem_init(&submitter->wake, 0, 0);
    /* Each request has memory of its own, aligned, as a guest has. */
    blkalign_get_limits(submitter->handle, &limits);
    room = limits.mem_alignment > 512 ? limits.mem_alignment : 512;
    room *= ((size_t)settings->request_bytes + room - 1) / room;
    memory = blkalign_memalign(submitter->handle,
                               room * submitter->slot_count);
    submitter->slots = calloc(submitter->slot_count, sizeof(struct slot));
    if (settings->latency)
        submitter->latency = calloc(1, sizeof(struct latency));
    if (!memory || !submitter->slots ||
        (settings->latency && !submitter->latency)) {
        complain("not enough memory for %u requests of %lld bytes",
                 settings->depth, (long long)settings->request_bytes);
        blkalign_free(memory);
        return false;
    }
    for (i = 0; i < room * submitter->slot_count; i++)
        memory[i] = settings->pattern;
    /* The memory stays registered until the handle is closed. */
    if (settings->request_flags & BLKALIGN_REQ_REGISTERED_BUF &&
        blkalign_register_buf(submitter->handle, memory,
                              room * submitter->slot_count) < 0) {
        complain("%s", blkalign_errmsg());
        blkalign_free(memory);
        return false;
    }
    for (i = submitter->slot_count; i-- > 0;) {
        struct slot *slot = &submitter->slots[i];

        slot->iov.iov_base = memory + i * room;
        slot->iov.iov_len = (size_t)settings->request_bytes;
        slot->owner = submitter;
        slot->next = submitter->free;
        submitter->free = slot;
    }
    submitter->free_count = submitter->slot_count;
    return true;
}

void submitter_close(struct submitter *submitter)
{
    if (submitter->slots)
        blkalign_free(submitter->slots[0].iov.iov_base);
    free(submitter->slots);
    free(submitter->latency);
    if (submitter->run)
        sem_destroy(&submitter->wake);
}
