/*
 * A small write whose block cannot be read must fail, and nothing may change.
 *
 * Reads below the target fail because of a memory disk of the suite, or by the
 * user's commands (--fault-on, --fault-off).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "memory.h"
#include "torture.h"

#include <stdlib.h>
#include <string.h>

enum { SPAN_BLOCKS = 6 };

struct shape {
    const char *name;
    int64_t offset, bytes;
};

struct failing {
    struct trial *trial;
    int64_t place, span;
    unsigned char *before, *after, *data;
    unsigned failed, partly;
};

static bool switch_fault(struct trial *trial, bool on)
{
    const struct settings *settings = trial->settings;
    const char *command = on ? settings->fault_on : settings->fault_off;

    if (trial->target->memory) {
        memory_disk_fail_reads(trial->target->memory, on);
        return true;
    }
    if (system(command) == 0)
        return true;
    trial_say(trial, STATE_SKIPPED, "'%s' failed", command);
    return false;
}

/* No byte beside the range may change; a change inside the range is noted. */
static void judge(struct failing *failing, const struct shape *shape,
                  int result)
{
    struct trial *trial = failing->trial;
    int64_t end = shape->offset + shape->bytes, i, changed = 0, zeros = 0;
    bool inside;

    for (i = 0; i < failing->span; i++) {
        if ((i < shape->offset || i >= end) &&
            failing->before[i] != failing->after[i]) {
            changed++;
            zeros += failing->after[i] == 0;
        }
    }
    inside = memcmp(failing->before + shape->offset,
                    failing->after + shape->offset,
                    (size_t)shape->bytes) != 0;
    if (changed) {
        trial_say(trial, STATE_BROKEN, "%s: %lld neighbouring bytes are "
                  "destroyed, %lld of them zeros now, and the write of %lld "
                  "bytes reports %s", shape->name, (long long)changed,
                  (long long)zeros, (long long)shape->bytes,
                  result ? strerror(-result) : "success");
    } else if (result && inside) {
        failing->partly++;
        /* A small write inside of one block cannot be done in part. */
        if (shape->bytes <= trial->target->block)
            trial_say(trial, STATE_BROKEN, "%s: the write reports %s, but "
                      "it was done", shape->name, strerror(-result));
    } else if (!result) {
        trial_note(trial, "%s: no read failed", shape->name);
        return;
    }
    failing->failed++;
}

static bool one_shape(struct failing *failing, const struct shape *shape)
{
    struct trial *trial = failing->trial;
    struct target *target = trial->target;
    int result;

    stamp(failing->before, trial_random(trial), 0, failing->span);
    if (!trial_do(trial, 0, OP_WRITE, failing->place, failing->span,
                  failing->before) ||
        !trial_do(trial, 0, OP_FLUSH, 0, 0, NULL))
        return false;
    stamp(failing->data, trial_random(trial), 0, shape->bytes);
    if (!switch_fault(trial, true))
        return false;
    result = target_do(target, 0, OP_WRITE, failing->place + shape->offset,
                       shape->bytes, failing->data);
    if (!switch_fault(trial, false) ||
        !trial_do(trial, 0, OP_READ, failing->place, failing->span,
                  failing->after))
        return false;
    judge(failing, shape, result);
    return true;
}

static void every_shape(struct failing *failing)
{
    struct trial *trial = failing->trial;
    int64_t block = trial->target->block, sector = trial->target->sector;
    const struct shape shapes[] = {
        { "inside of a block", block + sector, sector },
        { "the end of a block", 2 * block - sector, sector },
        { "across two blocks", 2 * block - sector, 2 * sector },
        { "a head and whole blocks", block - sector, 2 * block + sector },
        { "whole blocks and a tail", block, 2 * block + sector },
        { "a head, blocks and a tail", block + sector, 3 * block },
    };
    unsigned i, count = sizeof shapes / sizeof *shapes;

    for (i = 0; i < count; i++) {
        if (!one_shape(failing, &shapes[i]))
            return;
    }
    if (!failing->failed)
        trial_say(trial, STATE_SKIPPED, "no read failed: the fault is not "
                  "below this target, or it remembers what it read");
    trial_say(trial, STATE_HOLDS, "%u writes failed, %u of them had done a "
              "part of their own range", failing->failed, failing->partly);
}

void run_edge_error(struct trial *trial)
{
    const struct settings *settings = trial->settings;
    struct target *target = trial->target;
    struct failing failing = { .trial = trial };

    if (target->block == target->sector) {
        trial_say(trial, STATE_SKIPPED, "the target takes no requests "
                  "smaller than a block, %u", (unsigned)target->block);
        return;
    }
    if (!target->memory && !(settings->fault_on && settings->fault_off)) {
        trial_say(trial, STATE_SKIPPED, "nothing makes reads fail: no "
                  "--fault-on and --fault-off");
        return;
    }
    failing.span = (int64_t)SPAN_BLOCKS * target->block;
    failing.place = target->base;
    failing.before = new_buffer(failing.span);
    failing.after = new_buffer(failing.span);
    failing.data = new_buffer(failing.span);
    every_shape(&failing);
    free(failing.before);
    free(failing.after);
    free(failing.data);
}
