/*
 * blkalign-bench: measures how fast requests of any size are on any storage,
 * and prints what explains the figure. It has the options, meanings and the
 * closing line of `qemu-img bench`, and more. Uses the public header only.
 *
 * Divisions: failures, handles, the run, main. bench.h lists the other files.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <care.h>

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- failures ---- */

void run_fail(struct run *run, const char *format, ...)
{
    va_list arguments;

    pthread_mutex_lock(&run->failure_lock);
    if (!run->failure[0]) {
        va_start(arguments, format);
        vsnprintf(run->failure, sizeof run->failure, format, arguments);
        va_end(arguments);
    }
    pthread_mutex_unlock(&run->failure_lock);
    __atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
}

void run_fail_request(struct submitter *submitter, const char *what,
                      int64_t offset, int result)
{
    const char *words = blkalign_errmsg();

    if (words[0])
        run_fail(submitter->run, "%s", words);
    else
        run_fail(submitter->run, "%s: %s at %lld: %s",
                 submitter->run->settings->path, what, (long long)offset,
                 strerror(-result));
}

/* ---- handles ---- */

static bool open_handle(struct run *run, unsigned number)
{
    const struct settings *settings = run->settings;
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    int result;

    options.flags = settings->open_flags;
    options.engine = settings->engine;
    options.request_alignment = settings->alignment;
    if (settings->completion != COMPLETION_SYNC)
        options.completion = settings->completion;
    if (number == 0 && is_nbd_uri(settings->path))
        return nbd_open(settings->path, &options, &run->handles[0]);
    if (number == 0 && is_rbd_place(settings->path))
        return rbd_place_open(settings->path, &options, &run->handles[0]);
    if (number == 0)
        result = blkalign_open(settings->path, &options, &run->handles[0]);
    else
        result = blkalign_dup(run->handles[0], &options,
                              &run->handles[number]);
    if (result == 0)
        return true;
    complain("%s", blkalign_errmsg());
    if (result == -EINVAL && options.flags & BLKALIGN_O_DIRECT)
        complain("hint: -t writeback works without O_DIRECT");
    return false;
}

static bool open_handles(struct run *run)
{
    const struct settings *settings = run->settings;
    int64_t reach = settings->order == ORDER_SECTORS ?
        settings->step_bytes : settings->request_bytes;
    unsigned i;

    for (i = 0; i < settings->handles; i++) {
        if (!open_handle(run, i))
            return false;
    }
    run->length = blkalign_getlength(run->handles[0]);
    if (run->length < 0) {
        complain("%s", blkalign_errmsg());
        return false;
    }
    if (reach > run->length ||
        settings->start_offset > run->length - reach) {
        complain("%s: %lld bytes at %lld pass its end, %lld", settings->path,
                 (long long)reach,
                 (long long)settings->start_offset, (long long)run->length);
        return false;
    }
    return true;
}

static bool may_write(const struct settings *settings)
{
    char why[96];

    if (settings->read_percent == 100 || settings->force ||
        !care_in_use(settings->path, why, sizeof why))
        return true;
    complain("%s %s: --force writes anyway", settings->path, why);
    return false;
}

static void close_all(struct run *run)
{
    unsigned i;

    for (i = 0; i < run->settings->handles; i++)
        blkalign_close(run->handles[i]);
    for (i = 0; i < run->settings->threads; i++)
        submitter_close(&run->submitters[i]);
    content_close(run->content);
    free(run->submitters);
    free(run->handles);
}

/* Adds up what the handles counted. */
static void gather_stats(const struct run *run, blkalign_stats *sum)
{
    unsigned i;

    for (i = 0; i < run->settings->handles; i++) {
        blkalign_stats stats = BLKALIGN_STATS_INIT;

        blkalign_get_stats(run->handles[i], &stats);
        sum->reads += stats.reads;
        sum->writes += stats.writes;
        sum->flushes += stats.flushes;
        sum->zero_copy += stats.zero_copy;
        sum->bounced += stats.bounced;
        sum->rmw += stats.rmw;
        sum->rmw_reads += stats.rmw_reads;
        sum->rmw_reads_skipped += stats.rmw_reads_skipped;
        sum->merged += stats.merged;
        sum->waits += stats.waits;
        sum->storage_reads += stats.storage_reads;
        sum->storage_writes += stats.storage_writes;
    }
}

/* All handles share one throttle. */
static bool set_throttle(struct run *run)
{
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    blkalign_throttle *throttle;
    unsigned i;
    int error = 0;

    if (!run->settings->throttle)
        return true;
    limits.requests.rate = (uint64_t)run->settings->throttle;
    if (blkalign_throttle_new(&limits, &throttle) < 0) {
        complain("%s", blkalign_errmsg());
        return false;
    }
    for (i = 0; !error && i < run->settings->handles; i++)
        error = blkalign_set_throttle(run->handles[i], throttle);
    if (error)
        complain("%s", blkalign_errmsg());
    /* The handles keep it. */
    blkalign_throttle_free(throttle);
    return !error;
}

static int let_pass(void *opaque, uint32_t op, int64_t offset, int64_t bytes,
                    blkalign_before_write_done_fn done, void *token)
{
    (void)opaque;
    (void)op;
    (void)offset;
    (void)bytes;
    done(token, 0);
    return 0;
}

static bool add_notifier(struct run *run)
{
    int64_t unit = run->settings->notifier;

    if (!unit || blkalign_add_before_write(run->handles[0], (uint32_t)unit,
                                           let_pass, NULL,
                                           &run->notifier) == 0)
        return true;
    complain("%s", blkalign_errmsg());
    return false;
}

/* ---- the run ---- */

static bool start_threads(struct run *run)
{
    unsigned i;
    int error;

    for (i = 0; i < run->settings->threads; i++) {
        error = pthread_create(&run->submitters[i].thread, NULL,
                               submitter_run, &run->submitters[i]);
        if (error) {
            /* Threads that wait at the barrier end with the process. */
            complain("cannot start thread %u: %s", i + 1, strerror(error));
            return false;
        }
    }
    return true;
}

static void join_threads(struct run *run, bool progress)
{
    double started = (double)clock_ns() / 1e9;
    struct timespec until;
    unsigned i;

    for (i = 0; i < run->settings->threads; i++) {
        for (;;) {
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 250000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            if (!progress) {
                pthread_join(run->submitters[i].thread, NULL);
                break;
            }
            if (pthread_timedjoin_np(run->submitters[i].thread, NULL,
                                     &until) == 0)
                break;
            report_progress(run, (double)clock_ns() / 1e9 - started);
        }
    }
    if (progress)
        report_progress_end();
}

static bool carry_out(struct run *run)
{
    const struct settings *settings = run->settings;
    bool progress = !settings->quiet && !settings->json && isatty(2);
    struct processor used;
    unsigned i;

    for (i = 0; i < settings->threads; i++) {
        if (!submitter_open(run, i))
            return false;
    }
    if (settings->verify && !content_open(run))
        return false;
    report_start(settings);
    pthread_barrier_init(&run->start, NULL, settings->threads);
    if (!start_threads(run))
        _exit(EXIT_FAILED);
    join_threads(run, progress);
    used = processor_now();
    run->processor.user = used.user - run->processor.user;
    run->processor.system = used.system - run->processor.system;
    pthread_barrier_destroy(&run->start);
    for (i = 0; i < settings->handles; i++)
        blkalign_drain(run->handles[i]);
    if (run->failure[0]) {
        complain("%s", run->failure);
        return false;
    }
    return !run->content || content_check(run);
}

/* ---- main ---- */

/* A failure to write the output, as on a full disk, is a failure. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    perror("blkalign-bench: standard output");
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .count = 75000, .depth = 64, .request_bytes = 4096, .threads = 1,
        .handles = 1, .iovecs = 1, .read_percent = 100, .drain_on_flush = true,
    };
    struct run run = { .settings = &settings };
    blkalign_stats stats = BLKALIGN_STATS_INIT;
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    int status;

    care_descriptors();
    status = parse_options(argc, argv, &settings);
    if (status >= 0)
        return finish(status);
    pthread_mutex_init(&run.failure_lock, NULL);
    pthread_mutex_init(&run.sequence_lock, NULL);
    run.left = settings.count;
    run.handles = calloc(settings.handles, sizeof *run.handles);
    run.submitters = calloc(settings.threads, sizeof *run.submitters);
    status = EXIT_FAILED;
    if (run.handles && run.submitters && may_write(&settings) &&
        open_handles(&run) && set_throttle(&run) && add_notifier(&run) &&
        carry_out(&run)) {
        gather_stats(&run, &stats);
        blkalign_get_limits(run.handles[0], &limits);
        report(&run, &stats, &limits);
        status = 0;
    }
    if (run.notifier)
        blkalign_remove_before_write(run.notifier);
    close_all(&run);
    return finish(status);
}
