/*
 * Batches, on a disk that holds every I/O: nothing of a plugged batch reaches
 * the storage before the outermost unplug, and requests in one block are then
 * one I/O.
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

static int arrived(struct scene *scene)
{
    held_quiet(scene->held, SCENE_QUIET_MS);
    return held_seen(scene->held, HELD_READ) +
           held_seen(scene->held, HELD_WRITE) +
           held_seen(scene->held, HELD_FLUSH);
}

/* Submits eight sectors, beginning with `first`. */
static void write_sectors(struct scene *scene, int64_t first, int count)
{
    int i;

    for (i = 0; i < count; i++)
        scene_write(scene, (first + i) * SECTOR, SECTOR);
}

static void nothing_before_the_outermost_unplug(void)
{
    const char *words = "nested plugs";
    struct scene scene;

    scene_begin(&scene, NULL);
    blkalign_unplug(scene.handle);      /* without a plug: harmless */
    blkalign_plug(scene.handle);
    blkalign_plug(scene.handle);
    scene_write(&scene, 0, SECTOR);
    scene_write(&scene, BLOCK, BLOCK);
    scene_write(&scene, 3 * BLOCK - 5, 10);
    is_int(arrived(&scene), 0, "%s: nothing reaches the disk", words);
    is_int((int64_t)stats_of(scene.handle).in_flight, 3,
           "%s: in_flight counts what is held back", words);
    is_int((int64_t)stats_of(scene.second).in_flight, 0,
           "%s: of this handle only", words);
    blkalign_unplug(scene.handle);
    is_int(arrived(&scene), 0, "%s: nor after the inner unplug", words);
    blkalign_unplug(scene.handle);
    ok(arrived(&scene) >= 3, "%s: all does after the outer one", words);
    blkalign_unplug(scene.handle);      /* one too many: harmless */
    scene_write(&scene, 5 * BLOCK, BLOCK);
    ok(held_wait(scene.held, 4) || held_find(scene.held, HELD_WRITE, 5),
       "%s: what follows is not held back", words);
    scene_end(&scene, words);
}

/* What another thread does with the first handle of the scene. */
struct other {
    struct scene *scene;
    int plugs, writes;
    int64_t first;
};

static void *do_other(void *arg)
{
    struct other *other = arg;
    int i;

    for (i = 0; i < other->plugs; i++)
        blkalign_plug(other->scene->handle);
    for (i = 0; i < other->writes; i++)
        scene_write(other->scene, other->first + i * BLOCK, BLOCK);
    return NULL;
}

static void on_another_thread(struct scene *scene, int plugs, int64_t first,
                              int writes)
{
    struct other other;
    pthread_t thread;

    other.scene = scene;
    other.plugs = plugs;
    other.first = first;
    other.writes = writes;
    pthread_create(&thread, NULL, do_other, &other);
    pthread_join(thread, NULL);
}

static void threads_are_plugged_separately(void)
{
    const char *words = "two threads";
    struct scene scene;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    scene_write(&scene, 0, SECTOR);
    on_another_thread(&scene, 0, BLOCK, 1);
    is_int(arrived(&scene), 1, "%s: the other one's goes at once", words);
    is_int(held_find(scene.held, HELD_WRITE, 1), 1, "%s: rightly", words);
    /* This thread ends while it is plugged. */
    on_another_thread(&scene, 2, 2 * BLOCK, 2);
    is_int(arrived(&scene), 1, "%s: what it plugs is held back", words);
    blkalign_unplug(scene.handle);
    is_int(arrived(&scene), 2, "%s: an unplug submits its own", words);
    scene_write(&scene, 4 * BLOCK, BLOCK);
    is_int(arrived(&scene), 3, "%s: this one is not plugged", words);
    is_int((int64_t)stats_of(scene.handle).in_flight, 5,
           "%s: all are in flight", words);
    is_int(blkalign_drain_timeout(scene.handle, 0), -ETIMEDOUT,
           "%s: a drain waits", words);
    is_int(arrived(&scene), 5, "%s: it submits what the dead have plugged",
           words);
    on_another_thread(&scene, 1, 5 * BLOCK, 2);
    is_int(blkalign_cancel_all(scene.handle), 2,
           "%s: what the dead have plugged is cancelled", words);
    scene.writes -= 2;
    memcpy(scene.want + 5 * BLOCK, held_bytes(scene.held) + 5 * BLOCK,
           2 * BLOCK);
    is_int(answer_wait(&scene.answers[scene.writes]), -ECANCELED,
           "%s: they call back", words);
    is_int(answer_wait(&scene.answers[scene.writes + 1]), -ECANCELED,
           "%s: both", words);
    free(scene.bufs[scene.writes]);
    free(scene.bufs[scene.writes + 1]);
    on_another_thread(&scene, 1, 7 * BLOCK, 1);
    blkalign_unplug(scene.handle);      /* one too many: harmless */
    is_int(arrived(&scene), 5, "%s: not this thread's", words);
    held_pass(scene.held);
    is_int(blkalign_drain(scene.handle), 0, "%s: drain", words);
    scene_end(&scene, words);
}

static void handles_are_plugged_separately(void)
{
    const char *words = "two handles";
    struct scene scene;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    scene_write(&scene, 0, SECTOR);
    scene_write_again(&scene, 2 * BLOCK, BLOCK);
    is_int(arrived(&scene), 1, "%s: the other one's goes at once", words);
    is_int(held_find(scene.held, HELD_WRITE, 2), 1, "%s: rightly", words);
    blkalign_unplug(scene.second);
    is_int(arrived(&scene), 1, "%s: its unplug is not this one's", words);
    blkalign_unplug(scene.handle);
    is_int(arrived(&scene), 2, "%s: this one's unplug is", words);
    scene_end(&scene, words);
}

static void a_covered_block(void)
{
    static const int orders[][8] = { { 0, 1, 2, 3, 4, 5, 6, 7 },
                                     { 7, 3, 5, 1, 0, 6, 2, 4 } };
    struct scene scene;
    blkalign_stats stats;
    int round, i;

    for (round = 0; round < 6; round++) {
        scene_begin(&scene, NULL);
        blkalign_plug(scene.handle);
        for (i = 0; i < 8; i++)
            scene_write(&scene, BLOCK + orders[round % 2][i] * SECTOR,
                        SECTOR);
        blkalign_unplug(scene.handle);
        is_int(arrived(&scene), 1, "eight sectors of a block: one I/O");
        is_int(held_find(scene.held, HELD_WRITE, 1), 1, "a write");
        held_release_all(scene.held, SCENE_QUIET_MS);
        is_int(arrived(&scene), 1, "and none after it");
        for (i = 0; i < 8; i++)
            is_int(answer_wait(&scene.answers[i]), 0, "sector %d", i);
        stats = stats_of(scene.handle);
        is_int((int64_t)stats.writes, 8, "stats: eight writes");
        is_int((int64_t)stats.merged, 7, "stats: seven shared the first's");
        is_int((int64_t)stats.rmw_reads, 0, "stats: no edge read");
        ok(stats.rmw_reads_skipped > 0, "stats: edge reads saved (%d)",
           (int)stats.rmw_reads_skipped);
        is_int((int64_t)stats.storage_writes, 1, "stats: one at the disk");
        is_int((int64_t)stats.storage_reads, 0, "stats: none read");
        is_int((int64_t)stats.waits, 0, "stats: nobody waited");
        scene_end(&scene, "a covered block");
    }
}

static void a_partly_covered_block(void)
{
    struct scene scene;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    write_sectors(&scene, 8, 3);
    write_sectors(&scene, 12, 4);
    blkalign_unplug(scene.handle);
    is_int(arrived(&scene), 1, "seven sectors of a block: one I/O first");
    is_int(held_find(scene.held, HELD_READ, 1), 1, "a read");
    held_release(scene.held, HELD_READ, 1, 0);
    is_int(arrived(&scene), 2, "then one more");
    is_int(held_find(scene.held, HELD_WRITE, 1), 1, "a write");
    held_release(scene.held, HELD_WRITE, 1, 0);
    is_int(arrived(&scene), 2, "and none after it");
    is_int((int64_t)stats_of(scene.handle).rmw_reads, 1,
           "stats: one edge read");
    scene_end(&scene, "a partly covered block");
}

static void reads_of_a_block(void)
{
    struct answer answers[8];
    uint8_t bufs[8][SECTOR];
    struct scene scene;
    int i;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    for (i = 0; i < 8; i++)
        aio_read(scene.handle, BLOCK + i * SECTOR, bufs[i], SECTOR,
                 &answers[i]);
    is_int(arrived(&scene), 0, "plugged reads are held back");
    blkalign_unplug(scene.handle);
    is_int(arrived(&scene), 1, "eight reads of a block: one read");
    held_release_all(scene.held, SCENE_QUIET_MS);
    for (i = 0; i < 8; i++) {
        is_int(answer_wait(&answers[i]), 0, "read %d", i);
        is_int(pattern_differs(bufs[i], 1, BLOCK + i * SECTOR, SECTOR), -1,
               "read %d is right", i);
        is_int(answer_calls(&answers[i]), 1, "read %d calls back once", i);
    }
    is_int((int64_t)stats_of(scene.handle).reads, 8, "stats: eight reads");
    is_int((int64_t)stats_of(scene.handle).storage_reads, 1,
           "stats: one at the disk");
    scene_end(&scene, "reads of a block");
}

/* Of overlapping writes the last submitted one wins, byte by byte, within the
 * block and across its ends. */
static void overlapping_writes_keep_their_order(uint32_t flags)
{
    blkalign_open_options options = mode_options(flags);
    struct scene scene;
    uint64_t state = 5;
    int i, round;

    for (round = 0; round < 6; round++) {
        scene_begin(&scene, &options);
        blkalign_plug(scene.handle);
        for (i = 0; i < SCENE_WRITES - 1; i++)
            scene_write(&scene, BLOCK / 2 +
                        (int64_t)random_below(&state, BLOCK),
                        1 + random_below(&state, BLOCK));
        scene_write(&scene, BLOCK - 8, 16);
        blkalign_unplug(scene.handle);
        held_release_all(scene.held, 5);
        scene_end(&scene, flags ? "overlapping writes, no merging"
                                : "overlapping writes");
    }
}

static void without_merging(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_NO_MERGE);
    struct scene scene;

    scene_begin(&scene, &options);
    blkalign_plug(scene.handle);
    write_sectors(&scene, 8, 8);
    is_int(arrived(&scene), 0, "NO_MERGE: plugging still holds back");
    blkalign_unplug(scene.handle);
    held_release_all(scene.held, SCENE_QUIET_MS);
    is_int(held_seen(scene.held, HELD_WRITE), 8,
           "NO_MERGE: eight writes are eight");
    is_int((int64_t)stats_of(scene.handle).merged, 0, "NO_MERGE: none "
           "shared another's");
    scene_end(&scene, "NO_MERGE");
}

static void fua_of_one(void)
{
    struct answer answer;
    struct scene scene;
    uint8_t buf[SECTOR];

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    write_sectors(&scene, 8, 7);
    pattern_fill(buf, 77, 15 * SECTOR, SECTOR);
    memcpy(scene.want + 15 * SECTOR, buf, SECTOR);
    aio_write(scene.handle, 15 * SECTOR, buf, SECTOR, BLKALIGN_REQ_FUA,
              &answer);
    blkalign_unplug(scene.handle);
    ok(held_wait(scene.held, 1), "FUA of the last one: it is written");
    if (held_seen(scene.held, HELD_WRITE) == 1)
        is_int(held_write_flags(scene.held) & BLKALIGN_REQ_FUA,
               BLKALIGN_REQ_FUA, "the one write has FUA");
    held_pass(scene.held);
    is_int(answer_wait(&answer), 0, "it succeeds");
    is_int(held_write_flags(scene.held) & BLKALIGN_REQ_FUA,
           BLKALIGN_REQ_FUA, "with FUA at the disk");
    scene_end(&scene, "FUA of one");
}

static void an_error_is_everyones(enum held_op op, int count)
{
    uint8_t buf[8][SECTOR];
    struct answer answers[8];
    struct scene scene;
    int i;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    memset(buf, 0xee, sizeof(buf));
    for (i = 0; i < count; i++)
        aio_write(scene.handle, BLOCK + i * SECTOR, buf[i], SECTOR, 0,
                  &answers[i]);
    blkalign_unplug(scene.handle);
    held_wait(scene.held, 1);
    is_int(held_release(scene.held, op, 1, -ENOSPC), 1, "the disk fails");
    for (i = 0; i < count; i++) {
        is_int(answer_wait(&answers[i]), -ENOSPC, "write %d fails so", i);
        is_int(answer_calls(&answers[i]), 1, "and calls back once");
    }
    is_int((int64_t)stats_of(scene.handle).errors, count, "stats: errors");
    is_int((int64_t)stats_of(scene.handle).in_flight, 0, "none is left");
    scene_write(&scene, BLOCK, SECTOR);
    scene_end(&scene, "a write after the error");
}

/* Requests that are held back go first: the synchronous call sees their
 * effect, or waits for them, and the plug stays. */
static void what_waits_submits_first(void)
{
    static const char second[SECTOR] = "second";
    struct scene scene;
    uint8_t buf[BLOCK];

    scene_begin(&scene, NULL);
    held_pass(scene.held);
    blkalign_plug(scene.handle);
    write_sectors(&scene, 0, 3);
    is_int(blkalign_pwrite(scene.handle, SECTOR, SECTOR, second, 0) == 0 &&
           blkalign_pread(scene.handle, 0, BLOCK, buf, 0) == 0, 1,
           "synchronous calls while plugged");
    memcpy(scene.want + SECTOR, "second", 6);
    ok(!memcmp(buf, scene.want, SECTOR) &&
       !memcmp(buf + SECTOR, "second", 6) &&
       !memcmp(buf + 2 * SECTOR, scene.want + 2 * SECTOR, SECTOR),
       "come after what was plugged before them");
    memcpy(scene.want, held_bytes(scene.held), BLOCK);
    write_sectors(&scene, 9, 2);
    arrived(&scene);
    ok(pattern_differs(held_bytes(scene.held) + 9 * SECTOR, 1, 9 * SECTOR,
                       2 * SECTOR) == -1, "the plug is still there");
    is_int(blkalign_drain(scene.handle), 0, "drain while plugged");
    is_int(answer_calls(&scene.answers[3]) +
           answer_calls(&scene.answers[4]), 2, "submits and waits");
    write_sectors(&scene, 16, 1);
    is_int(blkalign_flush(scene.handle), 0, "flush while plugged");
    blkalign_plug(scene.second);
    scene_write_again(&scene, 24 * SECTOR, SECTOR);
    scene_write_again(&scene, 25 * SECTOR, SECTOR);
    is_int(blkalign_close(scene.second), 0, "close while plugged");
    scene.second = NULL;
    is_int(answer_calls(&scene.answers[scene.writes - 1]), 1,
           "submits and waits");
    scene_end(&scene, "what waits while plugged");
}

static void a_mixed_batch(void)
{
    struct answer read_early, read_late, flush;
    uint8_t early[SECTOR], late[2 * BLOCK];
    struct scene scene;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    aio_read(scene.handle, BLOCK, early, SECTOR, &read_early);
    write_sectors(&scene, 16, 8);
    scene_write(&scene, 3 * BLOCK, 2 * BLOCK);
    aio_flush(scene.handle, &flush);
    aio_read(scene.handle, 5 * BLOCK, late, 2 * BLOCK, &read_late);
    scene_write(&scene, 7 * BLOCK + 1, 1);
    blkalign_unplug(scene.handle);
    held_release_all(scene.held, SCENE_QUIET_MS);
    is_int(answer_wait(&read_early), 0, "mixed: a read");
    is_int(pattern_differs(early, 1, BLOCK, SECTOR), -1, "mixed: right");
    is_int(answer_wait(&read_late), 0, "mixed: an aligned read");
    is_int(pattern_differs(late, 1, 5 * BLOCK, 2 * BLOCK), -1,
           "mixed: right");
    is_int(answer_wait(&flush), 0, "mixed: a flush");
    is_int(held_seen(scene.held, HELD_FLUSH), 1, "mixed: at the disk");
    ok(held_seen(scene.held, HELD_WRITE) == 3 ||
           held_seen(scene.held, HELD_WRITE) == 2,
       "mixed: three writes, of which two lie side by side");
    scene_end(&scene, "mixed");
}

int main(void)
{
    int round;

    run_begin(120);
    for (round = 0; round < 3; round++) {
        nothing_before_the_outermost_unplug();
        threads_are_plugged_separately();
        handles_are_plugged_separately();
        a_partly_covered_block();
        reads_of_a_block();
        without_merging();
        fua_of_one();
        what_waits_submits_first();
        a_mixed_batch();
        mode_next();
    }
    a_covered_block();
    overlapping_writes_keep_their_order(0);
    overlapping_writes_keep_their_order(BLKALIGN_O_NO_MERGE);
    an_error_is_everyones(HELD_WRITE, 8);
    an_error_is_everyones(HELD_READ, 5);
    return done_testing();
}
