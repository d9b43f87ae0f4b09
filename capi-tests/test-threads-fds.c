/*
 * Threads and descriptors of the library: threads are named and block signals,
 * descriptors are close-on-exec, both are bounded, and both are gone after
 * close, a thousand times over.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
#define GRACE_SECONDS 15
#define THREADS_MAX 256

static struct bed bed;
static uint8_t *buf;
static int inherited;           /* descriptors that we were started with */

static void some_io(blkalign_handle *handle)
{
    struct answer answers[4];
    int i;

    for (i = 0; i < 4; i++)
        aio_write(handle, i * 300, buf + i * 300, 300, 0, &answers[i]);
    for (i = 0; i < 4; i++)
        if (answer_wait(&answers[i]) != 0)
            bail("a write failed: %d", answers[i].ret);
}

static void a_thousand_rounds(uint32_t workers, int rounds)
{
    blkalign_open_options options = mode_options(0);
    blkalign_handle *handle, *second;
    int i, threads, descriptors, threads_most = 0, descriptors_most = 0;

    diag("%s", mode_words());
    options.workers = workers;
    threads = proc_threads(NULL, 0);
    descriptors = proc_descriptors();
    for (i = 0; i < rounds; i++) {
        int now;

        handle = bed_open(&bed, &options);
        second = i % 3 ? NULL : bed_open_again(&bed, handle, &options);
        if (i % 2)
            some_io(handle);
        else
            blkalign_pread(handle, 1, 100, buf, 0);
        if (i % 50 == 1) {
            now = proc_threads(NULL, 0);
            threads_most = now > threads_most ? now : threads_most;
            now = proc_descriptors();
            descriptors_most = now > descriptors_most ? now
                                                      : descriptors_most;
        }
        blkalign_close(second);
        blkalign_close(handle);
    }
    is_int(proc_descriptors(), descriptors,
           "%s, workers %u: %d rounds leave no descriptor", bed.name,
           workers, rounds);
    ok(proc_threads_settle(threads, GRACE_SECONDS) <= threads,
       "%s, workers %u: %d rounds leave no thread", bed.name, workers,
       rounds);
    ok(threads_most <= threads + 80,
       "%s, workers %u: never more than 80 threads (%d)", bed.name,
       workers, threads_most - threads);
    ok(descriptors_most <= descriptors + 30,
       "%s, workers %u: never more than 30 descriptors (%d)", bed.name,
       workers, descriptors_most - descriptors);
}

/* Every signal that can be blocked: all but KILL, STOP and the two that the C
 * library keeps for itself. Signals for a thread's own faults are not blocked:
 * a handler of the program must see them, or the process ends. */
static int deaf(const struct proc_thread *thread)
{
    static const int faults[] = { SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP,
                                  SIGSYS };
    uint64_t heard = 0;
    int number;

    for (number = 0; number < (int)(sizeof(faults) / sizeof(*faults));
         number++)
        heard |= (uint64_t)1 << (faults[number] - 1);
    if (thread->blocked & heard) {
        diag("%s blocks a signal of its own faults", thread->name);
        return 0;
    }

    for (number = 1; number <= 64; number++) {
        if (number == SIGKILL || number == SIGSTOP || number == 32 ||
            number == 33 || heard >> (number - 1) & 1)
            continue;
        if (!(thread->blocked >> (number - 1) & 1)) {
            diag("%s hears signal %d", thread->name, number);
            return 0;
        }
    }
    return 1;
}

static void threads_are_named_and_deaf(uint32_t workers,
                                       uint32_t completion)
{
    static struct proc_thread before[THREADS_MAX], after[THREADS_MAX];
    blkalign_open_options options = options_of(0, completion);
    int i, j, count, old, ours = 0, named = 0, blocked = 0;
    blkalign_handle *handle;

    options.workers = workers;
    old = proc_threads(before, THREADS_MAX);
    handle = bed_open(&bed, &options);
    some_io(handle);
    sleep_ms(100);      /* a new thread gives itself its name */
    count = proc_threads(after, THREADS_MAX);
    for (i = 0; i < count && i < THREADS_MAX; i++) {
        int known = after[i].id == (int)getpid();

        /* A thread of the shared pool may be older than this handle. */
        for (j = 0; j < old && j < THREADS_MAX; j++)
            known |= before[j].id == after[i].id &&
                     strncmp(after[i].name, "blkalign", 8) != 0;
        if (known)
            continue;
        ours++;
        named += strncmp(after[i].name, "blkalign", 8) == 0;
        blocked += deaf(&after[i]);
    }
    ok(ours > 0, "workers %u: the library has threads (%d)", workers, ours);
    is_int(named, ours, "workers %u: all are named blkalign", workers);
    if (getenv("BLKALIGN_TEST_VALGRIND"))
        skip("valgrind keeps the masks of signals to itself",
             "workers %u: all block every signal but faults", workers);
    else
        is_int(blocked, ours,
               "workers %u: all block every signal but faults", workers);
    is_int(proc_inheritable(), inherited,
           "workers %u: descriptors are close-on-exec", workers);
    is_int(blkalign_close(handle), 0, "close");
}

static void opening_alone_starts_one_thread(void)
{
    int before = proc_threads(NULL, 0);
    blkalign_handle *handle = bed_open(&bed, NULL);

    diag("%s", mode_words());
    is_int(proc_threads(NULL, 0), before + 1,
           "opening a handle starts one thread");
    is_int(blkalign_pread(handle, 1, 100, buf, 0), 0, "pread");
    is_int(proc_threads(NULL, 0), before + 1,
           "a synchronous read starts none");
    is_int(blkalign_pwrite(handle, 1, 100, buf, 0), 0, "pwrite");
    is_int(proc_threads(NULL, 0), before + 1,
           "nor does a synchronous write without conflict");
    is_int(blkalign_flush(handle), 0, "flush");
    is_int(proc_threads(NULL, 0), before + 1,
           "nor does a synchronous flush");
    is_int(blkalign_close(handle), 0, "close");
    is_int(proc_threads_settle(before, GRACE_SECONDS), before,
           "close ends it");
}

/* How many of the descriptors 0 to 2 lead to the bed. */
static int standard_ones_on_bed(void)
{
    char name[32], path[sizeof bed.path + 1];
    int fd, found = 0;

    for (fd = 0; fd <= 2; fd++) {
        ssize_t length;

        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        length = readlink(name, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = '\0';
        found += strcmp(path, bed.path) == 0;
    }
    return found;
}

/* A program that has closed 0, 1 and 2, or was started without them, and
 * prints nevertheless, must not print into its disk. */
static void standard_descriptors_stay_free(uint32_t flags)
{
    blkalign_open_options options = mode_options(flags);
    blkalign_handle *handle, *second;
    int fd, kept[3], found, written;

    diag("%s", mode_words());
    fflush(stdout);
    for (fd = 0; fd <= 2; fd++) {
        kept[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
        close(fd);
    }
    handle = bed_open(&bed, &options);
    second = bed_open_again(&bed, handle, &options);
    /* Also writes the end, for which there is a descriptor of its own. */
    written = blkalign_pwrite(second, bed.bytes - 1000, 500, buf, 0) == 0 &&
              blkalign_flush(second) == 0;
    found = standard_ones_on_bed();
    blkalign_close(second);
    blkalign_close(handle);
    for (fd = 0; fd <= 2; fd++) {
        dup2(kept[fd], fd);
        close(kept[fd]);
    }
    ok(written, "I/O without descriptors 0 to 2");
    is_int(found, 0, "none of them becomes one of the disk");
}

static void *nothing(void *unused)
{
    return unused;
}

/* The threads of the program itself. A sanitizer adds a thread of its own when
 * the first is started. */
static int own_threads(void)
{
    pthread_t first;

    pthread_create(&first, NULL, nothing, NULL);
    pthread_join(first, NULL);
    return proc_threads(NULL, 0);
}

int main(void)
{
    unsigned i;
    int own;

    inherited = proc_inheritable();
    run_begin(120);
    own = own_threads();
    buf = aligned_memory(BLOCK);
    if (bed_make(&bed, BED_FILE, 16 * BLOCK))
        skip_all("%s", bed.why_not);
    for (i = 0; i < MODES; i++, mode_next())
        opening_alone_starts_one_thread();
    standard_descriptors_stay_free(0);
    standard_descriptors_stay_free(BLKALIGN_O_DIRECT |
                                   BLKALIGN_O_BUFFERED_OK);
    threads_are_named_and_deaf(0, BLKALIGN_COMPLETION_SERIAL);
    threads_are_named_and_deaf(2, BLKALIGN_COMPLETION_SERIAL);
    threads_are_named_and_deaf(3, BLKALIGN_COMPLETION_CONCURRENT);
    ok(proc_threads_settle(own, GRACE_SECONDS) == own,
       "idle threads end by themselves");
    for (i = 0; i < MODES; i++, mode_next())
        a_thousand_rounds(0, i < 2 ? 1000 : 300);
    a_thousand_rounds(2, 200);
    bed_remove(&bed);
    if (bed_make(&bed, BED_SIM_SYNC, 16 * BLOCK) == 0) {
        a_thousand_rounds(0, 300);
        mode_next();
        a_thousand_rounds(0, 300);
        bed_remove(&bed);
    }
    free(buf);
    return done_testing();
}
