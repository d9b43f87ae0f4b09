/*
 * A throttle holds requests back before they wait for anybody: by rate, in
 * order, by turns; what it holds can be cancelled, drained and let go, and
 * stands in nobody's way.
 *
 * Most limits here are so low that nothing is let go by itself while a test
 * looks.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (1 << 20)
#define QUIET_MS 50
#define COUNT 8

/* On a simulated disk, or with io_uring on a file. */
struct stage {
    struct bed bed;
    blkalign_handle *handle, *other;
    blkalign_throttle *throttle;
    uint8_t *bufs[COUNT];
    struct answer answers[COUNT];
};

static blkalign_throttle_limits requests(uint64_t rate, uint64_t burst)
{
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;

    limits.requests.rate = rate;
    limits.requests.burst = burst;
    return limits;
}

static void stage_begin(struct stage *stage, uint64_t rate, uint64_t burst)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_throttle_limits limits = requests(rate, burst);
    int n;

    memset(stage, 0, sizeof(*stage));
    bed_make(&stage->bed,
             options.engine == BLKALIGN_ENGINE_IO_URING ? BED_FILE
                                                        : BED_SIM_SYNC,
             BYTES);
    stage->handle = bed_open(&stage->bed, &options);
    stage->other = bed_open_again(&stage->bed, stage->handle, &options);
    diag("%s", mode_words());
    is_int(blkalign_throttle_new(&limits, &stage->throttle), 0, "a throttle");
    is_int(blkalign_set_throttle(stage->handle, stage->throttle), 0,
           "the first handle gets it");
    for (n = 0; n < COUNT; n++) {
        stage->bufs[n] = aligned_memory(4096);
        pattern_fill(stage->bufs[n], (uint64_t)n + 1, 0, 4096);
    }
}

static void stage_end(struct stage *stage)
{
    int n;

    is_int(blkalign_close(stage->other), 0, "closed");
    is_int(blkalign_close(stage->handle), 0, "closed");
    is_int(blkalign_throttle_free(stage->throttle), 0, "freed");
    bed_remove(&stage->bed);
    for (n = 0; n < COUNT; n++) {
        free(stage->bufs[n]);
    }
}

static void write_nth(struct stage *stage, int n, int64_t offset)
{
    aio_write(stage->handle, offset, stage->bufs[n], 512, 0,
              &stage->answers[n]);
}

/* The first of COUNT writes to one sector goes, the rest is held. */
static void hold_all_but_one(struct stage *stage)
{
    int n;

    for (n = 0; n < COUNT; n++) {
        write_nth(stage, n, 512);
    }
    is_int(answer_wait(&stage->answers[0]), 0, "what the burst allows goes");
    ok(!answer_came(&stage->answers[1], QUIET_MS), "the rest is held");
    is_int((int64_t)stats_of(stage->handle).in_flight, COUNT - 1,
           "and counts as in flight");
    is_int((int64_t)stats_of(stage->handle).throttled, COUNT - 1,
           "and as throttled");
}

static void last_write_won(struct stage *stage)
{
    uint8_t sector[512];

    is_int(blkalign_pread(stage->other, 512, 512, sector, 0), 0, "read back");
    is_int(pattern_differs(sector, COUNT, 0, 512), -1,
           "the writes went in order of submission");
}

static void drain_lets_go(void)
{
    struct stage stage;
    int n;

    stage_begin(&stage, 1, 1);
    hold_all_but_one(&stage);
    is_int(blkalign_drain_timeout(stage.handle, 30000), 0,
           "a drain lets all go at once");
    for (n = 0; n < COUNT; n++) {
        is_int(answer_calls(&stage.answers[n]), 1, "write %d is done", n);
    }
    ok(stats_of(stage.handle).throttled_ns > QUIET_MS * 1000000LL,
       "the time that they were held is counted");
    last_write_won(&stage);
    stage_end(&stage);
}

static void no_throttle_lets_go(void)
{
    struct stage stage;

    stage_begin(&stage, 1, 1);
    hold_all_but_one(&stage);
    is_int(blkalign_set_throttle(stage.handle, NULL), 0, "taken away");
    is_int(answer_wait(&stage.answers[COUNT - 1]), 0, "all go");
    is_int(blkalign_pwrite(stage.handle, 0, 512, stage.bufs[0], 0), 0,
           "and nothing is held any more");
    last_write_won(&stage);
    stage_end(&stage);
}

static void another_throttle_lets_go(void)
{
    blkalign_throttle_limits limits = requests(1000000, 1000000);
    blkalign_throttle *fast = NULL;
    struct stage stage;

    stage_begin(&stage, 1, 1);
    hold_all_but_one(&stage);
    is_int(blkalign_throttle_new(&limits, &fast), 0, "another throttle");
    is_int(blkalign_set_throttle(stage.handle, fast), 0, "takes its place");
    is_int(blkalign_throttle_free(fast), 0, "the handle keeps it");
    is_int(answer_wait(&stage.answers[COUNT - 1]), 0, "all go");
    last_write_won(&stage);
    stage_end(&stage);
}

static void close_lets_go(void)
{
    struct stage stage;
    int n;

    stage_begin(&stage, 1, 1);
    hold_all_but_one(&stage);
    is_int(blkalign_close(stage.handle), 0, "close lets all go at once");
    stage.handle = NULL;
    for (n = 0; n < COUNT; n++) {
        is_int(stage.answers[n].calls, 1, "write %d is done", n);
    }
    last_write_won(&stage);
    stage_end(&stage);
}

static void other_limits_hold_at_once(void)
{
    blkalign_throttle_limits limits = requests(1000000, 0);
    struct stage stage;

    stage_begin(&stage, 1, 1);
    hold_all_but_one(&stage);
    is_int(blkalign_throttle_set(stage.throttle, &limits), 0, "faster");
    is_int(answer_wait(&stage.answers[COUNT - 1]), 0, "all go");
    last_write_won(&stage);
    stage_end(&stage);
}

static void cancel_withdraws(void)
{
    struct stage stage;
    uint8_t sector[512];
    int n;

    stage_begin(&stage, 1, 1);
    hold_all_but_one(&stage);
    is_int(blkalign_aio_cancel(stage.handle, stage.answers[3].id), 0,
           "one that is held is cancelled");
    is_int(answer_wait(&stage.answers[3]), -ECANCELED, "and told so");
    is_int(blkalign_aio_cancel(stage.handle, stage.answers[3].id), -ENOENT,
           "only once");
    is_int(blkalign_cancel_all(stage.handle), COUNT - 2, "and all the rest");
    for (n = 1; n < COUNT; n++) {
        is_int(answer_wait(&stage.answers[n]), -ECANCELED, "write %d", n);
    }
    is_int(blkalign_pread(stage.other, 512, 512, sector, 0), 0, "read back");
    is_int(pattern_differs(sector, 1, 0, 512), -1, "nothing was written");
    is_int((int64_t)stats_of(stage.handle).in_flight, 0, "none is left");
    is_int((int64_t)stats_of(stage.handle).errors, 0, "no error");
    stage_end(&stage);
}

static void held_requests_are_in_nobodys_way(void)
{
    blkalign_request request;
    struct answer answer;
    struct stage stage;

    stage_begin(&stage, 1, 1);
    hold_all_but_one(&stage);
    request = request_at(BLKALIGN_OP_WRITE, 512, 512, BLKALIGN_REQ_NO_WAIT);
    aio_any(stage.other, &request, stage.bufs[0], &answer);
    is_int(answer_wait(&answer), 0,
           "NO_WAIT on the same sector is not busy");
    is_int((int64_t)stats_of(stage.other).waits, 0, "and nothing waits");
    is_int(blkalign_flush(stage.handle), 0, "a flush is not held");
    is_int(blkalign_cancel_all(stage.handle), COUNT - 1, "the end");
    stage_end(&stage);
}

static void a_plug_holds_what_is_let_go(void)
{
    blkalign_throttle_limits none = BLKALIGN_THROTTLE_LIMITS_INIT;
    struct stage stage;
    int n;

    stage_begin(&stage, 1, 1);
    write_nth(&stage, 0, 0);
    is_int(answer_wait(&stage.answers[0]), 0, "the burst is used up");
    blkalign_plug(stage.handle);
    for (n = 1; n < COUNT; n++) {
        write_nth(&stage, n, 4096 + 512 * (int64_t)n);
    }
    is_int(blkalign_throttle_set(stage.throttle, &none), 0, "no limits");
    ok(!answer_came(&stage.answers[1], QUIET_MS), "they are plugged still");
    blkalign_unplug(stage.handle);
    is_int(answer_wait(&stage.answers[COUNT - 1]), 0, "until the unplug");
    is_int(blkalign_drain(stage.handle), 0, "all done");
    is_int((int64_t)stats_of(stage.handle).storage_writes, 2,
           "as one batch: one write");
    stage_end(&stage);
}

struct call {
    blkalign_handle *handle;
    uint8_t *buf;
    int ret;
};

static void *call_write(void *opaque)
{
    struct call *call = opaque;

    call->ret = blkalign_pwrite(call->handle, 0, 512, call->buf, 0);
    return NULL;
}

static void wait_until_held(blkalign_handle *handle, uint64_t count)
{
    int64_t until = now_ms() + 30000;

    while (stats_of(handle).throttled < count && now_ms() < until) {
        sleep_ms(1);
    }
    is_int((int64_t)stats_of(handle).throttled, (int64_t)count, "held");
}

static void synchronous_calls_wait(void)
{
    struct stage stage;
    struct call call;
    pthread_t thread;

    stage_begin(&stage, 1, 1);
    is_int(blkalign_pwrite(stage.handle, 0, 512, stage.bufs[0], 0), 0,
           "the burst is used up");
    call.handle = stage.handle;
    call.buf = stage.bufs[1];
    is_int(pthread_create(&thread, NULL, call_write, &call), 0, "a thread");
    wait_until_held(stage.handle, 1);
    is_int(blkalign_drain(stage.handle), 0, "a drain lets it go");
    is_int(pthread_join(thread, NULL), 0, "it returns");
    is_int(call.ret, 0, "and has written");
    is_int(pthread_create(&thread, NULL, call_write, &call), 0, "once more");
    wait_until_held(stage.handle, 2);
    is_int(blkalign_cancel_all(stage.handle), 1, "cancelled");
    is_int(pthread_join(thread, NULL), 0, "it returns");
    is_int(call.ret, -ECANCELED, "and says so");
    stage_end(&stage);
}

/* A synchronous call that comes back by itself, in about its time. */
static void time_passes(void)
{
    struct stage stage;
    int64_t before;
    int n;

    stage_begin(&stage, 50, 1);
    before = now_ms();
    for (n = 0; n < 11; n++) {
        is_int(blkalign_pwrite(stage.handle, 0, 512, stage.bufs[0], 0), 0,
               "write %d", n);
    }
    ok(now_ms() - before >= 199, "ten writes after the first take 200 ms");
    stage_end(&stage);
}

static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static char order[2 * COUNT + 1];

static void note_first(void *opaque, int ret)
{
    (void)ret;
    pthread_mutex_lock(&order_lock);
    strncat(order, opaque, 1);
    pthread_mutex_unlock(&order_lock);
}

static void handles_take_turns(void)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct sim_options disk = sim_disk_4k(BYTES, SIM_SYNC);
    blkalign_throttle_limits limits = requests(100, 1);
    blkalign_throttle *throttle = NULL;
    blkalign_handle *a, *b = NULL;
    struct sim *sim = sim_new(&disk);
    uint8_t *buf = aligned_memory(4096);
    struct iovec iov;
    int n;

    a = sim_open(sim, &options);
    is_int(blkalign_dup(a, &options, &b), 0, "two handles");
    is_int(blkalign_throttle_new(&limits, &throttle), 0, "one throttle");
    is_int(blkalign_set_throttle(a, throttle), 0, "for one");
    is_int(blkalign_set_throttle(b, throttle), 0, "and the other");
    iov.iov_base = buf;
    iov.iov_len = 512;
    for (n = 0; n < COUNT; n++) {
        blkalign_aio_preadv(a, 0, &iov, 1, 0, note_first, "a");
    }
    for (n = 0; n < COUNT; n++) {
        blkalign_aio_preadv(b, 0, &iov, 1, 0, note_first, "b");
    }
    while (stats_of(a).in_flight + stats_of(b).in_flight > 0) {
        sleep_ms(1);
    }
    is_int(blkalign_close(a), 0, "closed");
    is_int(blkalign_close(b), 0, "closed");
    ok(strcmp(order, "aabababababababb") == 0
           || strcmp(order, "abababababababab") == 0,
       "they take turns: %s", order);
    is_int(blkalign_throttle_free(throttle), 0, "freed");
    sim_free(sim);
    free(buf);
}

static int timers(void)
{
    struct proc_thread threads[64];
    int count = proc_threads(threads, 64), found = 0, n;

    for (n = 0; n < count && n < 64; n++) {
        found += strcmp(threads[n].name, "blkalign-timer") == 0;
    }
    return found;
}

/* A thread has its name a moment after it was started. */
static int timers_settle(int want)
{
    int64_t until = now_ms() + 10000;

    while (timers() != want && now_ms() < until) {
        sleep_ms(1);
    }
    return timers();
}

static void one_thread_while_there_is_a_throttle(void)
{
    struct stage first, second;

    is_int(timers(), 0, "no thread without a throttle");
    stage_begin(&first, 1, 1);
    stage_begin(&second, 1, 1);
    is_int(timers_settle(1), 1, "one for all throttles");
    is_int(blkalign_set_throttle(first.handle, NULL), 0, "one goes");
    is_int(timers(), 1, "the thread stays");
    is_int(blkalign_set_throttle(second.handle, NULL), 0, "the last goes");
    is_int(timers(), 0, "and the thread with it");
    stage_end(&second);
    stage_end(&first);
}

static void bad_calls(void)
{
    struct {
        blkalign_throttle_limits limits;
        uint64_t more;
    } longer;
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    blkalign_throttle *throttle = NULL;

    is_int(blkalign_throttle_new(NULL, &throttle), -EINVAL, "no limits");
    is_int(blkalign_throttle_new(&limits, NULL), -EINVAL, "no out");
    limits.size = 0;
    is_int(blkalign_throttle_new(&limits, &throttle), -EINVAL, "no size");
    limits.size = sizeof(limits);
    limits.read_bytes.burst = 1;
    is_int(blkalign_throttle_new(&limits, &throttle), -EINVAL,
           "a burst without a rate");
    ok(strstr(blkalign_errmsg(), "read_bytes") != NULL, "in words: %s",
       blkalign_errmsg());
    memset(&longer, 0, sizeof(longer));
    longer.limits.size = sizeof(longer);
    longer.more = 1;
    is_int(blkalign_throttle_new(&longer.limits, &throttle), -E2BIG,
           "a field that is not known");
    ok(throttle == NULL, "nothing is given");
    limits = requests(UINT64_MAX, UINT64_MAX);
    is_int(blkalign_throttle_new(&limits, &throttle), 0, "great numbers");
    is_int(blkalign_throttle_set(NULL, &limits), -EINVAL, "no throttle");
    is_int(blkalign_throttle_set(throttle, NULL), -EINVAL, "no limits");
    is_int(blkalign_set_throttle(NULL, throttle), -EINVAL, "no handle");
    is_int(blkalign_throttle_free(throttle), 0, "freed");
    is_int(blkalign_throttle_free(NULL), 0, "NULL is fine");
}

int main(void)
{
    unsigned mode;

    run_begin(120);
    bad_calls();
    one_thread_while_there_is_a_throttle();
    for (mode = 0; mode < MODES; mode++) {
        mode_first(mode);
        drain_lets_go();
        no_throttle_lets_go();
        another_throttle_lets_go();
        close_lets_go();
        other_limits_hold_at_once();
        cancel_withdraws();
        held_requests_are_in_nobodys_way();
        a_plug_holds_what_is_let_go();
        synchronous_calls_wait();
    }
    mode_first(0);
    time_passes();
    handles_take_turns();
    return done_testing();
}
