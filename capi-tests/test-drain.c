/*
 * What a drain waits for. It returns when all requests that were submitted
 * before it have called back, whatever others submit meanwhile: threads that
 * never stop, a disk that hangs, several threads that drain at once.
 */
#include "common_mode.h"
#include "common_proc.h"
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUBMITTERS 3
#define DRAINERS 3
#define DRAINS 20
/* A drain beside threads that never stop takes milliseconds. */
#define SOON_MS 20000
/* Callbacks that are due at once. */
#define DUE 200

struct load {
    struct held *held;
    blkalign_handle *handle;
    uint8_t *bytes;
    int stop;                   /* atomically */
    int wrong;                  /* atomically */
};

static int told(int *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void tell(int *flag)
{
    __atomic_add_fetch(flag, 1, __ATOMIC_ACQ_REL);
}

/* Synchronous calls without a pause. */
static void *write_on(void *arg)
{
    struct load *load = arg;
    int64_t at = 0;

    while (!told(&load->stop)) {
        at = (at + 512) % (4 * HELD_BLOCK);
        if (blkalign_pwrite(load->handle, at, 512, load->bytes, 0))
            tell(&load->wrong);
    }
    return NULL;
}

/* Callbacks that submit the next one, for ever. */
struct chain {
    struct load *load;
    int64_t offset;
    int ended;                  /* atomically */
};

static void go_on(void *opaque, int ret)
{
    struct chain *chain = opaque;
    struct load *load = chain->load;
    struct iovec iov;

    iov.iov_base = load->bytes;
    iov.iov_len = 512;
    if (ret && ret != -ECANCELED)
        tell(&load->wrong);
    if (told(&load->stop) ||
        blkalign_aio_pwritev(load->handle, chain->offset, &iov, 1, 0, go_on,
                             chain) < 0)
        tell(&chain->ended);
}

static void *drain_often(void *arg)
{
    struct load *load = arg;
    uint8_t *buf = aligned_memory(512);
    struct answer answer;
    int i;

    for (i = 0; i < DRAINS; i++) {
        memset(buf, i, 512);
        aio_write(load->handle, 6 * HELD_BLOCK, buf, 512, 0, &answer);
        answer.handle = NULL;
        if (blkalign_drain(load->handle) || answer_calls(&answer) != 1)
            tell(&load->wrong);
    }
    free(buf);
    return NULL;
}

static void beside_those_who_never_cease(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    struct chain chains[100];
    pthread_t submitters[SUBMITTERS], drainers[DRAINERS];
    struct load load;
    int64_t begin;
    int i;

    memset(&load, 0, sizeof(load));
    load.held = held_new(8);
    load.bytes = aligned_memory(512);
    /* One thread for this handle: it has to serve all requests. */
    options.workers = 1;
    load.handle = held_open(load.held, &options);
    held_pass(load.held);
    for (i = 0; i < SUBMITTERS; i++)
        pthread_create(&submitters[i], NULL, write_on, &load);
    for (i = 0; i < 100; i++) {
        chains[i].load = &load;
        chains[i].offset = 7 * HELD_BLOCK + i % 8 * 512;
        chains[i].ended = 0;
        go_on(&chains[i], 0);
    }
    begin = now_ms();
    for (i = 0; i < DRAINERS; i++)
        pthread_create(&drainers[i], NULL, drain_often, &load);
    for (i = 0; i < DRAINERS; i++)
        pthread_join(drainers[i], NULL);
    ok(now_ms() - begin < SOON_MS, "%s: %d drains at once return (%d ms)",
       mode_words(), DRAINERS, (int)(now_ms() - begin));
    is_int(blkalign_drain_timeout(load.handle, 10000), 0,
           "%s: so does one with a time limit", mode_words());
    tell(&load.stop);
    for (i = 0; i < SUBMITTERS; i++)
        pthread_join(submitters[i], NULL);
    is_int(blkalign_drain(load.handle), 0, "%s: the last", mode_words());
    is_int(blkalign_close(load.handle), 0, "%s: close", mode_words());
    for (i = 0; i < 100; i++)
        load.wrong += told(&chains[i].ended) != 1;
    is_int(told(&load.wrong), 0, "%s: nothing else happened", mode_words());
    free(load.bytes);
    held_free(load.held);
    mode_next();
}

/* Runs on a thread of its own, so that a call which does not return fails the
 * test. */
struct drain {
    blkalign_handle *handle;
    int ret, done;              /* atomically */
    int id;                     /* the same; 0 until it has begun */
    pthread_t thread;
};

static void *drain_once(void *arg)
{
    struct drain *drain = arg;

    __atomic_store_n(&drain->id, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    drain->ret = blkalign_drain(drain->handle);
    tell(&drain->done);
    return NULL;
}

/* Returns when the drain waits: what is submitted from here on came later. */
static void drain_begin(struct drain *drain, blkalign_handle *handle)
{
    drain->handle = handle;
    drain->ret = 1;
    drain->done = drain->id = 0;
    pthread_create(&drain->thread, NULL, drain_once, drain);
    while (!told(&drain->id))
        sleep_ms(1);
    if (!proc_asleep(drain->id, 10))
        diag("a drain that does not wait");
}

static int drain_is_over(struct drain *drain, int ms)
{
    int64_t until = now_ms() + ms;

    while (!told(&drain->done) && now_ms() < until)
        sleep_ms(1);
    return told(&drain->done);
}

/* A request that comes after a drain has begun hangs. The next drain waits for
 * that request, but not for later ones, and so on. */
static void each_waits_for_what_was_before_it(void)
{
    struct drain drains[4];
    struct scene scene;
    int i;

    scene_begin(&scene, NULL);
    for (i = 0; i < 4; i++) {
        scene_write(&scene, i * HELD_BLOCK, HELD_BLOCK);
        held_wait(scene.held, i + 1);
        drain_begin(&drains[i], scene.handle);
    }
    scene_write(&scene, 4 * HELD_BLOCK, HELD_BLOCK);
    held_wait(scene.held, 5);
    for (i = 0; i < 4; i++) {
        ok(!drain_is_over(&drains[i], 10), "drain %d waits", i);
        held_release(scene.held, HELD_WRITE, i, 0);
        if (!ok(drain_is_over(&drains[i], SOON_MS), "drain %d is over", i))
            bail("it may never be");
        is_int(drains[i].ret, 0, "drain %d: result", i);
        pthread_join(drains[i].thread, NULL);
    }
    is_int(held_find(scene.held, HELD_WRITE, 4), 1, "the fifth hangs still");
    scene_end(&scene, "each its own");
}

static void with_a_time_limit(void)
{
    const char *words = "time limit";
    struct scene scene;
    int64_t begin;

    scene_begin(&scene, NULL);
    is_int(blkalign_drain_timeout(scene.handle, 0), 0, "%s: idle", words);
    is_int(blkalign_drain_timeout(scene.handle, -1), 0, "%s: idle", words);
    scene_write(&scene, 0, HELD_BLOCK);
    held_wait(scene.held, 1);
    begin = now_ms();
    is_int(blkalign_drain_timeout(scene.handle, 0), -ETIMEDOUT,
           "%s: a look", words);
    ok(strstr(blkalign_errmsg(), "in flight") != NULL, "%s: in words: %s",
       words, blkalign_errmsg());
    is_int(blkalign_drain_timeout(scene.handle, 60), -ETIMEDOUT,
           "%s: 60 ms", words);
    ok(now_ms() - begin >= 60 && now_ms() - begin < SOON_MS,
       "%s: it took %d ms", words, (int)(now_ms() - begin));
    is_int(blkalign_drain_timeout(scene.second, 0), 0,
           "%s: another handle has nothing", words);
    is_int(blkalign_drain_timeout(NULL, 0), -EINVAL, "%s: NULL", words);
    blkalign_plug(scene.handle);
    scene_write(&scene, HELD_BLOCK, HELD_BLOCK);
    is_int(blkalign_drain_timeout(scene.handle, 0), -ETIMEDOUT,
           "%s: what is plugged goes out", words);
    ok(held_wait(scene.held, 2), "%s: indeed", words);
    held_pass(scene.held);
    is_int(blkalign_drain_timeout(scene.handle, -1), 0,
           "%s: negative waits without end", words);
    is_int(answer_calls(&scene.answers[0]), 1, "%s: it called back", words);
    is_int(answer_calls(&scene.answers[1]), 1, "%s: so did this", words);
    blkalign_unplug(scene.handle);
    scene_end(&scene, words);
}

static void count(void *opaque, int ret)
{
    if (ret == 0)
        tell(opaque);
}

/* A drain with a time limit of 0 runs all callbacks that are due, however many
 * there are. */
static void a_look_runs_all_that_is_due(void)
{
    blkalign_stats stats = BLKALIGN_STATS_INIT;
    int64_t until = now_ms() + SOON_MS;
    const char *words = mode_words();
    struct scene scene;
    int called = 0, i;

    scene_begin(&scene, NULL);
    held_pass(scene.held);
    for (i = 0; i < DUE; i++)
        ok(blkalign_aio_flush(scene.handle, count, &called) > 0,
           "%s: flush %d", words, i);
    do {
        sleep_ms(20);           /* from the storage to what is due */
        blkalign_get_stats(scene.handle, &stats);
    } while (stats.in_flight && now_ms() < until);
    sleep_ms(20);
    is_int(blkalign_drain_timeout(scene.handle, 0), 0,
           "%s: all that was in flight is over", words);
    is_int(told(&called), DUE, "%s: all of it has called back", words);
    is_int(blkalign_drain(scene.handle), 0, "%s: nothing is left", words);
    scene_end(&scene, words);
}

int main(void)
{
    int round;

    run_begin(240);
    for (round = 0; round < MODES; round++) {
        mode_first((unsigned)round);
        beside_those_who_never_cease();
        mode_first((unsigned)round);
        each_waits_for_what_was_before_it();
        mode_first((unsigned)round);
        with_a_time_limit();
        mode_first((unsigned)round);
        a_look_runs_all_that_is_due();
    }
    return done_testing();
}
