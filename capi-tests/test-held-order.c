/*
 * Which request waits for which: aligned writes across waiting ones, large
 * writes with only a tail, edges in parallel, and requests that need not wait
 * at all.
 */
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <stdlib.h>

#define BLOCK HELD_BLOCK

static void settle(struct scene *scene)
{
    held_wait(scene->held, 1);
    held_quiet(scene->held, SCENE_QUIET_MS);
}

static void aligned_write_across_a_waiting_one(void)
{
    const char *words = "an aligned write across a waiting one";
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 100, 512);              /* owns block 0 */
    settle(&scene);
    scene_write(&scene, 700, 512);              /* waits for it */
    scene_write(&scene, 0, 2 * BLOCK);          /* waits for both */
    scene_write_again(&scene, BLOCK + 5, 300);  /* waits for that */
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_find(scene.held, HELD_READ, 0), 1,
           "%s: only the owner is at block 0", words);
    is_int(held_on_block(scene.held, 0), 1,
           "%s: nothing else is at block 0", words);
    is_int(held_on_block(scene.held, 1), 0,
           "%s: nobody overtakes it at block 1", words);
    held_release_all(scene.held, SCENE_QUIET_MS);
    scene_end(&scene, words);
}

static void aligned_write_first(void)
{
    const char *words = "a sub-block write after an aligned one";
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, BLOCK);
    settle(&scene);
    is_int(held_find(scene.held, HELD_WRITE, 0), 1,
           "%s: the aligned one needs no read", words);
    scene_write(&scene, 9, 9);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_on_block(scene.held, 0), 1,
           "%s: does not read before that is written", words);
    held_release(scene.held, HELD_WRITE, 0, 0);
    ok(held_wait(scene.held, 1), "%s: goes on afterwards", words);
    scene_end(&scene, words);
}

static void large_write_with_only_a_tail(void)
{
    const char *words = "a large write with only a tail";
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 3 * BLOCK + 100);
    settle(&scene);
    is_int(held_find(scene.held, HELD_READ, 3), 1,
           "%s: reads its tail block", words);
    is_int(held_quiet(scene.held, 1), 1, "%s: and nothing else", words);
    scene_write(&scene, 3 * BLOCK + 50, 100);   /* its tail block */
    scene_write_again(&scene, 0, BLOCK);        /* its first block */
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_on_block(scene.held, 3), 1,
           "%s: the next one at that block waits", words);
    /* If the aligned write was let through, it must lose nothing. */
    held_release(scene.held, HELD_WRITE, 0, 0);
    held_release_all(scene.held, SCENE_QUIET_MS);
    scene_end(&scene, words);
}

static void large_write_with_only_a_head(void)
{
    const char *words = "a large write with only a head";
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, BLOCK + 100, 3 * BLOCK - 100);
    settle(&scene);
    is_int(held_find(scene.held, HELD_READ, 1), 1,
           "%s: reads its head block", words);
    is_int(held_quiet(scene.held, 1), 1, "%s: and nothing else", words);
    scene_write(&scene, BLOCK, 100);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_on_block(scene.held, 1), 1,
           "%s: the next one at that block waits", words);
    scene_end(&scene, words);
}

static void edges_are_read_in_parallel(void)
{
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 100, 4 * BLOCK);
    ok(held_wait(scene.held, 2), "both edges are being read at once");
    is_int(held_find(scene.held, HELD_READ, 0), 1, "the head among them");
    is_int(held_find(scene.held, HELD_READ, 4), 1, "the tail among them");
    held_release(scene.held, HELD_READ, 4, 0);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_find(scene.held, HELD_WRITE, HELD_ANYWHERE), 0,
           "one edge alone does not start the write");
    held_release(scene.held, HELD_READ, 0, 0);
    held_wait(scene.held, 1);
    is_int(held_find(scene.held, HELD_WRITE, 2), 1, "both do");
    is_int(held_seen(scene.held, HELD_READ), 2, "two edge reads in all");
    scene_end(&scene, "a write with two edges");

    scene_begin(&scene, NULL);
    scene_write(&scene, 100, BLOCK);
    settle(&scene);
    is_int(held_find(scene.held, HELD_READ, 0), 1,
           "edges that touch: the head is being read");
    is_int(held_find(scene.held, HELD_READ, 1), 1,
           "edges that touch: the tail at the same time");
    is_int(held_seen(scene.held, HELD_READ), 1,
           "edges that touch are one read");
    scene_end(&scene, "a write with edges that touch");
}

static void a_read_does_not_wait(void)
{
    const char *words = "a read beside a read-modify-write";
    uint8_t *whole = aligned_memory(BLOCK), part[100];
    struct answer first, second;
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 512);
    settle(&scene);
    held_release(scene.held, HELD_READ, 0, 0);
    settle(&scene);
    is_int(held_find(scene.held, HELD_WRITE, 0), 1, "%s: it writes", words);
    aio_read(scene.handle, 0, whole, BLOCK, &first);
    aio_read(scene.second, 1000, part, sizeof(part), &second);
    ok(held_wait(scene.held, 3), "%s: two reads do not wait", words);
    while (held_release(scene.held, HELD_READ, 0, 0))
        ;
    is_int(answer_wait(&first), 0, "%s: aligned", words);
    is_int(answer_wait(&second), 0, "%s: unaligned", words);
    is_int(pattern_differs(whole + 512, 1, 512, BLOCK - 512), -1,
           "%s: aligned sees the neighbours", words);
    is_int(pattern_differs(part, 1, 1000, sizeof(part)), -1,
           "%s: unaligned sees the neighbours", words);
    scene_end(&scene, words);
    free(whole);
}

static void those_who_need_not_wait(void)
{
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 10, 10);
    scene_write(&scene, BLOCK + 10, 10);
    scene_write_again(&scene, 2 * BLOCK + 10, 10);
    scene_write(&scene, 3 * BLOCK, BLOCK);
    ok(held_wait(scene.held, 4), "other blocks do not wait");
    scene_end(&scene, "writes of four blocks");

    scene_begin(&scene, NULL);
    {
        /* Both writes have the same bytes: either order is right. */
        struct answer answers[2];
        uint8_t *buf = aligned_memory(BLOCK);

        pattern_fill(buf, 1, 0, BLOCK);
        aio_write(scene.handle, 0, buf, BLOCK, 0, &answers[0]);
        aio_write(scene.second, 0, buf, BLOCK, 0, &answers[1]);
        ok(held_wait(scene.held, 2),
           "plain aligned writes do not wait for each other");
        held_release_all(scene.held, SCENE_QUIET_MS);
        is_int(answer_wait(&answers[0]), 0, "the one is done");
        is_int(answer_wait(&answers[1]), 0, "the other is done");
        free(buf);
    }
    scene_end(&scene, "two aligned writes");
}

/* A waits at block 0, B wants 0 and 1, C wants 1 and 2, D wants 2: each waits
 * for the request before it, though only A's block is busy. */
static void a_queue_across_blocks(void)
{
    const char *words = "a queue across blocks";
    struct scene scene;
    int i;

    scene_begin(&scene, NULL);
    for (i = 0; i < 6; i++)
        scene_write(&scene, i * BLOCK + BLOCK - 50, 100);
    held_wait(scene.held, 1);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_on_block(scene.held, 0), 1, "%s: the first reads", words);
    for (i = 2; i < SCENE_BLOCKS; i++)
        is_int(held_on_block(scene.held, i), 0,
               "%s: nobody is at block %d yet", words, i);
    held_release_all(scene.held, SCENE_QUIET_MS);
    scene_end(&scene, words);
}

int main(void)
{
    run_begin(120);
    aligned_write_across_a_waiting_one();
    aligned_write_first();
    large_write_with_only_a_tail();
    large_write_with_only_a_head();
    edges_are_read_in_parallel();
    a_read_does_not_wait();
    those_who_need_not_wait();
    a_queue_across_blocks();
    return done_testing();
}
