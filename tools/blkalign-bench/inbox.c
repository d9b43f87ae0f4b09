/*
 * How completed requests come back to the submitter that owns them.
 *
 * Where a submitter polls for itself only, callbacks run on its own thread and
 * link the slot into a plain list. Otherwise callbacks run on another thread,
 * push the slot with one compare-and-swap, and wake the submitter only if it
 * has announced that it sleeps. A thread that polls for others wakes them when
 * its poll returns, as one interrupt of a virtual machine covers all completed
 * requests; otherwise it would wake each submitter for its first request
 * alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <errno.h>
#include <stddef.h>

/* How often a thread that polls for others checks whether they are done. It
 * never waits that long for a request. */
enum { SHARED_POLL_MS = 100 };

/* Submitters that this thread wakes after its poll. */
static __thread struct submitter *sleepers;

static const char *what_it_was(const struct slot *slot)
{
    if (slot == &slot->owner->flush)
        return "flush";
    return slot->read ? "read" : "write";
}

void slot_settle(struct slot *slot, int ret)
{
    if (ret < 0)
        run_fail_request(slot->owner, what_it_was(slot), slot->offset, ret);
    if (slot->owner->latency)
        slot->ended_ns = clock_ns();
}

static void done_here(void *opaque, int ret)
{
    struct slot *slot = opaque;
    struct submitter *owner = slot->owner;

    slot_settle(slot, ret);
    slot->next = owner->inbox;
    owner->inbox = slot;
}

static void done_elsewhere(void *opaque, int ret)
{
    struct slot *slot = opaque;
    struct submitter *owner = slot->owner;
    struct slot *head = __atomic_load_n(&owner->inbox, __ATOMIC_RELAXED);

    slot_settle(slot, ret);
    /* Release: the owner sees what the callback and the library wrote. */
    do {
        slot->next = head == &owner->asleep ? NULL : head;
    } while (!__atomic_compare_exchange_n(&owner->inbox, &head, slot, true,
                                          __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
    if (head != &owner->asleep)
        return;
    if (owner->run->settings->completion != BLKALIGN_COMPLETION_EVENTFD) {
        sem_post(&owner->wake);
        return;
    }
    owner->next_sleeper = sleepers;
    sleepers = owner;
}

static void wake_sleepers(void)
{
    struct submitter *next;

    for (; sleepers; sleepers = next) {
        next = sleepers->next_sleeper;
        sem_post(&sleepers->wake);
    }
}

void inbox_choose(struct submitter *submitter)
{
    const struct settings *settings = submitter->run->settings;
    bool eventfd = settings->completion == BLKALIGN_COMPLETION_EVENTFD;

    if (settings->poll == POLL_ALL) {
        taking_choose(submitter);
        return;
    }
    submitter->polls = eventfd && submitter->number < settings->handles;
    submitter->shared = !eventfd || settings->threads > settings->handles;
    submitter->read_or_write_done =
        submitter->shared ? done_elsewhere : done_here;
}

static struct slot *take_all(struct submitter *submitter)
{
    return __atomic_exchange_n(&submitter->inbox, NULL, __ATOMIC_ACQUIRE);
}

static struct slot *sleep_for_one(struct submitter *submitter)
{
    struct slot *list = take_all(submitter), *nothing = NULL;

    if (list)
        return list;
    if (__atomic_compare_exchange_n(&submitter->inbox, &nothing,
                                    &submitter->asleep, false,
                                    __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
        while (sem_wait(&submitter->wake) < 0 && errno == EINTR)
            ;
    }
    return take_all(submitter);
}

struct slot *inbox_wait(struct submitter *submitter)
{
    int most = (int)submitter->run->settings->depth + 1, result;
    struct slot *list;

    if (!submitter->polls)
        return sleep_for_one(submitter);
    result = blkalign_poll(submitter->handle, most,
                           submitter->shared ? SHARED_POLL_MS : -1);
    wake_sleepers();
    if (result < 0 && result != -EINTR)
        run_fail_request(submitter, "poll", 0, result);
    if (submitter->shared)
        return take_all(submitter);
    list = submitter->inbox;
    submitter->inbox = NULL;
    return list;
}
