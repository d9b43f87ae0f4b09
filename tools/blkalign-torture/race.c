/*
 * Concurrent requests to the same blocks. Each sector must end up with the
 * bytes of a request that covered it, or, if no request did, with those from
 * before. Where ranges overlap, the bytes of either request are right: the
 * guest asked for that. Older bytes must never come back: that would be a lost
 * update.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_MAX = 16, SPAN_BLOCKS = 3, PLACES = 8 };

/* A request of a round; its offset counts from the first block. */
struct piece {
    enum operation operation;
    int64_t offset, bytes;
};

/* Lists the pieces of a round, and returns how many there are. */
struct race {
    unsigned (*pieces)(struct trial *trial, unsigned round,
                       struct piece pieces[PIECES_MAX]);
};

/* ---- the kinds of races ---- */

/* At most eight sectors of a block, evenly spread. */
static unsigned sectors(const struct target *target)
{
    unsigned count = target->block / target->sector;

    return count < 8 ? count : 8;
}

/* One small write for each sector of one block. */
static unsigned each_sector(struct trial *trial, unsigned round,
                            struct piece *pieces)
{
    const struct target *target = trial->target;
    unsigned i, count = sectors(target);

    (void)round;
    for (i = 0; i < count; i++) {
        pieces[i].operation = OP_WRITE;
        pieces[i].offset = (int64_t)target->block / count * i;
        pieces[i].bytes = target->sector;
    }
    return count;
}

const struct race race_lost_update = { each_sector };

/* Ranges that meet in the middle of blocks, and do not overlap. */
static unsigned across_blocks(struct trial *trial, unsigned round,
                              struct piece *pieces)
{
    const struct target *target = trial->target;
    int64_t sector = target->sector, block = target->block;
    int64_t bounds[7], step = (int64_t)(round % sectors(target)) * sector;
    unsigned i, count = 0;

    bounds[0] = 0;
    bounds[1] = sector;
    bounds[2] = block - sector;
    bounds[3] = block + (step ? step : sector);
    bounds[4] = 2 * block - (step > 2 * sector ? sector : 0);
    bounds[5] = 2 * block + sector;
    bounds[6] = 3 * block;
    for (i = 0; i < 6; i++) {
        if (bounds[i + 1] <= bounds[i])
            bounds[i + 1] = bounds[i];
        else
            pieces[count++] = (struct piece){ OP_WRITE, bounds[i],
                                              bounds[i + 1] - bounds[i] };
    }
    return count;
}

const struct race race_straddle = { across_blocks };

/* An aligned write over blocks, and small ones inside and across its ends. */
static unsigned over_aligned(struct trial *trial, unsigned round,
                             struct piece *pieces)
{
    const struct target *target = trial->target;
    int64_t sector = target->sector, block = target->block;
    unsigned count = sectors(target);
    int64_t step = (int64_t)(trial_random(trial) % count) * sector;

    pieces[0] = (struct piece){ OP_WRITE, block, block };
    pieces[1] = (struct piece){ OP_WRITE, block + step, sector };
    pieces[2] = (struct piece){ OP_WRITE, 2 * block - sector, 2 * sector };
    pieces[3] = (struct piece){ OP_WRITE, block - sector, 2 * sector };
    /* With all small writes at once too little of the aligned write would be
     * left. */
    return round % 2 ? 2 : 4;
}

const struct race race_aligned = { over_aligned };

/* As each_sector, but every other piece is an `operation`. */
static unsigned in_turns(struct trial *trial, unsigned round,
                         struct piece *pieces, enum operation operation)
{
    unsigned i, count = each_sector(trial, round, pieces);

    for (i = 0; i < count; i++) {
        if ((i + round / PLACES) % 2)
            pieces[i].operation = operation;
    }
    return count;
}

static unsigned with_zeroing(struct trial *trial, unsigned round,
                             struct piece *pieces)
{
    return in_turns(trial, round, pieces, OP_ZERO);
}

const struct race race_zero = { with_zeroing };

static unsigned with_discards(struct trial *trial, unsigned round,
                              struct piece *pieces)
{
    return in_turns(trial, round, pieces, OP_DISCARD);
}

const struct race race_discard = { with_discards };

/* ---- one round ---- */

struct run {
    struct trial *trial;
    struct piece pieces[PIECES_MAX];
    struct request requests[PIECES_MAX];
    struct iovec iov[PIECES_MAX];
    unsigned char *data[PIECES_MAX];
    unsigned count;
    int64_t span;               /* bytes looked at */
    unsigned char *before, *after;
    unsigned long written, lost, neighbours, failed;
};

static void shuffle(struct trial *trial, unsigned *order, unsigned count)
{
    unsigned i, other, kept;

    for (i = 0; i < count; i++)
        order[i] = i;
    for (i = count; i > 1; i--) {
        other = (unsigned)(trial_random(trial) % i);
        kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}

/* Submits all pieces at once, in random order, over the handles. False: the
 * target cannot do them. */
static bool let_go(struct run *run, unsigned round, int64_t place)
{
    struct trial *trial = run->trial;
    unsigned order[PIECES_MAX], i;
    int result;

    shuffle(trial, order, run->count);
    for (i = 0; i < run->count; i++) {
        const struct piece *piece = &run->pieces[i];

        if (piece->operation == OP_WRITE)
            stamp(run->data[i], trial->settings->seed + round * 64 + i,
                  piece->offset, piece->bytes);
        else
            memset(run->data[i], 0, (size_t)piece->bytes);
        run->iov[i] = (struct iovec){ run->data[i], (size_t)piece->bytes };
        run->requests[i] = (struct request){
            .operation = piece->operation, .offset = place + piece->offset,
            .bytes = piece->bytes, .iov = &run->iov[i], .iovcnt = 1,
            .handle = i % trial->handles
        };
    }
    for (i = 0; i < run->count; i++)
        flight_start(trial->target, &run->requests[order[i]]);
    for (i = 0; i < run->count; i++) {
        result = flight_finish(trial->target, &run->requests[i]);
        if (is_absent(result) ||
            (result == -EINVAL && run->pieces[i].operation >= OP_ZERO)) {
            trial_say(trial, STATE_SKIPPED, "the target has no %s of %lld "
                      "bytes", operation_name(run->pieces[i].operation),
                      (long long)run->pieces[i].bytes);
        } else if (result) {
            if (!run->failed++)
                trial_note(trial, "a %s of %lld bytes failed: %s",
                           operation_name(run->pieces[i].operation),
                           (long long)run->pieces[i].bytes,
                           strerror(-result));
        }
    }
    return trial->state == STATE_HOLDS;
}

/* Does the sector at `at` have the bytes of one of its pieces? */
static void judge(struct run *run, int64_t at)
{
    int64_t sector = run->trial->target->sector;
    bool covered = false, fine = false;
    unsigned i;

    for (i = 0; i < run->count; i++) {
        const struct piece *piece = &run->pieces[i];

        if (at < piece->offset || at >= piece->offset + piece->bytes)
            continue;
        covered = true;
        /* Discarded bytes may be anything. */
        fine = fine || piece->operation == OP_DISCARD ||
               memcmp(run->after + at, run->data[i] + (at - piece->offset),
                      (size_t)sector) == 0;
    }
    run->written += covered;
    if (covered && !fine)
        run->lost++;
    if (!covered && memcmp(run->after + at, run->before + at,
                           (size_t)sector) != 0)
        run->neighbours++;
}

static void rounds(struct run *run)
{
    struct trial *trial = run->trial;
    struct target *target = trial->target;
    const struct race *race = trial->test_case->detail;
    int64_t place, at;
    unsigned round;

    for (round = 0; trial_goes_on(trial, round); round++) {
        place = target->base +
                (int64_t)(round % PLACES) * SPAN_BLOCKS * target->block;
        run->count = race->pieces(trial, round, run->pieces);
        if (!trial_do(trial, 0, OP_READ, place, run->span, run->before) ||
            !let_go(run, round, place) ||
            !trial_do(trial, 0, OP_READ, place, run->span, run->after))
            return;
        for (at = 0; at < run->span; at += target->sector)
            judge(run, at);
    }
}

void run_race(struct trial *trial)
{
    struct target *target = trial->target;
    struct run *run = calloc(1, sizeof *run);
    unsigned i;

    if (target->block == target->sector) {
        trial_say(trial, STATE_SKIPPED, "the target takes no requests "
                  "smaller than a block, %u", (unsigned)target->block);
        free(run);
        return;
    }
    run->trial = trial;
    run->span = (int64_t)SPAN_BLOCKS * target->block;
    run->before = new_buffer(run->span);
    run->after = new_buffer(run->span);
    for (i = 0; i < PIECES_MAX; i++)
        run->data[i] = new_buffer(run->span);
    rounds(run);
    trial_say(trial, run->lost || run->neighbours || run->failed
                         ? STATE_BROKEN : STATE_HOLDS,
              "%lu of %lu sectors lost, %lu neighbours changed, %lu requests "
              "failed", run->lost, run->written, run->neighbours,
              run->failed);
    for (i = 0; i < PIECES_MAX; i++)
        free(run->data[i]);
    free(run->before);
    free(run->after);
    free(run);
}
