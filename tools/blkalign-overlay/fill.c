/*
 * Fills an overlay. A signal stops it between two clusters; what was copied
 * stays.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "overlay.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 100, TELL_MS = 1000 };

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

/* The lock guards both others. */
struct fill {
    pthread_mutex_t lock;
    int over, result;
};

static void filled(void *opaque, int result)
{
    struct fill *fill = opaque;

    pthread_mutex_lock(&fill->lock);
    fill->over = 1;
    fill->result = result;
    pthread_mutex_unlock(&fill->lock);
}

static int is_over(struct fill *fill)
{
    int over;

    pthread_mutex_lock(&fill->lock);
    over = fill->over;
    pthread_mutex_unlock(&fill->lock);
    return over;
}

static void tell(blkalign_handle *overlay, const char *path)
{
    const char *end = isatty(STDERR_FILENO) ? "\r" : "\n";
    struct extent extent;

    if (measure(overlay, path, &extent) && extent.length > 0)
        fprintf(stderr, "%3d %%  %" PRId64 " of %" PRId64 " MiB%s",
                (int)(extent.there * 100.0 / (double)extent.length),
                extent.there >> 20, extent.length >> 20, end);
}

/* Until the fill is over. */
static void watch(blkalign_handle *overlay, const struct choices *choices,
                  struct fill *fill, int64_t id)
{
    const struct timespec look = { 0, LOOK_MS * 1000000 };
    int since_told = TELL_MS, cancelled = 0;

    while (!is_over(fill)) {
        if (choices->progress && since_told >= TELL_MS) {
            tell(overlay, choices->path);
            since_told = 0;
        }
        if (stopped && !cancelled) {
            blkalign_aio_cancel(overlay, id);
            cancelled = 1;
        }
        nanosleep(&look, NULL);
        since_told += LOOK_MS;
    }
    if (choices->progress) {
        tell(overlay, choices->path);
        if (isatty(STDERR_FILENO))
            putc('\n', stderr);
    }
}

/* Limits what the fill takes from the backing object. */
static blkalign_throttle *limit(blkalign_handle *backing, int64_t rate)
{
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    blkalign_throttle *throttle = NULL;
    int result;

    limits.read_bytes.rate = (uint64_t)rate;
    result = blkalign_throttle_new(&limits, &throttle);
    if (result == 0)
        result = blkalign_set_throttle(backing, throttle);
    if (result < 0)
        complain_of("--rate", result);
    return result < 0 ? NULL : throttle;
}

static int fill_all(blkalign_handle *overlay, const struct choices *choices)
{
    struct fill fill = { PTHREAD_MUTEX_INITIALIZER, 0, 0 };
    int64_t id = blkalign_overlay_fill(overlay, filled, &fill);
    int result;

    if (id < 0) {
        complain_of(choices->path, (int)id);
        return EXIT_FAILED;
    }
    watch(overlay, choices, &fill, id);
    if (fill.result < 0 && fill.result != -ECANCELED) {
        complain("%s: the fill has failed: %s", choices->path,
                 strerror(-fill.result));
        return EXIT_FAILED;
    }
    result = blkalign_flush(overlay);
    if (result < 0) {
        complain_of(choices->path, result);
        return EXIT_FAILED;
    }
    if (fill.result == -ECANCELED) {
        complain("%s: stopped; the next fill goes on from here",
                 choices->path);
        return EXIT_FAILED;
    }
    return 0;
}

int run_fill(const struct choices *choices)
{
    struct sigaction action;
    blkalign_handle *backing, *overlay;
    blkalign_throttle *throttle = NULL;
    int status = EXIT_FAILED;

    memset(&action, 0, sizeof action);
    action.sa_handler = stop;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    backing = open_backing(choices->backing);
    if (!backing)
        return EXIT_FAILED;
    overlay = open_overlay(choices->path, backing);
    if (overlay && choices->rate)
        throttle = limit(backing, choices->rate);
    if (overlay && (throttle || !choices->rate))
        status = fill_all(overlay, choices);
    if (overlay)
        blkalign_close(overlay);
    blkalign_close(backing);
    if (throttle)
        blkalign_throttle_free(throttle);
    return status;
}
