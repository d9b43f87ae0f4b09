/*
 * Large requests, long vectors, and the end of the target: an odd length, and
 * requests that pass the end.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LARGEST = 32 << 20, ELEMENTS = 3000 };

/* ---- large requests ---- */

/* Writes, reads back, and checks the neighbours on both sides. */
static bool large_one(struct trial *trial, int64_t offset, int64_t bytes)
{
    int64_t beside = trial->target->facts.smallest, wrong = -1;
    unsigned char *data = new_buffer(bytes), *got = new_buffer(bytes);
    unsigned char *low = new_buffer(beside), *high = new_buffer(beside);
    int64_t after = offset + bytes;

    stamp(data, trial_random(trial), 0, bytes);
    stamp(low, trial_random(trial), 0, beside);
    stamp(high, trial_random(trial), 0, beside);
    if (trial_do(trial, 0, OP_WRITE, offset - beside, beside, low) &&
        trial_do(trial, 0, OP_WRITE, after, beside, high) &&
        trial_do(trial, 0, OP_WRITE, offset, bytes, data) &&
        trial_do(trial, 0, OP_READ, offset, bytes, got) &&
        (wrong = difference(got, data, bytes)) >= 0)
        trial_say(trial, STATE_BROKEN, "a write of %lld bytes at %lld left "
                  "something else at %lld", (long long)bytes,
                  (long long)offset, (long long)(offset + wrong));
    if (wrong < 0 &&
        trial_do(trial, 0, OP_READ, offset - beside, beside, got) &&
        difference(got, low, beside) < 0 &&
        trial_do(trial, 0, OP_READ, after, beside, got) &&
        difference(got, high, beside) < 0)
        wrong = 0;
    else
        trial_say(trial, STATE_BROKEN, "a write of %lld bytes at %lld "
                  "changed its neighbours", (long long)bytes,
                  (long long)offset);
    free(data);
    free(got);
    free(low);
    free(high);
    return trial->state == STATE_HOLDS;
}

void run_large(struct trial *trial)
{
    struct target *target = trial->target;
    int64_t unit = target->facts.smallest, most = LARGEST, bytes;
    int64_t offset = target->base + (int64_t)target->sector + unit;

    if (target->facts.largest && target->facts.largest < most)
        most = target->facts.largest;
    if (most > target->length - offset - target->block)
        most = target->length - offset - target->block;
    most = most / unit * unit;
    for (bytes = most; bytes >= 65536 && bytes >= 4 * unit;
         bytes = bytes / 5 / unit * unit) {
        if (!large_one(trial, offset / unit * unit, bytes))
            return;
    }
    trial_say(trial, STATE_HOLDS, "up to %lld bytes at odd places",
              (long long)most);
}

/* ---- long vectors ---- */

static void vector_request(struct trial *trial, struct iovec *iov,
                           enum operation operation, int64_t offset,
                           int64_t bytes)
{
    struct request request = { .operation = operation, .offset = offset,
                               .bytes = bytes, .iov = iov,
                               .iovcnt = ELEMENTS };

    flight_start(trial->target, &request);
    trial_accepts(trial, flight_finish(trial->target, &request), operation,
                  offset, bytes);
}

/* Far more elements than IOV_MAX, of uneven lengths, at odd addresses. */
void run_vectors(struct trial *trial)
{
    struct iovec *iov;
    unsigned char *from, *to;
    int64_t bytes = 0, offset = trial->target->base + 7;
    unsigned i;

    if (!trial->target->facts.vectors || trial->target->facts.memory > 1 ||
        trial->target->facts.smallest > 1) {
        trial_say(trial, STATE_SKIPPED, "the interface has no vectors");
        return;
    }
    iov = calloc(ELEMENTS, sizeof *iov);
    from = new_buffer(ELEMENTS * 32);
    to = new_buffer(ELEMENTS * 32);
    if (!iov)
        abort();
    for (i = 0; i < ELEMENTS; i++) {
        iov[i].iov_len = (size_t)(1 + trial_random(trial) % 13);
        iov[i].iov_base = from + bytes;
        bytes += (int64_t)iov[i].iov_len;
    }
    stamp(from, trial_random(trial), 0, bytes);
    vector_request(trial, iov, OP_WRITE, offset, bytes);
    for (i = 0; i < ELEMENTS; i++)
        iov[i].iov_base = to + ((unsigned char *)iov[i].iov_base - from);
    vector_request(trial, iov, OP_READ, offset, bytes);
    if (memcmp(from, to, (size_t)bytes) != 0)
        trial_say(trial, STATE_BROKEN, "of a vector of %d elements, %lld "
                  "bytes, the %lldth is wrong", ELEMENTS, (long long)bytes,
                  (long long)difference(from, to, bytes));
    trial_say(trial, STATE_HOLDS, "%d elements of 1 to 13 bytes", ELEMENTS);
    free(iov);
    free(from);
    free(to);
}

/* ---- the end ---- */

/* The length of the storage behind a server; -1: not known. */
static int64_t length_behind(const struct trial *trial)
{
    const char *behind = trial->settings->behind;
    struct stat status;

    if (behind && stat(behind, &status) == 0 && S_ISREG(status.st_mode))
        return status.st_size;
    return -1;
}

/* Compares the present length, as the target and the storage behind it report
 * it, with the earlier one. */
static void check_length(struct trial *trial, int64_t expected,
                         int64_t expected_behind, const char *when)
{
    struct facts facts;
    int64_t behind = length_behind(trial);
    int result = trial->target->adapter->describe(trial->target->handles[0],
                                                  &facts);

    if (result == 0 && facts.length != expected)
        trial_say(trial, STATE_BROKEN, "%s the target shows %lld bytes of "
                  "%lld", when, (long long)facts.length,
                  (long long)expected);
    if (behind != expected_behind)
        trial_say(trial, STATE_BROKEN, "%s what is behind has %lld bytes "
                  "instead of %lld", when, (long long)behind,
                  (long long)expected_behind);
}

static int64_t true_length(const struct trial *trial)
{
    if (length_behind(trial) >= 0)
        return length_behind(trial);
    return trial->settings->adapter->own_memory ? OWN_MEMORY_BYTES
                                                : trial->target->length;
}

/* Writes across and inside of the last, partial block. */
static void write_the_end(struct trial *trial, int64_t length)
{
    struct target *target = trial->target;
    int64_t unit = target->facts.smallest, bytes, wrong;
    int64_t start = length / target->block * target->block - target->block;
    int64_t end = length / unit * unit, span = end - start, i;
    unsigned char *all = new_buffer(span), *got = new_buffer(span);
    int64_t lengths[] = { unit, target->sector, 0, 0 };

    lengths[2] = length % target->block / unit * unit;
    lengths[3] = span;
    stamp(all, trial_random(trial), 0, span);
    if (!trial_do(trial, 0, OP_WRITE, start, span, all))
        goto out;
    for (i = 0; i < 4; i++) {
        bytes = lengths[i] / unit * unit;
        if (bytes <= 0 || bytes > span)
            continue;
        stamp(got, trial_random(trial), 0, bytes);
        if (!trial_do(trial, 0, OP_WRITE, end - bytes, bytes, got))
            goto out;
        memcpy(all + (span - bytes), got, (size_t)bytes);
        if (!trial_do(trial, 0, OP_READ, start, span, got))
            goto out;
        wrong = difference(all, got, span);
        if (wrong >= 0)
            trial_say(trial, STATE_BROKEN, "after a write of the last %lld "
                      "bytes the byte at %lld is wrong", (long long)bytes,
                      (long long)(start + wrong));
    }
    if (end != length)
        trial_say(trial, STATE_BROKEN, "the last %lld bytes cannot be "
                  "reached: requests are multiples of %lld",
                  (long long)(length - end), (long long)unit);
out:
    free(all);
    free(got);
}

void run_odd_length(struct trial *trial)
{
    struct target *target = trial->target;
    int64_t length = true_length(trial), behind = length_behind(trial);

    if (length % target->block == 0) {
        trial_say(trial, STATE_SKIPPED, "the length, %lld, is a multiple of "
                  "the block", (long long)length);
        return;
    }
    check_length(trial, length, behind, "at first");
    if (trial->state == STATE_HOLDS)
        write_the_end(trial, length);
    check_length(trial, length, behind, "then");
    trial_say(trial, STATE_HOLDS, "%lld bytes, %lld past the last block",
              (long long)length, (long long)(length % target->block));
}

/* One request past the end: it must fail. */
static void past_end(struct trial *trial, enum operation operation,
                     int64_t offset, int64_t bytes, unsigned char *data)
{
    struct target *target = trial->target;

    if (target_do(target, 0, operation, offset, bytes, data) == 0)
        trial_say(trial, STATE_BROKEN, "a %s of %lld bytes at %lld, past "
                  "the end, %lld, succeeded", operation_name(operation),
                  (long long)bytes, (long long)offset,
                  (long long)target->length);
}

void run_past_end(struct trial *trial)
{
    struct target *target = trial->target;
    int64_t unit = target->facts.smallest;
    int64_t end = target->length / unit * unit, before = end - target->block;
    int64_t span = target->block, offsets[4], wrong = -1, i;
    int64_t behind = length_behind(trial);
    unsigned char *data, *last, *now;

    if (target->facts.grows) {
        trial_say(trial, STATE_SKIPPED, "a file grows, as it should");
        return;
    }
    offsets[0] = end - unit;
    offsets[1] = end;
    offsets[2] = end + target->block;
    offsets[3] = (INT64_C(1) << 62) - target->block;
    data = new_buffer(2 * unit);
    last = new_buffer(2 * span);
    now = new_buffer(2 * span);
    before = before / unit * unit;
    span = end - before;
    trial_do(trial, 0, OP_READ, before, span, last);
    stamp(data, trial_random(trial), 0, 2 * unit);
    for (i = 0; i < 4; i++)
        past_end(trial, OP_WRITE, offsets[i], 2 * unit, data);
    if (trial_do(trial, 0, OP_READ, before, span, now))
        wrong = difference(now, last, span);
    /* A part of the failed write that lies before the end may have been done.
     * */
    if (wrong >= 0 && wrong < span - unit)
        trial_say(trial, STATE_BROKEN, "a write past the end changed the "
                  "byte at %lld", (long long)(before + wrong));
    for (i = 0; i < 4; i++)
        past_end(trial, OP_READ, offsets[i], 2 * unit, data);
    check_length(trial, target->length, behind, "then");
    trial_say(trial, STATE_HOLDS, wrong < 0
              ? "refused, nothing changed"
              : "refused, but what fitted was written");
    free(data);
    free(last);
    free(now);
}
