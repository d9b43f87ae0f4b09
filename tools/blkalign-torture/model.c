/*
 * Random operations of any shape, many at once, against a copy in memory.
 *
 * The operations follow from the seed alone, not from which request is faster:
 * operation N is chosen from the seed and N, and waits while an operation that
 * overlaps it is under way. So each byte has one writer at a time, and each
 * read one right answer; but requests share blocks all the time.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SPAN_BLOCKS = 48, SLOTS = 16, GUARD_BYTES = 64, GUARD = 0x5c,
       OPERATIONS_PER_ROUND = 20 };

struct model {
    struct trial *trial;
    int64_t place, span;
    unsigned char *copy;
    unsigned char *maybe_zero;  /* partly discarded: the copy, or zeros */
    unsigned char *loose;       /* discarded as whole blocks: anything */
    uint32_t *writer;           /* number of the operation, from 1 */
    uint32_t next;
    bool no_zero, no_discard;
    unsigned long counts[5];

    bool busy[SLOTS];
    struct request requests[SLOTS];
    struct iovec iov[SLOTS];
    unsigned char *data[SLOTS];
    uint32_t number[SLOTS];
    unsigned in_flight;
};

/* ---- the next operation ---- */

static int64_t whole_units(const struct model *model, int64_t bytes)
{
    int64_t unit = model->trial->target->facts.smallest;

    return bytes / unit * unit;
}

static void choose_range(struct model *model, struct request *request)
{
    struct trial *trial = model->trial;
    const struct target *target = trial->target;
    uint64_t dice = trial_random(trial), place = trial_random(trial);
    int64_t grain = target->sector, bytes = target->sector;
    int64_t block = target->block;

    if (dice % 10 >= 8) {               /* anything at all */
        grain = target->facts.smallest;
        bytes = 1 + (int64_t)(dice / 16 % (uint64_t)(2 * block));
        bytes = whole_units(model, bytes);
    } else if (dice % 10 >= 6) {        /* whole blocks */
        grain = block;
        bytes = block * (1 + (int64_t)(dice / 16 % 3));
    } else if (dice % 10 >= 4) {        /* some sectors */
        bytes = grain * (1 + (int64_t)(dice / 16 % 12));
    }
    if (bytes <= 0)
        bytes = target->facts.smallest;
    /* Half of all operations are near the end, whose last block may be
     * partial. */
    request->offset = (int64_t)(place / 2 % (uint64_t)(model->span - bytes));
    if (place % 2)
        request->offset = model->span - bytes -
                          request->offset % (SPAN_BLOCKS / 8 * block);
    if (request->offset < 0)
        request->offset = 0;
    request->offset = whole_units(model, request->offset / grain * grain);
    request->offset += model->place;
    request->bytes = bytes;
}

static void choose(struct model *model, struct request *request)
{
    struct trial *trial = model->trial;
    uint64_t dice = trial_random(trial) % 100;

    memset(request, 0, sizeof *request);
    request->handle = (unsigned)(trial_random(trial) % trial->handles);
    choose_range(model, request);
    request->operation = dice < 50   ? OP_WRITE
                         : dice < 82 ? OP_READ
                         : dice < 90 ? OP_ZERO
                         : dice < 95 ? OP_DISCARD
                                     : OP_FLUSH;
    request->fua = trial->target->facts.fua && dice < 5;
    if (request->operation == OP_FLUSH)
        request->offset = request->bytes = 0;
    if ((request->operation == OP_ZERO &&
         (model->no_zero || !trial->target->facts.zero)) ||
        (request->operation == OP_DISCARD &&
         (model->no_discard || !trial->target->facts.discard)) ||
        (request->operation == OP_FLUSH && !trial->target->facts.flush))
        request->operation = OP_READ;
}

static bool overlaps(const struct request *a, const struct request *b)
{
    return (a->operation != OP_READ || b->operation != OP_READ) &&
           a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

/* ---- the result of an operation ---- */

static void check_byte(struct model *model, unsigned slot, int64_t at,
                       unsigned char got)
{
    if (got == model->copy[at] || model->loose[at] ||
        (model->maybe_zero[at] && got == 0))
        return;
    trial_say(model->trial, STATE_BROKEN, "operation %lu (a read of %lld "
              "bytes at %lld, handle %u): the byte at %lld is 0x%02x, not "
              "0x%02x, which operation %lu wrote",
              (unsigned long)model->number[slot],
              (long long)model->requests[slot].bytes,
              (long long)model->requests[slot].offset,
              model->requests[slot].handle, (long long)(model->place + at),
              got, model->copy[at], (unsigned long)model->writer[at]);
}

static void check_read(struct model *model, unsigned slot)
{
    const struct request *request = &model->requests[slot];
    const unsigned char *got = request->iov->iov_base;
    int64_t i, start = request->offset - model->place;

    if (memcmp(got, model->copy + start, (size_t)request->bytes))
        for (i = 0; i < request->bytes; i++)
            check_byte(model, slot, start + i, got[i]);
    for (i = 0; i < GUARD_BYTES; i++)
        if (got[-1 - i] != GUARD || got[request->bytes + i] != GUARD)
            trial_say(model->trial, STATE_BROKEN, "operation %lu (a read of "
                      "%lld bytes): memory beside the caller's changed",
                      (unsigned long)model->number[slot],
                      (long long)request->bytes);
}

static void settle(struct model *model, unsigned slot)
{
    struct request *request = &model->requests[slot];
    size_t bytes = (size_t)request->bytes;
    int64_t i, start = request->offset - model->place;

    model->busy[slot] = false;
    model->in_flight--;
    if (request->result &&
        (request->operation == OP_ZERO || request->operation == OP_DISCARD)) {
        /* The target lacks the operation, or refuses such ranges: go on
         * without. */
        if (is_absent(request->result) || request->result == -EINVAL) {
            model->no_zero |= request->operation == OP_ZERO;
            model->no_discard |= request->operation == OP_DISCARD;
            return;
        }
    }
    if (!trial_accepts(model->trial, request->result, request->operation,
                       request->offset, request->bytes))
        return;
    model->counts[request->operation]++;
    if (request->operation == OP_READ) {
        check_read(model, slot);
        return;
    }
    if (request->operation == OP_FLUSH)
        return;
    if (request->operation == OP_WRITE)
        memcpy(model->copy + start, request->iov->iov_base, bytes);
    else if (request->operation == OP_ZERO)
        memset(model->copy + start, 0, bytes);
    memset(model->maybe_zero + start, request->operation == OP_DISCARD,
           bytes);
    if (request->operation == OP_DISCARD)
        loosen(model->trial->target, model->loose, start, request->bytes);
    else
        memset(model->loose + start, 0, bytes);
    for (i = 0; i < request->bytes; i++)
        model->writer[start + i] = model->number[slot];
}

/* ---- all of them ---- */

/* A free slot, as soon as no operation overlaps the next one any more. */
static unsigned make_room(struct model *model, const struct request *next)
{
    unsigned slot;
    bool in_the_way = true;

    while (in_the_way || model->in_flight == SLOTS) {
        in_the_way = false;
        for (slot = 0; slot < SLOTS; slot++)
            in_the_way |= model->busy[slot] &&
                          overlaps(&model->requests[slot], next);
        if (in_the_way || model->in_flight == SLOTS)
            settle(model, flight_finish_any(model->trial->target,
                                            model->requests, model->busy,
                                            SLOTS));
    }
    for (slot = 0; model->busy[slot]; slot++)
        ;
    return slot;
}

static void start_one(struct model *model)
{
    struct trial *trial = model->trial;
    uint32_t step = trial->target->facts.memory;
    struct request next;
    unsigned char *to;
    unsigned slot;

    choose(model, &next);
    slot = make_room(model, &next);
    to = model->data[slot] + (step > GUARD_BYTES ? step : GUARD_BYTES) +
         (step > 1 ? 0 : trial_random(trial) % 16);
    model->requests[slot] = next;
    model->number[slot] = ++model->next;
    model->iov[slot] = (struct iovec){ to, (size_t)next.bytes };
    memset(to - GUARD_BYTES, GUARD, (size_t)next.bytes + 2 * GUARD_BYTES);
    if (next.operation == OP_WRITE)
        stamp(to, trial->settings->seed + model->next, next.offset,
              next.bytes);
    model->requests[slot].iov = &model->iov[slot];
    model->requests[slot].iovcnt = 1;
    flight_start(trial->target, &model->requests[slot]);
    model->busy[slot] = true;
    model->in_flight++;
}

static void play(struct model *model)
{
    struct trial *trial = model->trial;
    unsigned char *all = new_buffer(model->span);
    int64_t i;

    stamp(all, trial->settings->seed, 0, model->span);
    if (trial_do(trial, 0, OP_WRITE, model->place, model->span, all)) {
        memcpy(model->copy, all, (size_t)model->span);
        while (trial_goes_on(trial, model->next / OPERATIONS_PER_ROUND) &&
               trial->state == STATE_HOLDS)
            start_one(model);
    }
    while (model->in_flight)
        settle(model, flight_finish_any(trial->target, model->requests,
                                        model->busy, SLOTS));
    if (trial->state == STATE_HOLDS &&
        trial_do(trial, 0, OP_READ, model->place, model->span, all)) {
        model->number[0] = ++model->next;
        model->requests[0] = (struct request){ .offset = model->place,
                                               .bytes = model->span };
        for (i = 0; i < model->span; i++)
            check_byte(model, 0, i, all[i]);
    }
    free(all);
}

void run_model(struct trial *trial)
{
    struct target *target = trial->target;
    struct model *model = calloc(1, sizeof *model);
    int64_t most;
    unsigned i;

    if (!model)
        abort();
    model->trial = trial;
    most = target->length / target->facts.smallest * target->facts.smallest;
    model->place = (most / target->block - SPAN_BLOCKS) * target->block;
    model->span = most - model->place;
    model->copy = new_buffer(model->span);
    model->maybe_zero = new_buffer(model->span);
    model->loose = new_buffer(model->span);
    model->writer = calloc((size_t)model->span, sizeof *model->writer);
    for (i = 0; i < SLOTS; i++)
        model->data[i] = new_buffer(model->span + 65536);
    play(model);
    trial_say(trial, STATE_HOLDS, "%lu reads, %lu writes, %lu zeroings, %lu "
              "discards and %lu flushes, %u at once", model->counts[OP_READ],
              model->counts[OP_WRITE], model->counts[OP_ZERO],
              model->counts[OP_DISCARD], model->counts[OP_FLUSH],
              (unsigned)SLOTS);
    for (i = 0; i < SLOTS; i++)
        free(model->data[i]);
    free(model->copy);
    free(model->maybe_zero);
    free(model->loose);
    free(model->writer);
    free(model);
}
