/*
 * Durability as a driver sees it: a flush reaches the driver, and not too
 * early; FUA reaches the write that it belongs to, and no other.
 */
#include "common_held.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "common_stage.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES INT64_C(65536)

static struct sim_options disk;
static uint8_t *buf;

static int64_t flushes(struct sim *sim)
{
    return (int64_t)sim_counts(sim).ios[SIM_FLUSH];
}

static void flush_reaches_the_driver(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, 0);
    blkalign_request request = BLKALIGN_REQUEST_INIT;
    struct answer answer;

    is_int(blkalign_pwrite(handle, 3, 5, buf, 0), 0, "a write");
    is_int(blkalign_flush(handle), 0, "flush");
    is_int(flushes(sim), 1, "reaches the driver");
    blkalign_pwrite(handle, 3, 5, buf, 0);
    aio_flush(handle, &answer);
    is_int(answer_wait(&answer), 0, "aio_flush");
    is_int(flushes(sim), 2, "too");
    blkalign_pwrite(handle, 3, 5, buf, 0);
    memset(&answer, 0, sizeof(answer));
    answer.handle = handle;
    request.op = BLKALIGN_OP_FLUSH;
    request.cb = answer_done;
    request.opaque = &answer;
    ok(blkalign_aio_submit(handle, &request) > 0, "a flush by aio_submit");
    is_int(answer_wait(&answer), 0, "succeeds");
    is_int(flushes(sim), 3, "too");
    is_int((int64_t)stats_of(handle).flushes, 3, "stats count them");
    sim_end(sim, handle, "flush");
}

static void fua_reaches_the_driver(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, 0);

    is_int(blkalign_pwrite(handle, 0, BLOCK, buf, 0), 0, "a plain write");
    is_int((int64_t)sim_counts(sim).fua_writes, 0, "has no FUA");
    is_int(blkalign_pwrite(handle, 0, BLOCK, buf, BLKALIGN_REQ_FUA), 0,
           "an aligned FUA write");
    is_int((int64_t)sim_counts(sim).fua_writes, 1, "has it");
    is_int(blkalign_pwrite(handle, 9, 99, buf, BLKALIGN_REQ_FUA), 0,
           "a sub-block FUA write");
    is_int((int64_t)sim_counts(sim).fua_writes, 2, "has it");
    is_int(blkalign_pwrite(handle, 9, 99, buf, 0), 0, "one without");
    is_int((int64_t)sim_counts(sim).fua_writes, 2, "has not");
    sim_end(sim, handle, "FUA");
}

/* Each part of a FUA write that is split must be durable. */
static void fua_of_a_split_write(void)
{
    struct sim *sim;
    blkalign_handle *handle;
    struct sim_counts counts;

    disk.max_transfer = BLOCK;
    handle = sim_begin(&sim, &disk, 0);
    is_int(blkalign_pwrite(handle, 100, 3 * BLOCK, buf, BLKALIGN_REQ_FUA),
           0, "a FUA write that must be split");
    counts = sim_counts(sim);
    ok(counts.fua_writes == counts.ios[SIM_WRITE] ||
       counts.ios[SIM_FLUSH] > 0, "has FUA on every part, or a flush after");
    sim_end(sim, handle, "split FUA");
    disk.max_transfer = 0;
}

static void writethrough(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, BLKALIGN_O_WRITETHROUGH);
    struct sim_counts counts;

    is_int(blkalign_pwrite(handle, 0, BLOCK, buf, 0), 0,
           "WRITETHROUGH: an aligned write");
    is_int(blkalign_pwrite(handle, 9, 99, buf, 0), 0,
           "WRITETHROUGH: a sub-block write");
    counts = sim_counts(sim);
    ok(counts.fua_writes == 2 || counts.ios[SIM_FLUSH] == 2,
       "WRITETHROUGH: each is made durable");
    sim_end(sim, handle, "WRITETHROUGH");
}

static void no_flush(void)
{
    struct sim *sim;
    blkalign_handle *handle = sim_begin(&sim, &disk, BLKALIGN_O_NO_FLUSH);
    struct answer answer;

    blkalign_pwrite(handle, 9, 99, buf, 0);
    is_int(blkalign_flush(handle), 0, "NO_FLUSH: flush succeeds");
    aio_flush(handle, &answer);
    is_int(answer_wait(&answer), 0, "NO_FLUSH: aio_flush succeeds");
    is_int(flushes(sim), 0, "NO_FLUSH: nothing reaches the driver");
    sim_end(sim, handle, "NO_FLUSH");

    disk.no_flush = 1;
    handle = sim_begin(&sim, &disk, 0);
    blkalign_pwrite(handle, 9, 99, buf, 0);
    is_int(blkalign_flush(handle), 0, "a driver without flush: succeeds");
    aio_flush(handle, &answer);
    is_int(answer_wait(&answer), 0, "a driver without flush: also by aio");
    sim_end(sim, handle, "a driver without flush");
    disk.no_flush = 0;
}

/* A write completed before the flush was submitted, through another handle: an
 * older flush must not answer for the new one. */
static void flush_is_not_answered_by_an_older_one(void)
{
    struct answer first, second;
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, BLOCK);
    held_wait(scene.held, 1);
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "a write is done");
    aio_flush(scene.handle, &first);
    ok(held_wait(scene.held, 1), "a flush is at the storage");
    is_int(held_find(scene.held, HELD_FLUSH, HELD_ANYWHERE), 1,
           "and nothing else");
    scene_write_again(&scene, BLOCK, BLOCK);
    ok(held_wait(scene.held, 2), "a write goes on beside it");
    held_release(scene.held, HELD_WRITE, 1, 0);
    is_int(answer_wait(&scene.answers[1]), 0, "and is done");
    aio_flush(scene.second, &second);
    held_quiet(scene.held, SCENE_QUIET_MS);
    held_release(scene.held, HELD_FLUSH, HELD_ANYWHERE, 0);
    is_int(answer_wait(&first), 0, "the first flush is done");
    ok(held_wait(scene.held, 1),
       "the second flush goes to the storage for itself");
    is_int(answer_calls(&second), 0, "and is not done before");
    held_release(scene.held, HELD_FLUSH, HELD_ANYWHERE, 0);
    is_int(answer_wait(&second), 0, "it is done then");
    is_int(held_seen(scene.held, HELD_FLUSH), 2, "two flushes in all");
    scene_end(&scene, "flush");
}

static void run(enum sim_mode mode, const char *words)
{
    diag("%s, %s", words, mode_words());
    disk = sim_disk_4k(DISK_BYTES, mode);
    flush_reaches_the_driver();
    fua_reaches_the_driver();
    fua_of_a_split_write();
    writethrough();
    no_flush();
}

int main(void)
{
    int round;

    run_begin(60);
    buf = aligned_memory(4 * BLOCK);
    for (round = 0; round < 3; round++) {
        mode_first((unsigned)round * 2);
        run(SIM_SYNC, "synchronous driver");
        run(SIM_ASYNC, "asynchronous driver");
    }
    flush_is_not_answered_by_an_older_one();
    free(buf);
    return done_testing();
}
