/*
 * Zero writes as a driver sees them: the driver's operation is used if there
 * is one, and for whole blocks only. A driver that refuses is asked once, and
 * zeros are written, unless the caller prefers -ENOTSUP. A request that fails
 * is not half done.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_sim.h"
#include "common_stage.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES (256 * BLOCK)

static struct sim_options disk;
static uint8_t *model;

static void begin(struct stage *stage, uint32_t flags)
{
    stage_begin(stage, &disk, flags, model);
}

static int64_t ios(struct stage *stage, enum sim_op op)
{
    return (int64_t)sim_counts(stage->sim).ios[op];
}

static int zero(struct stage *stage, int64_t offset, int64_t bytes,
                uint32_t flags)
{
    int ret = blkalign_pwrite_zeroes(stage->handle, offset, bytes, flags);

    if (ret == 0 && bytes > 0)
        memset(model + offset, 0, (size_t)bytes);
    return ret;
}

static void whole_blocks(void)
{
    const char *words = "whole blocks";
    struct stage stage;

    begin(&stage, 0);
    is_int(zero(&stage, BLOCK, 5 * BLOCK, 0), 0, "%s: succeed", words);
    is_int(ios(&stage, SIM_ZEROES), 1, "%s: the driver is told", words);
    is_int(ios(&stage, SIM_READ) + ios(&stage, SIM_WRITE), 0,
           "%s: nothing is read or written", words);
    is_int(sim_counts(stage.sim).flags[SIM_ZEROES], 0, "%s: no flags",
           words);
    stage_end(&stage, words);
}

static void with_edges(void)
{
    const char *words = "edges and whole blocks";
    struct sim_counts counts;
    struct stage stage;

    begin(&stage, 0);
    is_int(zero(&stage, BLOCK - 10, 2 * BLOCK + 20, 0), 0, "%s: succeed",
           words);
    counts = sim_counts(stage.sim);
    is_int((int64_t)counts.ios[SIM_ZEROES], 1, "%s: told once", words);
    is_int(counts.offsets[SIM_ZEROES], BLOCK, "%s: of the first block",
           words);
    is_int(counts.lengths[SIM_ZEROES], 2 * BLOCK, "%s: to the last", words);
    is_int((int64_t)counts.ios[SIM_READ], 2, "%s: both edges read", words);
    is_int((int64_t)counts.ios[SIM_WRITE], 2, "%s: and written", words);
    stage_end(&stage, words);

    words = "less than a block";
    begin(&stage, 0);
    is_int(zero(&stage, 7, 99, 0), 0, "%s: succeeds", words);
    is_int(zero(&stage, 2 * BLOCK - 7, 99, BLKALIGN_REQ_NO_FALLBACK), 0,
           "%s: also across two, with NO_FALLBACK", words);
    is_int(ios(&stage, SIM_ZEROES), 0, "%s: the driver is not asked",
           words);
    stage_end(&stage, words);
}

static uint32_t seen(struct stage *stage, uint32_t flags)
{
    is_int(zero(stage, 10, 3 * BLOCK, flags), 0, "flags %x: succeed",
           flags);
    return sim_counts(stage->sim).flags[SIM_ZEROES];
}

static void flags(void)
{
    const uint32_t known = BLKALIGN_REQ_FUA | BLKALIGN_REQ_MAY_UNMAP |
                           BLKALIGN_REQ_NO_FALLBACK;
    struct stage stage;
    uint32_t each;
    uint64_t writes;

    begin(&stage, BLKALIGN_O_UNMAP);
    for (each = 1; each < BLKALIGN_REQ_REGISTERED_BUF; each++)
        is_int(seen(&stage, each), each & known,
               "flags %x: the driver sees those that it knows", each);
    writes = sim_counts(stage.sim).ios[SIM_WRITE] -
             sim_counts(stage.sim).fua_writes;
    seen(&stage, BLKALIGN_REQ_FUA);
    is_int((int64_t)(sim_counts(stage.sim).ios[SIM_WRITE] -
                     sim_counts(stage.sim).fua_writes), (int64_t)writes,
           "FUA: the edges are written with it");
    stage_end(&stage, "flags");
    begin(&stage, BLKALIGN_O_WRITETHROUGH);
    is_int(seen(&stage, 0), BLKALIGN_REQ_FUA, "WRITETHROUGH: is FUA");
    stage_end(&stage, "WRITETHROUGH");
}

static void no_fallback_here(struct stage *stage, const char *words)
{
    const uint32_t no = BLKALIGN_REQ_NO_FALLBACK;
    struct answer answer;

    is_int(zero(stage, BLOCK, BLOCK, no), -ENOTSUP, "%s: a block", words);
    ok(*blkalign_errmsg(), "%s: with words", words);
    is_int(zero(stage, 10, 3 * BLOCK, no), -ENOTSUP,
           "%s: edges and blocks", words);
    is_int(zero(stage, 10, 3 * BLOCK, no | BLKALIGN_REQ_MAY_UNMAP),
           -ENOTSUP, "%s: with MAY_UNMAP", words);
    aio_zeroes(stage->handle, 10, 3 * BLOCK, no, &answer);
    is_int(answer_wait(&answer), -ENOTSUP, "%s: by the callback", words);
    is_int(ios(stage, SIM_WRITE), 0, "%s: nothing written", words);
    ok(!memcmp(sim_bytes(stage->sim), model, DISK_BYTES),
       "%s: nothing changed", words);
    is_int(zero(stage, 10, 99, no), 0, "%s: an edge alone is written",
           words);
    is_int(zero(stage, BLOCK - 10, BLOCK, no), 0,
           "%s: so are two edges", words);
    is_int(zero(stage, BLOCK * 9, BLOCK, 0), 0,
           "%s: without the flag it falls back", words);
}

static void no_fallback(void)
{
    const char *words = "NO_FALLBACK, a driver that cannot";
    struct stage stage;

    disk.zeroes = 0;
    begin(&stage, 0);
    no_fallback_here(&stage, words);
    stage_end(&stage, words);
    disk.zeroes = 1;
    words = "NO_FALLBACK, a driver that refuses";
    begin(&stage, 0);
    sim_fail_range(stage.sim, SIM_ZEROES, 0, DISK_BYTES, ENOTSUP);
    no_fallback_here(&stage, words);
    stage_end(&stage, words);
}

static void refusal_is_remembered(int error)
{
    const char *words = "a driver that refuses";
    struct stage stage;
    int i;

    begin(&stage, 0);
    sim_fail_range(stage.sim, SIM_ZEROES, 0, DISK_BYTES, error);
    for (i = 0; i < 5; i++)
        is_int(zero(&stage, i * 9 * BLOCK + 5, 3 * BLOCK, 0), 0,
               "%s: zeros are written", words);
    is_int(ios(&stage, SIM_ZEROES), 1, "%s: is asked once", words);
    for (i = 5; i < 9; i++)
        is_int(zero(&stage, i * 9 * BLOCK + 5, 3 * BLOCK,
                    BLKALIGN_REQ_MAY_UNMAP), 0,
               "%s: also for MAY_UNMAP", words);
    ok(ios(&stage, SIM_ZEROES) <= 2, "%s: once for each kind at most",
       words);
    is_int((int64_t)stats_of(stage.handle).errors, 0,
           "%s: no request failed", words);
    stage_end(&stage, words);
}

/* Two megabytes and odd ends, through small transfers of few elements. */
static void long_fallback(void)
{
    const char *words = "a long one, written";
    struct stage stage;

    disk.zeroes = 0;
    disk.max_transfer = 16 * BLOCK;
    disk.max_segments = 3;
    begin(&stage, 0);
    is_int(zero(&stage, 5, DISK_BYTES - 9, BLKALIGN_REQ_FUA), 0,
           "%s: succeeds", words);
    is_int((int64_t)sim_counts(stage.sim).fua_writes, ios(&stage, SIM_WRITE),
           "%s: FUA on every part", words);
    is_int(ios(&stage, SIM_READ), 2, "%s: just its edges are read", words);
    stage_end(&stage, words);
    disk.zeroes = 1;
    words = "a long one, told";
    begin(&stage, 0);
    is_int(zero(&stage, 5, DISK_BYTES - 9, BLKALIGN_REQ_FUA), 0,
           "%s: succeeds; no call exceeds max_transfer", words);
    ok(ios(&stage, SIM_ZEROES) > 0, "%s: the driver was told", words);
    stage_end(&stage, words);
    disk.max_transfer = disk.max_segments = 0;
}

static void edge_read_error(int64_t block, const char *words)
{
    struct stage stage;

    begin(&stage, 0);
    sim_fail_range(stage.sim, SIM_READ, block * BLOCK, BLOCK, EIO);
    is_int(zero(&stage, BLOCK + 10, 3 * BLOCK, 0), -EIO, "%s: -EIO", words);
    is_int(ios(&stage, SIM_WRITE) + ios(&stage, SIM_ZEROES), 0,
           "%s: nothing written", words);
    sim_fail_range(stage.sim, SIM_READ, 0, 0, 0);
    is_int(zero(&stage, BLOCK + 10, 3 * BLOCK, 0), 0,
           "%s: the next one succeeds", words);
    stage_end(&stage, words);
}

static void other_errors(void)
{
    const char *words = "an error of the driver";
    struct stage stage;
    struct answer answer;

    begin(&stage, 0);
    sim_fail_nth(stage.sim, SIM_ZEROES, 1, ENOSPC);
    is_int(zero(&stage, BLOCK, BLOCK, 0), -ENOSPC, "%s: comes through",
           words);
    is_int(ios(&stage, SIM_WRITE), 0, "%s: is no reason to write", words);
    sim_fail_nth(stage.sim, SIM_ZEROES, 1, EIO);
    aio_zeroes(stage.handle, BLOCK, BLOCK, 0, &answer);
    is_int(answer_wait(&answer), -EIO, "%s: by the callback", words);
    is_int(zero(&stage, BLOCK, BLOCK, 0), 0, "%s: is not remembered",
           words);
    is_int(ios(&stage, SIM_ZEROES), 3, "%s: asked again", words);
    is_int((int64_t)stats_of(stage.handle).errors, 2, "%s: stats count",
           words);
    stage_end(&stage, words);
}

static void arguments(void)
{
    const char *words = "arguments";
    blkalign_handle *reader = NULL;
    struct stage stage;
    struct answer answer;

    begin(&stage, 0);
    is_int(zero(&stage, -1, 5, 0), -EINVAL, "negative offset");
    is_int(zero(&stage, 0, -5, 0), -EINVAL, "negative length");
    is_int(zero(&stage, 0, 5, 0x80000000u), -EINVAL, "unknown flag");
    is_int(zero(&stage, 0, 5, BLKALIGN_REQ_REGISTERED_BUF), -EINVAL,
           "there is no memory that could be registered");
    is_int(blkalign_pwrite(stage.handle, 0, 5, model,
                           BLKALIGN_REQ_MAY_UNMAP), -EINVAL,
           "MAY_UNMAP is not for writes");
    is_int(zero(&stage, DISK_BYTES - 4, 5, 0), -EIO, "past the end");
    is_int(zero(&stage, DISK_BYTES, 0, 0), 0, "nothing, at the end");
    is_int(zero(&stage, DISK_BYTES + 1, 0, 0), -EIO, "nothing, beyond it");
    aio_zeroes(stage.handle, DISK_BYTES - 4, 5, 0, &answer);
    is_int(answer.ret, -EIO, "aio: past the end, at submit");
    aio_zeroes(stage.handle, 5, 0, 0, &answer);
    is_int(answer_wait(&answer), 0, "aio: nothing succeeds");
    is_int(blkalign_dup(stage.handle, NULL, &reader), 0, "a reader");
    is_int(blkalign_pwrite_zeroes(reader, 0, 5, 0), -EPERM, "may not");
    is_int(blkalign_pwrite_zeroes(reader, 0, 0, 0), -EPERM,
           "not even nothing");
    blkalign_close(reader);
    is_int(ios(&stage, SIM_WRITE) + ios(&stage, SIM_ZEROES), 0,
           "nothing reached the driver");
    stage_end(&stage, words);
}

static void run(enum sim_mode mode)
{
    diag("driver %d, %s", mode, mode_words());
    disk = sim_disk_4k(DISK_BYTES, mode);
    disk.zeroes = 1;
    whole_blocks();
    with_edges();
    flags();
    no_fallback();
    refusal_is_remembered(ENOTSUP);
    long_fallback();
    edge_read_error(1, "the head's edge cannot be read");
    edge_read_error(4, "the tail's edge cannot be read");
    other_errors();
    arguments();
}

int main(void)
{
    int round;

    run_begin(60);
    model = aligned_memory(DISK_BYTES);
    for (round = 0; round < MODES; round++) {
        run((enum sim_mode)(round % 3));
        mode_next();
    }
    free(model);
    return done_testing();
}
