/*
 * Overlays on real files: the top on 4096-byte blocks over 512-byte ones, the
 * other way, and over a driver of 2048-byte blocks; lengths that differ and
 * are odd. Random requests against a copy in memory, across closes, fills and
 * reads that are kept.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_overlay.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES (INT64_C(1) << 20)
#define CLUSTER 16384

static void write_here(struct layers *layers, int64_t at, int64_t bytes,
                       uint64_t seed, uint32_t flags)
{
    pattern_fill(layers->seen + at, seed, at, (size_t)bytes);
    if (blkalign_pwrite(layers->overlay, at, bytes, layers->seen + at, flags))
        ok(0, "write: %s", blkalign_errmsg());
}

/* After a discard each byte is what it was, or zero, and stays so. */
static void discard_here(struct layers *layers, int64_t at, int64_t bytes)
{
    uint8_t *got = aligned_memory((size_t)bytes);
    int64_t i, bad = 0;

    if (blkalign_pdiscard(layers->overlay, at, bytes) ||
        blkalign_pread(layers->overlay, at, bytes, got, 0))
        ok(0, "discard: %s", blkalign_errmsg());
    for (i = 0; i < bytes; i++)
        bad += got[i] && got[i] != layers->seen[at + i];
    if (bad)
        ok(0, "a discard brings %lld other bytes", (long long)bad);
    memcpy(layers->seen + at, got, (size_t)bytes);
    free(got);
}

static void read_here(struct layers *layers, int64_t at, int64_t bytes)
{
    uint8_t *got = malloc((size_t)bytes + 1);

    if (blkalign_pread(layers->overlay, at, bytes, got + 1, 0) ||
        memcmp(got + 1, layers->seen + at, (size_t)bytes))
        ok(0, "read of %lld at %lld: %s", (long long)bytes, (long long)at,
           blkalign_errmsg());
    free(got);
}

static void one_request(struct layers *layers, uint64_t *seed)
{
    int64_t at = (int64_t)random_below(seed, (uint64_t)layers->bytes);
    int64_t most = layers->bytes - at < 3 * CLUSTER ? layers->bytes - at
                                                    : 3 * CLUSTER;
    int64_t bytes = 1 + (int64_t)random_below(seed, (uint64_t)most);
    uint32_t fua = random_below(seed, 5) ? 0 : BLKALIGN_REQ_FUA;

    if (random_below(seed, 2) && bytes > 4096) {
        at &= ~INT64_C(511);
        bytes &= ~INT64_C(511);
    }
    switch (random_below(seed, 8)) {
    case 0:
        memset(layers->seen + at, 0, (size_t)bytes);
        if (blkalign_pwrite_zeroes(layers->overlay, at, bytes,
                                   random_below(seed, 2)
                                       ? BLKALIGN_REQ_MAY_UNMAP | fua : fua))
            ok(0, "zeroes: %s", blkalign_errmsg());
        break;
    case 1:
        discard_here(layers, at, bytes);
        break;
    case 2:
        if (blkalign_flush(layers->overlay))
            ok(0, "flush: %s", blkalign_errmsg());
        break;
    case 3:
    case 4:
        read_here(layers, at, bytes);
        break;
    default:
        write_here(layers, at, bytes, random_next(seed), fua);
    }
}

/* Random requests, a close and an open between them, then a fill with random
 * requests beside it; at the end the file alone is what was seen. */
static void life(struct layers *layers, uint32_t overlay_flags, uint64_t seed)
{
    int failures = tap_failures(), turn, i;
    struct answer filled = {0};
    blkalign_open_options plain = mode_options(BLKALIGN_O_RDWR);

    for (turn = 0; turn < 3; turn++) {
        layers_open(layers, BLKALIGN_O_UNMAP, overlay_flags);
        /* A read that is kept makes all of it there. */
        if (!turn && !overlay_flags)
            layers_check(layers, "at first are those below");
        for (i = 0; i < 15; i++)
            one_request(layers, &seed);
        if (!overlay_flags)
            layers_check(layers, "after random requests");
        layers_close(layers);
        is_int(access(layers->map, F_OK), 0, "the map stays");
    }
    layers_open(layers, BLKALIGN_O_UNMAP, overlay_flags);
    filled.handle = layers->overlay;
    filled.id = blkalign_overlay_fill(layers->overlay, answer_done, &filled);
    ok(filled.id > 0, "a fill begins");
    for (i = 0; i < 30; i++)
        one_request(layers, &seed);
    is_int(answer_wait(&filled), 0, "the fill is done");
    layers_check(layers, "after a fill under load");
    is_int(layers_there(layers, layers->bytes - 1), 1, "the last is there");
    layers_close(layers);
    ok(access(layers->map, F_OK) && errno == ENOENT, "the map is gone");
    plain.flags |= BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK;
    is_int(blkalign_open(layers->path, &plain, &layers->overlay), 0,
           "it is an ordinary image");
    layers_check(layers, "in the ordinary image");
    is_int(tap_failures(), failures, "%s: nothing failed", layers->name);
}

static void lives(enum bed_kind top, enum bed_kind below,
                  const struct sim_options *sim, int64_t bytes,
                  int64_t backing_bytes, uint64_t seed)
{
    struct layers layers;
    uint32_t flags;

    for (flags = 0; flags <= BLKALIGN_OVERLAY_COPY_ON_READ; flags++) {
        diag("%s, overlay flags %u, %lld bytes over %lld", mode_words(),
             flags, (long long)bytes, (long long)backing_bytes);
        if (layers_make(&layers, top, below, sim, bytes, backing_bytes,
                        CLUSTER))
            return;
        life(&layers, flags, seed + flags);
        layers_remove(&layers);
        mode_next();
    }
}

int main(void)
{
    struct sim_options cd = sim_disk_4k(2048 * 300, SIM_SYNC);
    struct sim_options late = cd;
    uint64_t seed;

    run_begin(120);
    seed = run_seed();
    cd.request_alignment = 2048;
    late = cd;
    late.mode = SIM_ASYNC;
    late.latency_us_max = 200;
    lives(BED_XFS, BED_LOOP_512, NULL, BYTES, 0, seed);
    lives(BED_FILE, BED_LOOP, NULL, BYTES - 1, BYTES / 2 + 77, seed);
    lives(BED_EXT4, BED_FILE, NULL, BYTES + 5000, BYTES - 333, seed);
    lives(BED_XFS, BED_KINDS, &cd, BYTES + 13, 0, seed);
    lives(BED_TMPFS, BED_KINDS, &late, BYTES - 4097, 2048 * 100 + 1, seed);
    return done_testing();
}
