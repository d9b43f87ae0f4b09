/*
 * Flags of handles and requests as a driver sees them: which writes are made
 * durable and when, flushes that do nothing, and writes whose memory the guest
 * changes.
 */
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "common_stage.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES INT64_C(262144)

static struct sim_options disk;
static uint8_t *buf;

/* Whether this write, one of each kind, is made durable. */
static void durable(struct sim *sim, blkalign_handle *handle, int want,
                    const char *words)
{
    struct sim_counts before = sim_counts(sim), after;
    struct answer answer;

    is_int(blkalign_pwrite(handle, 0, BLOCK, buf, 0), 0, "%s: whole block",
           words);
    is_int(blkalign_pwrite(handle, 9, 99, buf, 0), 0, "%s: part", words);
    aio_write(handle, BLOCK + 5, buf, 2 * BLOCK, 0, &answer);
    is_int(answer_wait(&answer), 0, "%s: across three", words);
    is_int(blkalign_pwrite_zeroes(handle, 5, 5, 0), 0, "%s: zeros", words);
    after = sim_counts(sim);
    is_int((int64_t)(after.fua_writes - before.fua_writes),
           want ? (int64_t)(after.ios[SIM_WRITE] - before.ios[SIM_WRITE])
                : 0,
           "%s: %s write has FUA", words, want ? "each" : "no");
}

static void write_cache(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, 0), *other = NULL;
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);

    is_int(blkalign_dup(handle, &options, &other), 0, "another handle");
    durable(sim, handle, 0, "at first");
    is_int(blkalign_set_write_cache(handle, 0), 0, "the cache off");
    durable(sim, handle, 1, "cache off");
    durable(sim, other, 0, "another handle has its own");
    is_int(blkalign_set_write_cache(handle, 77), 0, "the cache on");
    durable(sim, handle, 0, "cache on");
    is_int(blkalign_set_write_cache(NULL, 0), -EINVAL, "no handle");
    blkalign_close(other);
    sim_end(sim, handle, "write cache");
    handle = sim_begin(&sim, &disk, BLKALIGN_O_WRITETHROUGH);
    durable(sim, handle, 1, "WRITETHROUGH");
    is_int(blkalign_set_write_cache(handle, 1), 0, "the cache on");
    durable(sim, handle, 0, "WRITETHROUGH, then on");
    is_int(blkalign_set_write_cache(handle, 0), 0, "the cache off");
    durable(sim, handle, 1, "and off again");
    sim_end(sim, handle, "WRITETHROUGH");
}

/* A merged write is durable if one of its members must be. */
static void merged(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, 0);
    struct answer answers[3];
    struct sim_counts counts;
    int i;

    blkalign_plug(handle);
    for (i = 0; i < 3; i++)
        aio_write(handle, i * 512, buf, 512,
                  i == 1 ? BLKALIGN_REQ_FUA : 0, &answers[i]);
    blkalign_unplug(handle);
    for (i = 0; i < 3; i++)
        is_int(answer_wait(&answers[i]), 0, "merged with a FUA write");
    counts = sim_counts(sim);
    ok(counts.fua_writes > 0, "of %d writes %d have FUA",
       (int)counts.ios[SIM_WRITE], (int)counts.fua_writes);
    sim_end(sim, handle, "merged");
}

static void no_flush(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, BLKALIGN_O_NO_FLUSH);
    struct answer answer;

    sim_fail_nth(sim, SIM_FLUSH, 1, EIO);
    is_int(blkalign_pwrite(handle, 0, 99, buf, 0), 0, "a write");
    is_int(blkalign_flush(handle), 0, "NO_FLUSH: flush succeeds");
    aio_flush(handle, &answer);
    is_int(answer_wait(&answer), 0, "NO_FLUSH: by aio");
    is_int((int64_t)sim_counts(sim).ios[SIM_FLUSH], 0,
           "NO_FLUSH: the driver is not asked");
    is_int((int64_t)stats_of(handle).flushes, 2, "NO_FLUSH: counted");
    sim_end(sim, handle, "NO_FLUSH");
}

/* The guest overwrites its memory as soon as the call has returned, while the
 * write waits, reads its edge, or is at the storage. */
static void stable(int64_t offset, size_t bytes, int behind, int plugged)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_STABLE_WRITES);
    const char *words = "STABLE_WRITES";
    uint8_t *memory = aligned_memory(bytes);
    struct answer answer;
    struct scene scene;

    scene_begin(&scene, &options);
    if (behind)
        scene_write(&scene, 3, 3);
    if (plugged)
        blkalign_plug(scene.handle);
    pattern_fill(memory, 9, offset, bytes);
    memcpy(scene.want + offset, memory, bytes);
    aio_write(scene.handle, offset, memory, bytes, 0, &answer);
    memset(memory, 0xee, bytes);
    if (plugged)
        blkalign_unplug(scene.handle);
    held_pass(scene.held);
    is_int(answer_wait(&answer), 0, "%s: %zu bytes at %lld, %s: written",
           words, bytes, (long long)offset, mode_words());
    scene_end(&scene, words);
    free(memory);
}

static void stable_writes(void)
{
    int i;

    for (i = 0; i < 4; i++) {
        stable(0, BLOCK, i % 2, i / 2);
        stable(100, 512, i % 2, i / 2);
        stable(100, 3 * BLOCK, i % 2, i / 2);
        stable(BLOCK, 4 * BLOCK, i % 2, i / 2);
    }
}

/* Only writes are copied: a read moves its bytes straight to their place. */
static void stable_reads(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, BLKALIGN_O_STABLE_WRITES);
    struct iovec parts[3];
    uint8_t *got = aligned_memory(2 * BLOCK);
    struct answer answer;

    parts[0].iov_base = buf + 1;
    parts[0].iov_len = 1000;
    parts[1].iov_base = NULL;
    parts[1].iov_len = 0;
    parts[2].iov_base = buf + 3000;
    parts[2].iov_len = 5000;
    is_int(blkalign_pwritev(handle, 77, parts, 3, 0), 0,
           "STABLE_WRITES: a vector");
    aio_read(handle, 77, got, 6000, &answer);
    is_int(answer_wait(&answer), 0, "is read");
    ok(!memcmp(got, buf + 1, 1000) && !memcmp(got + 1000, buf + 3000, 5000),
       "and right");
    free(got);
    sim_end(sim, handle, "STABLE_WRITES");
}

/* tmpfs may have O_DIRECT, ramfs has not: there the open fails unless the page
 * cache is allowed, and the limits tell which is in use. */
static void buffered_ok(struct bed *bed)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR |
                                                 BLKALIGN_O_DIRECT);
    blkalign_handle *handle = NULL;
    int strict = blkalign_open(bed->path, &options, &handle);
    uint8_t back[99];

    if (strict == 0) {
        is_int(limits_of(handle).direct, 1, "%s: direct", bed->name);
        blkalign_close(handle);
    } else {
        is_int(strict, -EINVAL, "%s: no O_DIRECT", bed->name);
        ok(*blkalign_errmsg(), "with words: %s", blkalign_errmsg());
    }
    handle = NULL;
    options.flags |= BLKALIGN_O_BUFFERED_OK;
    is_int(blkalign_open(bed->path, &options, &handle), 0,
           "%s: with BUFFERED_OK it opens", bed->name);
    if (!handle)
        return;
    is_int(limits_of(handle).direct, strict == 0,
           "%s: and tells what it is", bed->name);
    is_int(blkalign_pwrite(handle, 4001, 99, buf, 0), 0, "a write");
    is_int(blkalign_pread(handle, 4001, 99, back, 0), 0, "a read");
    ok(!memcmp(back, buf, 99), "of the same");
    is_int(blkalign_flush(handle), 0, "a flush");
    blkalign_close(handle);
}

/* Whether this version of the library knows the flag. */
static int has_stable_writes(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR |
                                                 BLKALIGN_O_STABLE_WRITES);
    struct sim_options plain = sim_disk_4k(DISK_BYTES, SIM_SYNC);
    struct sim *sim = sim_new(&plain);
    blkalign_driver driver = sim_driver(sim);
    blkalign_handle *handle = NULL;
    int ret = blkalign_open_driver(&driver, sim, &options, &handle);

    blkalign_close(handle);
    sim_free(sim);
    if (ret == -ENOTSUP)
        skip("not in this version", "STABLE_WRITES");
    return ret != -ENOTSUP;
}

static void run(enum sim_mode mode, int stable_too)
{
    diag("driver %d, %s", mode, mode_words());
    disk = sim_disk_4k(DISK_BYTES, mode);
    write_cache();
    merged();
    no_flush();
    if (stable_too)
        stable_reads();
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_FILE, BED_XFS, BED_TMPFS,
                                          BED_RAMFS };
    struct bed bed;
    int round, stable_too;

    run_begin(60);
    stable_too = has_stable_writes();
    buf = aligned_memory(4 * BLOCK);
    pattern_fill(buf, 3, 0, 4 * BLOCK);
    for (round = 0; round < MODES; round++) {
        run((enum sim_mode)(round % 3), stable_too);
        mode_next();
    }
    if (stable_too)
        stable_writes();
    for (round = 0; round < 4; round++) {
        if (bed_make(&bed, kinds[round], DISK_BYTES)) {
            skip(bed.why_not, "%s: BUFFERED_OK", bed.name);
            continue;
        }
        buffered_ok(&bed);
        bed_remove(&bed);
        mode_next();
    }
    free(buf);
    return done_testing();
}
