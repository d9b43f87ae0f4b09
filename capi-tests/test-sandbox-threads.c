/*
 * Programs whose threads may not start threads: the library starts its own
 * when a handle opens, or on threads of its own, never on a thread that calls
 * it later. Where threads are forbidden altogether io_uring with EVENTFD works
 * without. Each case is a child with its own rules.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_filter.h"
#include "common_mode.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
#define MANY 40

static struct bed bed;
static uint8_t *buf;

/* Every kind of request, waiting and not, by batches and beside each other.
 * Returns how many went wrong. */
static int all_kinds(blkalign_handle *handle, uint64_t seed)
{
    struct answer answers[MANY + 3];
    int i, wrong = 0;

    blkalign_plug(handle);
    for (i = 0; i < MANY; i++) {
        pattern_fill(buf + i * 700, seed, i, 700);
        aio_write(handle, 100 + i * 700, buf + i * 700, 700,
                  i % 5 ? 0 : BLKALIGN_REQ_FUA, &answers[i]);
    }
    blkalign_unplug(handle);
    aio_zeroes(handle, 10 * BLOCK + 5, 3 * BLOCK, 0, &answers[MANY]);
    aio_discard(handle, 10 * BLOCK, 2 * BLOCK, &answers[MANY + 1]);
    aio_flush(handle, &answers[MANY + 2]);
    for (i = 0; i < MANY + 3; i++)
        wrong += answer_wait(&answers[i]) != 0;
    for (i = 0; i < MANY; i++) {
        memset(buf, 0, 700);
        wrong += blkalign_pread(handle, 100 + i * 700, 700, buf, 0) != 0;
        wrong += pattern_differs(buf, seed, i, 700) != -1;
    }
    wrong += blkalign_pwrite(handle, bed.bytes - 1000, 999, buf, 0) != 0;
    wrong += blkalign_pwrite_zeroes(handle, 11 * BLOCK, BLOCK + 9, 0) != 0;
    wrong += blkalign_flush(handle) != 0;
    return wrong;
}

static int throttled(blkalign_handle *handle)
{
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    blkalign_throttle *throttle;
    struct answer answers[8];
    int i, wrong = 0;

    limits.requests.rate = 200;
    limits.requests.burst = 1;
    if (blkalign_throttle_new(&limits, &throttle) ||
        blkalign_set_throttle(handle, throttle))
        return 1;
    for (i = 0; i < 8; i++)
        aio_write(handle, i * 100, buf, 100, 0, &answers[i]);
    for (i = 0; i < 8; i++)
        wrong += answer_wait(&answers[i]) != 0;
    blkalign_set_throttle(handle, NULL);
    blkalign_throttle_free(throttle);
    return wrong;
}

/* Not those of the kernel for io_uring. */
static int library_threads(void)
{
    static struct proc_thread threads[256];
    int count = proc_threads(threads, 256), i, found = 0;

    for (i = 0; i < count && i < 256; i++)
        found += strncmp(threads[i].name, "blkalign", 8) == 0;
    return found;
}

/* This thread is killed if it starts a thread. */
static int after_open(int mode)
{
    blkalign_open_options options;
    blkalign_handle *handle, *shared;
    int i;

    mode_first((unsigned)mode);
    options = mode_options(BLKALIGN_O_RDWR);
    shared = bed_open(&bed, &options);
    options.workers = 2;
    handle = bed_open(&bed, &options);
    if (filter_threads(-1, 0))
        return 77;
    for (i = 0; i < 5; i++)
        if (all_kinds(shared, (uint64_t)i) || all_kinds(handle, 9))
            return 1;
    if (throttled(shared) || throttled(handle))
        return 2;
    if (blkalign_drain(shared) || blkalign_close(shared))
        return 3;
    return blkalign_close(handle) ? 4 : 0;
}

/* No thread of the process may start one any more. */
static int none_after_open(int mode)
{
    blkalign_open_options options;
    blkalign_handle *handle;
    int i;

    mode_first((unsigned)mode);
    options = mode_options(BLKALIGN_O_RDWR);
    handle = bed_open(&bed, &options);
    if (filter_threads(EPERM, 1))
        return 77;
    for (i = 0; i < 10; i++)
        if (all_kinds(handle, (uint64_t)i))
            return 1;
    return blkalign_close(handle) ? 2 : 0;
}

/* Nor before the handle was opened. */
static int none_at_all(int mode)
{
    blkalign_open_options options;
    blkalign_handle *handle = NULL, *other = NULL;
    int i, ret, without;

    mode_first((unsigned)mode);
    if (filter_threads(mode % 2 ? EPERM : EAGAIN, 1))
        return 77;
    options = mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT);
    without = options.completion == BLKALIGN_COMPLETION_EVENTFD &&
              options.engine != BLKALIGN_ENGINE_THREADS;
    ret = blkalign_open(bed.path, &options, &handle);
    if (!without) {
        if (ret != -ENOMEM || handle)
            return 1;
        return strstr(blkalign_errmsg(), "EVENTFD") ? 0 : 2;
    }
    if (ret || limits_of(handle).engine != BLKALIGN_ENGINE_IO_URING)
        return 3;
    for (i = 0; i < 10; i++)
        if (all_kinds(handle, (uint64_t)i))
            return 4;
    if (library_threads())
        return 5;
    /* With the descriptor, and with a second handle of the object. */
    if (blkalign_get_event_fd(handle) < 0 ||
        blkalign_open(bed.path, &options, &other))
        return 6;
    for (i = 0; i < 5; i++)
        if (all_kinds(handle, (uint64_t)i) || all_kinds(other, 30))
            return 7;
    return blkalign_close(other) || blkalign_close(handle) ? 8 : 0;
}

int main(void)
{
    char words[120];
    int mode;

    run_begin(120);
    buf = aligned_memory(MANY * 700);
    if (bed_make(&bed, BED_FILE, 16 * BLOCK))
        skip_all("%s", bed.why_not);
    for (mode = 0; mode < MODES; mode++) {
        mode_first((unsigned)mode);
        snprintf(words, sizeof words, "%s: a caller that may start none",
                 mode_words());
        filter_child(after_open, mode, words);
        snprintf(words, sizeof words, "%s: no more threads after open",
                 mode_words());
        filter_child(none_after_open, mode, words);
        snprintf(words, sizeof words, "%s: no threads at all", mode_words());
        filter_child(none_at_all, mode, words);
    }
    bed_remove(&bed);
    free(buf);
    return done_testing();
}
