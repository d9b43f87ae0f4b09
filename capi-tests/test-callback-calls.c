/*
 * What a callback may call: aio_* and queries work there, functions that wait
 * return -EDEADLK, whichever handle they are for; chains of requests that
 * start each other come to their end.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES INT64_C(1048576)
#define CHAIN 1000

static struct sim *sim;
static blkalign_handle *handle, *second, *other;

/* Asserts inside the callback; run by one request. */
static void what_waits_is_refused(void *opaque, int ret)
{
    blkalign_handle *const handles[] = { handle, second, other };
    static const char *const words[] = { "the same handle",
                                         "a second handle",
                                         "another object" };
    struct iovec element;
    uint8_t *buf = aligned_memory(BLOCK);
    int i;

    element.iov_base = buf;
    element.iov_len = BLOCK;
    is_int(ret, 0, "a request that calls back");
    for (i = 0; i < 3; i++) {
        blkalign_handle *h = handles[i];

        is_int(blkalign_drain(h), -EDEADLK, "inside: drain of %s",
               words[i]);
        ok(blkalign_errmsg()[0] != 0, "in words: %s", blkalign_errmsg());
        is_int(blkalign_pread(h, 0, 512, buf, 0), -EDEADLK,
               "inside: pread of %s", words[i]);
        is_int(blkalign_pwrite(h, 0, 512, buf, 0), -EDEADLK,
               "inside: pwrite of %s", words[i]);
        is_int(blkalign_preadv(h, 0, &element, 1, 0), -EDEADLK,
               "inside: preadv of %s", words[i]);
        is_int(blkalign_pwritev(h, 0, &element, 1, 0), -EDEADLK,
               "inside: pwritev of %s", words[i]);
        is_int(blkalign_flush(h), -EDEADLK, "inside: flush of %s",
               words[i]);
        is_int(blkalign_close(h), -EDEADLK,
               "inside: close of %s, which stays open", words[i]);
    }
    is_int(blkalign_close(NULL), 0, "inside: close of NULL is fine");
    free(buf);
    answer_done(opaque, ret);
}

static void what_is_fine(void *opaque, int ret)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_stats stats = BLKALIGN_STATS_INIT;
    void *buf;

    is_int(ret, 0, "a request that calls back");
    is_int(blkalign_getlength(handle), DISK_BYTES, "inside: getlength");
    is_int(blkalign_get_limits(other, &limits), 0, "inside: get_limits");
    is_int(blkalign_get_stats(handle, &stats), 0, "inside: get_stats");
    ok(blkalign_errmsg() != NULL, "inside: errmsg");
    buf = blkalign_memalign(handle, 512);
    ok(buf != NULL, "inside: memalign");
    blkalign_free(buf);
    answer_done(opaque, ret);
}

struct chain {
    struct answer end;
    blkalign_handle *handle;
    int left, nested, wrong;
    uint8_t buf[512];
};

/* This thread is inside a submitting call at the moment. */
static __thread int submitting;

static void chain_link(void *opaque, int ret)
{
    struct chain *chain = opaque;
    struct iovec element = { chain->buf, sizeof(chain->buf) };
    int64_t id, offset = chain->left % 9 * 700;

    chain->wrong += ret != 0;
    chain->nested += submitting;
    if (chain->left-- == 0) {
        answer_done(&chain->end, ret);
        return;
    }
    submitting = 1;
    if (chain->left % 2)
        id = blkalign_aio_pwritev(chain->handle, offset, &element, 1, 0,
                                  chain_link, chain);
    else
        id = blkalign_aio_preadv(chain->handle, offset, &element, 1, 0,
                                 chain_link, chain);
    submitting = 0;
    /* After the submitting call returned an id, the chain may continue on
     * another thread. */
    if (id <= 0)
        answer_done(&chain->end, id ? (int)id : -EINVAL);
}

static void chains(uint32_t completion, const char *words)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, completion);
    static struct chain several[4];
    blkalign_handle *h = NULL;
    int i, wrong = 0, nested = 0;

    is_int(blkalign_dup(handle, &options, &h), 0, "%s: dup", words);
    memset(several, 0, sizeof(several));
    for (i = 0; i < 4; i++) {
        several[i].left = CHAIN;
        several[i].handle = h;
        chain_link(&several[i], 0);
    }
    for (i = 0; i < 4; i++) {
        wrong += answer_wait(&several[i].end) != 0;
        wrong += several[i].wrong + several[i].left + 1;
        nested += several[i].nested;
    }
    is_int(wrong, 0, "%s: four chains of %d requests end", words, CHAIN);
    is_int(nested, 0, "%s: no callback inside a submission", words);
    is_int(blkalign_close(h), 0, "%s: close", words);
}

/* A drain may wait for requests that callbacks submit meanwhile, or return
 * before; either way nothing is lost and nothing hangs. */
static void drain_beside_a_chain(void)
{
    static struct chain chain;

    memset(&chain, 0, sizeof(chain));
    chain.left = CHAIN;
    chain.handle = handle;
    chain_link(&chain, 0);
    is_int(blkalign_drain(handle), 0, "drain beside a chain returns");
    is_int(answer_wait(&chain.end), 0, "and the chain ends");
    is_int(chain.wrong, 0, "without an error");
}

static void run(enum sim_mode mode, const char *words)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, mode);
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct sim *other_sim = sim_new(&disk);
    static uint8_t buf[512];
    struct iovec element = { buf, sizeof(buf) };
    struct answer answer;

    diag("%s", words);
    sim = sim_new(&disk);
    handle = sim_open(sim, &options);
    other = sim_open(other_sim, &options);
    is_int(blkalign_dup(handle, &options, &second), 0, "dup");
    memset(&answer, 0, sizeof(answer));
    ok(blkalign_aio_pwritev(handle, 0, &element, 1, 0,
                            what_waits_is_refused, &answer) > 0, "submit");
    is_int(answer_wait(&answer), 0, "its callback returned");
    memset(&answer, 0, sizeof(answer));
    ok(blkalign_aio_preadv(handle, 0, &element, 1, 0, what_is_fine,
                           &answer) > 0, "submit");
    is_int(answer_wait(&answer), 0, "its callback returned");
    chains(BLKALIGN_COMPLETION_SERIAL, "serial");
    chains(BLKALIGN_COMPLETION_CONCURRENT, "concurrent");
    drain_beside_a_chain();
    is_int(blkalign_close(second), 0, "close of the second");
    is_int(blkalign_close(other), 0, "close of the other");
    is_int(blkalign_close(handle), 0, "close of the first");
    sim_free(other_sim);
    sim_free(sim);
}

int main(void)
{
    run_begin(120);
    run(SIM_SYNC, "synchronous driver");
    run(SIM_ASYNC, "asynchronous driver");
    run(SIM_ASYNC_AT_ONCE, "driver that answers at once");
    return done_testing();
}
