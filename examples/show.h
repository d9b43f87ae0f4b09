/* What the examples print: errors, progress, counters.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef SHOW_H
#define SHOW_H

#include <blkalign.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program. Only the first thread that calls this gets to exit(). */
static void stop(const char *why)
{
    static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&first);
    fflush(stdout);
    fprintf(stderr, "guest-load: %s\n", why);
    exit(EXIT_FAILURE);
}

/* The first CPU prints for all. */
static void show_progress(int cpu, int round, int rounds)
{
    if (cpu == 0 && round % (rounds / 10) == 0) {
        printf(" %3d %%%s", round * 100 / rounds,
               round == rounds ? "\n" : "");
        fflush(stdout);
    }
}

static void show_row(const char *name, const blkalign_stats *stats)
{
    printf("  %-5s%8" PRIu64 "%8" PRIu64 "%9" PRIu64 "%8" PRIu64
           "%9" PRIu64 "%9" PRIu64 "%9" PRIu64 "%10" PRIu64 "\n",
           name, stats->reads, stats->writes, stats->rmw, stats->waits,
           stats->zero_copy, stats->bounced, stats->storage_reads,
           stats->storage_writes);
}

/* A row for each queue, and a total. */
static void show_stats(blkalign_handle *const *queues, int count)
{
    blkalign_stats total = BLKALIGN_STATS_INIT;
    char name[16];
    int i;

    printf("                         read-   waited    without"
           "            at the storage\n"
           "  queue   reads  writes modify-  before     a copy   copied"
           "    reads    writes\n");
    for (i = 0; i < count; i++) {
        blkalign_stats stats = BLKALIGN_STATS_INIT;

        if (blkalign_get_stats(queues[i], &stats) < 0)
            stop(blkalign_errmsg());
        snprintf(name, sizeof name, "%d", i);
        show_row(name, &stats);
        total.reads += stats.reads;
        total.writes += stats.writes;
        total.rmw += stats.rmw;
        total.waits += stats.waits;
        total.zero_copy += stats.zero_copy;
        total.bounced += stats.bounced;
        total.storage_reads += stats.storage_reads;
        total.storage_writes += stats.storage_writes;
    }
    show_row("all", &total);
}

#endif
