/*
 * RLIMIT_FSIZE: requests that pass it fail with -EFBIG, in every engine and
 * every call, and no thread of the program gets SIGXFSZ. Each case is a child.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 16
#define LIMIT (8 * BLOCK)
#define ODD 100
#define BATCH 24

static struct bed bed;
static uint8_t *buf;
static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

static void set_limit(rlim_t bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    if (setrlimit(RLIMIT_FSIZE, &limit))
        _exit(100);
}

static int is_blocked(void)
{
    sigset_t now;

    pthread_sigmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, SIGXFSZ);
}

static int is_pending(void)
{
    sigset_t pending;

    sigpending(&pending);
    return sigismember(&pending, SIGXFSZ);
}

/* Writes asynchronously and waits for the result. */
static int aio(blkalign_handle *handle, int64_t offset, size_t bytes)
{
    struct answer answer;

    aio_write(handle, offset, buf, bytes, 0, &answer);
    return answer_wait(&answer);
}

/* Exit status: 0, or the number of the first expectation that failed. */
static int each_call(blkalign_handle *handle, int64_t length)
{
    struct answer answers[BATCH];
    int i;

    if (blkalign_pwrite(handle, 10 * BLOCK, BLOCK, buf, 0) != -EFBIG)
        return 1;
    if (blkalign_pwrite(handle, 10 * BLOCK + 5, 50, buf, 0) != -EFBIG)
        return 2;
    if (!strstr(blkalign_errmsg(), "RLIMIT_FSIZE"))
        return 3;
    if (blkalign_pwrite(handle, LIMIT - BLOCK, 2 * BLOCK, buf, 0) != -EFBIG)
        return 4;
    if (blkalign_pwrite(handle, length - 10, 10, buf, 0) != -EFBIG)
        return 5;
    if (blkalign_pwrite(handle, 20 * BLOCK, 10, buf, 0) != -EFBIG)
        return 6;
    if (blkalign_truncate(handle, 20 * BLOCK) != -EFBIG)
        return 7;
    if (aio(handle, 10 * BLOCK, BLOCK) != -EFBIG)
        return 8;
    if (aio(handle, 10 * BLOCK + 5, 50) != -EFBIG)
        return 9;
    if (aio(handle, LIMIT - BLOCK, 2 * BLOCK) != -EFBIG)
        return 10;
    if (aio(handle, length - 10, 10) != -EFBIG)
        return 11;
    if (aio(handle, 20 * BLOCK, 10) != -EFBIG)
        return 12;
    blkalign_plug(handle);
    for (i = 0; i < BATCH; i++)
        aio_write(handle, (i % 2 ? 1 : 9) * BLOCK + 8 * i, buf, 8,
                  i % 5 ? 0 : BLKALIGN_REQ_FUA, &answers[i]);
    blkalign_unplug(handle);
    for (i = 0; i < BATCH; i++)
        if (answer_wait(&answers[i]) != (i % 2 ? 0 : -EFBIG))
            return 13;
    /* Whatever the file system answers to these, no signal may come. */
    blkalign_pwrite_zeroes(handle, 9 * BLOCK, 3 * BLOCK + 9, 0);
    blkalign_pwrite_zeroes(handle, 30 * BLOCK, BLOCK, 0);
    blkalign_pdiscard(handle, 9 * BLOCK, BLOCK);
    if (blkalign_flush(handle))
        return 14;
    if (blkalign_pwrite(handle, 3, 50, buf, 0) ||
        aio(handle, LIMIT - BLOCK, BLOCK))
        return 15;
    if (blkalign_pread(handle, 10 * BLOCK + 5, 50, buf, 0))
        return 16;
    return 0;
}

static int limited(const blkalign_open_options *options, int before)
{
    const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
    blkalign_handle *handle = NULL;
    int64_t length = BLOCKS * BLOCK + ODD;
    sigset_t set;
    int failed;

    setrlimit(RLIMIT_FSIZE, &none);
    if (truncate(bed.path, length))
        return 101;
    if (before)
        set_limit(LIMIT);
    if (blkalign_open(bed.path, options, &handle))
        return 102;
    set_limit(LIMIT);
    failed = each_call(handle, length);
    if (failed)
        return failed;
    if (is_blocked() || is_pending())
        return 20;
    /* A handler of the program is not called, and a blocked signal that the
     * program itself has pending stays. */
    signal(SIGXFSZ, count_signal);
    failed = each_call(handle, length);
    if (failed)
        return 30 + failed;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    failed = each_call(handle, length);
    if (failed)
        return 50 + failed;
    if (!is_blocked() || is_pending() || signals)
        return 70;
    pthread_kill(pthread_self(), SIGXFSZ);
    failed = each_call(handle, length);
    if (failed)
        return 75 + failed;
    if (!is_blocked() || !is_pending() || signals)
        return 95;
    return blkalign_close(handle) ? 96 : 0;
}

/* The first block of a file that grows is written as well. */
static int from_nothing(const blkalign_open_options *options, int unused)
{
    blkalign_handle *handle = NULL;

    (void)unused;
    if (truncate(bed.path, 0) ||
        blkalign_open(bed.path, options, &handle))
        return 1;
    set_limit(0);
    if (blkalign_truncate(handle, BLOCK) != -EFBIG ||
        blkalign_getlength(handle) != 0)
        return 2;
    if (blkalign_pwrite(handle, 0, 10, buf, 0) != -EFBIG ||
        aio(handle, 0, BLOCK) != -EFBIG || blkalign_getlength(handle) != 0)
        return 3;
    set_limit(BLOCK);
    if (blkalign_truncate(handle, BLOCK) || aio(handle, 7, 70))
        return 4;
    return blkalign_close(handle) ? 5 : 0;
}

/* Linux cuts a write off at the limit. If the limit is inside a block, the
 * rest of the write is no multiple of the block, and O_DIRECT refuses it as
 * misaligned. */
static int within_a_block(const blkalign_open_options *options, int unused)
{
    blkalign_stats stats = BLKALIGN_STATS_INIT;
    blkalign_handle *handle = NULL;

    (void)unused;
    if (truncate(bed.path, BLOCKS * BLOCK) ||
        blkalign_open(bed.path, options, &handle))
        return 1;
    set_limit(LIMIT + ODD);
    if (blkalign_pwrite(handle, LIMIT - BLOCK, 2 * BLOCK, buf, 0) != -EFBIG)
        return 2;
    if (!strstr(blkalign_errmsg(), "RLIMIT_FSIZE"))
        return 3;
    if (blkalign_pwrite(handle, LIMIT, BLOCK, buf, 0) != -EFBIG ||
        blkalign_pwrite(handle, LIMIT, BLOCK, buf, BLKALIGN_REQ_FUA) !=
            -EFBIG)
        return 4;
    if (aio(handle, LIMIT - BLOCK, 2 * BLOCK) != -EFBIG ||
        aio(handle, LIMIT, BLOCK) != -EFBIG)
        return 5;
    blkalign_get_stats(handle, &stats);
    if (stats.probe_repairs)
        return 6;
    if (blkalign_pwrite(handle, 7, 2 * BLOCK - 7, buf, 0) ||
        aio(handle, LIMIT - BLOCK, BLOCK))
        return 7;
    return blkalign_close(handle) ? 8 : 0;
}

static void in_a_child(int (*tried)(const blkalign_open_options *, int),
                       const blkalign_open_options *options, int how,
                       const char *words)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(60 * run_slowness());
        status = tried(options, how);
        if (status)
            printf("# %d: %s\n", status, blkalign_errmsg());
        fflush(stdout);
        _exit(status);
    }
    waitpid(pid, &status, 0);
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0,
           "%s: engine %u, completion %u, flags %#x: %s", bed.name,
           options->engine, options->completion, options->flags, words);
}

static void each_engine(uint32_t flags)
{
    uint32_t engine, completion;

    for (engine = BLKALIGN_ENGINE_AUTO; engine <= BLKALIGN_ENGINE_THREADS;
         engine++)
        for (completion = 0; completion < 3; completion++) {
            blkalign_open_options options = options_of(
                BLKALIGN_O_RDWR | BLKALIGN_O_RESIZE | flags, completion);

            options.engine = engine;
            in_a_child(limited, &options, 1, "the limit before open");
            in_a_child(limited, &options, 0, "the limit after open");
            in_a_child(within_a_block, &options, 0, "within a block");
            in_a_child(from_nothing, &options, 0, "a file of length 0");
        }
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_FILE, BED_XFS, BED_EXT4 };
    size_t i;

    run_begin(300);
    buf = aligned_memory(2 * BLOCK);
    for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (bed_make(&bed, kinds[i], BLOCKS * BLOCK)) {
            skip(bed.why_not, "%s", bed.name);
            continue;
        }
        each_engine(BLKALIGN_O_DIRECT);
        each_engine(0);
        bed_remove(&bed);
    }
    free(buf);
    return done_testing();
}
