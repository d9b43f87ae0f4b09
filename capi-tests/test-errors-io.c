/*
 * Errors of the storage: a write whose edge read fails writes nothing, errors
 * reach the caller unchanged, a failed flush stays failed, a failed FUA write
 * does not; the same with every kind of driver.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES INT64_C(65536)

static const char *kind_words;
static struct sim *sim;
static blkalign_handle *handle;

static int disk_is_untouched(void)
{
    return pattern_differs(sim_bytes(sim), 1, 0, DISK_BYTES) == -1;
}

static void edge_read_fails(int64_t offset, int64_t bytes, int64_t bad_block)
{
    uint64_t written = sim_counts(sim).ios[SIM_WRITE];
    uint8_t *buf = aligned_memory((size_t)bytes);
    struct answer answer;

    memset(buf, 0xaa, (size_t)bytes);
    sim_fail_range(sim, SIM_READ, bad_block * BLOCK, BLOCK, EIO);
    is_int(blkalign_pwrite(handle, offset, bytes, buf, 0), -EIO,
           "%s: edge %d unreadable, %lld bytes at %lld: EIO", kind_words,
           (int)bad_block, (long long)bytes, (long long)offset);
    ok(blkalign_errmsg()[0] != 0, "in words: %s", blkalign_errmsg());
    aio_write(handle, offset, buf, (size_t)bytes, 0, &answer);
    is_int(answer_wait(&answer), -EIO, "the same from its callback");
    ok(answer.id > 0, "and not from submit");
    is_int((int64_t)sim_counts(sim).ios[SIM_WRITE], (int64_t)written,
           "nothing was written at all");
    ok(disk_is_untouched(), "no byte changed");
    sim_fail_range(sim, SIM_READ, 0, 0, 0);
    free(buf);
}

static void other_errors(void)
{
    uint8_t *buf = aligned_memory(3 * BLOCK);
    struct answer answer;

    pattern_fill(buf, 1, 0, 3 * BLOCK);
    sim_fail_range(sim, SIM_WRITE, 0, BLOCK, ENOSPC);
    is_int(blkalign_pwrite(handle, 0, BLOCK, buf, 0), -ENOSPC,
           "%s: ENOSPC of an aligned write", kind_words);
    is_int(blkalign_pwrite(handle, 9, 100, buf + 9, 0), -ENOSPC,
           "%s: ENOSPC of a sub-block write", kind_words);
    aio_write(handle, 9, buf + 9, 100, 0, &answer);
    is_int(answer_wait(&answer), -ENOSPC, "%s: ENOSPC by callback",
           kind_words);
    is_int(blkalign_pwrite(handle, 2 * BLOCK, BLOCK, buf + 2 * BLOCK, 0), 0,
           "%s: other blocks are still written", kind_words);
    sim_fail_range(sim, SIM_WRITE, 0, 0, 0);
    sim_fail_nth(sim, SIM_READ, 1, ETIMEDOUT);
    is_int(blkalign_pread(handle, 5, 10, buf, 0), -ETIMEDOUT,
           "%s: ETIMEDOUT of a read", kind_words);
    is_int(blkalign_pread(handle, 5, 10, buf, 0), 0,
           "%s: and only of that one", kind_words);
    is_int(pattern_differs(buf, 1, 5, 10), -1, "%s: which is right",
           kind_words);
    ok(disk_is_untouched(), "%s: no byte changed", kind_words);
    is_int((int64_t)stats_of(handle).in_flight, 0,
           "%s: nothing is left in flight", kind_words);
    free(buf);
}

/* Last, because a failed flush stays failed. */
static void flushes(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_handle *second = NULL;
    uint8_t byte = pattern_byte(1, 0);
    struct answer answer;

    is_int(blkalign_dup(handle, &options, &second), 0, "dup");
    is_int(blkalign_flush(handle), 0, "%s: a flush", kind_words);
    sim_fail_nth(sim, SIM_WRITE, 1, EIO);
    is_int(blkalign_pwrite(handle, 0, 1, &byte, BLKALIGN_REQ_FUA), -EIO,
           "%s: a FUA write that fails", kind_words);
    is_int(blkalign_flush(handle), 0, "%s: does not make flush fail",
           kind_words);
    sim_fail_nth(sim, SIM_FLUSH, 1, EIO);
    is_int(blkalign_flush(handle), -EIO, "%s: a flush that fails",
           kind_words);
    ok(blkalign_flush(handle) < 0, "%s: the next one fails too",
       kind_words);
    ok(blkalign_flush(second) < 0, "%s: also by another handle",
       kind_words);
    aio_flush(second, &answer);
    ok(answer_wait(&answer) < 0, "%s: also by aio_flush", kind_words);
    is_int(blkalign_pwrite(second, 0, 1, &byte, 0), 0,
           "%s: writes go on", kind_words);
    is_int(blkalign_close(second), 0, "close of the second");
    ok(blkalign_flush(handle) < 0, "%s: still after that close",
       kind_words);
    is_int(blkalign_close(handle), 0, "close of the first");
    handle = sim_open(sim, &options);
    is_int(blkalign_flush(handle), 0, "%s: not once it is reopened",
           kind_words);
}

static void run_mode(enum sim_mode mode, int refuse, const char *words)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, mode);
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);

    kind_words = words;
    diag("%s, %s", words, mode_words());
    disk.latency_us_max = 200;
    sim = sim_new(&disk);
    sim_refuse_at_call(sim, refuse);
    pattern_fill(sim_bytes(sim), 1, 0, DISK_BYTES);
    handle = sim_open(sim, &options);
    edge_read_fails(512, 512, 0);
    edge_read_fails(BLOCK + 100, 4 * BLOCK, 1);
    edge_read_fails(BLOCK + 100, 4 * BLOCK, 5);
    edge_read_fails(100, BLOCK, 1);
    edge_read_fails(0, 3 * BLOCK + 1, 3);
    edge_read_fails(BLOCK - 1, 1 + 3 * BLOCK, 0);
    other_errors();
    flushes();
    is_int(blkalign_close(handle), 0, "%s: close", words);
    is_int((int64_t)sim_counts(sim).violations, 0,
           "%s: nothing to refuse %s", words, sim_violation(sim));
    sim_free(sim);
}

int main(void)
{
    int round;

    run_begin(90);
    /* Two modes on, so that each kind meets each completion mode. */
    for (round = 0; round < 3; round++) {
        mode_first((unsigned)round * 2);
        run_mode(SIM_SYNC, 0, "synchronous driver");
        run_mode(SIM_ASYNC, 0, "driver that answers from its own thread");
        run_mode(SIM_ASYNC_AT_ONCE, 0,
                 "driver that answers before returning");
        run_mode(SIM_ASYNC, 1, "driver that refuses at the call");
    }
    return done_testing();
}
