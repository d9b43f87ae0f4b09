/*
 * Callbacks: exactly once, never inside the submitting call, on a library
 * thread, one at a time in SERIAL mode, several in CONCURRENT mode; drain
 * and close return after them.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES INT64_C(1048576)
#define REQUESTS 200

/* What the callbacks of one run saw. Atomics, since callbacks may run in
 * parallel; plain reads come after drain and close, when no callback is left.
 * */
struct crowd {
    int inside, most_inside, calls, in_submit, on_submitter, wrong;
    int linger_ms;
    pthread_t submitter;
};

static __thread int submitting;
static uint8_t *buf;            /* BLOCK bytes for each of REQUESTS */

static int load(int *number)
{
    return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

static void crowd_done(void *opaque, int ret)
{
    struct crowd *crowd = opaque;
    int linger_ms = load(&crowd->linger_ms);
    int inside = __atomic_add_fetch(&crowd->inside, 1, __ATOMIC_SEQ_CST);
    int most = __atomic_load_n(&crowd->most_inside, __ATOMIC_SEQ_CST);

    while (inside > most &&
           !__atomic_compare_exchange_n(&crowd->most_inside, &most, inside,
                                        0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
        ;
    if (submitting)
        __atomic_add_fetch(&crowd->in_submit, 1, __ATOMIC_SEQ_CST);
    if (pthread_equal(pthread_self(), crowd->submitter))
        __atomic_add_fetch(&crowd->on_submitter, 1, __ATOMIC_SEQ_CST);
    if (ret)
        __atomic_add_fetch(&crowd->wrong, 1, __ATOMIC_SEQ_CST);
    if (linger_ms)
        sleep_ms(linger_ms);
    __atomic_sub_fetch(&crowd->inside, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&crowd->calls, 1, __ATOMIC_SEQ_CST);
}

/* Reads, writes and flushes, aligned and not, on shared blocks. */
static int submit_many(blkalign_handle *handle, struct crowd *crowd,
                       int count)
{
    struct iovec element;
    int64_t id = 1;
    int i, bad_ids = 0;

    for (i = 0; i < count; i++) {
        element.iov_base = buf + i * BLOCK;
        element.iov_len = i % 5 ? 512 : BLOCK;
        submitting = 1;
        if (i % 7 == 6)
            id = blkalign_aio_flush(handle, crowd_done, crowd);
        else if (i % 2)
            id = blkalign_aio_preadv(handle, i % 30 * BLOCK, &element, 1, 0,
                                     crowd_done, crowd);
        else
            id = blkalign_aio_pwritev(handle, i % 3 * BLOCK, &element, 1, 0,
                                      crowd_done, crowd);
        submitting = 0;
        bad_ids += id <= 0;
    }
    return bad_ids;
}

static void crowd_begin(struct crowd *crowd, int linger_ms)
{
    memset(crowd, 0, sizeof(*crowd));
    crowd->linger_ms = linger_ms;
    crowd->submitter = pthread_self();
}

static void run_mode(enum sim_mode mode, uint32_t completion,
                     const char *words)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, completion);
    struct sim_options disk = sim_disk_4k(DISK_BYTES, mode);
    blkalign_handle *handle;
    struct crowd crowd;
    struct sim *sim;

    disk.latency_us_max = 50;
    sim = sim_new(&disk);
    handle = sim_open(sim, &options);
    crowd_begin(&crowd, 0);
    is_int(submit_many(handle, &crowd, REQUESTS), 0, "%s: ids are positive",
           words);
    is_int(blkalign_drain(handle), 0, "%s: drain", words);
    is_int(crowd.calls, REQUESTS, "%s: drain returns after the callbacks",
           words);
    is_int(crowd.in_submit, 0, "%s: none ran inside a submitting call",
           words);
    is_int(crowd.on_submitter, 0, "%s: none on the caller's thread", words);
    is_int(crowd.wrong, 0, "%s: all succeeded", words);
    crowd_begin(&crowd, 2);
    submit_many(handle, &crowd, 60);
    is_int(blkalign_close(handle), 0, "%s: close", words);
    is_int(crowd.calls, 60, "%s: close returns after the callbacks", words);
    if (completion == BLKALIGN_COMPLETION_SERIAL)
        is_int(crowd.most_inside, 1, "%s: one at a time", words);
    sleep_ms(50);
    is_int(crowd.calls, 60, "%s: none comes twice", words);
    sim_free(sim);
}

/* Two callbacks that wait for each other can return only if they run in
 * parallel. */
struct meeting {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    int here, met;
};

static void meet(void *opaque, int ret)
{
    struct meeting *meeting = opaque;
    struct timespec until;

    (void)ret;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    pthread_mutex_lock(&meeting->lock);
    meeting->here++;
    pthread_cond_broadcast(&meeting->arrived);
    while (meeting->here < 2 &&
           !pthread_cond_timedwait(&meeting->arrived, &meeting->lock,
                                   &until))
        ;
    meeting->met += meeting->here >= 2;
    pthread_mutex_unlock(&meeting->lock);
}

static void concurrent_callbacks_meet(enum sim_mode mode, const char *words)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR, BLKALIGN_COMPLETION_CONCURRENT);
    struct sim_options disk = sim_disk_4k(DISK_BYTES, mode);
    struct sim *sim = sim_new(&disk);
    blkalign_handle *handle = sim_open(sim, &options);
    struct iovec element = { buf, BLOCK };
    struct meeting meeting;

    memset(&meeting, 0, sizeof(meeting));
    pthread_mutex_init(&meeting.lock, NULL);
    pthread_cond_init(&meeting.arrived, NULL);
    blkalign_aio_preadv(handle, 0, &element, 1, 0, meet, &meeting);
    element.iov_base = buf + BLOCK;
    blkalign_aio_preadv(handle, BLOCK, &element, 1, 0, meet, &meeting);
    is_int(blkalign_close(handle), 0, "%s: close", words);
    is_int(meeting.met, 2, "%s: concurrent callbacks run in parallel",
           words);
    sim_free(sim);
}

static void slow_callbacks_hold_up_no_io(void)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, SIM_ASYNC);
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct sim *sim = sim_new(&disk);
    blkalign_handle *handle = sim_open(sim, &options);
    struct iovec element = { buf, 512 };
    struct crowd crowd;
    uint64_t written;
    int i;

    crowd_begin(&crowd, 600);
    blkalign_aio_pwritev(handle, 0, &element, 1, 0, crowd_done, &crowd);
    sleep_ms(150);
    __atomic_store_n(&crowd.linger_ms, 0, __ATOMIC_SEQ_CST);
    for (i = 1; i < 4; i++)
        blkalign_aio_pwritev(handle, i * BLOCK, &element, 1, 0, crowd_done,
                             &crowd);
    sleep_ms(250);
    written = sim_counts(sim).ios[SIM_WRITE];
    is_int(load(&crowd.calls), 0, "a serial callback is still running");
    is_int((int64_t)written, 4, "other writes reach the storage meanwhile");
    is_int(blkalign_pread(handle, 0, 512, buf, 0), 0,
           "and a synchronous call returns meanwhile");
    is_int(blkalign_close(handle), 0, "close");
    is_int(crowd.calls, 4, "all came in the end");
    sim_free(sim);
}

int main(void)
{
    run_begin(120);
    buf = aligned_memory(REQUESTS * BLOCK);
    run_mode(SIM_SYNC, BLKALIGN_COMPLETION_SERIAL, "sync, serial");
    run_mode(SIM_SYNC, BLKALIGN_COMPLETION_CONCURRENT, "sync, concurrent");
    run_mode(SIM_ASYNC, BLKALIGN_COMPLETION_SERIAL, "async, serial");
    run_mode(SIM_ASYNC, BLKALIGN_COMPLETION_CONCURRENT,
             "async, concurrent");
    run_mode(SIM_ASYNC_AT_ONCE, BLKALIGN_COMPLETION_SERIAL,
             "answers at once, serial");
    run_mode(SIM_ASYNC_AT_ONCE, BLKALIGN_COMPLETION_CONCURRENT,
             "answers at once, concurrent");
    concurrent_callbacks_meet(SIM_SYNC, "sync");
    concurrent_callbacks_meet(SIM_ASYNC, "async");
    slow_callbacks_hold_up_no_io();
    free(buf);
    return done_testing();
}
