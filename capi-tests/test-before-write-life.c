/*
 * Before-write notifiers come and go while requests are in flight: adding
 * waits for what was not announced, removing for calls that are outstanding,
 * and whatever a notifier does wrongly loses nothing.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_held.h"
#include "common_mode.h"
#include "common_notifier.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (1 << 20)
#define UNIT 65536
#define COME_MS 20000
#define QUIET_MS 50
#define WRITERS 3
#define ROUNDS 300

struct stage {
    struct bed bed;
    blkalign_handle *handle, *other;
    struct notifier notifier;
    uint8_t *buf;
};

static void stage_begin(struct stage *stage)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    int ring = options.engine == BLKALIGN_ENGINE_IO_URING;

    memset(stage, 0, sizeof(*stage));
    bed_make(&stage->bed, ring ? BED_FILE : BED_SIM_ASYNC, BYTES);
    stage->handle = bed_open(&stage->bed, &options);
    stage->other = bed_open_again(&stage->bed, stage->handle, &options);
    diag("%s", mode_words());
    stage->buf = aligned_memory(UNIT);
    pattern_fill(stage->buf, 7, 0, UNIT);
}

static void stage_end(struct stage *stage)
{
    is_int(blkalign_close(stage->handle), 0, "closed");
    is_int(blkalign_close(stage->other), 0, "closed");
    bed_remove(&stage->bed);
    free(stage->buf);
}

/* A call that may wait, on a thread of its own. */
struct call {
    pthread_t thread;
    blkalign_handle *handle;
    struct notifier *notifier;
    const void *buf;
    int done, ret;
};

static void *call_add(void *opaque)
{
    struct call *call = opaque;

    notifier_add(call->notifier, call->handle, UNIT);
    __atomic_store_n(&call->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void *call_remove(void *opaque)
{
    struct call *call = opaque;

    call->ret = blkalign_remove_before_write(call->notifier->added);
    __atomic_store_n(&call->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void *call_write(void *opaque)
{
    struct call *call = opaque;

    call->ret = blkalign_pwrite(call->handle, 512, 512, call->buf, 0);
    __atomic_store_n(&call->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static int is_done(struct call *call)
{
    return __atomic_load_n(&call->done, __ATOMIC_SEQ_CST);
}

static void adding_waits_for_what_was_not_announced(void)
{
    struct held *held = held_new(64);
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_handle *handle = held_open(held, &options);
    uint8_t *buf = aligned_memory(4096);
    struct notifier notifier;
    struct answer first, second;
    struct call call;

    memset(&notifier, 0, sizeof(notifier));
    memset(&call, 0, sizeof(call));
    call.handle = handle;
    call.notifier = &notifier;
    aio_write(handle, 0, buf, 4096, 0, &first);
    ok(held_wait(held, 1), "a write is at the storage");
    pthread_create(&call.thread, NULL, call_add, &call);
    sleep_ms(QUIET_MS);
    ok(!is_done(&call), "adding waits");
    aio_write(handle, 8192, buf, 4096, 0, &second);
    ok(notifier_told(&notifier, 1, COME_MS), "a later write is announced");
    held_release_all(held, QUIET_MS);
    pthread_join(call.thread, NULL);
    is_int(answer_wait(&first), 0, "written");
    is_int(answer_wait(&second), 0, "written");
    is_int(notifier_count(&notifier), 1, "the first was not announced");
    notifier_remove(&notifier);
    held_pass(held);
    is_int(blkalign_close(handle), 0, "closed");
    held_free(held);
    free(buf);
}

static void removing_waits_for_the_answer(void)
{
    struct answer answer;
    struct stage stage;
    struct call call;

    stage_begin(&stage);
    stage.notifier.holds = 1;
    notifier_add(&stage.notifier, stage.handle, UNIT);
    aio_write(stage.other, 0, stage.buf, 512, 0, &answer);
    ok(notifier_told(&stage.notifier, 1, COME_MS), "a write is announced");
    memset(&call, 0, sizeof(call));
    call.notifier = &stage.notifier;
    pthread_create(&call.thread, NULL, call_remove, &call);
    sleep_ms(QUIET_MS);
    ok(!is_done(&call), "removing waits");
    is_int(blkalign_pwrite(stage.handle, 5 * UNIT, 512, stage.buf, 0), 0,
           "other changes do not, any more");
    notifier_answer(&stage.notifier, 0, 0);
    pthread_join(call.thread, NULL);
    is_int(call.ret, 0, "removed");
    is_int(answer_wait(&answer), 0, "written");
    is_int(notifier_count(&stage.notifier), 1, "it was not called again");
    stage_end(&stage);
}

static void a_blocking_write_waits(void)
{
    struct stage stage;
    struct call call;

    stage_begin(&stage);
    stage.notifier.holds = 1;
    notifier_add(&stage.notifier, stage.handle, UNIT);
    memset(&call, 0, sizeof(call));
    call.handle = stage.other;
    call.buf = stage.buf;
    pthread_create(&call.thread, NULL, call_write, &call);
    ok(notifier_told(&stage.notifier, 1, COME_MS), "it is announced");
    sleep_ms(QUIET_MS);
    ok(!is_done(&call), "and waits");
    notifier_answer(&stage.notifier, 0, 0);
    pthread_join(call.thread, NULL);
    is_int(call.ret, 0, "written");
    notifier_remove(&stage.notifier);
    stage_end(&stage);
}

static void closing_the_handle_leaves_it(void)
{
    struct stage stage;
    blkalign_handle *third;

    stage_begin(&stage);
    is_int(blkalign_dup(stage.handle, NULL, &third), 0, "a third handle");
    notifier_add(&stage.notifier, third, UNIT);
    is_int(blkalign_close(third), 0, "is closed");
    is_int(blkalign_pwrite(stage.handle, 9, 9, stage.buf, 0), 0, "a write");
    is_int(notifier_count(&stage.notifier), 1, "is announced all the same");
    stage_end(&stage);
    notifier_remove(&stage.notifier);
}

static int never_told(void *opaque, uint32_t op, int64_t offset,
                      int64_t bytes, blkalign_before_write_done_fn done,
                      void *token)
{
    (void)opaque, (void)op, (void)offset, (void)bytes;
    done(token, 0);
    return 0;
}

/* It would wait for what waits in the pause, and only this thread ends it. */
static void ones_own_pause_is_no_time_to_add(void)
{
    struct stage stage;
    blkalign_notifier *added = NULL;
    int ret;

    stage_begin(&stage);
    is_int(blkalign_pause(stage.handle), 0, "pause");
    ret = blkalign_add_before_write(stage.handle, UNIT, never_told, NULL,
                                    &added);
    is_int(ret, -EBUSY, "adding by the handle that has paused it");
    ok(strstr(blkalign_errmsg(), "paused") != NULL, "in words: %s",
       blkalign_errmsg());
    is_int(blkalign_resume(stage.handle), 0, "resume");
    ret = blkalign_add_before_write(stage.handle, UNIT, never_told, NULL,
                                    &added);
    is_int(ret, 0, "adding afterwards");
    is_int(blkalign_remove_before_write(added), 0, "removed");
    stage_end(&stage);
}

struct inside {
    blkalign_handle *handle;
    uint8_t *buf;
    struct answer answer;
    int add, remove, read, drain, aio;
};

static void waits_inside(struct notifier *notifier)
{
    struct inside *inside = notifier->opaque;
    blkalign_notifier *another = NULL;

    if (notifier_count(notifier) > 1) {
        return;
    }
    inside->add = blkalign_add_before_write(inside->handle, 512,
                                            notifier_before, notifier,
                                            &another);
    inside->remove = blkalign_remove_before_write(notifier->added);
    inside->read = blkalign_pread(inside->handle, 0, 512, inside->buf, 0);
    inside->drain = blkalign_drain(inside->handle);
    aio_write(inside->handle, 3 * UNIT, inside->buf, 512, 0,
              &inside->answer);
    inside->aio = (int)(inside->answer.id < 0);
}

static void what_waits_is_refused_inside(void)
{
    struct inside inside;
    struct stage stage;

    stage_begin(&stage);
    memset(&inside, 0, sizeof(inside));
    inside.handle = stage.other;
    inside.buf = aligned_memory(4096);
    stage.notifier.inside = waits_inside;
    stage.notifier.opaque = &inside;
    notifier_add(&stage.notifier, stage.handle, UNIT);
    is_int(blkalign_pwrite(stage.handle, 0, 512, stage.buf, 0), 0, "a write");
    is_int(inside.add, -EDEADLK, "adding");
    is_int(inside.remove, -EDEADLK, "removing");
    is_int(inside.read, -EDEADLK, "a blocking read");
    is_int(inside.drain, -EDEADLK, "a drain");
    is_int(inside.aio, 0, "a write may begin");
    is_int(answer_wait(&inside.answer), 0, "and is done");
    is_int(notifier_count(&stage.notifier), 2, "and was announced itself");
    notifier_remove(&stage.notifier);
    free(inside.buf);
    stage_end(&stage);
}

static int log_lines;

static void count_lines(void *opaque, int level, const char *message)
{
    (void)opaque;
    (void)level;
    if (strstr(message, "notifier")) {
        __atomic_add_fetch(&log_lines, 1, __ATOMIC_SEQ_CST);
    }
}

static void wrong_answers_do_no_harm(void)
{
    struct answer answer;
    struct stage stage;

    stage_begin(&stage);
    stage.notifier.holds = 1;
    notifier_add(&stage.notifier, stage.handle, UNIT);
    __atomic_store_n(&log_lines, 0, __ATOMIC_SEQ_CST);
    blkalign_set_log(count_lines, NULL, BLKALIGN_LOG_WARNING);
    aio_write(stage.handle, 0, stage.buf, 512, 0, &answer);
    ok(notifier_told(&stage.notifier, 1, COME_MS), "a write is announced");
    notifier_answer(&stage.notifier, 0, 0);
    is_int(answer_wait(&answer), 0, "written");
    notifier_answer(&stage.notifier, 0, -EIO);
    stage.notifier.told[0].done(NULL, 0);
    stage.notifier.told[0].done(&stage, 0);
    is_int(__atomic_load_n(&log_lines, __ATOMIC_SEQ_CST), 3,
           "the log tells of answers to nothing");
    aio_write(stage.handle, 0, stage.buf, 512, 0, &answer);
    ok(notifier_told(&stage.notifier, 2, COME_MS), "the next is announced");
    notifier_answer(&stage.notifier, 0, 0);
    ok(!answer_came(&answer, QUIET_MS), "an old token is no answer to it");
    notifier_answer(&stage.notifier, 1, 0);
    is_int(answer_wait(&answer), 0, "written");
    blkalign_set_log(NULL, NULL, BLKALIGN_LOG_WARNING);
    notifier_remove(&stage.notifier);
    stage_end(&stage);
}

static void wrong_arguments(void)
{
    blkalign_notifier *out = NULL;
    struct stage stage;

    stage_begin(&stage);
    is_int(blkalign_add_before_write(NULL, 512, notifier_before, NULL, &out),
           -EINVAL, "no handle");
    is_int(blkalign_add_before_write(stage.handle, 512, NULL, NULL, &out),
           -EINVAL, "no function");
    is_int(blkalign_add_before_write(stage.handle, 512, notifier_before,
                                     NULL, NULL), -EINVAL, "no place");
    is_int(blkalign_add_before_write(stage.handle, 0, notifier_before, NULL,
                                     &out), -EINVAL, "no unit");
    is_int(blkalign_add_before_write(stage.handle, 3, notifier_before, NULL,
                                     &out), -EINVAL, "an odd unit");
    ok(strstr(blkalign_errmsg(), "3") != NULL, "the words name it");
    is_int(blkalign_add_before_write(stage.handle, 1u << 31, notifier_before,
                                     NULL, &out), -EINVAL, "a large unit");
    is_int(blkalign_remove_before_write(NULL), -EINVAL, "no notifier");
    ok(out == NULL, "nothing was added");
    stage_end(&stage);
}

struct load {
    struct stage *stage;
    int number, failed;
};

static void *load_write(void *opaque)
{
    struct load *load = opaque;
    uint64_t seed = (uint64_t)load->number + 1;
    uint8_t buf[512];
    int round;

    memset(buf, 1 + load->number, sizeof(buf));
    for (round = 0; round < ROUNDS; round++) {
        /* Sectors that are this thread's own, in blocks that are not. */
        int64_t sector = (int64_t)random_below(&seed, 64) * WRITERS;

        load->failed += blkalign_pwrite(load->stage->handle,
                                        512 * (sector + load->number), 512,
                                        buf, 0) != 0;
    }
    return NULL;
}

static void they_come_and_go_under_load(void)
{
    static const uint32_t units[] = { 1, 512, 4096, UNIT };
    struct load loads[WRITERS];
    pthread_t threads[WRITERS];
    struct stage stage;
    int n, told = 0;

    stage_begin(&stage);
    memset(loads, 0, sizeof(loads));
    for (n = 0; n < WRITERS; n++) {
        loads[n].stage = &stage;
        loads[n].number = n;
        pthread_create(&threads[n], NULL, load_write, &loads[n]);
    }
    for (n = 0; n < 40; n++) {
        struct notifier notifier;

        memset(&notifier, 0, sizeof(notifier));
        notifier_add(&notifier, n % 2 ? stage.handle : stage.other,
                     units[n % 4]);
        notifier_told(&notifier, 3, 20);
        notifier_remove(&notifier);
        told += notifier.count;
    }
    diag("%d calls", told);
    for (n = 0; n < WRITERS; n++) {
        pthread_join(threads[n], NULL);
        is_int(loads[n].failed, 0, "no write has failed");
    }
    stage_end(&stage);
}

int main(void)
{
    int n;

    run_begin(60);
    for (n = 0; n < 6; n++) {
        mode_first((unsigned)n);
        adding_waits_for_what_was_not_announced();
        removing_waits_for_the_answer();
        a_blocking_write_waits();
        closing_the_handle_leaves_it();
        ones_own_pause_is_no_time_to_add();
        what_waits_is_refused_inside();
        wrong_answers_do_no_harm();
        they_come_and_go_under_load();
    }
    wrong_arguments();
    return done_testing();
}
