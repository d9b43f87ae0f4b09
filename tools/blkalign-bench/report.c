/*
 * What is printed: for people, and for programs.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"
#include "text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct figures {
    double seconds, requests_per_second;
    uint64_t storage;
};

void complain(const char *format, ...)
{
    char words[4096];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    fputs("blkalign-bench: ", stderr);
    put_text(stderr, words);
    putc('\n', stderr);
}

static const char *kind_word(const struct settings *settings)
{
    return settings->read_percent == 100 ? "read" :
           settings->read_percent == 0 ? "write" : "read and write";
}

void report_start(const struct settings *settings)
{
    bool sync = settings->completion == COMPLETION_SYNC;

    if (settings->quiet || settings->json)
        return;
    printf("Sending %" PRId64 " %s requests, %" PRId64 " bytes each, %u in "
           "parallel (starting at offset %" PRId64 ", step size %" PRId64
           ")\n", settings->count, kind_word(settings),
           settings->request_bytes,
           sync ? settings->threads : settings->depth,
           settings->start_offset, settings->step_bytes);
    if (settings->flush_interval)
        printf("Sending flush every %" PRId64 " %srequests\n",
               settings->flush_interval,
               settings->drain_on_flush ? "" : "undrained ");
    fflush(stdout);
}

void report_progress(const struct run *run, double seconds)
{
    int64_t done = 0;
    unsigned i;

    for (i = 0; i < run->settings->threads; i++)
        done += __atomic_load_n(&run->submitters[i].done, __ATOMIC_RELAXED);
    fprintf(stderr, "\r  %3.0f %%  %.1f thousand a second ",
            100.0 * (double)done / (double)run->settings->count,
            (double)done / seconds / 1000);
    fflush(stderr);
}

void report_progress_end(void)
{
    fputs("\r\033[K", stderr);
}

static struct figures figures_of(const struct run *run,
                                 const blkalign_stats *stats)
{
    uint64_t started_ns = UINT64_MAX, ended_ns = 0;
    struct figures figures;
    unsigned i;

    for (i = 0; i < run->settings->threads; i++) {
        const struct submitter *submitter = &run->submitters[i];

        if (submitter->started_ns < started_ns)
            started_ns = submitter->started_ns;
        if (submitter->ended_ns > ended_ns)
            ended_ns = submitter->ended_ns;
    }
    figures.seconds = (double)(ended_ns - started_ns) / 1e9;
    figures.requests_per_second =
        (double)run->settings->count / figures.seconds;
    figures.storage = stats->storage_reads + stats->storage_writes;
    return figures;
}

static void put_people(const struct run *run, const struct figures *figures,
                       const blkalign_stats *stats,
                       const blkalign_limits *limits,
                       const struct latency *latency)
{
    unsigned i;

    printf("  rate      %.1f thousand requests a second, %.1f MiB/s\n",
           figures->requests_per_second / 1000,
           figures->requests_per_second *
           (double)run->settings->request_bytes / (1 << 20));
    printf("  how       %s engine, %s completion, %s order, blocks of %u\n",
           engine_word(limits->engine),
           completion_word(run->settings->completion),
           order_word(run->settings->order), limits->request_alignment);
    printf("  requests  %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64
           " flushes\n", stats->reads, stats->writes, stats->flushes);
    printf("  copies    %" PRIu64 " without a copy, %" PRIu64 " bounced\n",
           stats->zero_copy, stats->bounced);
    printf("  edges     %" PRIu64 " read-modify-writes, %" PRIu64
           " edge reads, %" PRIu64 " spared\n",
           stats->rmw, stats->rmw_reads, stats->rmw_reads_skipped);
    printf("  sharing   %" PRIu64 " merged, %" PRIu64 " waited\n",
           stats->merged, stats->waits);
    printf("  storage   %" PRIu64 " reads, %" PRIu64
           " writes: %.3f for each request\n", stats->storage_reads,
           stats->storage_writes,
           (double)figures->storage / (double)run->settings->count);
    printf("  processor %.2f us for each request: %.2f of programs, %.2f of "
           "the kernel\n",
           (run->processor.user + run->processor.system) * 1e6 /
           (double)run->settings->count,
           run->processor.user * 1e6 / (double)run->settings->count,
           run->processor.system * 1e6 / (double)run->settings->count);
    if (latency) {
        printf("  latency  ");
        for (i = 0; i < LATENCY_SHARES; i++)
            printf(" %s %%: %.1f us,", latency_words[i],
                   (double)latency_percentile(latency, latency_shares[i]) /
                   1000);
        printf(" longest: %.1f us\n", (double)latency->longest_ns / 1000);
    }
    if (run->content)
        printf("  verified  seed %" PRIu64 "\n", run->settings->seed);
}

static void json_number(const char *name, int64_t value)
{
    printf(",\n  \"%s\": %" PRId64, name, value);
}

static void json_word(const char *name, const char *value)
{
    printf(",\n  \"%s\": \"%s\"", name, value);
}

static void json_settings(const struct settings *settings)
{
    json_number("count", settings->count);
    json_number("depth", settings->depth);
    json_number("request_bytes", settings->request_bytes);
    json_number("step_bytes", settings->step_bytes);
    json_number("start_offset", settings->start_offset);
    json_number("read_percent", settings->read_percent);
    json_number("flush_interval", settings->flush_interval);
    json_number("threads", settings->threads);
    json_number("handles", settings->handles);
    json_number("batch", settings->batch);
    json_number("seed", (int64_t)settings->seed);
    json_word("order", order_word(settings->order));
    json_word("completion", completion_word(settings->completion));
    json_word("poll", poll_word(settings->poll));
    json_word("refill", refill_word(settings->refill));
    json_number("iovecs", settings->iovecs);
    printf(",\n  \"merging\": %s",
           settings->open_flags & BLKALIGN_O_NO_MERGE ? "false" : "true");
    printf(",\n  \"verified\": %s", settings->verify ? "true" : "false");
}

static void json_stats(const blkalign_stats *stats)
{
    json_number("reads", (int64_t)stats->reads);
    json_number("writes", (int64_t)stats->writes);
    json_number("flushes", (int64_t)stats->flushes);
    json_number("zero_copy", (int64_t)stats->zero_copy);
    json_number("bounced", (int64_t)stats->bounced);
    json_number("rmw", (int64_t)stats->rmw);
    json_number("rmw_reads", (int64_t)stats->rmw_reads);
    json_number("rmw_reads_skipped", (int64_t)stats->rmw_reads_skipped);
    json_number("merged", (int64_t)stats->merged);
    json_number("waits", (int64_t)stats->waits);
    json_number("storage_reads", (int64_t)stats->storage_reads);
    json_number("storage_writes", (int64_t)stats->storage_writes);
}

static void put_json(const struct run *run, const struct figures *figures,
                     const blkalign_stats *stats,
                     const blkalign_limits *limits,
                     const struct latency *latency)
{
    puts("{");
    json_path(run->settings->path, "  ");
    json_word("version", blkalign_version());
    json_settings(run->settings);
    json_word("engine", engine_word(limits->engine));
    json_number("request_alignment", limits->request_alignment);
    json_number("direct", limits->direct);
    printf(",\n  \"seconds\": %.6f", figures->seconds);
    printf(",\n  \"requests_per_second\": %.1f",
           figures->requests_per_second);
    json_stats(stats);
    processor_json(&run->processor, (double)run->settings->count);
    if (latency)
        latency_json(latency);
    puts("\n}");
}

void report(const struct run *run, const blkalign_stats *stats,
            const blkalign_limits *limits)
{
    struct figures figures = figures_of(run, stats);
    struct latency *latency = run->submitters[0].latency;
    unsigned i;

    for (i = 1; latency && i < run->settings->threads; i++)
        latency_merge(latency, run->submitters[i].latency);
    if (run->settings->json) {
        put_json(run, &figures, stats, limits, latency);
        return;
    }
    if (!run->settings->quiet)
        put_people(run, &figures, stats, limits, latency);
    printf("Run completed in %3.3f seconds.\n", figures.seconds);
}
