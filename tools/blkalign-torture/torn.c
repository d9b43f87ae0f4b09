/*
 * Reads beside a write of the same range: do they see all or nothing of the
 * write? No back end has to promise that, so the result is reported as a fact;
 * but a back end that promises it must keep the promise.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READERS = 3, AGAIN_MAX = 64 };

struct beside {
    struct trial *trial;
    int64_t bytes, place;
    unsigned char *old, *new, *got[READERS];
    unsigned long reads, torn;
};

static void judge(struct beside *beside, const unsigned char *got)
{
    size_t bytes = (size_t)beside->bytes;

    beside->reads++;
    beside->torn += memcmp(got, beside->old, bytes) != 0 &&
                    memcmp(got, beside->new, bytes) != 0;
}

/* Request 0 is the write. Readers read again as long as the write lasts. */
static void until_written(struct beside *beside, struct request *requests,
                          bool *busy)
{
    struct trial *trial = beside->trial;
    unsigned in_flight = READERS + 1, again = 0, i;

    while (in_flight) {
        i = flight_finish_any(trial->target, requests, busy, READERS + 1);
        if (!trial_accepts(trial, requests[i].result, requests[i].operation,
                           beside->place, beside->bytes))
            again = AGAIN_MAX;
        else if (i)
            judge(beside, beside->got[i - 1]);
        if (i && busy[0] && again++ < AGAIN_MAX) {
            flight_start(trial->target, &requests[i]);
        } else {
            busy[i] = false;
            in_flight--;
        }
    }
}

static bool one_round(struct beside *beside)
{
    struct trial *trial = beside->trial;
    struct request requests[READERS + 1];
    struct iovec iov[READERS + 1];
    bool busy[READERS + 1];
    unsigned i, first = (unsigned)(trial_random(trial) % (READERS + 1));
    unsigned char *kept = beside->old;

    beside->old = beside->new;
    beside->new = kept;
    stamp(beside->new, trial_random(trial), 0, beside->bytes);
    for (i = 0; i <= READERS; i++) {
        iov[i].iov_base = i ? beside->got[i - 1] : beside->new;
        iov[i].iov_len = (size_t)beside->bytes;
        busy[i] = true;
        requests[i] = (struct request){
            .operation = i ? OP_READ : OP_WRITE, .offset = beside->place,
            .bytes = beside->bytes, .iov = &iov[i], .iovcnt = 1
        };
    }
    for (i = 0; i <= READERS; i++)
        flight_start(trial->target, &requests[(first + i) % (READERS + 1)]);
    until_written(beside, requests, busy);
    return trial->state == STATE_HOLDS;
}

/* Appends to the words, which all sizes share. */
static void one_size(struct trial *trial, int64_t bytes, int64_t place,
                     char *words)
{
    uint32_t untorn = trial->target->facts.untorn;
    struct beside beside = { .trial = trial, .bytes = bytes,
                             .place = place };
    unsigned i, round;

    beside.old = new_buffer(bytes);
    beside.new = new_buffer(bytes);
    for (i = 0; i < READERS; i++)
        beside.got[i] = new_buffer(bytes);
    stamp(beside.new, trial_random(trial), 0, bytes);
    if (trial_do(trial, 0, OP_WRITE, place, bytes, beside.new))
        for (round = 0; trial_goes_on(trial, round); round++)
            if (!one_round(&beside))
                break;
    if (beside.torn && bytes <= untorn)
        trial_say(trial, STATE_BROKEN, "%lu of %lu reads of %lld bytes are "
                  "torn, though units of %u are promised", beside.torn,
                  beside.reads, (long long)bytes, (unsigned)untorn);
    snprintf(words + strlen(words), WORDS_BYTES - strlen(words),
             "%s%lu of %lu reads of %lld bytes", *words ? ", " : "",
             beside.torn, beside.reads, (long long)bytes);
    free(beside.old);
    free(beside.new);
    for (i = 0; i < READERS; i++)
        free(beside.got[i]);
}

void run_torn(struct trial *trial)
{
    struct target *target = trial->target;
    uint32_t untorn = target->facts.untorn;
    char words[WORDS_BYTES] = "", promise[64] = "nothing is promised";

    one_size(trial, target->sector, target->base + target->sector, words);
    if (target->block > target->sector)
        one_size(trial, target->block, target->base, words);
    one_size(trial, 16 * (int64_t)target->block, target->base, words);
    if (untorn)
        snprintf(promise, sizeof promise, "promised are units of %u",
                 (unsigned)untorn);
    trial_say(trial, STATE_FACT, "torn: %s; %s", words, promise);
}
