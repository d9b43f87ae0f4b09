/*
 * The measured loop with blocking calls: each submitter has one request at a
 * time, and the library does the work on that submitter's thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

static int call(struct slot *slot, int elements)
{
    struct iovec *iov = slot->iov;

    if (elements == 1 && slot->read)
        return blkalign_pread(slot->handle, slot->offset,
                              (int64_t)iov->iov_len, iov->iov_base, 0);
    if (elements == 1)
        return blkalign_pwrite(slot->handle, slot->offset,
                               (int64_t)iov->iov_len, iov->iov_base, 0);
    if (slot->read)
        return blkalign_preadv(slot->handle, slot->offset, iov, elements, 0);
    return blkalign_pwritev(slot->handle, slot->offset, iov, elements, 0);
}

static bool one_call(struct submitter *submitter, struct slot *slot)
{
    int result;

    slot_aim(slot, &submitter->aims);
    result = call(slot, (int)submitter->run->settings->iovecs);
    if (result < 0) {
        run_fail_request(submitter, slot->read ? "read" : "write",
                         slot->offset, result);
        return false;
    }
    if (submitter->latency)
        slot->ended_ns = clock_ns();
    slot_check(slot);
    return true;
}

void blocking_loop(struct submitter *submitter)
{
    struct run *run = submitter->run;
    int64_t interval = run->settings->flush_interval;
    int result;

    for (; submitter->unsent > 0; submitter->unsent--) {
        if (run_is_stopped(run) ||
            !one_call(submitter, submitter->slots))
            return;
        __atomic_store_n(&submitter->done, submitter->done + 1,
                         __ATOMIC_RELAXED);
        if (--submitter->until_flush > 0)
            continue;
        submitter->until_flush = interval;
        result = blkalign_flush(submitter->handle);
        if (result < 0) {
            run_fail_request(submitter, "flush", 0, result);
            return;
        }
    }
}
