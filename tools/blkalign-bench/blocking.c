/*
 * The measured loop with blocking calls: each submitter has one request at a
 * time, and the library does the work on that submitter's thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

static bool one_call(struct submitter *submitter, struct slot *slot)
{
    int64_t bytes = (int64_t)slot->iov.iov_len;
    int result;

    slot_aim(slot, &submitter->aims);
    if (slot->read)
        result = blkalign_pread(submitter->handle, slot->offset, bytes,
                                slot->iov.iov_base, 0);
    else
        result = blkalign_pwrite(submitter->handle, slot->offset, bytes,
                                 slot->iov.iov_base, 0);
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
        if (__atomic_load_n(&run->stop, __ATOMIC_RELAXED) ||
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
