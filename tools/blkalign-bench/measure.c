/*
 * What is measured besides the rate: latency and processor time.
 *
 * Latency is kept as a histogram whose buckets grow with the time: each is
 * 1/32 of an octave wide, so a percentile is right to 3 percent.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

const double latency_shares[LATENCY_SHARES] = { 0.5, 0.9, 0.99, 0.999 };
const char *const latency_words[LATENCY_SHARES] = {
    "50", "90", "99", "99.9"
};

enum { FINE = 1 << LATENCY_FINE_BITS };

uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Below 2 * FINE each nanosecond has a bucket of its own. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned shift;

    if (ns < 2 * FINE)
        return (unsigned)ns;
    shift = 63 - LATENCY_FINE_BITS - (unsigned)__builtin_clzll(ns);
    return (shift << LATENCY_FINE_BITS) + (unsigned)(ns >> shift);
}

/* The longest time that falls into the bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    unsigned shift;

    if (bucket < 2 * FINE)
        return bucket;
    shift = (bucket >> LATENCY_FINE_BITS) - 1;
    return (((uint64_t)(bucket & (FINE - 1)) + FINE + 1) << shift) - 1;
}

void latency_add(struct latency *latency, uint64_t ns)
{
    latency->buckets[bucket_of(ns)]++;
    latency->requests++;
    if (ns > latency->longest_ns)
        latency->longest_ns = ns;
}

void latency_merge(struct latency *into, const struct latency *from)
{
    unsigned i;

    for (i = 0; i < LATENCY_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->requests += from->requests;
    if (from->longest_ns > into->longest_ns)
        into->longest_ns = from->longest_ns;
}

uint64_t latency_percentile(const struct latency *latency, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)latency->requests + 0.5);
    uint64_t seen = 0;
    unsigned i;

    for (i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->buckets[i];
        if (seen && seen >= wanted) {
            uint64_t end = bucket_end(i);

            return end < latency->longest_ns ? end : latency->longest_ns;
        }
    }
    return latency->longest_ns;
}

void latency_json(const struct latency *latency)
{
    unsigned i;

    printf(",\n  \"latency_ns\": {");
    for (i = 0; i < LATENCY_SHARES; i++)
        printf("\"%s\": %" PRIu64 ", ", latency_words[i],
               latency_percentile(latency, latency_shares[i]));
    printf("\"longest\": %" PRIu64 "}", latency->longest_ns);
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

struct processor processor_now(void)
{
    struct processor processor = { 0, 0 };
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        processor.user = seconds_of(usage.ru_utime);
        processor.system = seconds_of(usage.ru_stime);
    }
    return processor;
}

void processor_json(const struct processor *used, double requests)
{
    printf(",\n  \"user_seconds\": %.6f", used->user);
    printf(",\n  \"system_seconds\": %.6f", used->system);
    printf(",\n  \"processor_us_per_request\": %.4f",
           (used->user + used->system) * 1e6 / requests);
}
