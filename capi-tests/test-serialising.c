/*
 * SERIALISING excludes reads and writes, earlier and later ones; NO_WAIT never
 * waits. A disk that holds its I/O shows which requests are at the storage.
 */
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALONE BLKALIGN_REQ_SERIALISING

static uint8_t *data;

/* Requests of these tests write pattern 1, which is there already. */
static void submit(blkalign_handle *handle, uint32_t op, int64_t offset,
                   int64_t bytes, uint32_t flags, struct answer *answer)
{
    blkalign_request request = request_at(op, offset, bytes, flags);
    static uint8_t into[SCENE_BLOCKS * HELD_BLOCK];

    aio_any(handle, &request,
            op == BLKALIGN_OP_READ ? into + offset : data + offset, answer);
}

struct pair {
    const char *words;
    uint32_t first, first_flags, second, second_flags;
    int apart;                  /* blocks between them; 0: they overlap */
    int waits;
};

#define R BLKALIGN_OP_READ
#define W BLKALIGN_OP_WRITE
#define Z BLKALIGN_OP_WRITE_ZEROES

static const struct pair pairs[] = {
    { "a read beside a read", R, 0, R, 0, 0, 0 },
    { "an aligned write beside a read", R, 0, W, 0, 0, 0 },
    { "an aligned write beside one", W, 0, W, 0, 0, 0 },
    { "SERIALISING read after a read", R, 0, R, ALONE, 0, 1 },
    { "SERIALISING read after a write", W, 0, R, ALONE, 0, 1 },
    { "SERIALISING write after a read", R, 0, W, ALONE, 0, 1 },
    { "SERIALISING write after a write", W, 0, W, ALONE, 0, 1 },
    { "a read after a SERIALISING read", R, ALONE, R, 0, 0, 1 },
    { "a write after a SERIALISING read", R, ALONE, W, 0, 0, 1 },
    { "a read after a SERIALISING write", W, ALONE, R, 0, 0, 1 },
    { "a write after a SERIALISING write", W, ALONE, W, 0, 0, 1 },
    { "SERIALISING after SERIALISING", W, ALONE, R, ALONE, 0, 1 },
    { "zeros beside a read", R, 0, Z, 0, 0, 0 },
    { "SERIALISING zeros after a read", R, 0, Z, ALONE, 0, 1 },
    { "a read after SERIALISING zeros", Z, ALONE, R, 0, 0, 1 },
    { "SERIALISING beside a read elsewhere", R, 0, W, ALONE, 2, 0 },
    { "a read beside SERIALISING elsewhere", W, ALONE, R, 0, 2, 0 },
    { "a write beside SERIALISING elsewhere", R, ALONE, W, 0, 2, 0 },
};

/* Whole blocks: without the flag neither would wait for the other. */
static void one_pair(const struct pair *pair, int again, uint32_t flags)
{
    int64_t second = (1 + pair->apart) * HELD_BLOCK;
    const uint32_t no_wait = pair->second_flags | flags;
    struct answer first, answer;
    struct scene scene;
    int held;

    scene_begin(&scene, NULL);
    submit(scene.handle, pair->first, HELD_BLOCK, HELD_BLOCK,
           pair->first_flags, &first);
    held_wait(scene.held, 1);
    submit(again ? scene.second : scene.handle, pair->second, second,
           HELD_BLOCK, no_wait, &answer);
    held = held_quiet(scene.held, SCENE_QUIET_MS);
    if (!flags) {
        is_int(held, pair->waits ? 1 : 2, "%s: %s", pair->words,
               pair->waits ? "waits" : "does not wait");
        held_release(scene.held,
                     pair->first == R   ? HELD_READ
                     : pair->first == W ? HELD_WRITE
                                        : HELD_ZEROES,
                     1, 0);
        is_int(answer_wait(&first), 0, "%s: first", pair->words);
        is_int(held_wait(scene.held, 1), 1, "%s: then it goes",
               pair->words);
    } else if (pair->waits) {
        is_int(held, 1, "%s, NO_WAIT: not at the storage", pair->words);
        is_int(answer_wait(&answer), -EBUSY, "%s, NO_WAIT: -EBUSY",
               pair->words);
    } else {
        is_int(held, 2, "%s, NO_WAIT: goes", pair->words);
    }
    held_pass(scene.held);
    if (pair->first == Z || (pair->second == Z && !(flags && pair->waits)))
        memset(scene.want + HELD_BLOCK, 0, HELD_BLOCK);
    is_int(answer_wait(&first), 0, "%s: first is done", pair->words);
    is_int(answer_wait(&answer), flags && pair->waits ? -EBUSY : 0,
           "%s: second is done", pair->words);
    scene_end(&scene, pair->words);
}

/* A SERIALISING request may be shorter than a block: its own bytes count, not
 * those of its neighbours. */
static void bytes_of_one_block(void)
{
    const char *words = "a SERIALISING read of a part of a block";
    struct answer read, other, beside;
    struct scene scene;

    scene_begin(&scene, NULL);
    submit(scene.handle, R, 100, 100, ALONE, &read);
    held_wait(scene.held, 1);
    scene_write(&scene, 150, 10);
    submit(scene.handle, R, 150, 100, 0, &other);
    submit(scene.handle, R, HELD_BLOCK, HELD_BLOCK, 0, &beside);
    held_wait(scene.held, 2);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_on_block(scene.held, 0), 1, "%s: is alone", words);
    is_int(held_on_block(scene.held, 1), 1, "%s: stops nobody else",
           words);
    held_pass(scene.held);
    is_int(answer_wait(&read), 0, "%s: is done", words);
    is_int(answer_wait(&other), 0, "%s: so is the other", words);
    is_int(answer_wait(&beside), 0, "%s: and the one beside", words);
    scene_end(&scene, words);
}

/* Fairness: later requests do not overtake it, or it would starve. */
static void nobody_overtakes(void)
{
    const char *words = "reads behind a waiting SERIALISING write";
    struct answer reads[3], write;
    struct scene scene;

    scene_begin(&scene, NULL);
    submit(scene.handle, R, 0, 2 * HELD_BLOCK, 0, &reads[0]);
    held_wait(scene.held, 1);
    submit(scene.second, W, 0, 2 * HELD_BLOCK, ALONE, &write);
    submit(scene.handle, R, HELD_BLOCK, HELD_BLOCK, 0, &reads[1]);
    submit(scene.handle, R, 3 * HELD_BLOCK, HELD_BLOCK, 0, &reads[2]);
    held_wait(scene.held, 2);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_find(scene.held, HELD_READ, 1), 1, "%s: wait, too", words);
    is_int(held_find(scene.held, HELD_READ, 3), 1, "%s: not elsewhere",
           words);
    held_release(scene.held, HELD_READ, 0, 0);
    held_wait(scene.held, 2);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_find(scene.held, HELD_WRITE, 0), 1, "%s: then it writes",
           words);
    is_int(held_find(scene.held, HELD_READ, 1), 0, "%s: alone", words);
    held_pass(scene.held);
    is_int(answer_wait(&write), 0, "%s: it is done", words);
    is_int(answer_wait(&reads[1]), 0, "%s: then the read", words);
    answer_wait(&reads[0]);
    answer_wait(&reads[2]);
    scene_end(&scene, words);
}

/* A block that is being written in part is busy as a whole. */
static void busy_as_a_whole(int again)
{
    const char *words = "NO_WAIT, a block that is written in part";
    struct answer answer;
    struct scene scene;
    blkalign_handle *handle;

    scene_begin(&scene, NULL);
    handle = again ? scene.second : scene.handle;
    scene_write(&scene, 0, 512);
    held_wait(scene.held, 1);
    submit(handle, W, 2048, 512, BLKALIGN_REQ_NO_WAIT, &answer);
    is_int(answer_wait(&answer), -EBUSY, "%s: another part", words);
    submit(handle, W, 0, HELD_BLOCK, BLKALIGN_REQ_NO_WAIT, &answer);
    is_int(answer_wait(&answer), -EBUSY, "%s: all of it", words);
    is_int(blkalign_pwrite(handle, 3000, 5, data, BLKALIGN_REQ_NO_WAIT),
           -EBUSY, "%s: a synchronous call", words);
    is_int(blkalign_pwrite_zeroes(handle, 3000, 5, BLKALIGN_REQ_NO_WAIT),
           -EBUSY, "%s: a synchronous zero write", words);
    is_int((int64_t)stats_of(handle).waits, 0, "%s: none waited", words);
    submit(handle, W, HELD_BLOCK + 5, 5, BLKALIGN_REQ_NO_WAIT, &answer);
    ok(held_wait(scene.held, 2), "%s: another block is not", words);
    held_pass(scene.held);
    is_int(answer_wait(&answer), 0, "%s: and succeeds", words);
    is_int(answer_wait(&scene.answers[0]), 0, "%s: the first", words);
    is_int(blkalign_pwrite(handle, 3000, 5, data + 3000,
                           BLKALIGN_REQ_NO_WAIT), 0, "%s: free again",
           words);
    scene_end(&scene, words);
}

/* A request that was refused does not stay in the way of others. */
static void leaves_no_trace(void)
{
    const char *words = "after NO_WAIT was refused";
    struct answer answer, later;
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 512);
    held_wait(scene.held, 1);
    submit(scene.handle, W, 512, HELD_BLOCK,
           BLKALIGN_REQ_NO_WAIT | ALONE, &answer);
    is_int(answer_wait(&answer), -EBUSY, "%s: -EBUSY", words);
    submit(scene.second, W, HELD_BLOCK + 5, 5, BLKALIGN_REQ_NO_WAIT,
           &later);
    ok(held_wait(scene.held, 2), "%s: its other block is free", words);
    held_pass(scene.held);
    is_int(answer_wait(&later), 0, "%s: and written", words);
    is_int(answer_calls(&answer), 1, "%s: one callback", words);
    scene_end(&scene, words);
}

/* A flush accepts both flags, without effect. */
static void flush(void)
{
    blkalign_request request = request_of(BLKALIGN_OP_FLUSH);
    struct answer answer;
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 512);
    held_wait(scene.held, 1);
    request.flags = ALONE | BLKALIGN_REQ_NO_WAIT;
    aio_any(scene.handle, &request, NULL, &answer);
    ok(held_wait(scene.held, 2), "a flush with both flags goes");
    held_pass(scene.held);
    is_int(answer_wait(&answer), 0, "and succeeds");
    scene_end(&scene, "flush");
}

int main(void)
{
    size_t i;
    int again;

    run_begin(100);
    data = aligned_memory(SCENE_BLOCKS * HELD_BLOCK);
    pattern_fill(data, 1, 0, SCENE_BLOCKS * HELD_BLOCK);
    for (again = 0; again < 2; again++) {
        diag(again ? "through two handles" : "through one handle");
        for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
            one_pair(&pairs[i], again, 0);
            one_pair(&pairs[i], again, BLKALIGN_REQ_NO_WAIT);
        }
        busy_as_a_whole(again);
        bytes_of_one_block();
        nobody_overtakes();
        leaves_no_trace();
        flush();
    }
    free(data);
    return done_testing();
}
