/*
 * The bytes beside a request must not change: writes, zeroing, discards and
 * reads of many shapes, one after the other, each followed by a look at all
 * bytes around it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SPAN_BLOCKS = 5, GUARD_BYTES = 64, GUARD = 0xa5 };

struct view {
    struct trial *trial;
    int64_t place, span;
    unsigned char *before, *after, *data;
    unsigned char *loose;       /* discarded, and not written since: anything
                                   may be there */
    enum operation operation;
    unsigned done;
};

/* Shapes such as 1 byte at the end of a block, in units that the target takes.
 * */
static int64_t in_units(const struct target *target, int64_t bytes)
{
    int64_t unit = target->facts.smallest;

    return bytes / unit * unit;
}

static int64_t shape_bytes(struct trial *trial)
{
    const struct target *target = trial->target;
    int64_t block = target->block;
    uint64_t dice = trial_random(trial);
    int64_t odd = (int64_t)(trial_random(trial) % (uint64_t)(3 * block));

    switch (dice % 6) {
    case 0:
        return target->sector;
    case 1:
        return in_units(target, 1 + odd % 16);
    case 2:
        return block * (1 + odd % 3);
    case 3:
        return 2 * (int64_t)target->sector;
    case 4:
        return block - in_units(target, target->sector);
    default:
        return in_units(target, odd + 1);
    }
}

static int64_t shape_offset(struct trial *trial, int64_t span, int64_t bytes)
{
    const struct target *target = trial->target;
    int64_t block = target->block, most = span - bytes;
    uint64_t dice = trial_random(trial);
    int64_t any = (int64_t)(trial_random(trial) % (uint64_t)(most + 1));

    switch (dice % 4) {
    case 0:
        return any / block * block;
    case 1:
        return any / target->sector * target->sector;
    case 2:     /* ends with a block */
        any = (any + bytes) / block * block - bytes;
        return any < 0 ? 0 : in_units(target, any);
    default:
        return in_units(target, any);
    }
}

/* The bytes of the range itself: written, zeros, or discarded. Of a discard
 * whole blocks may be anything from now on; what it covers of others is what
 * it was, or zeros. */
static bool range_is_right(struct view *view, int64_t offset, int64_t bytes)
{
    const unsigned char *now = view->after + offset;
    const unsigned char *old = view->before + offset;
    unsigned char *loose = view->loose + offset;
    int64_t i;

    if (view->operation == OP_DISCARD)
        loosen(view->trial->target, view->loose, offset, bytes);
    else
        memset(loose, 0, (size_t)bytes);
    if (view->operation == OP_WRITE)
        return memcmp(now, view->data, (size_t)bytes) == 0;
    if (view->operation == OP_ZERO)
        return all_zero(now, bytes);
    for (i = 0; i < bytes; i++) {
        if (!loose[i] && now[i] != 0 && now[i] != old[i])
            return false;
    }
    return true;
}

/* Position of the first byte that differs and must not, or -1. */
static int64_t changed(const struct view *view, int64_t from, int64_t to)
{
    int64_t at;

    if (difference(view->before + from, view->after + from, to - from) < 0)
        return -1;
    for (at = from; at < to; at++) {
        if (!view->loose[at] && view->before[at] != view->after[at])
            return at;
    }
    return -1;
}

static void judge(struct view *view, int64_t offset, int64_t bytes)
{
    int64_t end = offset + bytes, low, high;

    low = changed(view, 0, offset);
    high = changed(view, end, view->span);
    if (low >= 0 || high >= 0)
        trial_say(view->trial, STATE_BROKEN, "a %s of %lld bytes at %lld "
                  "changed the byte at %lld",
                  operation_name(view->operation), (long long)bytes,
                  (long long)(view->place + offset),
                  (long long)(view->place + (low >= 0 ? low : high)));
    else if (!range_is_right(view, offset, bytes))
        trial_say(view->trial, STATE_BROKEN, "a %s of %lld bytes at %lld "
                  "left something else there",
                  operation_name(view->operation), (long long)bytes,
                  (long long)(view->place + offset));
}

static bool change_and_look(struct view *view, int64_t offset, int64_t bytes)
{
    struct trial *trial = view->trial;
    int result;

    if (view->operation == OP_WRITE)
        stamp(view->data, trial_random(trial), 0, bytes);
    result = target_do(trial->target, 0, view->operation,
                       view->place + offset, bytes,
                       view->operation == OP_WRITE ? view->data : NULL);
    if (result == -EINVAL && view->operation >= OP_ZERO && view->done == 0) {
        trial_say(trial, STATE_SKIPPED, "a %s of %lld bytes at %lld is "
                  "refused", operation_name(view->operation),
                  (long long)bytes, (long long)(view->place + offset));
        return false;
    }
    if (!trial_accepts(trial, result, view->operation, view->place + offset,
                       bytes) ||
        !trial_do(trial, 0, OP_READ, view->place, view->span, view->after))
        return false;
    judge(view, offset, bytes);
    memcpy(view->before, view->after, (size_t)view->span);
    return trial->state == STATE_HOLDS;
}

/* Reads into memory whose surroundings are checked on both sides. */
static bool read_and_look(struct view *view, int64_t offset, int64_t bytes)
{
    struct trial *trial = view->trial;
    uint32_t step = trial->target->facts.memory;
    unsigned char *to = view->data +
                        (step > GUARD_BYTES ? step : GUARD_BYTES) +
                        (step > 1 ? 0 : trial_random(trial) % 8);
    int64_t i;

    memset(to - GUARD_BYTES, GUARD, (size_t)bytes + 2 * GUARD_BYTES);
    if (!trial_do(trial, 0, OP_READ, view->place + offset, bytes, to))
        return false;
    if (memcmp(to, view->before + offset, (size_t)bytes) != 0)
        trial_say(trial, STATE_BROKEN, "a read of %lld bytes at %lld got "
                  "other bytes than a long one", (long long)bytes,
                  (long long)(view->place + offset));
    for (i = 0; i < GUARD_BYTES; i++) {
        if (to[-1 - i] != GUARD || to[bytes + i] != GUARD)
            trial_say(trial, STATE_BROKEN, "a read of %lld bytes at %lld "
                      "changed memory beside the caller's",
                      (long long)bytes, (long long)(view->place + offset));
    }
    return trial->state == STATE_HOLDS;
}

static void shapes(struct view *view)
{
    struct trial *trial = view->trial;
    int64_t offset, bytes;
    unsigned round;

    for (round = 0; trial_goes_on(trial, round); round++) {
        bytes = shape_bytes(trial);
        if (bytes <= 0)
            bytes = trial->target->facts.smallest;
        offset = shape_offset(trial, view->span, bytes);
        /* Zeros over zeros would show nothing. */
        if (view->operation >= OP_ZERO && round % 4 == 0) {
            stamp(view->before, trial_random(trial), 0, view->span);
            if (!trial_do(trial, 0, OP_WRITE, view->place, view->span,
                          view->before))
                return;
            memset(view->loose, 0, (size_t)view->span);
        }
        if (!(view->operation == OP_READ
                  ? read_and_look(view, offset, bytes)
                  : change_and_look(view, offset, bytes)))
            return;
        view->done++;
    }
    trial_say(trial, STATE_HOLDS, "%u requests of many shapes", view->done);
}

void run_edges(struct trial *trial)
{
    struct target *target = trial->target;
    struct view view = { .trial = trial };

    view.operation = *(const enum operation *)trial->test_case->detail;
    view.span = (int64_t)SPAN_BLOCKS * target->block;
    view.place = target->base;
    view.before = new_buffer(view.span);
    view.after = new_buffer(view.span);
    view.data = new_buffer(view.span + 65536);
    view.loose = new_buffer(view.span);
    stamp(view.before, trial_random(trial), 0, view.span);
    if (trial_do(trial, 0, OP_WRITE, view.place, view.span, view.before))
        shapes(&view);
    free(view.before);
    free(view.after);
    free(view.data);
    free(view.loose);
}
