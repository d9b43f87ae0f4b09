/*
 * Which request comes next: its offset, and whether it is a read or a write.
 * The code is cheap, since its time is measured as well, and repeatable from
 * the seed, since --verify replays it to know what should have been written.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

/* xorshift64*: the state is never 0. */
static uint64_t draw(struct aims *aims)
{
    uint64_t x = aims->random;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    aims->random = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Uniform below `end`. Exact for an `end` below 2^32, else slightly uneven. */
static uint64_t draw_below(struct aims *aims, uint64_t end)
{
    if (end >> 32)
        return draw(aims) % end;
    return ((draw(aims) >> 32) * end) >> 32;
}

/*
 * A rank from 1 to `ranks`, rank k with a probability in proportion to 1/k:
 * first an octave [2^i, 2^(i+1)), each with the same probability, then a rank
 * in the octave, which is accepted with probability 2^i / rank.
 */
static uint64_t draw_zipf(struct aims *aims, uint64_t ranks)
{
    unsigned octaves = 64 - (unsigned)__builtin_clzll(ranks);

    for (;;) {
        uint64_t base = UINT64_C(1) << draw_below(aims, octaves);
        uint64_t rank = base + draw_below(aims, base);

        if (rank <= ranks && draw_below(aims, rank) < base)
            return rank;
    }
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/*
 * As in `qemu-img bench`: the next offset is a step further, modulo the length
 * of the disk. Where a request no longer fits before the end, `qemu-img bench`
 * fails or drifts, depending on its version; here the offsets begin again at
 * 0.
 */
static int64_t wrapped(const struct aims *aims, int64_t offset)
{
    offset %= aims->length;
    return offset > aims->last ? 0 : offset;
}

void aims_init(struct aims *aims, const struct settings *settings,
               int64_t length, unsigned submitter)
{
    int64_t step = settings->step_bytes;

    aims->order = settings->order;
    aims->random = (settings->seed + submitter + 1) *
                   UINT64_C(0x9e3779b97f4a7c15);
    if (!aims->random)
        aims->random = 1;
    aims->read_below = (((uint64_t)settings->read_percent << 32) + 99) / 100;
    aims->mixed = settings->read_percent > 0 && settings->read_percent < 100;
    aims->length = length;
    aims->last = length - settings->request_bytes;
    aims->start = settings->start_offset;
    aims->step = step;
    /* --poll all: one sequence for all submitters. */
    aims->stride = settings->poll == POLL_ALL ? step % length :
        step % length * settings->threads % length;
    aims->offset = submitter ?
        wrapped(aims, aims->start + step % length * submitter) : aims->start;
    aims->positions = (uint64_t)((aims->last - aims->start) / step) + 1;
    /* Zipf: neighbours in rank should not be neighbours on the disk. */
    aims->scatter = UINT64_C(2654435761);
    if (aims->positions >> 32 ||
        common_divisor(aims->scatter, aims->positions) != 1)
        aims->scatter = 1;
}

struct aim aims_next(struct aims *aims)
{
    struct aim aim;
    uint64_t position;

    switch (aims->order) {
    case ORDER_SEQ:
        aim.offset = aims->offset;
        aims->offset = wrapped(aims, aims->offset + aims->stride);
        break;
    case ORDER_SAME:
        aim.offset = aims->start;
        break;
    case ORDER_RANDOM:
        position = draw_below(aims, aims->positions);
        aim.offset = aims->start + (int64_t)position * aims->step;
        break;
    default:
        position = (draw_zipf(aims, aims->positions) - 1) * aims->scatter %
                   aims->positions;
        aim.offset = aims->start + (int64_t)position * aims->step;
    }
    aim.read = aims->mixed ? draw(aims) >> 32 < aims->read_below
                           : aims->read_below != 0;
    return aim;
}
