/*
 * A read of one block every ten milliseconds, at random places, and each
 * second a line from the difference of two histograms.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BYTES = 4096, READS_A_SECOND = 100 };

/* Requests of this second that took no longer than those of bucket `last`. */
static uint64_t up_to(const blkalign_latency *before,
                      const blkalign_latency *now, int last)
{
    uint64_t sum = 0;
    int i;

    for (i = 0; i <= last; i++)
        sum += now->buckets[i] - before->buckets[i];
    return sum;
}

/* The time, in microseconds, that so many of a thousand did not exceed. */
static double quantile(const blkalign_latency *before,
                       const blkalign_latency *now, uint64_t of_thousand)
{
    uint64_t count = now->count - before->count;
    uint64_t rank = (count * of_thousand + 999) / 1000, ns;
    int i;

    for (i = 0; i < BLKALIGN_LATENCY_BUCKETS - 1; i++)
        if (up_to(before, now, i) >= rank)
            break;
    ns = blkalign_latency_bucket_ns((uint32_t)i);
    return (double)(ns < now->max_ns ? ns : now->max_ns) / 1000;
}

static int read_for_a_second(blkalign_handle *handle, int64_t length,
                             void *buf)
{
    struct timespec pause = { 0, 1000000000 / READS_A_SECOND };
    int64_t places = length / BYTES;
    int i, result = 0;

    for (i = 0; i < READS_A_SECOND && result == 0; i++) {
        int64_t place = places > 0 ? random() % places : 0;
        int64_t bytes = length < BYTES ? length : BYTES;

        result = blkalign_pread(handle, place * BYTES, bytes, buf, 0);
        nanosleep(&pause, NULL);
    }
    return result;
}

int watch(blkalign_handle *handle, int64_t length, unsigned seconds)
{
    blkalign_latency before = BLKALIGN_LATENCY_INIT, now = before;
    void *buf = blkalign_memalign(handle, BYTES);
    int result = buf ? 0 : -12;

    if (result == 0)
        result = blkalign_get_latency(handle, BLKALIGN_OP_READ, &before);
    printf("  %8s%12s%12s%12s\n", "reads", "p50 us", "p99 us", "max us");
    while (result == 0 && seconds-- > 0) {
        result = read_for_a_second(handle, length, buf);
        if (result == 0)
            result = blkalign_get_latency(handle, BLKALIGN_OP_READ, &now);
        if (result == 0)
            printf("  %8" PRIu64 "%12.1f%12.1f%12.1f\n",
                   now.count - before.count, quantile(&before, &now, 500),
                   quantile(&before, &now, 990),
                   quantile(&before, &now, 1000));
        fflush(stdout);
        before = now;
    }
    blkalign_free(buf);
    return result;
}
