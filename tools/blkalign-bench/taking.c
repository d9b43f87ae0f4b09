/*
 * The measured loop of --poll all: every thread polls, and continues with the
 * requests that its own poll completed. A slot belongs to the thread that
 * found it completed, and no thread wakes another. How many requests each
 * thread submits is not known before, so all requests form one sequence, that
 * of submitter 0; a thread that refills takes the next ones. As many requests
 * stay in flight as with one thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <errno.h>
#include <stddef.h>

/* How often a thread checks whether others have ended the run. It never waits
 * that long for a request. */
enum { LOOK_UP_MS = 100 };

/* The submitter in whose poll callbacks run. NULL: they run in the last drain.
 * */
static __thread struct submitter *taker;

static void done_taken(void *opaque, int ret)
{
    struct slot *slot = opaque;

    if (taker)
        slot->owner = taker;
    slot_settle(slot, ret);
    slot->next = slot->owner->inbox;
    slot->owner->inbox = slot;
}

void taking_choose(struct submitter *submitter)
{
    submitter->polls = submitter->shared = true;
    submitter->read_or_write_done = done_taken;
}

static bool is_stopped(const struct run *run)
{
    return __atomic_load_n(&run->stop, __ATOMIC_RELAXED);
}

/* Takes as many free slots as there are requests left, up to `most`. */
static unsigned take_requests(struct submitter *submitter, unsigned most)
{
    struct run *run = submitter->run;
    struct submitter *first = &run->submitters[0];
    struct slot *slot = submitter->free;
    unsigned taken = 0;

    pthread_mutex_lock(&run->sequence_lock);
    for (; taken < most && first->unsent > 0; taken++, slot = slot->next) {
        slot_aim(slot, &first->aims);
        first->unsent--;
    }
    pthread_mutex_unlock(&run->sequence_lock);
    return taken;
}

static void refill_taking(struct submitter *submitter)
{
    unsigned batch = submitter->run->settings->batch;

    /* If every thread has fewer free slots than a batch, all of these together
     * are less than the depth. So some requests are in flight, and one thread
     * will get enough slots. */
    while (submitter->free_count && submitter->free_count >= batch &&
           !is_stopped(submitter->run)) {
        unsigned most = batch ? batch : submitter->free_count;
        unsigned requests = take_requests(submitter, most);

        if (!requests)
            return;
        submit_aimed(submitter, requests);
    }
}

/* Takes back completed slots. True: the last request of the run was among
 * them. */
static bool collect_taken(struct submitter *submitter)
{
    struct slot *slot, *next;
    int64_t done = 0;

    for (slot = submitter->inbox; slot; slot = next) {
        next = slot->next;
        slot_check(slot);
        slot->next = submitter->free;
        submitter->free = slot;
        submitter->free_count++;
        done++;
    }
    submitter->inbox = NULL;
    __atomic_store_n(&submitter->done, submitter->done + done,
                     __ATOMIC_RELAXED);
    return done && __atomic_sub_fetch(&submitter->run->left, done,
                                      __ATOMIC_ACQ_REL) == 0;
}

void taking_loop(struct submitter *submitter)
{
    struct run *run = submitter->run;
    int most = (int)run->settings->depth + 1, result;

    taker = submitter;
    submitter->ended_ns = submitter->started_ns;
    while (__atomic_load_n(&run->left, __ATOMIC_ACQUIRE) && !is_stopped(run)) {
        refill_taking(submitter);
        result = blkalign_poll(submitter->handle, most, LOOK_UP_MS);
        if (result < 0 && result != -EINTR)
            run_fail_request(submitter, "poll", 0, result);
        /* The last look of other threads is no part of the time. */
        if (collect_taken(submitter))
            submitter->ended_ns = clock_ns();
    }
    taker = NULL;
}
