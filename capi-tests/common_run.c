/* Surroundings of a test program: see common_run.h. */
#include "common_run.h"

#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How many times longer than usual a program may take under valgrind. */
#define VALGRIND_SLOWNESS 10

/* What gets on without an end hangs as well: after so many times as long. */
#define LIVES 20

extern char **environ;

/* Set once by run_begin, before any thread; read by exit handlers. */
static int janitor_pipe = -1;
static pid_t janitor_pid;
static pid_t program_pid;

/* The watchdog's own. Its timer runs once, and is set again if the program has
 * got on: a program in time never gets its signal. */
static timer_t watchdog_timer;
static struct itimerspec watchdog_time;
static unsigned long steps_seen;
static unsigned lives = LIVES;

/* The janitor reads lines until the pipe ends, then undoes them in reverse
 * order. A device may stay busy for a moment after its user died, hence the
 * repeated attempts. */
static const char janitor_script[] =
    "trap '' INT TERM HUP QUIT ALRM\n"
    "list=\n"
    "while read -r what name; do list=\"$what:$name $list\"; done\n"
    "for each in $list; do\n"
    "  name=${each#*:}\n"
    "  for attempt in 1 2 3 4 5 6 7 8 9 10; do\n"
    "    case ${each%%:*} in\n"
    "    zram) echo $name >/sys/class/zram-control/hot_remove && break;;\n"
    "    dir) rmdir $name && break; [ -d $name ] || break;;\n"
    "    file) rm -f $name && break;;\n"
    "    esac\n"
    "    sleep 0.2\n"
    "  done\n"
    "done\n";

static void janitor_wait(void)
{
    int status;

    if (janitor_pipe < 0 || getpid() != program_pid)
        return;
    close(janitor_pipe);
    janitor_pipe = -1;
    waitpid(janitor_pid, &status, 0);
}

static void janitor_start(void)
{
    char *argv[] = { "sh", "-c", (char *)janitor_script, NULL };
    posix_spawn_file_actions_t files;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC))
        bail("pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[0], 0);
    /* An open stdout would keep prove(1) waiting for the janitor. */
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&janitor_pid, "/bin/sh", &files, NULL, argv, environ))
        bail("cannot start /bin/sh");
    posix_spawn_file_actions_destroy(&files);
    close(ends[0]);
    janitor_pipe = ends[1];
    program_pid = getpid();
    atexit(janitor_wait);
}

void janitor_tell(const char *what, const char *name)
{
    char line[512];
    int length = snprintf(line, sizeof(line), "%s %s\n", what, name);

    if (write(janitor_pipe, line, (size_t)length) != length)
        bail("cannot tell the janitor about %s", name);
}

static void watchdog_looks(int signal_number)
{
    static const char words[] = "\nBail out! watchdog: it hangs after: ";
    const char *last = tap_last();
    unsigned long steps = tap_steps();
    ssize_t ignored;

    (void)signal_number;
    if (steps != steps_seen && --lives > 0) {
        steps_seen = steps;
        timer_settime(watchdog_timer, 0, &watchdog_time, NULL);
        return;
    }
    ignored = write(1, words, sizeof(words) - 1);
    ignored = write(1, last, strlen(last));
    ignored = write(1, "\n", 1);
    (void)ignored;
    _exit(254);
}

static void watchdog_start(unsigned seconds)
{
    struct sigaction action;
    struct sigevent event;

    memset(&action, 0, sizeof(action));
    action.sa_handler = watchdog_looks;
    action.sa_flags = SA_RESTART;
    /* Emulators of user programs keep the last signals for themselves. */
    sigaction(SIGRTMAX - 4, &action, NULL);
    memset(&event, 0, sizeof(event));
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGRTMAX - 4;
    watchdog_time.it_value.tv_sec = seconds;
    if (timer_create(CLOCK_MONOTONIC, &event, &watchdog_timer) ||
        timer_settime(watchdog_timer, 0, &watchdog_time, NULL))
        bail("no timer for the watchdog: %s", strerror(errno));
}

/* valgrind lets no thread run while another is inside io_uring_enter, so rings
 * are forbidden under valgrind. By prctl, since valgrind does not know
 * seccomp(2). */
static void refuse_rings(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, filter };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        bail("no seccomp, so no valgrind: %s", strerror(errno));
}

unsigned run_slowness(void)
{
    const char *told = getenv("BLKALIGN_TEST_SLOW");
    unsigned slowness = told ? (unsigned)strtoul(told, NULL, 10) : 1;

    if (slowness < 1 || slowness > 1000)
        slowness = 1;
    return getenv("BLKALIGN_TEST_VALGRIND") ? slowness * VALGRIND_SLOWNESS
                                            : slowness;
}

void run_begin(unsigned seconds)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("BLKALIGN_TEST_VALGRIND"))
        refuse_rings();
    janitor_start();
    watchdog_start(seconds * run_slowness());
    /* Mounts made from here on disappear with the program. Where that is not
     * allowed, mounting is not allowed either. */
    if (unshare(CLONE_NEWNS) == 0)
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL);
}

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(int64_t ms)
{
    struct timespec rest;

    rest.tv_sec = ms / 1000;
    rest.tv_nsec = ms % 1000 * 1000000;
    while (nanosleep(&rest, &rest) && errno == EINTR)
        ;
}

/* splitmix64: any state is good, zero too. */
uint64_t random_next(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

uint64_t random_below(uint64_t *state, uint64_t bound)
{
    return random_next(state) % bound;
}

uint64_t run_seed(void)
{
    const char *given = getenv("BLKALIGN_SEED");
    struct timespec now;
    uint64_t seed;

    clock_gettime(CLOCK_REALTIME, &now);
    seed = (uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec;
    if (given)
        seed = strtoull(given, NULL, 0);
    diag("BLKALIGN_SEED=%llu", (unsigned long long)seed);
    return seed;
}

uint8_t pattern_byte(uint64_t seed, int64_t at)
{
    uint64_t mixed = (uint64_t)at * UINT64_C(0x9e3779b97f4a7c15);

    mixed ^= seed * UINT64_C(0xd6e8feb86659fd93);
    mixed ^= mixed >> 32;
    return (uint8_t)(mixed % 255 + 1);
}

void pattern_fill(void *buf, uint64_t seed, int64_t at, size_t bytes)
{
    uint8_t *byte = buf;
    size_t i;

    for (i = 0; i < bytes; i++)
        byte[i] = pattern_byte(seed, at + (int64_t)i);
}

int64_t pattern_differs(const void *buf, uint64_t seed, int64_t at,
                        size_t bytes)
{
    const uint8_t *byte = buf;
    size_t i;

    for (i = 0; i < bytes; i++)
        if (byte[i] != pattern_byte(seed, at + (int64_t)i))
            return at + (int64_t)i;
    return -1;
}

void *aligned_memory(size_t bytes)
{
    void *memory = NULL;

    if (posix_memalign(&memory, 4096, bytes ? bytes : 1))
        bail("no memory for %zu bytes", bytes);
    memset(memory, 0, bytes);
    return memory;
}
