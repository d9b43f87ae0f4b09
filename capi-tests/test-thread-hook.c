/*
 * The hook for threads of the library: each of them runs it, first, and those
 * of the open have run it when the open returns.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BLOCK 4096
#define THREADS_MAX 256

static struct bed bed;
static uint8_t *buf;
static int calls, wrong_names, inside;

static void rename_it(void *opaque)
{
    char name[16] = "";

    prctl(PR_GET_NAME, name);
    if (strncmp(name, "blkalign", 8) != 0)
        __atomic_fetch_add(&wrong_names, 1, __ATOMIC_SEQ_CST);
    prctl(PR_SET_NAME, "hooked");
    __atomic_fetch_add((int *)opaque, 1, __ATOMIC_SEQ_CST);
}

static void asks_again(void *opaque)
{
    *(int *)opaque = blkalign_set_thread_hook(rename_it, &calls);
}

static int named(const char *start)
{
    static struct proc_thread threads[THREADS_MAX];
    int count = proc_threads(threads, THREADS_MAX), i, found = 0;

    for (i = 0; i < count && i < THREADS_MAX; i++)
        found += strncmp(threads[i].name, start, strlen(start)) == 0;
    return found;
}

static void each_thread_runs_it(uint32_t workers)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    blkalign_throttle *throttle = NULL;
    blkalign_handle *handle;
    struct answer answers[16];
    int i, wrong = 0;

    calls = 0;
    diag("%s, workers %u", mode_words(), workers);
    is_int(blkalign_set_thread_hook(rename_it, &calls), 0, "set the hook");
    options.workers = workers;
    handle = bed_open(&bed, &options);
    is_int(calls, workers ? workers : 1, "the open's threads have run it");
    is_int(named("hooked"), calls, "they are as many");
    for (i = 0; i < 16; i++)
        aio_write(handle, i * 300, buf, 300, 0, &answers[i]);
    for (i = 0; i < 16; i++)
        wrong += answer_wait(&answers[i]) != 0;
    limits.requests.rate = 1000;
    blkalign_throttle_new(&limits, &throttle);
    wrong += blkalign_set_throttle(handle, throttle) != 0;
    is_int(wrong, 0, "requests and a throttle");
    sleep_ms(50);
    is_int(named("blkalign"), 0, "no thread has not run it");
    is_int(wrong_names, 0, "each had its name before");
    is_int(blkalign_set_thread_hook(NULL, NULL), 0, "no hook any more");
    blkalign_close(handle);
    blkalign_throttle_free(throttle);
    i = calls;
    handle = bed_open(&bed, &options);
    is_int(calls, i, "a hook that was taken back is not called");
    blkalign_close(handle);
}

int main(void)
{
    blkalign_handle *handle;
    unsigned i;

    run_begin(60);
    buf = aligned_memory(BLOCK);
    if (bed_make(&bed, BED_FILE, 16 * BLOCK))
        skip_all("%s", bed.why_not);
    for (i = 0; i < MODES; i++, mode_next())
        each_thread_runs_it(i % 2 ? 0 : 3);
    blkalign_set_thread_hook(asks_again, &inside);
    handle = bed_open(&bed, NULL);
    is_int(inside, -EDEADLK, "the hook cannot be set inside a hook");
    blkalign_close(handle);
    blkalign_set_thread_hook(NULL, NULL);
    bed_remove(&bed);
    free(buf);
    return done_testing();
}
