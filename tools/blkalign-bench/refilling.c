/*
 * The measured loop of --refill callback: works as programs do that use the
 * library. The callback of a request runs on a thread of the library. It
 * records that the request is done and submits the next one, as the callback
 * of a hypervisor fills the guest's used ring and submits what the guest has
 * put into its available ring. No thread wakes another. The submitter's own
 * thread submits the first requests, then sleeps until the last callback of
 * the run.
 *
 * Callbacks of one submitter may run at the same time. A callback takes an
 * errand (requests or a flush to submit) under the lock of the submitter, and
 * carries the errand out without the lock.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <errno.h>
#include <stddef.h>

/* What is to be submitted. Nothing, if `requests` and `flush` are 0. */
struct errand {
    struct slot *first;
    unsigned requests;
    bool flush;
};

static bool flush_is_due(const struct submitter *submitter)
{
    bool drain = submitter->run->settings->drain_on_flush;

    return submitter->until_flush <= 0 && !submitter->flushing &&
           !(drain && submitter->in_flight) &&
           !run_is_stopped(submitter->run);
}

/* This function and the next two are called under the lock. */
static struct errand take_requests(struct submitter *submitter,
                                   unsigned requests)
{
    struct errand errand = { submitter->free, requests, false };

    for (; requests; requests--) {
        slot_draw(submitter->free, &submitter->aims);
        submitter->free = submitter->free->next;
    }
    submitter->free_count -= errand.requests;
    submitter->in_flight += errand.requests;
    submitter->unsent -= errand.requests;
    submitter->until_flush -= errand.requests;
    return errand;
}

static struct errand take_flush(struct submitter *submitter)
{
    const struct settings *settings = submitter->run->settings;
    struct errand errand = { NULL, 0, true };

    if (settings->drain_on_flush) {
        submitter->flushing = true;
        submitter->in_flight++;
    } else {
        submitter->until_flush = settings->flush_interval;
    }
    return errand;
}

static struct errand take_errand(struct submitter *submitter)
{
    struct errand nothing = { NULL, 0, false };
    unsigned requests;

    if (run_is_stopped(submitter->run))
        submitter->unsent = 0;
    requests = submitter_may_send(submitter);
    if (requests)
        return take_requests(submitter, requests);
    if (flush_is_due(submitter))
        return take_flush(submitter);
    if (!submitter->in_flight && submitter->unsent <= 0 && !submitter->over) {
        submitter->over = true;
        submitter->ended_ns = clock_ns();
        sem_post(&submitter->wake);
    }
    return nothing;
}

/* Takes requests that were not submitted off the count. */
static void never_sent(struct submitter *submitter, unsigned requests)
{
    pthread_mutex_lock(&submitter->lock);
    submitter->in_flight -= requests;
    pthread_mutex_unlock(&submitter->lock);
}

static void carry_out_flush(struct submitter *submitter)
{
    int64_t result;

    if (!submitter->run->settings->drain_on_flush) {
        submit_flush_aside(submitter);
        return;
    }
    if (submitter->latency)
        submitter->flush.started_ns = clock_ns();
    result = blkalign_aio_flush(submitter->handle,
                                submitter->read_or_write_done,
                                &submitter->flush);
    if (result < 0) {
        run_fail_request(submitter, "flush", 0, (int)result);
        never_sent(submitter, 1);
    }
}

static void carry_out(struct submitter *submitter, struct errand errand)
{
    struct slot *slot = errand.first;
    unsigned i, sent;

    if (errand.flush) {
        carry_out_flush(submitter);
        return;
    }
    for (i = 0; i < errand.requests; i++, slot = slot->next)
        slot_prepare(slot);
    sent = submit_list(&errand.first, errand.requests);
    if (sent < errand.requests)
        never_sent(submitter, errand.requests - sent);
}

/* Goes on until nothing may be submitted now; the next callback continues. */
static void carry_out_all(struct submitter *submitter, struct errand errand)
{
    while (errand.requests || errand.flush) {
        carry_out(submitter, errand);
        pthread_mutex_lock(&submitter->lock);
        errand = take_errand(submitter);
        pthread_mutex_unlock(&submitter->lock);
    }
}

/* Called under the lock. */
static void take_back(struct submitter *submitter, struct slot *slot)
{
    if (!slot_take_back(slot))
        return;
    slot_count_latency(slot);
    __atomic_store_n(&submitter->done, submitter->done + 1,
                     __ATOMIC_RELAXED);
}

static void done_refilling(void *opaque, int ret)
{
    struct slot *slot = opaque;
    struct submitter *submitter = slot->owner;
    struct errand errand;

    slot_settle(slot, ret);
    if (slot != &submitter->flush)
        slot_check_content(slot);
    pthread_mutex_lock(&submitter->lock);
    take_back(submitter, slot);
    errand = take_errand(submitter);
    pthread_mutex_unlock(&submitter->lock);
    carry_out_all(submitter, errand);
}

void refilling_choose(struct submitter *submitter)
{
    submitter->read_or_write_done = done_refilling;
}

void refilling_loop(struct submitter *submitter)
{
    struct errand errand;

    pthread_mutex_lock(&submitter->lock);
    errand = take_errand(submitter);
    pthread_mutex_unlock(&submitter->lock);
    carry_out_all(submitter, errand);
    while (sem_wait(&submitter->wake) < 0 && errno == EINTR)
        ;
}
