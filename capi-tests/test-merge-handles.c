/*
 * Eight handles of one object, as a queue for each virtual processor: writes
 * to one block share an I/O, whichever handle they come by, and each counts,
 * fails, is cancelled and is closed by itself.
 */
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK HELD_BLOCK
#define SECTOR 512

enum { HANDLES = 8 };

struct eight {
    struct held *held;
    blkalign_handle *handles[HANDLES];
    uint8_t data[HANDLES][SECTOR];
    struct answer answers[HANDLES];
};

static void open_all(struct eight *eight, uint32_t flags_of_last)
{
    int i;

    memset(eight, 0, sizeof(*eight));
    eight->held = held_new(4);
    for (i = 0; i < HANDLES; i++) {
        uint32_t more = i == HANDLES - 1 ? flags_of_last : 0;
        blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | more);

        if (i == 0)
            eight->handles[0] = held_open(eight->held, &options);
        else if (blkalign_dup(eight->handles[0], &options,
                              &eight->handles[i]) < 0)
            bail("dup: %s", blkalign_errmsg());
        memset(eight->data[i], 'a' + i, SECTOR);
    }
}

static void write_sector(struct eight *eight, int i)
{
    aio_write(eight->handles[i], i * SECTOR, eight->data[i], SECTOR, 0,
              &eight->answers[i]);
}

/* The first reads its block and writes; the others wait behind it. */
static void queue_up(struct eight *eight)
{
    int i;

    write_sector(eight, 0);
    held_wait(eight->held, 1);
    held_release(eight->held, HELD_READ, 0, 0);
    held_wait(eight->held, 1);
    for (i = 1; i < HANDLES; i++)
        write_sector(eight, i);
    held_quiet(eight->held, SCENE_QUIET_MS);
}

static void close_all(struct eight *eight)
{
    int i;

    held_pass(eight->held);
    for (i = 0; i < HANDLES; i++) {
        if (eight->handles[i])
            blkalign_close(eight->handles[i]);
    }
    held_free(eight->held);
}

static void a_sector_each_is_two_writes(void)
{
    struct eight eight;
    int i, same = 1;

    open_all(&eight, 0);
    queue_up(&eight);
    held_release(eight.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&eight.answers[0]), 0, "%s: the first is done",
           mode_words());
    ok(held_wait(eight.held, 1), "the others follow");
    is_int(held_find(eight.held, HELD_WRITE, 0), 1, "as one write");
    held_release(eight.held, HELD_WRITE, 0, 0);
    for (i = 1; i < HANDLES; i++)
        is_int(answer_wait(&eight.answers[i]), 0, "number %d is done", i);
    is_int(held_seen(eight.held, HELD_READ), 1, "one read in all");
    is_int(held_seen(eight.held, HELD_WRITE), 2, "two writes in all");
    for (i = 0; i < HANDLES; i++) {
        blkalign_stats stats = stats_of(eight.handles[i]);

        same &= memcmp(held_bytes(eight.held) + i * SECTOR, eight.data[i],
                       SECTOR) == 0;
        is_int((int64_t)stats.writes, 1, "stats of %d: writes", i);
        is_int((int64_t)stats.merged, i > 1, "stats of %d: merged", i);
        is_int((int64_t)stats.storage_writes, i < 2,
               "stats of %d: storage_writes", i);
        is_int((int64_t)stats.in_flight, 0, "stats of %d: in_flight", i);
    }
    ok(same, "every sector has its bytes");
    close_all(&eight);
}

static void no_merge_of_one_is_its_own(void)
{
    struct eight eight;

    open_all(&eight, BLKALIGN_O_NO_MERGE);
    queue_up(&eight);
    held_release_all(eight.held, SCENE_QUIET_MS);
    is_int(answer_wait(&eight.answers[HANDLES - 1]), 0,
           "%s: NO_MERGE: the last is done", mode_words());
    is_int(held_seen(eight.held, HELD_WRITE), 3, "by a write of its own");
    is_int((int64_t)stats_of(eight.handles[HANDLES - 1]).merged, 0,
           "and counts none");
    close_all(&eight);
}

static void an_error_is_that_of_each(void)
{
    struct eight eight;
    int i;

    open_all(&eight, 0);
    queue_up(&eight);
    held_release(eight.held, HELD_WRITE, 0, 0);
    held_wait(eight.held, 1);
    held_release(eight.held, HELD_WRITE, 0, -ENOSPC);
    is_int(answer_wait(&eight.answers[0]), 0, "%s: the first succeeds",
           mode_words());
    for (i = 1; i < HANDLES; i++) {
        is_int(answer_wait(&eight.answers[i]), -ENOSPC, "%d fails", i);
        is_int((int64_t)stats_of(eight.handles[i]).errors, 1,
               "and counts that");
    }
    close_all(&eight);
}

static void fua_of_one_is_fua_of_all(void)
{
    struct answer fua;
    struct eight eight;

    open_all(&eight, 0);
    queue_up(&eight);
    aio_write(eight.handles[0], 0, eight.data[0], SECTOR, BLKALIGN_REQ_FUA,
              &fua);
    held_release(eight.held, HELD_WRITE, 0, 0);
    held_wait(eight.held, 1);
    ok(held_write_flags(eight.held) & BLKALIGN_REQ_FUA,
       "%s: the shared write has FUA", mode_words());
    held_release_all(eight.held, SCENE_QUIET_MS);
    is_int(answer_wait(&fua), 0, "and the one that asked for it is done");
    close_all(&eight);
}

static void what_rides_is_cancelled_by_its_own_handle(void)
{
    struct eight eight;
    uint8_t before = 0;

    open_all(&eight, 0);
    before = held_bytes(eight.held)[3 * SECTOR];
    queue_up(&eight);
    is_int(blkalign_aio_cancel(eight.handles[2], eight.answers[3].id), -ENOENT,
           "%s: not by another handle", mode_words());
    is_int(blkalign_aio_cancel(eight.handles[3], eight.answers[3].id), 0,
           "a write in line is taken back");
    held_release(eight.held, HELD_WRITE, 0, 0);
    held_wait(eight.held, 1);
    is_int(blkalign_aio_cancel(eight.handles[4], eight.answers[4].id), -EBUSY,
           "a write at the storage is not");
    held_release_all(eight.held, SCENE_QUIET_MS);
    is_int(answer_wait(&eight.answers[3]), -ECANCELED, "ECANCELED");
    is_int(answer_wait(&eight.answers[4]), 0, "the others are done");
    is_int(held_bytes(eight.held)[3 * SECTOR], before,
           "nothing of the one is written");
    close_all(&eight);
}

static void *close_one(void *opaque)
{
    blkalign_close(opaque);
    return NULL;
}

/* `which`: 1 leads the shared write, another rides in it. */
static void one_closes_meanwhile(int which)
{
    struct eight eight;
    pthread_t closer;
    int i, done = 0;

    open_all(&eight, 0);
    queue_up(&eight);
    held_release(eight.held, HELD_WRITE, 0, 0);
    held_wait(eight.held, 1);
    pthread_create(&closer, NULL, close_one, eight.handles[which]);
    eight.handles[which] = NULL;
    sleep_ms(SCENE_QUIET_MS);
    is_int(answer_calls(&eight.answers[which]), 0,
           "%s: closing %d waits for its write", mode_words(), which);
    held_release(eight.held, HELD_WRITE, 0, 0);
    pthread_join(closer, NULL);
    is_int(answer_calls(&eight.answers[which]), 1, "which is done then");
    for (i = 0; i < HANDLES; i++)
        done += i == which || answer_wait(&eight.answers[i]) == 0;
    is_int(done, HANDLES, "and so are the others");
    close_all(&eight);
}

int main(void)
{
    int round;

    run_begin(120);
    for (round = 0; round < MODES; round++) {
        a_sector_each_is_two_writes();
        no_merge_of_one_is_its_own();
        an_error_is_that_of_each();
        fua_of_one_is_fua_of_all();
        what_rides_is_cancelled_by_its_own_handle();
        one_closes_meanwhile(1);
        one_closes_meanwhile(5);
        mode_next();
    }
    return done_testing();
}
