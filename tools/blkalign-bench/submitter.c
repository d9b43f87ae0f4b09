/*
 * A submitter: a thread that keeps its share of the depth in flight. It
 * replaces completed requests by new ones as one batch, as after the kick of a
 * virtqueue.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <stdlib.h>
#include <string.h>

bool run_is_stopped(const struct run *run)
{
    return __atomic_load_n(&run->stop, __ATOMIC_RELAXED);
}

void slot_draw(struct slot *slot, struct aims *aims)
{
    struct aim aim = aims_next(aims);

    slot->offset = aim.offset;
    slot->read = aim.read;
}

void slot_prepare(struct slot *slot)
{
    struct submitter *submitter = slot->owner;
    const struct run *run = submitter->run;
    int64_t at = slot->offset;
    unsigned i;

    for (i = 0; run->content && !slot->read && i < run->settings->iovecs;
         i++) {
        int64_t bytes = (int64_t)slot->iov[i].iov_len;

        content_stamp(run->content, slot->iov[i].iov_base, at, bytes);
        at += bytes;
    }
    if (submitter->latency)
        slot->started_ns = clock_ns();
}

void slot_aim(struct slot *slot, struct aims *aims)
{
    slot_draw(slot, aims);
    slot_prepare(slot);
}

void slot_count_latency(struct slot *slot)
{
    if (slot->owner->latency)
        latency_add(slot->owner->latency, slot->ended_ns - slot->started_ns);
}

void slot_check_content(struct slot *slot)
{
    struct run *run = slot->owner->run;
    int64_t offset = slot->offset, at = -1;
    unsigned i;

    if (!run->content || !slot->read || run_is_stopped(run))
        return;
    for (i = 0; i < run->settings->iovecs && at < 0; i++) {
        int64_t bytes = (int64_t)slot->iov[i].iov_len;

        at = content_damage(run->content, slot->iov[i].iov_base, offset,
                            bytes);
        offset += bytes;
    }
    if (at >= 0)
        run_fail(run, "damage: the read of %lld bytes at %lld got a wrong "
                 "byte at %lld", (long long)run->settings->request_bytes,
                 (long long)slot->offset, (long long)at);
}

void slot_check(struct slot *slot)
{
    slot_count_latency(slot);
    slot_check_content(slot);
}

static bool submit_one(struct slot *slot)
{
    struct submitter *submitter = slot->owner;
    const struct settings *settings = submitter->run->settings;
    /* The callback of this slot may run before the call returns, and use the
     * slot for another request. */
    int64_t offset = slot->offset, result;
    bool read = slot->read;

    if (read)
        result = blkalign_aio_preadv(slot->handle, offset, slot->iov,
                                     (int)settings->iovecs,
                                     settings->request_flags,
                                     submitter->read_or_write_done, slot);
    else
        result = blkalign_aio_pwritev(slot->handle, offset, slot->iov,
                                      (int)settings->iovecs,
                                      settings->request_flags,
                                      submitter->read_or_write_done, slot);
    if (result >= 0)
        return true;
    run_fail_request(submitter, read ? "read" : "write", offset, (int)result);
    return false;
}

/* A plug is for one handle: neighbours in the list that have the same handle
 * go out as one batch. */
unsigned submit_list(struct slot **list, unsigned requests)
{
    blkalign_handle *plugged = NULL;
    unsigned sent;

    for (sent = 0; sent < requests; sent++) {
        struct slot *slot = *list, *next = slot->next;

        if (requests > 1 && slot->handle != plugged) {
            if (plugged)
                blkalign_unplug(plugged);
            plugged = slot->handle;
            blkalign_plug(plugged);
        }
        if (!submit_one(slot))
            break;
        *list = next;
    }
    if (plugged)
        blkalign_unplug(plugged);
    return sent;
}

void submit_aimed(struct submitter *submitter, unsigned requests)
{
    unsigned sent = submit_list(&submitter->free, requests);

    submitter->free_count -= sent;
    submitter->in_flight += sent;
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

unsigned submitter_may_send(const struct submitter *submitter)
{
    unsigned batch = submitter->run->settings->batch;
    unsigned requests = submitter->free_count;
    int64_t most = submitter->unsent < submitter->until_flush ?
        submitter->unsent : submitter->until_flush;

    if (most <= 0)
        return 0;
    if (batch && batch < requests)
        requests = batch;
    if (most <= requests)
        return (unsigned)most;
    return requests < batch ? 0 : requests;
}

/* Submits what may be submitted now. */
static void refill(struct submitter *submitter)
{
    unsigned requests;

    for (;;) {
        if (run_is_stopped(submitter->run))
            submitter->unsent = 0;
        requests = submitter_may_send(submitter);
        if (!requests)
            return;
        submit_batch(submitter, requests);
    }
}

static void flushed_aside(void *opaque, int ret)
{
    if (ret < 0)
        run_fail_request(opaque, "flush", 0, ret);
}

int64_t submit_flush_aside(struct submitter *submitter)
{
    int64_t result = blkalign_aio_flush(submitter->handle, flushed_aside,
                                        submitter);

    if (result < 0)
        run_fail_request(submitter, "flush", 0, (int)result);
    return result;
}

static void flush_if_due(struct submitter *submitter)
{
    const struct settings *settings = submitter->run->settings;
    int64_t result;

    if (submitter->until_flush > 0 || submitter->flushing)
        return;
    if (!settings->drain_on_flush) {
        submit_flush_aside(submitter);
        submitter->until_flush = settings->flush_interval;
        return;
    }
    if (submitter->in_flight)
        return;
    submitter->flushing = true;
    submitter->in_flight++;
    if (submitter->latency)
        submitter->flush.started_ns = clock_ns();
    result = blkalign_aio_flush(submitter->handle,
                                submitter->read_or_write_done,
                                &submitter->flush);
    if (result < 0) {
        submitter->in_flight--;
        run_fail_request(submitter, "flush", 0, (int)result);
    }
}

bool slot_take_back(struct slot *slot)
{
    struct submitter *submitter = slot->owner;

    submitter->in_flight--;
    if (slot == &submitter->flush) {
        submitter->flushing = false;
        submitter->until_flush = submitter->run->settings->flush_interval;
        return false;
    }
    slot->next = submitter->free;
    submitter->free = slot;
    submitter->free_count++;
    return true;
}

/* Takes back the slots of completed requests. */
static void collect(struct submitter *submitter)
{
    struct slot *slot, *next;
    int64_t done = submitter->done;

    for (slot = inbox_wait(submitter); slot; slot = next) {
        next = slot->next;
        if (!slot_take_back(slot))
            continue;
        slot_check(slot);
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

    if (pthread_barrier_wait(&run->start) == PTHREAD_BARRIER_SERIAL_THREAD)
        run->processor = processor_now();
    submitter->started_ns = clock_ns();
    if (run->settings->completion == COMPLETION_SYNC)
        blocking_loop(submitter);
    else if (run->settings->poll == POLL_ALL)
        return taking_loop(submitter), NULL;
    else if (run->settings->refill == REFILL_CALLBACK)
        return refilling_loop(submitter), NULL;
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

/*
 * The handle of the submitter's slot `number`. For example with 4 handles and
 * 2 submitters the first half of the slots of submitter 1 has handle 1, the
 * second half handle 3. With fewer handles than submitters all slots of a
 * submitter have the same handle.
 */
static blkalign_handle *handle_of(const struct submitter *submitter,
                                  unsigned number)
{
    const struct settings *settings = submitter->run->settings;
    unsigned own = (unsigned)share(settings->handles, settings->threads,
                                   submitter->number);

    if (settings->handles <= settings->threads)
        return submitter->run->handles[submitter->number % settings->handles];
    own = (unsigned)((uint64_t)number * own / submitter->slot_count);
    return submitter->run->handles[submitter->number +
                                   own * settings->threads];
}

/* Elements lie in memory in reverse order, so that no two can be merged into
 * one. All but the first are whole sectors; the first has the rest. */
static void lay_out(struct slot *slot, unsigned char *memory,
                    const struct settings *settings)
{
    size_t bytes = (size_t)settings->request_bytes;
    size_t each = bytes / settings->iovecs;
    unsigned i;

    if (each > 512)
        each -= each % 512;
    for (i = settings->iovecs; i-- > 1;) {
        slot->iov[i].iov_base = memory;
        slot->iov[i].iov_len = each;
        memory += each;
        bytes -= each;
    }
    slot->iov[0].iov_base = memory;
    slot->iov[0].iov_len = bytes;
}

/* The memory stays registered until the handle is closed. */
static bool register_memory(struct submitter *submitter, size_t bytes)
{
    blkalign_handle *last = NULL;
    unsigned i;

    for (i = 0; i < submitter->slot_count; i++) {
        blkalign_handle *handle = handle_of(submitter, i);

        if (handle != last &&
            blkalign_register_buf(handle, submitter->memory, bytes) < 0) {
            complain("%s", blkalign_errmsg());
            return false;
        }
        last = handle;
    }
    return true;
}

/* Each request has memory of its own, aligned, as a guest has. */
static bool make_slots(struct submitter *submitter)
{
    const struct settings *settings = submitter->run->settings;
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    size_t room, i;

    blkalign_get_limits(submitter->handle, &limits);
    room = limits.mem_alignment > 512 ? limits.mem_alignment : 512;
    room *= ((size_t)settings->request_bytes + room - 1) / room;
    submitter->memory = blkalign_memalign(submitter->handle,
                                          room * submitter->slot_count);
    submitter->slots = calloc(submitter->slot_count, sizeof(struct slot));
    submitter->iovecs = calloc((size_t)submitter->slot_count *
                               settings->iovecs, sizeof(struct iovec));
    if (settings->latency)
        submitter->latency = calloc(1, sizeof(struct latency));
    if (!submitter->memory || !submitter->slots || !submitter->iovecs ||
        (settings->latency && !submitter->latency)) {
        complain("not enough memory for %u requests of %lld bytes",
                 settings->depth, (long long)settings->request_bytes);
        return false;
    }
    memset(submitter->memory, settings->pattern,
           room * submitter->slot_count);
    for (i = submitter->slot_count; i-- > 0;) {
        struct slot *slot = &submitter->slots[i];

        slot->iov = submitter->iovecs + i * settings->iovecs;
        lay_out(slot, submitter->memory + i * room, settings);
        slot->owner = submitter;
        slot->handle = handle_of(submitter, (unsigned)i);
        slot->next = submitter->free;
        submitter->free = slot;
    }
    submitter->free_count = submitter->slot_count;
    return !(settings->request_flags & BLKALIGN_REQ_REGISTERED_BUF) ||
           register_memory(submitter, room * submitter->slot_count);
}

/* A thread that waits for this lock spins before it sleeps: the lock is held
 * for less time than falling asleep takes. */
static void make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t kind;

    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &kind);
    pthread_mutexattr_destroy(&kind);
}

bool submitter_open(struct run *run, unsigned number)
{
    const struct settings *settings = run->settings;
    struct submitter *submitter = &run->submitters[number];

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
    make_lock(&submitter->lock);
    return make_slots(submitter);
}

void submitter_close(struct submitter *submitter)
{
    blkalign_free(submitter->memory);
    free(submitter->slots);
    free(submitter->iovecs);
    free(submitter->latency);
    if (submitter->run) {
        sem_destroy(&submitter->wake);
        pthread_mutex_destroy(&submitter->lock);
    }
}
