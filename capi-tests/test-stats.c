/* The counters of a handle: each counts what its name says, once. */
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "common_sim.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES INT64_C(65536)

static struct sim *sim;
static blkalign_handle *handle;
static uint8_t *buf;

static void fresh(blkalign_handle *h, const char *words)
{
    blkalign_stats stats = stats_of(h), zero;

    memset(&zero, 0, sizeof(zero));
    zero.size = sizeof(zero);
    ok(!memcmp(&stats, &zero, sizeof(zero)), "%s starts at zero", words);
}

static void requests(void)
{
    blkalign_stats stats;
    struct answer answer;

    blkalign_pread(handle, 0, BLOCK, buf, 0);
    blkalign_pread(handle, 5, 100, buf, 0);
    blkalign_pwrite(handle, 0, 2 * BLOCK, buf, 0);
    blkalign_pwrite(handle, 5, 100, buf, 0);
    blkalign_pwrite(handle, 5000, 100, buf, 0);
    aio_read(handle, 7, buf, 7, &answer);
    answer_wait(&answer);
    blkalign_flush(handle);
    is_int(blkalign_drain(handle), 0, "drain");
    stats = stats_of(handle);
    is_int((int64_t)stats.reads, 3, "reads");
    is_int((int64_t)stats.writes, 3, "writes");
    is_int((int64_t)stats.flushes, 1, "flushes");
    is_int((int64_t)stats.bytes_read, BLOCK + 107, "bytes_read");
    is_int((int64_t)stats.bytes_written, 2 * BLOCK + 200, "bytes_written");
    is_int((int64_t)stats.rmw, 2, "rmw");
    is_int((int64_t)(stats.rmw_reads + stats.rmw_reads_skipped), 2,
           "rmw_reads and those saved");
    is_int((int64_t)stats.zero_copy, 2, "zero_copy");
    is_int((int64_t)stats.bounced, 4, "bounced");
    is_int((int64_t)stats.errors, 0, "errors");
    is_int((int64_t)stats.in_flight, 0, "in_flight");
    is_int((int64_t)stats.waits, 0, "waits");
    is_int((int64_t)stats.storage_reads,
           (int64_t)sim_counts(sim).ios[SIM_READ], "storage_reads");
    is_int((int64_t)stats.storage_writes,
           (int64_t)sim_counts(sim).ios[SIM_WRITE], "storage_writes");
    is_int((int64_t)stats.storage_reads, 3 + (int64_t)stats.rmw_reads,
           "storage_reads are the reads and the edge reads");
}

static void errors(void)
{
    uint64_t before = stats_of(handle).errors;

    sim_fail_nth(sim, SIM_READ, 1, EIO);
    is_int(blkalign_pread(handle, 0, 1, buf, 0), -EIO, "a read that fails");
    is_int((int64_t)(stats_of(handle).errors - before), 1,
           "errors counts it");
}

static void each_handle_has_its_own(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_stats before = stats_of(handle), after;
    blkalign_handle *second = NULL;

    is_int(blkalign_dup(handle, &options, &second), 0, "dup");
    fresh(second, "a second handle");
    blkalign_pwrite(second, 1, 1, buf, 0);
    is_int((int64_t)stats_of(second).writes, 1, "the second counts");
    after = stats_of(handle);
    ok(!memcmp(&before, &after, sizeof(after)), "the first does not");
    is_int(blkalign_close(second), 0, "close");
}

static void waiting_and_in_flight(void)
{
    struct scene scene;
    int i;

    scene_begin(&scene, NULL);
    for (i = 0; i < 5; i++)
        scene_write(&scene, i * 100, 100);
    held_wait(scene.held, 1);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int((int64_t)stats_of(scene.handle).in_flight, 5,
           "in_flight counts those that wait too");
    is_int((int64_t)stats_of(scene.handle).waits, 4,
           "waits counts those behind the first");
    is_int((int64_t)stats_of(scene.second).in_flight, 0,
           "in_flight is the handle's own");
    held_pass(scene.held);
    is_int(blkalign_drain(scene.handle), 0, "drain");
    is_int((int64_t)stats_of(scene.handle).in_flight, 0,
           "in_flight is zero after drain");
    is_int((int64_t)stats_of(scene.handle).rmw, 5, "rmw counts each");
    scene_end(&scene, "five writes of one block");
}

static void one_handle(enum sim_mode mode)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, mode);
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);

    diag("%s", mode_words());
    sim = sim_new(&disk);
    handle = sim_open(sim, &options);
    fresh(handle, "a new handle");
    requests();
    errors();
    each_handle_has_its_own();
    is_int(blkalign_close(handle), 0, "close");
    sim_free(sim);
    mode_next();
}

int main(void)
{
    int i;

    run_begin(60);
    buf = aligned_memory(2 * BLOCK);
    for (i = 0; i < MODES; i++)
        one_handle(i % 2 ? SIM_ASYNC : SIM_SYNC);
    for (i = 0; i < 3; i++)
        waiting_and_in_flight();
    free(buf);
    return done_testing();
}
