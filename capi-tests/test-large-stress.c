/*
 * Large writes of odd lengths, small ones, flushes and reads at once, where
 * each takes the file system long: on ext4 with data=journal all of it goes
 * through the page cache and the journal, and a large write may come back in
 * pieces. Every request must come back, and each byte must be right.
 * BLKALIGN_TEST_SECONDS prolongs it, BLKALIGN_SEED replays it.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define LARGE 8318463           /* one such write once took 30 s and more */
#define SMALL 700
#define SMALLS 12
#define SPACING 65536
#define DISK_BYTES (24 << 20)
/* Large writes are in the first part of the disk, small ones in the rest, the
 * first of them in the block of the large one's end. */
#define LARGE_AT 4999
#define SMALL_AT (LARGE_AT + LARGE)

static uint8_t *large, *got;
static uint8_t small[SMALLS][SMALL];
static int64_t longest_ms;

static int waited_for(struct answer *answer, int64_t begin)
{
    int ret = answer_wait(answer);

    if (now_ms() - begin > longest_ms)
        longest_ms = now_ms() - begin;
    return ret;
}

/* One round; returns how many requests failed or did not come back. */
static int round_of(blkalign_handle *handle, uint64_t seed)
{
    struct answer large_done, flushed, done[SMALLS];
    int64_t begin = now_ms();
    int i, failed = 0;

    pattern_fill(large, seed, LARGE_AT, LARGE);
    aio_write(handle, LARGE_AT, large, LARGE, 0, &large_done);
    for (i = 0; i < SMALLS; i++) {
        int64_t at = SMALL_AT + (int64_t)i * SPACING;

        pattern_fill(small[i], seed + 1, at, SMALL);
        aio_write(handle, at, small[i], SMALL,
                  i % 4 ? 0 : BLKALIGN_REQ_FUA, &done[i]);
        if (i == SMALLS / 2)
            aio_flush(handle, &flushed);
    }
    failed += waited_for(&large_done, begin) != 0;
    failed += waited_for(&flushed, begin) != 0;
    for (i = 0; i < SMALLS; i++)
        failed += waited_for(&done[i], begin) != 0;
    return failed;
}

static int64_t wrong_at(blkalign_handle *handle, uint64_t seed)
{
    int64_t wrong, at;
    int i;

    if (blkalign_pread(handle, 0, DISK_BYTES, got, 0))
        return INT64_MAX;
    wrong = pattern_differs(got + LARGE_AT, seed, LARGE_AT, LARGE);
    for (i = 0; i < SMALLS && wrong < 0; i++) {
        at = SMALL_AT + (int64_t)i * SPACING;
        wrong = pattern_differs(got + at, seed + 1, at, SMALL);
    }
    for (i = 0; i < LARGE_AT && wrong < 0; i++)
        if (got[i])
            wrong = i;
    return wrong;
}

static void stress(enum bed_kind kind, uint32_t engine, int64_t ms)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, 0);
    int failed = 0, rounds = 0;
    int64_t end, wrong = -1;
    blkalign_handle *handle;
    uint64_t seed = run_seed();
    struct bed bed;

    if (bed_make(&bed, kind, DISK_BYTES)) {
        skip(bed.why_not, "%s: large writes", bed.name);
        return;
    }
    options.engine = engine;
    handle = bed_open(&bed, &options);
    longest_ms = 0;
    end = now_ms() + ms;
    do {
        failed += round_of(handle, seed);
        wrong = wrong_at(handle, seed);
        seed += 2;
        rounds++;
    } while (!failed && wrong < 0 && now_ms() < end);
    is_int(failed, 0, "%s, engine %u: all came back, in %d rounds", bed.name,
           engine, rounds);
    is_int(wrong, -1, "%s: every byte is right", bed.name);
    diag("the longest took %lld ms", (long long)longest_ms);
    is_int(blkalign_close(handle), 0, "%s: close", bed.name);
    bed_remove(&bed);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_EXT4_JOURNAL, BED_EXT4,
                                           BED_XFS };
    const char *seconds = getenv("BLKALIGN_TEST_SECONDS");
    int64_t ms = seconds ? 1000 * strtoll(seconds, NULL, 10) : 300;
    unsigned i;

    run_begin(120);
    large = aligned_memory(LARGE);
    got = aligned_memory(DISK_BYTES);
    for (i = 0; i < 3; i++) {
        stress(kinds[i], BLKALIGN_ENGINE_AUTO, ms);
        if (i == 0)
            stress(kinds[i], BLKALIGN_ENGINE_THREADS, ms);
    }
    free(large);
    free(got);
    return done_testing();
}
