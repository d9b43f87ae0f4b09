/*
 * Which system calls the library makes, on which thread, with which engine:
 * docs/SANDBOX.md says so, and is right. All kinds of calls run on all kinds
 * of storage, in all modes, first under a tracer, then under the filters that
 * the page makes of Cloud Hypervisor's and Firecracker's, which end the
 * process for any other call. BLKALIGN_TEST_UPDATE=1 rewrites the page.
 */
#include "common_calls.h"
#include "common_everything.h"
#include "common_filter.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_tracer.h"
#include "tap.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096
#define BEDS 4

/* The calls that Cloud Hypervisor's filter allows to the thread of a disk:
 * virtio-devices/src/seccomp_filters.rs, 005c88b. */
static const char *const CLOUD_HYPERVISOR[] = {
    "brk", "clock_gettime", "close", "dup", "epoll_create1", "epoll_ctl",
    "epoll_pwait", "epoll_wait", "exit", "fallocate", "fcntl", "fdatasync",
    "fsync", "ftruncate", "futex", "getrandom", "gettid", "io_destroy",
    "io_getevents", "io_submit", "io_uring_enter", "lseek", "madvise", "mmap",
    "mprotect", "mremap", "munmap", "openat", "pread64", "preadv", "pwrite64",
    "pwritev", "read", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
    "sched_setaffinity", "set_robust_list", "sigaltstack", "timerfd_settime",
    "write", NULL
};

/* Those that Firecracker's allows to its thread of devices, whatever their
 * arguments: resources/seccomp/x86_64-unknown-linux-musl.json, 01a3b57. */
static const char *const FIRECRACKER[] = {
    "accept4", "brk", "clock_gettime", "close", "connect", "epoll_ctl",
    "epoll_pwait", "eventfd2", "exit", "exit_group", "fcntl", "fstat",
    "fsync", "ftruncate", "futex", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioctl", "lseek", "madvise", "mmap", "mremap",
    "munmap", "open", "read", "recvfrom", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "sched_yield", "sigaltstack", "socket",
    "timerfd_settime", "tkill", "uname", "write", "writev", NULL
};

static struct bed beds[BEDS];
static uint32_t bed_flags[BEDS];
static int bed_count;
static struct calls made, page;
static const char *const *their_list;
static char page_path[PATH_MAX];

static void add_bed(enum bed_kind kind, uint32_t flags)
{
    struct bed *bed = &beds[bed_count];

    if (bed_make(bed, kind, 64 * BLOCK)) {
        diag("without %s: %s", bed->name, bed->why_not);
        return;
    }
    bed_flags[bed_count++] = flags;
}

/* In each mode with each bed; how much went wrong. */
static int everything(void)
{
    unsigned mode;
    int i, wrong = 0;

    blkalign_set_thread_hook(everything_hook, NULL);
    for (mode = 0; mode < MODES; mode++) {
        blkalign_open_options options;

        mode_first(mode);
        options = mode_options(0);
        everything_mark(MARK_ENGINE +
                        (options.engine == BLKALIGN_ENGINE_THREADS
                             ? BLKALIGN_ENGINE_THREADS
                             : BLKALIGN_ENGINE_IO_URING));
        for (i = 0; i < bed_count; i++)
            wrong += everything_on(&beds[i], bed_flags[i]);
    }
    return wrong;
}

/* Compares what was made with the page, cell by cell. */
static void compare(void)
{
    static const char *const who[] = { "opens", "asks", "works", "timer",
                                       "starts" };
    int i, column, unlisted = 0, idle = 0;

    for (column = 0; column < CALLS_WHO; column++)
        for (i = 0; i < CALLS_MAX; i++) {
            uint8_t got = made.made[column][i];
            uint8_t says = page.made[column][i];
            const char *name = calls_name((unsigned)i);

            if (got & 3 & ~says) {
                unlisted++;
                diag("%s: %s (%d), engines %d, is not on the page",
                     who[column], name ? name : "?", i, got & ~says);
            }
            if (!(says & CALLS_MAY) && says & ~got & 3) {
                idle++;
                diag("%s: %s, engines %d, is on the page, and not made",
                     who[column], name, says & ~got);
            }
        }
    is_int(unlisted, 0, "each call that is made is on the page");
    is_int(idle, 0, "each call on the page is made");
}

/* A call that no list has: says which, and ends the process. */
static void refused(int number, siginfo_t *info, void *unused)
{
    const char *name = calls_name((unsigned)info->si_syscall);
    char words[80];

    (void)number;
    (void)unused;
    snprintf(words, sizeof words, "# %s (%d) is not allowed\n",
             name ? name : "?", info->si_syscall);
    if (write(1, words, strlen(words)) < 0)
        _exit(89);
    _exit(88);
}

/* A filter for this thread: what `column` of the page has, and `theirs`. The
 * threads that a thread of the library starts have its filter from their
 * first call on. */
static int allow_only(enum calls_who column, const char *const *theirs)
{
    static __thread struct sock_filter filter[CALLS_MAX + 4];
    uint8_t allowed[CALLS_MAX];
    struct sock_fprog program;
    unsigned i, at = 0;

    for (i = 0; i < CALLS_MAX; i++)
        allowed[i] = page.made[column][i] != 0 ||
                     (column != CALLS_ASKS &&
                      page.made[CALLS_STARTS][i] != 0);
    for (; theirs && *theirs; theirs++)
        if (calls_number(*theirs) >= 0)
            allowed[calls_number(*theirs)] = 1;
    /* The test's own: marks, words, its end, and the next filter. */
    allowed[SYS_prctl] = allowed[SYS_exit_group] = 1;
    allowed[SYS_write] = allowed[SYS_seccomp] = 1;
    filter[at++] = (struct sock_filter)BPF_STMT(
        BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (i = 0; i < CALLS_MAX; i++)
        if (allowed[i]) {
            filter[at++] = (struct sock_filter)BPF_JUMP(
                BPF_JMP | BPF_JEQ | BPF_K, i, 0, 1);
            filter[at++] = (struct sock_filter)BPF_STMT(
                BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        }
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                                SECCOMP_RET_TRAP);
    program.len = (unsigned short)at;
    program.filter = filter;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static void filter_ours(void *unused)
{
    char name[16] = "";

    (void)unused;
    prctl(PR_GET_NAME, name);
    if (allow_only(strstr(name, "timer") ? CALLS_TIMER : CALLS_WORKS, NULL))
        _exit(77);
}

struct asking {
    blkalign_handle *handle;
    struct bed *bed;
    int wrong;
};

/* The thread of a device: under their list and what the page adds. */
static void *device_thread(void *opaque)
{
    struct asking *asking = opaque;

    if (allow_only(CALLS_ASKS, their_list))
        _exit(77);
    asking->wrong = everything_asked(asking->handle, asking->bed);
    return NULL;
}

static int under_filters(int mode)
{
    blkalign_open_options options;
    struct sigaction action;
    int i, wrong = 0;

    memset(&action, 0, sizeof action);
    action.sa_sigaction = refused;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSYS, &action, NULL);
    mode_first((unsigned)mode);
    options = mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP);
    blkalign_set_thread_hook(filter_ours, NULL);
    for (i = 0; i < bed_count; i++) {
        struct asking asking = { NULL, &beds[i], 0 };
        pthread_t thread;

        options.flags |= bed_flags[i] & ~BLKALIGN_O_RESIZE;
        if (blkalign_open(beds[i].path, &options, &asking.handle))
            return 1;
        pthread_create(&thread, NULL, device_thread, &asking);
        pthread_join(thread, NULL);
        wrong += asking.wrong;
        wrong += blkalign_close(asking.handle) != 0;
    }
    return wrong ? 2 : 0;
}

static void filtered(const char *const *theirs, const char *name)
{
    char words[160];
    int mode;

    their_list = theirs;
    for (mode = 0; mode < MODES; mode++) {
        mode_first((unsigned)mode);
        snprintf(words, sizeof words,
                 "%s: %s's list and what the page adds are enough",
                 mode_words(), name);
        filter_child(under_filters, mode, words);
    }
}

/* docs/ of the tree that this program was built in. */
static void find_page(void)
{
    char path[PATH_MAX - 40] = "";
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof path - 1);
    int up;

    path[bytes > 0 ? bytes : 0] = '\0';
    for (up = 0; up < 3 && strrchr(path, '/'); up++)
        *strrchr(path, '/') = '\0';
    snprintf(page_path, sizeof page_path, "%s/docs/SANDBOX.md", path);
}

/* What depends on chance is on the page for both engines. */
static void mark_chances(void)
{
    unsigned i;
    int who;

    for (who = 0; who < CALLS_WHO; who++)
        for (i = 0; i < CALLS_MAX; i++) {
            enum calls_chance chance = calls_chance(i);
            int seen = made.made[who][i] != 0;

            if (chance == CALLS_ANYWHERE && who != CALLS_STARTS)
                seen = 1;
            if (chance != CALLS_SURE && seen)
                made.made[who][i] = CALLS_THREADS | CALLS_RING | CALLS_MAY;
        }
}

int main(void)
{
    int status;

    run_begin(120);
    if (getenv("BLKALIGN_TEST_VALGRIND"))
        skip_all("valgrind makes calls of its own");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip_all("sanitizers make calls of their own");
#endif
#ifndef __x86_64__
    skip_all("the page has the calls of x86-64");
#endif
    find_page();
    add_bed(BED_FILE, BLKALIGN_O_DIRECT | BLKALIGN_O_RESIZE);
    add_bed(BED_LOOP, BLKALIGN_O_DIRECT);
    add_bed(BED_TMPFS, BLKALIGN_O_RESIZE);
    if (calls_read(page_path, &page))
        skip_all("no %s", page_path);
    status = tracer_run(everything, &made);
    if (status == -2)
        skip_all("tracing is not allowed");
    is_int(status, 0, "all kinds of calls work while they are traced");
    if (getenv("BLKALIGN_TEST_UPDATE") && status == 0) {
        mark_chances();
        calls_write(page_path, &made);
        calls_read(page_path, &page);
    }
    compare();
    filtered(CLOUD_HYPERVISOR, "Cloud Hypervisor");
    filtered(FIRECRACKER, "Firecracker");
    while (bed_count-- > 0)
        bed_remove(&beds[bed_count]);
    return done_testing();
}
