/*
 * What a throttle holds keeps its place: no plug, no synchronous call and no
 * change of the throttle lets a later write to the same bytes go before it.
 * And the throttles of a process get on whatever a driver waits for.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (1 << 20)
#define QUIET_MS 50
#define MANY 20000
#define ROUNDS 12

struct stage {
    struct bed bed;
    blkalign_handle *handle, *other;
    blkalign_throttle *throttle;
    uint8_t *bufs[3];
};

/* One request in 25 ms; the first that may go has gone. */
static void stage_begin(struct stage *stage)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    int n;

    limits.requests.rate = 40;
    limits.requests.burst = 1;
    memset(stage, 0, sizeof(*stage));
    bed_make(&stage->bed,
             options.engine == BLKALIGN_ENGINE_IO_URING ? BED_FILE
                                                        : BED_SIM_SYNC,
             BYTES);
    stage->handle = bed_open(&stage->bed, &options);
    stage->other = bed_open_again(&stage->bed, stage->handle, &options);
    diag("%s", mode_words());
    for (n = 0; n < 3; n++) {
        stage->bufs[n] = aligned_memory(4096);
        pattern_fill(stage->bufs[n], (uint64_t)n + 1, 0, 4096);
    }
    is_int(blkalign_throttle_new(&limits, &stage->throttle), 0, "a throttle");
    is_int(blkalign_set_throttle(stage->handle, stage->throttle), 0, "set");
    is_int(blkalign_pwrite(stage->handle, 0, 512, stage->bufs[0], 0), 0,
           "the burst is used up");
}

static void stage_end(struct stage *stage)
{
    int n;

    is_int(blkalign_close(stage->other), 0, "closed");
    is_int(blkalign_close(stage->handle), 0, "closed");
    is_int(blkalign_throttle_free(stage->throttle), 0, "freed");
    bed_remove(&stage->bed);
    for (n = 0; n < 3; n++) {
        free(stage->bufs[n]);
    }
}

static void sector_has(struct stage *stage, int n, const char *what)
{
    uint8_t sector[512];

    is_int(blkalign_pread(stage->other, 512, 512, sector, 0), 0, "read back");
    is_int(pattern_differs(sector, (uint64_t)n + 1, 0, 512), -1, "%s", what);
}

static void a_synchronous_call_does_not_overtake_a_plugged_write(void)
{
    struct answer answer;
    struct stage stage;

    stage_begin(&stage);
    blkalign_plug(stage.handle);
    aio_write(stage.handle, 512, stage.bufs[1], 512, 0, &answer);
    is_int(blkalign_pwrite(stage.handle, 512, 512, stage.bufs[2], 0), 0,
           "a synchronous write behind one that is held and plugged");
    ok(answer_came(&answer, 10000), "that one went first");
    blkalign_unplug(stage.handle);
    is_int(blkalign_drain(stage.handle), 0, "all done");
    sector_has(&stage, 2, "the later write won");
    stage_end(&stage);
}

static void a_plug_does_not_hold_an_earlier_batch(void)
{
    struct answer first, second;
    struct stage stage;

    stage_begin(&stage);
    blkalign_plug(stage.handle);
    aio_write(stage.handle, 512, stage.bufs[1], 512, 0, &first);
    blkalign_unplug(stage.handle);
    blkalign_plug(stage.handle);
    aio_write(stage.handle, 1024, stage.bufs[2], 512, 0, &second);
    is_int(answer_wait(&first), 0, "what was unplugged goes in its time");
    ok(!answer_came(&second, QUIET_MS), "the next batch is plugged still");
    blkalign_unplug(stage.handle);
    is_int(answer_wait(&second), 0, "until its own unplug");
    stage_end(&stage);
}

static void *take_away(void *handle)
{
    is_int(blkalign_set_throttle(handle, NULL), 0, "taken away");
    return NULL;
}

/* To let go of so many takes a moment, in which another thread writes. */
static void a_throttle_that_goes_keeps_the_order(void)
{
    struct answer *answers = calloc(MANY, sizeof(*answers)), write;
    struct stage stage;
    pthread_t thread;
    int round, n;

    stage_begin(&stage);
    for (round = 0; round < ROUNDS; round++) {
        is_int(blkalign_set_throttle(stage.handle, stage.throttle), 0, "set");
        for (n = 0; n < MANY; n++) {
            aio_read(stage.handle, 0, NULL, 0, &answers[n]);
        }
        aio_write(stage.handle, 512, stage.bufs[1], 512, 0, &write);
        pthread_create(&thread, NULL, take_away, stage.handle);
        for (n = 0; n < round * 20000; n++) {
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
        }
        is_int(blkalign_pwrite(stage.handle, 512, 512, stage.bufs[2], 0), 0,
               "a write while the throttle goes");
        pthread_join(thread, NULL);
        is_int(blkalign_drain(stage.handle), 0, "all done");
        sector_has(&stage, 2, "the later write won");
    }
    stage_end(&stage);
    free(answers);
}

/* A driver that starts I/O by waiting for another handle. */
static int64_t below_length(void *below)
{
    return blkalign_getlength(below);
}

static int below_read(void *below, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags,
                      blkalign_driver_done_fn done, void *token)
{
    (void)bytes;
    (void)flags;
    done(token, blkalign_preadv(below, offset, iov, iovcnt, 0));
    return 0;
}

static int below_write(void *below, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)bytes;
    return blkalign_pwritev(below, offset, iov, iovcnt, flags);
}

static void a_driver_may_wait_for_a_handle_with_a_throttle(void)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_open_options options = options_of(0, 0);
    blkalign_throttle *throttle = NULL;
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    blkalign_handle *above = NULL;
    struct answer answers[4];
    struct stage stage;
    int n;

    stage_begin(&stage);
    driver.name = "above";
    driver.request_alignment = 512;
    driver.getlength = below_length;
    driver.aio_preadv = below_read;
    driver.pwritev = below_write;
    options.workers = 2;
    is_int(blkalign_open_driver(&driver, stage.handle, &options, &above), 0,
           "a handle over the one with a throttle");
    limits.requests.rate = 40;
    limits.requests.burst = 1;
    is_int(blkalign_throttle_new(&limits, &throttle), 0, "a throttle");
    is_int(blkalign_set_throttle(above, throttle), 0, "for that one, too");
    for (n = 0; n < 4; n++) {
        aio_read(above, n * 512, stage.bufs[0] + n * 512, 512, &answers[n]);
    }
    for (n = 0; n < 4; n++) {
        is_int(answer_wait(&answers[n]), 0, "read %d", n);
    }
    is_int(blkalign_close(above), 0, "closed");
    is_int(blkalign_throttle_free(throttle), 0, "freed");
    stage_end(&stage);
}

int main(void)
{
    unsigned mode;

    run_begin(120);
    for (mode = 0; mode < MODES; mode++) {
        mode_first(mode);
        a_synchronous_call_does_not_overtake_a_plugged_write();
        a_plug_does_not_hold_an_earlier_batch();
    }
    mode_first(0);
    a_throttle_that_goes_keeps_the_order();
    a_driver_may_wait_for_a_handle_with_a_throttle();
    return done_testing();
}
