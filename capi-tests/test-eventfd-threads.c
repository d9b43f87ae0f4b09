/*
 * EVENTFD mode between threads: four threads submit and one sleeps in epoll
 * and polls. A lost wake-up shows as a silence, longer than that of a busy
 * disk, while a callback is due.
 */
#include "common_event.h"
#include "common_run.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BLOCK 4096
#define SUBMITTERS 4
#define BURST_MAX 8
#define SECONDS_EACH 1
#define SILENCE_MS_MAX 15000

struct stage {
    struct event_bed event;
    int epoll_fd;
    int64_t end_ms;
    /* Atomics: how many were submitted, ran, ran elsewhere, failed. */
    int submitted, ran, elsewhere, failed, stop;
    int lost, spurious, wakeups;    /* the poller's own */
    int64_t silence_ms;             /* the longest, too */
    pthread_t poller;
    int max;
};

static struct stage stage;

static void add(int *number)
{
    __atomic_add_fetch(number, 1, __ATOMIC_SEQ_CST);
}

static int load(int *number)
{
    return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

struct submitter {
    pthread_t thread;
    int number, in_flight;
    uint8_t *memory;            /* a block for each of a burst */
};

static void done(void *opaque, int ret)
{
    struct submitter *submitter = opaque;

    if (ret)
        add(&stage.failed);
    if (!pthread_equal(pthread_self(), stage.poller))
        add(&stage.elsewhere);
    __atomic_sub_fetch(&submitter->in_flight, 1, __ATOMIC_SEQ_CST);
    add(&stage.ran);
}

static void submit_one(struct submitter *submitter, uint64_t *random,
                       void *memory)
{
    size_t bytes = random_below(random, 4) ? 512 : BLOCK;
    struct iovec element = { memory, bytes };
    int64_t offset = (int64_t)random_below(random, 63 * 8) * 512, id;

    __atomic_add_fetch(&submitter->in_flight, 1, __ATOMIC_SEQ_CST);
    add(&stage.submitted);
    if (random_below(random, 2))
        id = blkalign_aio_preadv(stage.event.handle, offset, &element, 1, 0,
                                 done, submitter);
    else
        id = blkalign_aio_pwritev(stage.event.handle, offset, &element, 1,
                                  0, done, submitter);
    if (id <= 0)
        bail("submit: %d %s", (int)id, blkalign_errmsg());
}

/* Submits bursts of one to eight, then waits until all have completed, so that
 * the handle becomes idle again and again. */
static void *submit(void *opaque)
{
    struct submitter *submitter = opaque;
    uint64_t random = (uint64_t)submitter->number;
    uint8_t alone[5];
    int i, count;

    while (now_ms() < stage.end_ms && !load(&stage.stop)) {
        count = (int)random_below(&random, BURST_MAX) + 1;
        for (i = 0; i < count; i++)
            submit_one(submitter, &random, submitter->memory + i * BLOCK);
        if (random_below(&random, 50) == 0)
            blkalign_pread(stage.event.handle, 5, 5, alone, 0);
        while (load(&submitter->in_flight) && !load(&stage.stop))
            usleep(20);
    }
    return NULL;
}

static void *poll_in_epoll(void *opaque)
{
    struct epoll_event what;
    int64_t silence_ms, heard_ms = now_ms();
    int ready, ran;

    (void)opaque;
    stage.poller = pthread_self();
    while (!load(&stage.stop)) {
        ready = epoll_wait(stage.epoll_fd, &what, 1, 100);
        silence_ms = now_ms() - heard_ms;
        if (ready || load(&stage.submitted) == load(&stage.ran))
            heard_ms = now_ms();
        if (silence_ms > stage.silence_ms)
            stage.silence_ms = silence_ms;
        if (silence_ms > SILENCE_MS_MAX) {
            stage.lost++;
            __atomic_store_n(&stage.stop, 1, __ATOMIC_SEQ_CST);
        }
        stage.wakeups += ready == 1;
        ran = ready == 1 ? blkalign_poll(stage.event.handle, stage.max, 0)
                         : 0;
        if (ran < 0 || ran > stage.max)
            bail("poll: %d %s", ran, blkalign_errmsg());
        stage.spurious += ready == 1 && ran == 0;
    }
    return NULL;
}

static void run(enum event_kind kind, int max)
{
    struct submitter submitters[SUBMITTERS];
    struct epoll_event what;
    pthread_t poller;
    int i;

    memset(&stage, 0, sizeof(stage));
    memset(submitters, 0, sizeof(submitters));
    event_begin(&stage.event, kind);
    stage.max = max;
    stage.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    memset(&what, 0, sizeof(what));
    what.events = EPOLLIN;
    epoll_ctl(stage.epoll_fd, EPOLL_CTL_ADD, stage.event.fd, &what);
    stage.end_ms = now_ms() + SECONDS_EACH * 1000;
    pthread_create(&poller, NULL, poll_in_epoll, NULL);
    sleep_ms(10);
    for (i = 0; i < SUBMITTERS; i++) {
        submitters[i].number = i + 1;
        submitters[i].memory = aligned_memory(BURST_MAX * BLOCK);
        pthread_create(&submitters[i].thread, NULL, submit, &submitters[i]);
    }
    for (i = 0; i < SUBMITTERS; i++)
        pthread_join(submitters[i].thread, NULL);
    __atomic_store_n(&stage.stop, 1, __ATOMIC_SEQ_CST);
    pthread_join(poller, NULL);
    diag("%s: %d requests, %d wake-ups, %d of them for nothing; silent "
         "for %d ms", stage.event.words, stage.ran, stage.wakeups,
         stage.spurious, (int)stage.silence_ms);
    is_int(stage.lost, 0, "%s, max %d: no wake-up is lost",
           stage.event.words, max);
    is_int(stage.elsewhere, 0, "%s: all ran on the polling thread",
           stage.event.words);
    is_int(stage.failed, 0, "%s: none failed", stage.event.words);
    is_int(stage.ran, stage.submitted, "%s: none is missing",
           stage.event.words);
    ok(stage.wakeups <= 3 * stage.ran + 100, "%s: epoll does not spin",
       stage.event.words);
    event_end(&stage.event);
    close(stage.epoll_fd);
    for (i = 0; i < SUBMITTERS; i++)
        free(submitters[i].memory);
}

/* Several threads inside poll at once share the work. */
static void *poll_forever(void *opaque)
{
    struct event_bed *event = opaque;

    while (!load(&stage.stop))
        if (blkalign_poll(event->handle, 2, 20) < 0)
            bail("poll: %s", blkalign_errmsg());
    return NULL;
}

static void many_pollers(enum event_kind kind)
{
    struct answer answers[16];
    uint8_t *memory = aligned_memory(16 * 512);
    pthread_t pollers[3];
    int i, round, wrong = 0;

    memset(&stage, 0, sizeof(stage));
    event_begin(&stage.event, kind);
    for (i = 0; i < 3; i++)
        pthread_create(&pollers[i], NULL, poll_forever, &stage.event);
    for (round = 0; round < 100; round++) {
        for (i = 0; i < 16; i++) {
            aio_write(stage.event.handle, i * 700, memory + i * 512, 512, 0,
                      &answers[i]);
            answers[i].handle = NULL;   /* the others poll */
        }
        for (i = 0; i < 16; i++)
            wrong += answer_wait(&answers[i]) != 0;
    }
    is_int(blkalign_drain(stage.event.handle), 0, "%s: drain beside them",
           stage.event.words);
    __atomic_store_n(&stage.stop, 1, __ATOMIC_SEQ_CST);
    for (i = 0; i < 3; i++)
        pthread_join(pollers[i], NULL);
    for (i = 0; i < 16; i++)
        wrong += answer_calls(&answers[i]) != 1;
    is_int(wrong, 0, "%s: three threads poll for a fourth",
           stage.event.words);
    event_end(&stage.event);
    free(memory);
}

/* The callback of one thread waits for what another one gets by the
 * descriptor. */
struct pair {
    struct event_bed event;
    int began, second_ran, in_time;     /* atomics */
    uint8_t *memory;
};

static void second_done(void *opaque, int ret)
{
    struct pair *pair = opaque;

    (void)ret;
    add(&pair->second_ran);
}

static void wait_for_second(void *opaque, int ret)
{
    struct pair *pair = opaque;
    int64_t until = now_ms() + SILENCE_MS_MAX;

    (void)ret;
    add(&pair->began);
    while (!load(&pair->second_ran) && now_ms() < until)
        sleep_ms(1);
    pair->in_time = load(&pair->second_ran);
}

static void *submit_second(void *opaque)
{
    struct pair *pair = opaque;
    struct iovec element = { pair->memory + BLOCK, BLOCK };

    while (!load(&pair->began))
        sleep_ms(1);
    if (blkalign_aio_preadv(pair->event.handle, BLOCK, &element, 1, 0,
                            second_done, pair) <= 0)
        bail("submit: %s", blkalign_errmsg());
    while (!load(&pair->second_ran))
        if (readable(pair->event.fd, 1000))
            blkalign_poll(pair->event.handle, 1, 0);
    return NULL;
}

static void a_callback_waits_for_another_poller(enum event_kind kind)
{
    struct iovec element;
    struct pair pair;
    pthread_t thread;

    memset(&pair, 0, sizeof(pair));
    event_begin(&pair.event, kind);
    pair.memory = aligned_memory(2 * BLOCK);
    element.iov_base = pair.memory;
    element.iov_len = BLOCK;
    pthread_create(&thread, NULL, submit_second, &pair);
    if (blkalign_aio_preadv(pair.event.handle, 0, &element, 1, 0,
                            wait_for_second, &pair) <= 0)
        bail("submit: %s", blkalign_errmsg());
    is_int(collect(pair.event.handle, 1, -1, 1), 1, "%s: a callback",
           pair.event.words);
    pthread_join(thread, NULL);
    ok(pair.in_time, "%s: another thread's I/O goes on meanwhile",
       pair.event.words);
    event_end(&pair.event);
    free(pair.memory);
}

int main(void)
{
    int kind;

    run_begin(120);
    for (kind = 0; kind < EVENT_KINDS; kind++) {
        run((enum event_kind)kind, 64);
        many_pollers((enum event_kind)kind);
        a_callback_waits_for_another_poller((enum event_kind)kind);
    }
    run(EVENT_RING, 1);
    run(EVENT_THREADS, 1);
    return done_testing();
}
