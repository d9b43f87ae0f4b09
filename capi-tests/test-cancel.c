/*
 * Cancel has three answers, and each request has one callback.
 *
 * A disk that holds its I/O makes each moment of a cancel certain: held back
 * by a plug, waiting, queued behind others, part of another's write, at the
 * storage, and done.
 */
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* "Soon" means: not when the request before it ends, which is held for ever.
 * */
#define SOON_MS 3000

static uint8_t *junk;

/* A write that is to be cancelled: none of its bytes may appear. */
static void doomed(struct scene *scene, int64_t offset, size_t bytes,
                   struct answer *answer)
{
    aio_write(scene->handle, offset, junk, bytes, 0, answer);
}

static void cancelled(struct scene *scene, struct answer *answer,
                      const char *words)
{
    is_int(blkalign_aio_cancel(scene->handle, answer->id), 0,
           "%s: cancelled", words);
    ok(answer_came(answer, SOON_MS), "%s: its callback comes soon", words);
    is_int(answer->ret, -ECANCELED, "%s: with -ECANCELED", words);
    is_int(blkalign_aio_cancel(scene->handle, answer->id), -ENOENT,
           "%s: a second cancel finds nothing", words);
}

static void finish(struct scene *scene, struct answer *answer,
                   const char *words)
{
    scene_end(scene, words);
    is_int(answer_calls(answer), 1, "%s: one callback", words);
}

static void held_back_by_a_plug(void)
{
    const char *words = "plugged";
    struct answer answer;
    struct scene scene;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    scene_write(&scene, 0, 512);
    doomed(&scene, 100, 700, &answer);
    scene_write(&scene, 512, 512);
    cancelled(&scene, &answer, words);
    is_int(held_quiet(scene.held, SCENE_QUIET_MS), 0,
           "%s: the others stay held back", words);
    blkalign_unplug(scene.handle);
    finish(&scene, &answer, words);
}

static void waiting(uint32_t flags)
{
    blkalign_open_options options = mode_options(flags);
    const char *words = flags ? "waiting, NO_MERGE" : "waiting";
    struct answer answer;
    struct scene scene;

    scene_begin(&scene, &options);
    scene_write(&scene, 0, 512);
    held_wait(scene.held, 1);
    doomed(&scene, 256, HELD_BLOCK, &answer);
    scene_write(&scene, HELD_BLOCK + 512, 512);
    scene_write(&scene, 1024, 512);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_on_block(scene.held, 1), 0,
           "%s: the one behind it waits, too", words);
    cancelled(&scene, &answer, words);
    ok(held_wait(scene.held, 2), "%s: the one behind it starts", words);
    is_int(held_on_block(scene.held, 1), 1,
           "%s: that which waited for it alone", words);
    is_int(held_on_block(scene.held, 0), 1,
           "%s: not that which waits for another, too", words);
    finish(&scene, &answer, words);
}

/* The middle of a chain of three, all with the same bytes: the order of the
 * other two must stay. */
static void in_a_chain(void)
{
    const char *words = "in the middle of a chain";
    blkalign_open_options options = mode_options(BLKALIGN_O_NO_MERGE);
    struct answer answers[3];
    struct scene scene;
    int i;

    scene_begin(&scene, &options);
    scene_write(&scene, 100, 512);
    held_wait(scene.held, 1);
    for (i = 0; i < 3; i++) {
        doomed(&scene, 200, 512, &answers[i]);
        scene_write(&scene, 150 + i, 512);
    }
    for (i = 2; i >= 0; i--)
        cancelled(&scene, &answers[i], words);
    is_int(held_quiet(scene.held, SCENE_QUIET_MS), 1,
           "%s: the others keep waiting", words);
    finish(&scene, &answers[0], words);
}

static void queued(void)
{
    const char *words = "queued behind queue_depth";
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    struct answer first, second, third;
    struct held *held = held_new(8);
    blkalign_handle *handle;
    struct scene scene;

    options.queue_depth = 1;
    handle = held_open(held, &options);
    memset(&scene, 0, sizeof(scene));
    scene.handle = handle;
    aio_write(handle, 0, junk, HELD_BLOCK, 0, &first);
    held_wait(held, 1);
    aio_write(handle, HELD_BLOCK, junk, HELD_BLOCK, 0, &second);
    aio_read(handle, 3 * HELD_BLOCK, junk + HELD_BLOCK, HELD_BLOCK, &third);
    is_int(held_quiet(held, SCENE_QUIET_MS), 1, "%s: one is there", words);
    is_int((int64_t)stats_of(handle).in_flight, 3, "%s: all are counted",
           words);
    cancelled(&scene, &second, words);
    is_int((int64_t)stats_of(handle).in_flight, 2, "%s: one less", words);
    is_int(blkalign_aio_cancel(handle, first.id), -EBUSY,
           "%s: the first is at the storage", words);
    held_release(held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&first), 0, "%s: and completes", words);
    ok(held_wait(held, 1) && held_find(held, HELD_READ, 3) == 1,
       "%s: the third goes next", words);
    held_pass(held);
    is_int(answer_wait(&third), 0, "%s: and completes", words);
    is_int(blkalign_close(handle), 0, "%s: close", words);
    is_int(pattern_differs(held_bytes(held) + HELD_BLOCK, 1, HELD_BLOCK,
                           HELD_BLOCK), -1, "%s: wrote nothing", words);
    is_int(held_seen(held, HELD_WRITE), 1, "%s: nor was tried", words);
    held_free(held);
}

/* Members leave as long as their leader has written nothing. */
static void part_of_a_merged_write(void)
{
    const char *words = "a member, while its leader reads the edge";
    struct answer answer;
    struct scene scene;

    scene_begin(&scene, NULL);
    blkalign_plug(scene.handle);
    scene_write(&scene, 0, 512);
    doomed(&scene, 256, 512, &answer);
    scene_write(&scene, 512, 512);
    blkalign_unplug(scene.handle);
    held_wait(scene.held, 1);
    is_int(held_find(scene.held, HELD_READ, 0), 1, "%s: it reads", words);
    cancelled(&scene, &answer, words);
    finish(&scene, &answer, words);
}

static void at_the_storage(void)
{
    const char *words = "at the storage";
    struct scene scene;
    struct answer read, flush;
    int64_t id;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, HELD_BLOCK);
    scene_write(&scene, 2 * HELD_BLOCK + 5, 5);
    held_wait(scene.held, 2);
    id = scene.answers[0].id;
    is_int(blkalign_aio_cancel(scene.handle, id), -EBUSY, "%s: a write",
           words);
    held_release(scene.held, HELD_READ, 2, 0);
    held_wait(scene.held, 2);
    is_int(blkalign_aio_cancel(scene.handle, scene.answers[1].id), -EBUSY,
           "%s: a read-modify-write that writes", words);
    aio_read(scene.handle, 5 * HELD_BLOCK, junk + HELD_BLOCK, 512, &read);
    aio_flush(scene.handle, &flush);
    held_wait(scene.held, 4);
    is_int(blkalign_aio_cancel(scene.handle, read.id), -EBUSY, "%s: a read",
           words);
    is_int(blkalign_aio_cancel(scene.handle, flush.id), -EBUSY,
           "%s: a flush", words);
    is_int(blkalign_aio_cancel(scene.second, id), -ENOENT,
           "%s: another handle's request", words);
    held_pass(scene.held);
    is_int(answer_wait(&read), 0, "%s: the read completes", words);
    is_int(answer_wait(&flush), 0, "%s: so does the flush", words);
    is_int(answer_wait(&scene.answers[0]), 0, "%s: and the write", words);
    is_int(blkalign_aio_cancel(scene.handle, id), -ENOENT,
           "%s: done, it is unknown", words);
    finish(&scene, &read, words);
}

/* The result is decided but the callback has not run: EVENTFD mode makes that
 * moment last. */
static void decided(void)
{
    const char *words = "decided, its callback not run yet";
    blkalign_open_options options = options_of(0,
                                               BLKALIGN_COMPLETION_EVENTFD);
    struct scene scene;

    scene_begin(&scene, &options);
    scene_write(&scene, 0, HELD_BLOCK);
    held_wait(scene.held, 1);
    held_release(scene.held, HELD_WRITE, 0, 0);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(blkalign_aio_cancel(scene.handle, scene.answers[0].id), -ENOENT,
           "%s: unknown", words);
    is_int(answer_calls(&scene.answers[0]), 0, "%s: indeed", words);
    scene_end(&scene, words);
}

static void garbage(void)
{
    static const int64_t ids[] = {
        0, -1, 1, 2, 63, 64, 1 << 26, (1 << 26) + 1, INT64_C(1) << 40,
        INT64_MAX, INT64_MIN, INT32_MAX
    };
    struct scene scene;
    size_t i;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 512);
    held_wait(scene.held, 1);
    for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (ids[i] != scene.answers[0].id)
            is_int(blkalign_aio_cancel(scene.handle, ids[i]), -ENOENT,
                   "id %lld is unknown", (long long)ids[i]);
    is_int(blkalign_aio_cancel(scene.handle, scene.answers[0].id ^ 1),
           -ENOENT, "a neighbour of a good id is unknown");
    is_int(blkalign_aio_cancel(scene.handle,
                               scene.answers[0].id + (1 << 26)),
           -ENOENT, "the same place at another time is unknown");
    is_int(blkalign_aio_cancel(NULL, scene.answers[0].id), -EINVAL,
           "no handle");
    scene_end(&scene, "garbage");
}

/* A cancel inside a callback works; an old id is not taken for a newer request
 * in the same place. */
static void ids_do_not_come_back(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    struct held *held = held_new(8);
    blkalign_handle *handle = held_open(held, &options);
    struct answer answers[200];
    int i, same = 0, found = 0;

    held_pass(held);
    for (i = 0; i < 200; i++) {
        aio_write(handle, 0, junk, 512, 0, &answers[i]);
        answer_wait(&answers[i]);
    }
    for (i = 0; i < 200; i++) {
        found += blkalign_aio_cancel(handle, answers[i].id) != -ENOENT;
        same += i && answers[i].id == answers[i - 1].id;
    }
    is_int(same, 0, "no id comes twice in a row");
    is_int(found, 0, "none of 200 that are done is found");
    blkalign_close(handle);
    held_free(held);
}

/* A callback that knows its request only by the id. */
struct named {
    struct answer answer;
    int64_t id, seen;           /* `seen` by the callback */
};

static void note_id(void *opaque, int ret)
{
    struct named *named = opaque;

    named->seen = named->id;
    answer_done(&named->answer, ret);
}

static void an_id_is_there_before_the_callback(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    struct held *held = held_new(8);
    blkalign_handle *handle = held_open(held, &options);
    blkalign_request request = request_at(BLKALIGN_OP_WRITE, 0, 512, 0);
    struct named *named = calloc(1000, sizeof(*named));
    struct iovec iov;
    int64_t returned, untouched = -7;
    int i, wrong = 0;

    if (!named)
        bail("no memory");
    held_pass(held);
    iov.iov_base = junk;
    iov.iov_len = 512;
    request.iov = &iov;
    request.iovcnt = 1;
    request.cb = note_id;
    for (i = 0; i < 1000; i++) {
        named[i].answer.handle =
            options.completion == BLKALIGN_COMPLETION_EVENTFD ? handle : NULL;
        request.id = &named[i].id;
        request.opaque = &named[i];
        returned = blkalign_aio_submit(handle, &request);
        wrong += returned <= 0 || returned != named[i].id;
    }
    is_int(blkalign_drain(handle), 0, "drain");
    for (i = 0; i < 1000; i++)
        wrong += named[i].seen != named[i].id ||
            answer_calls(&named[i].answer) != 1;
    is_int(wrong, 0, "each of 1000 callbacks found its id");
    request.id = &untouched;
    request.bytes = 511;
    is_int(blkalign_aio_submit(handle, &request), -EINVAL, "a bad request");
    is_int(untouched, -7, "gets no id");
    request.bytes = 512;
    request.size = offsetof(blkalign_request, id);
    request.opaque = &named[0];
    ok(blkalign_aio_submit(handle, &request) > 0, "an older struct");
    is_int(untouched, -7, "has no id");
    blkalign_close(handle);
    free(named);
    held_free(held);
}

/* Cancels everything that has not reached the disk, in whatever state; and
 * does so quickly. */
static void all_at_once(void)
{
    enum { MANY = 4096 };
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    struct held *held = held_new(8);
    blkalign_handle *handle = held_open(held, &options), *second;
    struct answer first, other, *answers = calloc(MANY, sizeof(*answers));
    int64_t begin;
    int i, wrong = 0;

    if (!answers || blkalign_dup(handle, &options, &second))
        bail("no second handle");
    is_int(blkalign_cancel_all(handle), 0, "all: there is nothing");
    is_int(blkalign_cancel_all(NULL), -EINVAL, "all: no handle");
    aio_write(handle, 0, junk, 512, 0, &first);
    held_wait(held, 1);
    aio_write(second, 4 * HELD_BLOCK, junk, HELD_BLOCK, 0, &other);
    held_wait(held, 2);
    for (i = 0; i < MANY; i++) {
        if (i == MANY / 2)
            blkalign_plug(handle);
        aio_write(handle, i % 7 * 512, junk, 512 + (size_t)(i % 3) * 4096, 0,
                  &answers[i]);
    }
    begin = now_ms();
    is_int(blkalign_cancel_all(handle), MANY, "all: they are cancelled");
    ok(now_ms() - begin < SOON_MS, "all: it takes %d ms",
       (int)(now_ms() - begin));
    is_int((int64_t)stats_of(handle).in_flight, 1, "all: one is left");
    is_int((int64_t)stats_of(handle).errors, 0, "all: it is no error");
    blkalign_unplug(handle);
    for (i = 0; i < MANY; i++)
        wrong += answer_wait(&answers[i]) != -ECANCELED;
    is_int(wrong, 0, "all: each is told");
    held_pass(held);
    is_int(answer_wait(&first), 0, "all: what was at the disk completes");
    is_int(answer_wait(&other), 0, "all: the other handle's, too");
    is_int(blkalign_close(second), 0, "all: close");
    is_int(blkalign_close(handle), 0, "all: close");
    free(answers);
    held_free(held);
}

/* Waiting requests of other kinds. */
static void every_kind(void)
{
    static const uint32_t ops[] = {
        BLKALIGN_OP_WRITE, BLKALIGN_OP_WRITE_ZEROES, BLKALIGN_OP_DISCARD,
        BLKALIGN_OP_READ
    };
    blkalign_open_options options = mode_options(BLKALIGN_O_UNMAP);
    size_t i;

    for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        blkalign_request request = request_at(ops[i], 0, HELD_BLOCK,
                                              BLKALIGN_REQ_SERIALISING);
        struct answer answer;
        struct scene scene;

        if (ops[i] == BLKALIGN_OP_DISCARD)
            request.flags = 0;
        scene_begin(&scene, &options);
        scene_write(&scene, 0, 512);
        held_wait(scene.held, 1);
        aio_any(scene.handle, &request, junk, &answer);
        held_quiet(scene.held, SCENE_QUIET_MS);
        cancelled(&scene, &answer, "of another kind");
        finish(&scene, &answer, "of another kind");
    }
}

int main(void)
{
    int round;

    run_begin(120);
    junk = aligned_memory(4 * HELD_BLOCK);
    memset(junk, 0xee, 4 * HELD_BLOCK);
    for (round = 0; round < 3; round++) {
        mode_first((unsigned)round);
        diag("%s", mode_words());
        held_back_by_a_plug();
        mode_first((unsigned)round);
        waiting(0);
        mode_first((unsigned)round);
        waiting(BLKALIGN_O_NO_MERGE);
        mode_first((unsigned)round);
        in_a_chain();
        mode_first((unsigned)round);
        queued();
        part_of_a_merged_write();
        mode_first((unsigned)round);
        at_the_storage();
        mode_first((unsigned)round);
        garbage();
        mode_first((unsigned)round);
        ids_do_not_come_back();
        an_id_is_there_before_the_callback();
        mode_first((unsigned)round);
        all_at_once();
        every_kind();
    }
    decided();
    free(junk);
    return done_testing();
}
