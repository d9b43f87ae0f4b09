/*
 * Flush and FUA, as far as they can be observed: they are accepted; they reach
 * the storage below the target (a memory disk whose power is cut, or the
 * user's count of flushes, --flush-count); and other handles read what one
 * handle wrote.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "memory.h"
#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number that the command prints, or -1. */
static long count_flushes(const struct trial *trial)
{
    const char *command = trial->settings->flush_count;
    long count = -1;
    FILE *pipe = command ? popen(command, "r") : NULL;

    if (!pipe)
        return -1;
    if (fscanf(pipe, "%ld", &count) != 1)
        count = -1;
    pclose(pipe);
    return count;
}

struct durable {
    struct trial *trial;
    bool fua;
    unsigned char *data, *got;
    unsigned lost, unseen;
};

static bool write_durably(struct durable *durable, int64_t place,
                          int64_t bytes)
{
    struct trial *trial = durable->trial;

    if (durable->fua)
        return trial_accepts(trial,
                             target_write_fua(trial->target, 0, place, bytes,
                                              durable->data),
                             OP_WRITE, place, bytes);
    return trial_do(trial, 0, OP_WRITE, place, bytes, durable->data) &&
           trial_do(trial, 0, OP_FLUSH, 0, 0, NULL);
}

static bool one_round(struct durable *durable, unsigned round)
{
    struct trial *trial = durable->trial;
    struct target *target = trial->target;
    int64_t bytes = round % 2 ? target->block : target->sector;
    int64_t place = target->base +
                    (int64_t)(round % 16) * 2 * target->block +
                    (round % 3 ? (int64_t)target->sector : 0);
    long before = count_flushes(trial);

    stamp(durable->data, trial_random(trial), 0, bytes);
    if (!write_durably(durable, place, bytes))
        return false;
    if (before >= 0 && count_flushes(trial) <= before)
        durable->unseen++;
    if (target->memory)
        memory_disk_cut_power(target->memory);
    if (!trial_do(trial, 0, OP_READ, place, bytes, durable->got))
        return false;
    if (memcmp(durable->data, durable->got, (size_t)bytes) != 0)
        durable->lost++;
    return true;
}

void run_flush(struct trial *trial)
{
    struct target *target = trial->target;
    bool fua = *(const bool *)trial->test_case->detail;
    struct durable durable = { .trial = trial, .fua = fua };
    unsigned round = 0;

    if (!(fua ? target->facts.fua : target->facts.flush)) {
        trial_say(trial, STATE_SKIPPED, "the target has no %s",
                  fua ? "FUA" : "flush");
        return;
    }
    durable.data = new_buffer(target->block);
    durable.got = new_buffer(target->block);
    while (round < 32 && one_round(&durable, round))
        round++;
    if (durable.lost)
        trial_say(trial, STATE_BROKEN, "%u of %u writes were lost%s",
                  durable.lost, round,
                  target->memory ? " with the power" : "");
    if (durable.unseen)
        trial_say(trial, STATE_BROKEN, "%u of %u did not reach what is "
                  "below", durable.unseen, round);
    trial_say(trial, STATE_HOLDS, "%u accepted%s", round,
              target->memory ? ", none lost when power was cut"
              : trial->settings->flush_count
                  ? ", each reached what is below"
                  : "; not known whether it reaches what is below");
    free(durable.data);
    free(durable.got);
}

/* One handle writes sectors and another reads them, four times; then the two
 * swap roles. */
void run_coherent(struct trial *trial)
{
    struct target *target = trial->target;
    unsigned char *data = new_buffer(target->sector);
    unsigned char *got = new_buffer(target->sector);
    unsigned round, stale = 0;

    for (round = 0; trial_goes_on(trial, round); round++) {
        int64_t place = target->base +
                        (int64_t)(round % 2) * target->sector;

        stamp(data, trial_random(trial), 0, target->sector);
        if (!trial_do(trial, round / 4 % 2, OP_WRITE, place, target->sector,
                      data) ||
            !trial_do(trial, (round / 4 + 1) % 2, OP_READ, place,
                      target->sector, got))
            break;
        stale += memcmp(data, got, target->sector) != 0;
    }
    trial_say(trial, stale ? STATE_BROKEN : STATE_HOLDS,
              "%u of %u reads got what was there before", stale, round);
    free(data);
    free(got);
}
