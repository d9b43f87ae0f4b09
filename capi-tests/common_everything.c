#include "common_everything.h"
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096
#define MANY 24

static void ignore(void *opaque, int ret)
{
    if (ret)
        __atomic_fetch_add((int *)opaque, 1, __ATOMIC_SEQ_CST);
}

static void ignore_late(void *opaque, uint32_t op, int64_t offset,
                        int64_t bytes, int64_t request_id)
{
    (void)opaque;
    (void)op;
    (void)offset;
    (void)bytes;
    (void)request_id;
}

void everything_mark(unsigned mark)
{
    syscall(SYS_prctl, MARK_BASE + mark, 0, 0, 0, 0);
}

void everything_hook(void *unused)
{
    (void)unused;
    everything_mark(MARK_LIBRARY);
}

/* Reads, writes, zeros and discards that do not wait. */
static int ask_all(blkalign_handle *handle, uint8_t *buf, int polls)
{
    int wrong = 0, i;

    blkalign_plug(handle);
    for (i = 0; i < MANY; i++) {
        struct iovec iov = { buf + i * 512, 512 };
        uint32_t flags = i % 6 == 5 ? BLKALIGN_REQ_FUA : 0;

        if (i % 3 == 2)
            blkalign_aio_preadv(handle, i * 700, &iov, 1, 0, ignore, &wrong);
        else
            blkalign_aio_pwritev(handle, i * 700, &iov, 1, flags, ignore,
                                 &wrong);
    }
    blkalign_unplug(handle);
    blkalign_aio_pwrite_zeroes(handle, 10 * BLOCK + 7, 5 * BLOCK, 0, ignore,
                               &wrong);
    blkalign_aio_pwrite_zeroes(handle, 17 * BLOCK, BLOCK,
                               BLKALIGN_REQ_MAY_UNMAP, ignore, &wrong);
    blkalign_aio_pdiscard(handle, 20 * BLOCK, 4 * BLOCK, ignore, &wrong);
    blkalign_aio_flush(handle, ignore, &wrong);
    if (polls)
        while (blkalign_poll(handle, 64, 20) > 0)
            ;
    return blkalign_drain(handle) != 0 || wrong != 0;
}

/* The same, waiting. */
static int wait_all(blkalign_handle *handle, uint8_t *buf, int64_t end)
{
    int wrong = 0;

    wrong += blkalign_pwrite(handle, 0, 4 * BLOCK, buf, 0) != 0;
    wrong += blkalign_pwrite(handle, 5, 5 * BLOCK, buf, 0) != 0;
    wrong += blkalign_pwrite(handle, 9, 99, buf, BLKALIGN_REQ_FUA) != 0;
    wrong += blkalign_pread(handle, 0, 4 * BLOCK, buf, 0) != 0;
    wrong += blkalign_pread(handle, 3, 3 * BLOCK, buf, 0) != 0;
    wrong += blkalign_pwrite(handle, end - 100, 100, buf, 0) != 0;
    wrong += blkalign_pread(handle, end - 100, 100, buf, 0) != 0;
    wrong += blkalign_pwrite_zeroes(handle, 30 * BLOCK + 1, 2 * BLOCK, 0);
    wrong += blkalign_pdiscard(handle, 32 * BLOCK, BLOCK) != 0;
    wrong += blkalign_flush(handle) != 0;
    return wrong;
}

/* Questions, and what an operator does. */
static int operate(blkalign_handle *handle, uint8_t *buf)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_stats stats = BLKALIGN_STATS_INIT;
    blkalign_latency latency = BLKALIGN_LATENCY_INIT;
    struct iovec iov = { buf, 700 };
    int64_t run, id;
    int wrong = 0, ignored = 0, i;

    wrong += blkalign_getlength(handle) < 0;
    wrong += blkalign_refresh_length(handle) < 0;
    wrong += blkalign_get_limits(handle, &limits) != 0;
    wrong += blkalign_get_stats(handle, &stats) != 0;
    wrong += blkalign_get_latency(handle, BLKALIGN_OP_READ, &latency) != 0;
    wrong += blkalign_block_status(handle, 100, 9 * BLOCK, &run) < 0;
    wrong += blkalign_set_timeout(handle, 4, ignore_late, NULL) != 0;
    wrong += blkalign_pause(handle) != 0;
    for (i = 0; i < 3; i++)
        id = blkalign_aio_pwritev(handle, i * 300, &iov, 1, 0, ignore,
                                  &ignored);
    wrong += blkalign_aio_cancel(handle, id) != 0;
    wrong += blkalign_resume(handle) != 0;
    blkalign_cancel_all(handle);
    wrong += blkalign_drain_timeout(handle, 10000) != 0;
    wrong += blkalign_set_timeout(handle, 0, NULL, NULL) != 0;
    return wrong;
}

static int throttled(blkalign_handle *handle, uint8_t *buf)
{
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    blkalign_throttle *throttle = NULL;
    struct iovec iov = { buf, 700 };
    int wrong = 0, i;

    limits.requests.rate = 1000;
    limits.requests.burst = 1;
    everything_mark(MARK_OPENS);
    wrong += blkalign_throttle_new(&limits, &throttle) != 0;
    wrong += blkalign_set_throttle(handle, throttle) != 0;
    everything_mark(MARK_ASKS);
    for (i = 0; i < 12; i++)
        blkalign_aio_pwritev(handle, i * 700, &iov, 1, 0, ignore, &wrong);
    wrong += blkalign_pread(handle, 0, 9, buf, 0) != 0;
    wrong += blkalign_drain(handle) != 0;
    everything_mark(MARK_OPENS);
    wrong += blkalign_set_throttle(handle, NULL) != 0;
    wrong += blkalign_throttle_free(throttle) != 0;
    everything_mark(MARK_ASKS);
    return wrong;
}

/* A file that grows and shrinks. */
static int resized(blkalign_handle *handle, uint8_t *buf, int64_t bytes)
{
    int wrong = 0;

    wrong += blkalign_pwrite(handle, bytes + 10, 999, buf, 0) != 0;
    wrong += blkalign_truncate(handle, bytes + 100) != 0;
    wrong += blkalign_pwrite(handle, bytes + 50, 50, buf, 0) != 0;
    wrong += blkalign_truncate(handle, bytes) != 0;
    return wrong;
}

int everything_asked(blkalign_handle *handle, struct bed *bed)
{
    uint8_t *buf = aligned_memory(16 * BLOCK);
    int polls = blkalign_poll(handle, 1, 0) >= 0, wrong = 0, round;

    for (round = 0; round < 3 && !wrong; round++) {
        wrong += ask_all(handle, buf, polls);
        wrong += wait_all(handle, buf, bed->bytes);
        wrong += operate(handle, buf);
    }
    everything_mark(MARK_QUIET);
    free(buf);
    return wrong;
}

int everything_on(struct bed *bed, uint32_t flags)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);
    int polls = options.completion == BLKALIGN_COMPLETION_EVENTFD;
    blkalign_handle *handle = NULL, *second = NULL;
    uint8_t *buf = aligned_memory(16 * BLOCK);
    int wrong = 0;

    options.flags |= BLKALIGN_O_UNMAP;
    everything_mark(MARK_OPENS);
    if (blkalign_open(bed->path, &options, &handle)) {
        everything_mark(MARK_QUIET);
        free(buf);
        return 1;
    }
    wrong += blkalign_dup(handle, &options, &second) != 0;
    wrong += blkalign_register_buf(handle, buf, 16 * BLOCK) != 0;
    if (polls)
        wrong += blkalign_get_event_fd(second) < 0;
    everything_mark(MARK_ASKS);
    wrong += everything_asked(handle, bed);
    everything_mark(MARK_ASKS);
    wrong += ask_all(second, buf, polls);
    wrong += throttled(handle, buf);
    if (flags & BLKALIGN_O_RESIZE)
        wrong += resized(handle, buf, bed->bytes);
    everything_mark(MARK_OPENS);
    wrong += blkalign_unregister_buf(handle, buf, 16 * BLOCK) != 0;
    wrong += blkalign_close(second) != 0;
    wrong += blkalign_close(handle) != 0;
    everything_mark(MARK_QUIET);
    free(buf);
    return wrong;
}
