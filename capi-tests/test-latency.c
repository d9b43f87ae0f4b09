/*
 * blkalign_get_latency: each request is counted once, under its kind, with a
 * time that can be true; nothing is counted before somebody asks.
 */
#include "common_aio.h"
#include "common_held.h"
#include "common_mode.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define HELD_MS 60

static uint8_t *buf;

static blkalign_latency latency_of(blkalign_handle *handle, uint32_t op)
{
    blkalign_latency latency = BLKALIGN_LATENCY_INIT;

    if (blkalign_get_latency(handle, op, &latency))
        bail("%s", blkalign_errmsg());
    return latency;
}

static uint64_t in_buckets(const blkalign_latency *latency)
{
    uint64_t sum = 0;
    int i;

    for (i = 0; i < BLKALIGN_LATENCY_BUCKETS; i++)
        sum += latency->buckets[i];
    return sum;
}

static void counts(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    static const uint32_t ops[] = { BLKALIGN_OP_READ, BLKALIGN_OP_WRITE,
                                    BLKALIGN_OP_WRITE_ZEROES,
                                    BLKALIGN_OP_DISCARD, BLKALIGN_OP_FLUSH };
    static const uint64_t want[] = { 7, 9, 1, 1, 2 };
    struct answer answers[16];
    blkalign_latency latency;
    blkalign_handle *handle;
    struct bed bed;
    int i, wrong = 0;

    if (bed_make(&bed, BED_FILE, 32 * BLOCK))
        skip_all("%s", bed.why_not);
    handle = bed_open(&bed, &options);
    blkalign_pread(handle, 5, 5, buf, 0);
    for (i = 0; i < 5; i++)
        wrong += latency_of(handle, ops[i]).count != 0;
    is_int(wrong, 0, "%s: nothing was counted before", mode_words());
    for (i = 0; i < 5; i++)
        aio_read(handle, i * 700, buf, 500, &answers[i]);
    for (i = 5; i < 13; i++)
        aio_write(handle, i * 700, buf, 500, 0, &answers[i]);
    for (i = 0; i < 13; i++)
        wrong += answer_wait(&answers[i]) != 0;
    aio_flush(handle, &answers[0]);
    wrong += answer_wait(&answers[0]) != 0;
    wrong += blkalign_pread(handle, 0, BLOCK, buf, 0) != 0;
    wrong += blkalign_pread(handle, 1, 1, buf, 0) != 0;
    wrong += blkalign_pwrite(handle, 3, 3, buf, 0) != 0;
    wrong += blkalign_pwrite_zeroes(handle, 0, BLOCK, 0) != 0;
    wrong += blkalign_pdiscard(handle, 0, BLOCK) != 0;
    wrong += blkalign_flush(handle) != 0;
    is_int(wrong, 0, "%s: requests", mode_words());
    for (i = 0; i < 5; i++) {
        latency = latency_of(handle, ops[i]);
        is_int((int64_t)latency.count, (int64_t)want[i], "%s: kind %u",
               mode_words(), ops[i]);
        is_int((int64_t)in_buckets(&latency), (int64_t)want[i],
               "%s: all in buckets", mode_words());
        ok(latency.p50_ns <= latency.p90_ns &&
               latency.p90_ns <= latency.p99_ns &&
               latency.p99_ns <= latency.p999_ns &&
               latency.p999_ns <= latency.max_ns &&
               latency.max_ns <= latency.total_ns && latency.max_ns > 0 &&
               latency.max_ns < UINT64_C(60000000000),
           "%s: in order", mode_words());
    }
    blkalign_close(handle);
    bed_remove(&bed);
}

/* One request that takes long, one that fails, one that is cancelled. */
static void times(void)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct held *held = held_new(16);
    blkalign_handle *handle;
    struct answer slow, taken;
    blkalign_latency latency;
    int64_t begin, took;

    options.flags |= BLKALIGN_O_NO_MERGE;
    handle = held_open(held, &options);
    latency_of(handle, BLKALIGN_OP_READ);
    begin = now_ms();
    aio_write(handle, 0, buf, BLOCK, 0, &slow);
    held_wait(held, 1);
    aio_write(handle, 5, buf, 5, 0, &taken);
    sleep_ms(HELD_MS);
    is_int(blkalign_aio_cancel(handle, taken.id), 0, "cancel");
    held_release(held, HELD_WRITE, 0, -EIO);
    is_int(answer_wait(&slow), -EIO, "one that fails after a while");
    answer_wait(&taken);
    took = (now_ms() - begin + 1) * 1000000;
    latency = latency_of(handle, BLKALIGN_OP_WRITE);
    is_int((int64_t)latency.count, 1, "counts; the cancelled one does not");
    ok(latency.max_ns >= HELD_MS * UINT64_C(1000000) &&
           latency.max_ns <= (uint64_t)took,
       "with its time");
    is_int((int64_t)latency.p50_ns, (int64_t)latency.max_ns,
           "which is the median of one");
    held_pass(held);
    blkalign_close(handle);
    held_free(held);
}

static void arguments(void)
{
    blkalign_latency latency = BLKALIGN_LATENCY_INIT;
    struct sim_options disk = sim_disk_4k(16 * BLOCK, SIM_SYNC);
    struct sim *sim = sim_new(&disk);
    blkalign_handle *handle = sim_open(sim, NULL);
    uint32_t i;
    int wrong = 0;

    is_int(blkalign_get_latency(handle, 0, &latency), -EINVAL, "kind 0");
    is_int(blkalign_get_latency(handle, 6, &latency), -EINVAL, "kind 6");
    is_int(blkalign_get_latency(handle, 1, NULL), -EINVAL, "no struct");
    is_int(blkalign_get_latency(NULL, 1, &latency), -EINVAL, "no handle");
    latency.size = 1;
    is_int(blkalign_get_latency(handle, 1, &latency), -EINVAL, "size 1");
    latency.size = 4 * sizeof(size_t);
    latency.p50_ns = 99;
    is_int(blkalign_get_latency(handle, 1, &latency), 0, "an older struct");
    is_int((int64_t)latency.p50_ns, 99, "is not overrun");
    for (i = 1; i < BLKALIGN_LATENCY_BUCKETS; i++)
        wrong += blkalign_latency_bucket_ns(i) <=
                 blkalign_latency_bucket_ns(i - 1);
    is_int(wrong, 0, "buckets are in order");
    ok(blkalign_latency_bucket_ns(BLKALIGN_LATENCY_BUCKETS - 1) == UINT64_MAX
           && blkalign_latency_bucket_ns(UINT32_MAX) == UINT64_MAX,
       "the last has no end");
    blkalign_close(handle);
    sim_free(sim);
}

int main(void)
{
    unsigned i;

    run_begin(60);
    buf = aligned_memory(2 * BLOCK);
    for (i = 0; i < MODES; i++, mode_next())
        counts();
    times();
    arguments();
    free(buf);
    return done_testing();
}
