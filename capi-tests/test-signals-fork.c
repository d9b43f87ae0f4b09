/*
 * Programs with special habits: a signal every millisecond whose handler does
 * not restart calls, and children that are forked and call exec or exit.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define DISK_BYTES (256 * BLOCK)

static struct bed bed;
static blkalign_handle *handle;
static uint8_t *buf, *model;
static volatile sig_atomic_t signals;
static pthread_t main_thread;
static int elsewhere;

static void on_alarm(int number)
{
    (void)number;
    signals++;
    if (!pthread_equal(pthread_self(), main_thread))
        elsewhere++;
}

static void storm(int on)
{
    struct itimerval every = { { 0, 0 }, { 0, 0 } };
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_alarm;       /* no SA_RESTART */
    if (on)
        sigaction(SIGALRM, &action, NULL);
    every.it_interval.tv_usec = every.it_value.tv_usec = on ? 1000 : 0;
    setitimer(ITIMER_REAL, &every, NULL);
}

/*
 * Writes and reads of all shapes for a while, and until this many signals have
 * come, which takes longer on a busy machine; returns how many went wrong.
 */
static int load(int ms, int wanted)
{
    int64_t end = now_ms() + ms;
    struct answer answers[8];
    uint64_t state = 11;
    int i, wrong = 0;

    while (now_ms() < end || (signals < wanted && now_ms() < end + 8000)) {
        for (i = 0; i < 8; i++) {
            int64_t offset = i * 32 * BLOCK +
                             (int64_t)random_below(&state, 20 * BLOCK);
            size_t bytes = 1 + random_below(&state, 3 * BLOCK);

            pattern_fill(model + offset, random_next(&state), offset, bytes);
            aio_write(handle, offset, model + offset, bytes, 0,
                      &answers[i]);
        }
        for (i = 0; i < 8; i++)
            wrong += answer_wait(&answers[i]) != 0;
        i = (int)random_below(&state, 8) * 32 * BLOCK + 100;
        wrong += blkalign_pwrite(handle, i, 5000, model + i, 0) != 0;
        wrong += blkalign_pread(handle, i, 6000, buf, 0) != 0;
        wrong += memcmp(buf, model + i, 6000) != 0;
    }
    wrong += blkalign_flush(handle) != 0;
    return wrong;
}

static void signals_every_millisecond(void)
{
    int wrong;

    storm(1);
    wrong = load(900, 20);
    storm(0);
    /* A pending signal absorbs the next one: slow machines get few. */
    ok(signals > 10, "%s: %d signals came", bed.name, (int)signals);
    is_int(wrong, 0, "%s: no call failed or was short", bed.name);
    is_int(elsewhere, 0, "%s: no library thread ran the handler", bed.name);
}

static void *keep_loading(void *opaque)
{
    int *wrong = opaque;

    *wrong = load(900, 0);
    return NULL;
}

static int child_of(const char *kind)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        if (strcmp(kind, "exec") == 0)
            execlp("sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(7);
    }
    if (pid > 0)
        waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void forks_beside_io(void)
{
    int i, wrong = 1, execs = 0, exits = 0;
    pthread_t thread;

    pthread_create(&thread, NULL, keep_loading, &wrong);
    for (i = 0; i < 40; i++) {
        execs += child_of("exec") == 7;
        exits += child_of("exit") == 7;
    }
    pthread_join(thread, NULL);
    is_int(execs, 40, "%s: forty children exec", bed.name);
    if (getenv("BLKALIGN_TEST_VALGRIND"))
        skip("valgrind finds lost in a child what other threads knew",
             "%s: forty children exit", bed.name);
    else
        is_int(exits, 40, "%s: forty children exit", bed.name);
    is_int(wrong, 0, "%s: the parent's I/O goes on rightly", bed.name);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_LOOP, BED_FILE,
                                           BED_SIM_SYNC, BED_LOOP,
                                           BED_FILE, BED_LOOP };
    unsigned i;

    run_begin(60);
    main_thread = pthread_self();
    buf = aligned_memory(8192);
    model = aligned_memory(DISK_BYTES);
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (bed_make(&bed, kinds[i], DISK_BYTES)) {
            skip(bed.why_not, "%s: signals and forks", bed.name);
            continue;
        }
        memset(model, 0, DISK_BYTES);
        signals = 0;
        diag("%s: %s", bed.name, mode_words());
        handle = bed_open(&bed, NULL);
        signals_every_millisecond();
        forks_beside_io();
        is_int(blkalign_close(handle), 0, "%s: close", bed.name);
        bed_remove(&bed);
        mode_next();
    }
    free(buf);
    free(model);
    return done_testing();
}
