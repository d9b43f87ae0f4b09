/*
 * A read-modify-write owns its block from before its edge read until after its
 * write. The second request arrives at each moment in between; only the owner
 * may touch the block on the storage.
 */
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>

/* The disk shows one I/O on block 0, of this kind, and no other. */
static void alone(struct scene *scene, enum held_op op, const char *words)
{
    held_wait(scene->held, 1);
    held_quiet(scene->held, SCENE_QUIET_MS);
    is_int(held_find(scene->held, op, 0), 1, "%s: its own I/O is there",
           words);
    is_int(held_on_block(scene->held, 0), 1, "%s: nothing else is", words);
}

static int second_write(struct scene *scene, int again)
{
    return again ? scene_write_again(scene, 512, 512)
                 : scene_write(scene, 512, 512);
}

static void before_the_edge_read_ends(int again)
{
    const char *words = "second arrives while the edge is being read";
    struct scene scene;
    int second;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 512);
    alone(&scene, HELD_READ, "first reads");
    second = second_write(&scene, again);
    alone(&scene, HELD_READ, words);
    held_release(scene.held, HELD_READ, 0, 0);
    alone(&scene, HELD_WRITE, "first writes while second waits");
    is_int(answer_calls(&scene.answers[0]), 0,
           "first is not done before its write is");
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "first is done");
    held_wait(scene.held, 1);
    is_int(answer_calls(&scene.answers[second]), 0,
           "second is not done with first");
    is_int(held_on_block(scene.held, 0), 1, "second has the block alone");
    scene_end(&scene, words);
}

static void before_the_write_ends(int again)
{
    const char *words = "second arrives while first writes";
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 512);
    held_wait(scene.held, 1);
    held_release(scene.held, HELD_READ, 0, 0);
    alone(&scene, HELD_WRITE, "first writes");
    second_write(&scene, again);
    alone(&scene, HELD_WRITE, words);
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "first is done");
    scene_end(&scene, words);
}

static void after_the_write(int again)
{
    const char *words = "second arrives after first is done";
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, 0, 512);
    held_wait(scene.held, 1);
    held_release(scene.held, HELD_READ, 0, 0);
    held_wait(scene.held, 1);
    held_release(scene.held, HELD_WRITE, 0, 0);
    is_int(answer_wait(&scene.answers[0]), 0, "first is done");
    second_write(&scene, again);
    ok(held_wait(scene.held, 1), "second starts at once");
    scene_end(&scene, words);
}

/* Whatever requests share or save, the block has one user at a time. */
static void chain_of_eight(uint32_t flags, const char *words)
{
    blkalign_open_options options = options_of(flags, 0);
    struct scene scene;
    int i, most = 0, most_other = 0;

    scene_begin(&scene, &options);
    for (i = 0; i < 8; i++) {
        if (i % 2)
            scene_write_again(&scene, i * 512, 512);
        else
            scene_write(&scene, i * 512, 512);
    }
    while (held_wait(scene.held, 1)) {
        int here = (held_quiet(scene.held, 10),
                    held_on_block(scene.held, 0));

        most = here > most ? here : most;
        most_other += held_on_block(scene.held, 1);
        held_release(scene.held, HELD_READ, 0, 0);
        held_release(scene.held, HELD_WRITE, 0, 0);
        sleep_ms(10);
        for (i = 0; i < 8 && answer_calls(&scene.answers[i]); i++)
            ;
        if (i == 8)
            break;
    }
    is_int(most, 1, "%s: one I/O on the block at a time", words);
    is_int(most_other, 0, "%s: none on the next block", words);
    if (flags & BLKALIGN_O_NO_MERGE)
        is_int(held_seen(scene.held, HELD_WRITE), 8,
               "%s: each has its own write", words);
    scene_end(&scene, words);
}

static void pair_across_two_blocks(void)
{
    const char *words = "pieces across the border of two blocks";
    struct scene scene;

    scene_begin(&scene, NULL);
    scene_write(&scene, HELD_BLOCK - 100, 200);
    scene_write(&scene, HELD_BLOCK - 300, 200);
    scene_write(&scene, HELD_BLOCK + 100, 200);
    scene_write_again(&scene, HELD_BLOCK - 1, 2);
    held_wait(scene.held, 1);
    held_quiet(scene.held, SCENE_QUIET_MS);
    is_int(held_find(scene.held, HELD_READ, 0), 1,
           "%s: only the first reads block 0", words);
    is_int(held_find(scene.held, HELD_READ, 1), 1,
           "%s: only the first reads block 1", words);
    is_int(held_find(scene.held, HELD_WRITE, HELD_ANYWHERE), 0,
           "%s: nobody writes yet", words);
    scene_end(&scene, words);
}

static void error_of_the_owner_frees_the_block(void)
{
    const char *words = "an owner that fails";
    uint8_t *buf = aligned_memory(512);
    struct answer failing;
    struct scene scene;
    int second;

    scene_begin(&scene, NULL);
    /* Not by scene_write, since the request leaves no bytes. */
    aio_write(scene.handle, 0, buf, 512, 0, &failing);
    held_wait(scene.held, 1);
    second = scene_write(&scene, 512, 512);
    held_quiet(scene.held, SCENE_QUIET_MS);
    held_release(scene.held, HELD_READ, 0, -EIO);
    is_int(answer_wait(&failing), -EIO, "%s: answers its error", words);
    ok(held_wait(scene.held, 1), "%s: the next one goes on", words);
    is_int(held_find(scene.held, HELD_READ, 0), 1,
           "%s: and reads the block for itself", words);
    is_int(answer_calls(&scene.answers[second]), 0,
           "%s: and is not answered with it", words);
    scene_end(&scene, words);
    free(buf);
}

int main(void)
{
    int again;

    run_begin(120);
    for (again = 0; again < 2; again++) {
        diag(again ? "through two handles" : "through one handle");
        before_the_edge_read_ends(again);
        before_the_write_ends(again);
        after_the_write(again);
    }
    chain_of_eight(0, "a chain of eight");
    chain_of_eight(BLKALIGN_O_NO_MERGE, "a chain of eight, not merged");
    pair_across_two_blocks();
    error_of_the_owner_frees_the_block();
    return done_testing();
}
