/*
 * Pauses: nothing of any handle is at the storage, what comes waits in order
 * and can be cancelled, calls that would wait for ever say so.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_held.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define QUIET_MS 40
#define LOAD 4

struct call {
    blkalign_handle *handle;
    int (*body)(blkalign_handle *handle);
    pthread_t thread;
    int ret, over;
};

static uint8_t *buf;

static void *run_call(void *opaque)
{
    struct call *call = opaque;

    call->ret = call->body(call->handle);
    __atomic_store_n(&call->over, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void begin_call(struct call *call, blkalign_handle *handle,
                       int (*body)(blkalign_handle *))
{
    call->handle = handle;
    call->body = body;
    call->over = 0;
    pthread_create(&call->thread, NULL, run_call, call);
}

static int is_over(struct call *call)
{
    return __atomic_load_n(&call->over, __ATOMIC_SEQ_CST);
}

static int end_call(struct call *call)
{
    pthread_join(call->thread, NULL);
    return call->ret;
}

static int writes_a_byte(blkalign_handle *handle)
{
    return blkalign_pwrite(handle, 5 * BLOCK + 1, 1, buf, 0);
}

/* With storage that a test lets go I/O by I/O. */
static void waits_for_what_is_at_the_storage(uint32_t completion)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, completion);
    struct held *held = held_new(16);
    blkalign_handle *handle = held_open(held, &options), *other = NULL;
    struct answer runs, first, second, taken;
    struct call pause, write;

    diag("completion %u", completion);
    blkalign_dup(handle, &options, &other);
    aio_write(other, 100, buf, 100, 0, &runs);
    held_wait(held, 1);
    begin_call(&pause, handle, blkalign_pause);
    held_quiet(held, QUIET_MS);
    ok(!is_over(&pause), "pause waits for a write of another handle");
    held_release(held, HELD_READ, 0, 0);
    held_wait(held, 1);
    ok(!is_over(&pause), "also after its edge was read");
    aio_write(handle, BLOCK, buf, BLOCK, 0, &first);
    aio_write(other, 2 * BLOCK, buf, BLOCK, 0, &second);
    aio_write(other, 3 * BLOCK, buf, BLOCK, 0, &taken);
    is_int(held_quiet(held, QUIET_MS), 1, "no other write starts meanwhile");
    held_release(held, HELD_WRITE, 0, 0);
    is_int(end_call(&pause), 0, "pause returns when that is over");
    is_int(answer_wait(&runs), 0, "and that write was carried out");
    is_int(held_quiet(held, QUIET_MS), 0, "nothing is at the storage");
    is_int(blkalign_aio_cancel(other, taken.id), 0, "what waits is cancelled");
    is_int(answer_wait(&taken), -ECANCELED, "and says so");
    begin_call(&write, handle, writes_a_byte);
    held_quiet(held, QUIET_MS);
    ok(!is_over(&write), "a synchronous call waits");
    is_int(blkalign_drain(handle), -EBUSY, "drain of who has paused");
    is_int(blkalign_drain_timeout(other, 20), -ETIMEDOUT,
           "drain of another handle waits");
    is_int(held_quiet(held, 1), 0, "still nothing at the storage");
    is_int(blkalign_resume(other), -EINVAL, "only who has paused resumes");
    is_int(blkalign_pause(other), 0, "a second pause");
    is_int(blkalign_resume(handle), 0, "the first ends");
    is_int(held_quiet(held, QUIET_MS), 0, "the second still holds");
    is_int(blkalign_resume(other), 0, "the second ends");
    is_int(blkalign_resume(other), -EINVAL, "and no third");
    ok(held_wait(held, 2), "what waited starts");
    held_pass(held);
    is_int(answer_wait(&first), 0, "the first write");
    is_int(answer_wait(&second), 0, "the second write");
    is_int(end_call(&write), 0, "and the call's");
    is_int(blkalign_pause(other), 0, "pause once more");
    aio_write(other, 0, buf, 10, 0, &runs);
    is_int(blkalign_close(other), 0, "a close ends its own pauses");
    is_int(answer_calls(&runs), 1, "and what waited is over");
    is_int(blkalign_pwrite(handle, 0, 10, buf, 0), 0, "the object goes on");
    is_int(blkalign_close(handle), 0, "close");
    held_free(held);
}

static void in_a_callback(void *opaque, int ret)
{
    struct call *call = opaque;

    (void)ret;
    call->ret = blkalign_pause(call->handle);
    __atomic_store_n(&call->over, 1, __ATOMIC_SEQ_CST);
}

static void not_in_a_callback(blkalign_handle *handle)
{
    struct call call = { handle, NULL, pthread_self(), 0, 0 };

    blkalign_aio_flush(handle, in_a_callback, &call);
    while (!is_over(&call))
        blkalign_drain(handle);
    is_int(call.ret, -EDEADLK, "no pause inside a callback");
}

struct load {
    pthread_t thread;
    blkalign_handle *handle;
    uint64_t seed;
    int end, wrong, rounds;
};

static void *load_run(void *opaque)
{
    struct load *load = opaque;
    struct answer answers[8];
    uint8_t *own = aligned_memory(8 * 700);
    int i;

    memset(own, (int)load->seed, 8 * 700);
    while (!__atomic_load_n(&load->end, __ATOMIC_SEQ_CST)) {
        for (i = 0; i < 8; i++)
            aio_write(load->handle,
                      (int64_t)random_below(&load->seed, 60 * BLOCK),
                      own + i * 700, 700, 0, &answers[i]);
        for (i = 0; i < 8; i++)
            load->wrong += answer_wait(&answers[i]) != 0;
        load->wrong += blkalign_flush(load->handle) != 0;
        load->rounds++;
    }
    free(own);
    return NULL;
}

/* Under load nothing changes in a pause, as seen behind the library's back. */
static void nothing_changes_under_load(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    static struct load loads[LOAD];
    uint8_t *before = aligned_memory(64 * BLOCK);
    uint8_t *after = aligned_memory(64 * BLOCK);
    blkalign_handle *handle;
    struct bed bed;
    int i, changed = 0, wrong = 0, rounds = 0;

    if (bed_make(&bed, BED_FILE, 64 * BLOCK))
        skip_all("%s", bed.why_not);
    handle = bed_open(&bed, &options);
    memset(loads, 0, sizeof loads);
    for (i = 0; i < LOAD; i++) {
        loads[i].handle = bed_open_again(&bed, handle, &options);
        loads[i].seed = (uint64_t)i + 1;
        pthread_create(&loads[i].thread, NULL, load_run, &loads[i]);
    }
    for (i = 0; i < 30; i++) {
        wrong += blkalign_pause(handle) != 0;
        bed_peek(&bed, 0, before, 64 * BLOCK);
        sleep_ms(2);
        bed_peek(&bed, 0, after, 64 * BLOCK);
        changed += memcmp(before, after, 64 * BLOCK) != 0;
        wrong += blkalign_resume(handle) != 0;
        sleep_ms(1);
    }
    for (i = 0; i < LOAD; i++)
        __atomic_store_n(&loads[i].end, 1, __ATOMIC_SEQ_CST);
    for (i = 0; i < LOAD; i++) {
        pthread_join(loads[i].thread, NULL);
        wrong += loads[i].wrong;
        rounds += loads[i].rounds;
        wrong += blkalign_close(loads[i].handle) != 0;
    }
    not_in_a_callback(handle);
    blkalign_close(handle);
    is_int(wrong, 0, "%s: nothing fails", mode_words());
    is_int(changed, 0, "%s: nothing changes in a pause", mode_words());
    ok(rounds > 4, "%s: the load got on (%d rounds)", mode_words(), rounds);
    bed_remove(&bed);
    free(before);
    free(after);
}

/* A length that changed while the object is paused is taken over later. */
static void lengths(void)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_handle *handle, *second = NULL;
    struct bed bed;

    if (bed_make(&bed, BED_LOOP, 64 * BLOCK)) {
        skip(bed.why_not, "lengths");
        return;
    }
    handle = bed_open(&bed, &options);
    is_int(blkalign_pause(handle), 0, "pause of a disk");
    is_int(blkalign_dup(handle, &options, &second), 0, "dup in a pause");
    blkalign_close(second);
    is_int(blkalign_refresh_length(handle), 64 * BLOCK, "the same length");
    bed_resize_disk(&bed, 32 * BLOCK);
    is_int(blkalign_refresh_length(handle), -EBUSY, "another: not now");
    is_int(blkalign_dup(handle, &options, &second), -EBUSY, "nor by dup");
    is_int(blkalign_resume(handle), 0, "resume");
    is_int(blkalign_refresh_length(handle), 32 * BLOCK, "now it is known");
    blkalign_close(handle);
    bed_remove(&bed);
}

int main(void)
{
    uint32_t completion;
    unsigned i;

    run_begin(60);
    buf = aligned_memory(16 * BLOCK);
    is_int(blkalign_pause(NULL), -EINVAL, "no handle to pause");
    is_int(blkalign_resume(NULL), -EINVAL, "no handle to resume");
    for (completion = 0; completion < 3; completion++)
        waits_for_what_is_at_the_storage(completion);
    for (i = 0; i < MODES; i++, mode_next())
        nothing_changes_under_load();
    lengths();
    free(buf);
    return done_testing();
}
