/*
 * Writes that queue up behind a busy block become one write, whose result each
 * of them gets; completed writes can be read.
 */
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK HELD_BLOCK
#define SECTOR 512

/* The first write reads its block; the others wait behind it. */
static void queue_up(struct scene *scene, int count)
{
    int i;

    scene_write(scene, 0, SECTOR);
    held_wait(scene->held, 1);
    held_release(scene->held, HELD_READ, 0, 0);
    held_wait(scene->held, 1);
    for (i = 1; i < count; i++)
        scene_write(scene, i % 8 * SECTOR, SECTOR);
    held_quiet(scene->held, SCENE_QUIET_MS);
}

static void a_queue_is_one_write(int count)
{
    struct scene scene;
    blkalign_stats stats;
    int i, early = 0;

    scene_begin(&scene, NULL);
    queue_up(&scene, count);
    is_int(held_on_block(scene.held, 0), 1, "the first writes");
    is_int(held_find(scene.held, HELD_WRITE, 0), 1, "one write");
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "and is done by itself");
    ok(held_wait(scene.held, 1), "the others follow");
    is_int(held_find(scene.held, HELD_WRITE, 0), 1,
           "%d in line are one write, with no second read", count - 1);
    for (i = 1; i < count; i++)
        early += answer_calls(&scene.answers[i]);
    is_int(early, 0, "and none of them is done before it");
    held_release(scene.held, HELD_WRITE, 0, 0);
    for (i = 1; i < count; i++)
        is_int(answer_wait(&scene.answers[i]), 0, "number %d is done", i);
    is_int(held_seen(scene.held, HELD_WRITE), 2, "two writes in all");
    is_int(held_seen(scene.held, HELD_READ), 1, "one read in all");
    stats = stats_of(scene.handle);
    is_int((int64_t)stats.merged, count - 2, "stats: merged");
    is_int((int64_t)stats.writes, count, "stats: writes");
    is_int((int64_t)stats.waits, count - 1, "stats: waits");
    is_int((int64_t)stats.storage_writes, 2, "stats: storage_writes");
    is_int((int64_t)stats.rmw_reads, 1, "stats: rmw_reads");
    scene_end(&scene, "a queue");
}

/* After its callback every read that is submitted sees a write. */
static void what_completed_can_be_read(void)
{
    uint8_t buf[BLOCK];
    struct answer answer;
    struct scene scene;

    scene_begin(&scene, NULL);
    queue_up(&scene, 6);
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "the first is done");
    held_wait(scene.held, 1);
    aio_read(scene.second, 0, buf, SECTOR, &answer);
    held_wait(scene.held, 2);
    held_release(scene.held, HELD_READ, 0, 0);
    is_int(answer_wait(&answer), 0, "a read while the others write");
    is_int(pattern_differs(buf, 2, 0, SECTOR), -1, "sees the first");
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[5]), 0, "the others are done");
    aio_read(scene.handle, 0, buf, BLOCK, &answer);
    held_wait(scene.held, 1);
    held_release(scene.held, HELD_READ, 0, 0);
    is_int(answer_wait(&answer), 0, "a read of the block");
    ok(!memcmp(buf, scene.want, BLOCK), "sees all of them");
    scene_end(&scene, "what completed");
}

static void the_last_of_the_same_sector_wins(void)
{
    struct scene scene;
    int i;

    scene_begin(&scene, NULL);
    queue_up(&scene, 1);
    for (i = 0; i < 7; i++)
        scene_write(&scene, 700 + i, 300);
    scene_write(&scene, 0, BLOCK);              /* not a part: not merged */
    for (i = 0; i < 6; i++)
        scene_write(&scene, 900 - i * 7, 50);
    held_release_all(scene.held, SCENE_QUIET_MS);
    scene_end(&scene, "overlapping writes in line");
}

/* A's leader is done: an aligned write in between, then more writes to parts.
 * */
static void not_with_no_merge(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_NO_MERGE);
    struct scene scene;

    scene_begin(&scene, &options);
    queue_up(&scene, 6);
    held_release_all(scene.held, SCENE_QUIET_MS);
    is_int(held_seen(scene.held, HELD_WRITE), 6, "NO_MERGE: six writes");
    is_int((int64_t)stats_of(scene.handle).merged, 0, "NO_MERGE: stats");
    scene_end(&scene, "NO_MERGE");
}

static void an_error_is_everyones_but_the_firsts(void)
{
    struct answer answers[4];
    struct scene scene;
    uint8_t buf[SECTOR];
    int i;

    scene_begin(&scene, NULL);
    queue_up(&scene, 1);
    memset(buf, 0xee, sizeof(buf));
    for (i = 0; i < 4; i++)
        aio_write(scene.handle, (i + 1) * SECTOR, buf, SECTOR, 0,
                  &answers[i]);
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "the first succeeds");
    held_wait(scene.held, 1);
    is_int(held_release(scene.held, HELD_WRITE, 0, -EIO), 1, "then EIO");
    for (i = 0; i < 4; i++)
        is_int(answer_wait(&answers[i]), -EIO, "number %d fails", i + 1);
    scene_end(&scene, "an error");
}

/* An error of the first write ends only that write: those in line read the
 * block again. */
static void after_an_error_of_the_first(void)
{
    struct answer first;
    struct scene scene;
    uint8_t buf[SECTOR];

    scene_begin(&scene, NULL);
    memset(buf, 0xee, sizeof(buf));
    aio_write(scene.handle, 0, buf, SECTOR, 0, &first);
    held_wait(scene.held, 1);
    held_release(scene.held, HELD_READ, 0, 0);
    held_wait(scene.held, 1);
    scene_write(&scene, SECTOR, SECTOR);
    scene_write(&scene, 2 * SECTOR, SECTOR);
    held_release(scene.held, HELD_WRITE, 0, -EIO);
    is_int(answer_wait(&first), -EIO, "the first fails");
    ok(held_wait(scene.held, 1), "the others go on");
    is_int(held_find(scene.held, HELD_READ, 0), 1,
           "and read the block: what it holds is not known");
    scene_end(&scene, "after an error");
}

static void fua_and_flush(void)
{
    struct answer fua, flush, late;
    uint8_t buf[SECTOR];
    struct scene scene;

    scene_begin(&scene, NULL);
    queue_up(&scene, 3);
    pattern_fill(buf, 50, 5 * SECTOR, SECTOR);
    memcpy(scene.want + 5 * SECTOR, buf, SECTOR);
    aio_write(scene.handle, 5 * SECTOR, buf, SECTOR, BLKALIGN_REQ_FUA,
              &fua);
    aio_flush(scene.handle, &flush);
    ok(held_wait(scene.held, 2), "a flush does not wait for the queue");
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "the first is done");
    held_wait(scene.held, 2);
    ok(held_find(scene.held, HELD_WRITE, 0) == 1 &&
       (held_write_flags(scene.held) & BLKALIGN_REQ_FUA),
       "the shared write has FUA");
    held_release(scene.held, HELD_FLUSH, HELD_ANYWHERE, 0);
    is_int(answer_wait(&flush), 0, "the flush is done before it");
    is_int(answer_calls(&fua), 0, "the FUA write is not");
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&fua), 0, "now it is");
    aio_flush(scene.handle, &late);
    ok(held_wait(scene.held, 1), "a later flush goes to the disk");
    held_release_all(scene.held, SCENE_QUIET_MS);
    is_int(answer_wait(&late), 0, "and succeeds");
    scene_end(&scene, "FUA and flush");
}

/* A request of another block between two requests of one block separates them
 * only where it touches their block. */
static void a_write_across_blocks_in_between(void)
{
    struct scene scene;

    scene_begin(&scene, NULL);
    queue_up(&scene, 3);
    scene_write(&scene, BLOCK - 100, 200);
    scene_write(&scene, BLOCK - 50, 20);
    scene_write(&scene, BLOCK + 10, 200);
    scene_write_again(&scene, BLOCK - 60, 100);
    scene_write(&scene, 100, 50);
    held_release_all(scene.held, SCENE_QUIET_MS);
    scene_end(&scene, "a write across blocks in between");
}

int main(void)
{
    int round;

    run_begin(120);
    for (round = 0; round < 3; round++) {
        a_queue_is_one_write(SCENE_WRITES);
        a_queue_is_one_write(3);
        what_completed_can_be_read();
        the_last_of_the_same_sector_wins();
        not_with_no_merge();
        an_error_is_everyones_but_the_firsts();
        after_an_error_of_the_first();
        fua_and_flush();
        a_write_across_blocks_in_between();
        mode_next();
    }
    return done_testing();
}
