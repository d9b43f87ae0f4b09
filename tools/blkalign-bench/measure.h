/*
 * What is measured besides the rate: how long requests took, and the
 * processor time of this process. For blkalign-bench and bench/yardstick.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>

enum { LATENCY_FINE_BITS = 5, LATENCY_BUCKETS = 60 << LATENCY_FINE_BITS };

struct latency {
    uint64_t requests, longest_ns;
    uint64_t buckets[LATENCY_BUCKETS];
};

uint64_t clock_ns(void);
void latency_add(struct latency *latency, uint64_t ns);
void latency_merge(struct latency *into, const struct latency *from);
/* The time within which `share` (0 to 1) of the requests were done. */
uint64_t latency_percentile(const struct latency *latency, double share);
/* Prints the member "latency_ns" of a JSON object, with a comma before it. */
void latency_json(const struct latency *latency);

/* The shares that are printed, and the words for them. */
enum { LATENCY_SHARES = 4 };
extern const double latency_shares[LATENCY_SHARES];
extern const char *const latency_words[LATENCY_SHARES];

/* In seconds: of all threads of the process, and of the kernel's workers for
 * its io_uring. */
struct processor {
    double user, system;
};

struct processor processor_now(void);
/* Prints the members "user_seconds", "system_seconds" and
 * "processor_us_per_request", with a comma before them. */
void processor_json(const struct processor *used, double requests);

#endif
