/*
 * Where io_uring is refused: by seccomp, as container runtimes do, or for
 * want of descriptors.  Each case is a child with its own rules.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096

static struct bed bed;
static uint8_t *buf;

/* From here on this system call fails with this error. */
static int refuse(long call, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, filter };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   SECCOMP_FILTER_FLAG_TSYNC, &program);
}

static int io_works(blkalign_handle *handle, uint64_t seed)
{
    struct answer answers[8], flush;
    int i, wrong = 0;

    for (i = 0; i < 8; i++) {
        pattern_fill(buf + i * 700, seed, i, 700);
        aio_write(handle, 100 + i * 700, buf + i * 700, 700, 0,
                  &answers[i]);
    }
    for (i = 0; i < 8; i++)
        wrong += answer_wait(&answers[i]) != 0;
    aio_flush(handle, &flush);
    wrong += answer_wait(&flush) != 0;
    for (i = 0; i < 8; i++) {
        memset(buf, 0, 700);
        wrong += blkalign_pread(handle, 100 + i * 700, 700, buf, 0) != 0;
        wrong += pattern_differs(buf, seed, i, 700) != -1;
    }
    return wrong == 0;
}

static void count_reasons(void *opaque, int level, const char *message)
{
    *(int *)opaque += level == BLKALIGN_LOG_WARNING &&
                      strstr(message, "threads instead of io_uring");
}

/* Exit status: 0, or which expectation failed first. */
static int with_setup_refused(int error, uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, completion);
    blkalign_handle *handle = NULL;
    int reasons = 0;

    if (refuse(__NR_io_uring_setup, error))
        return 77;
    blkalign_set_log(count_reasons, &reasons, BLKALIGN_LOG_WARNING);
    if (blkalign_open(bed.path, &options, &handle))
        return 1;
    blkalign_set_log(NULL, NULL, 0);
    if (reasons != 1)
        return 9;
    if (limits_of(handle).engine != BLKALIGN_ENGINE_THREADS)
        return 2;
    if (!strstr(blkalign_errmsg(), "io_uring"))
        return 3;
    if (!io_works(handle, 3))
        return 4;
    if (blkalign_close(handle))
        return 5;
    options.engine = BLKALIGN_ENGINE_IO_URING;
    if (blkalign_open(bed.path, &options, &handle))
        return 6;
    if (!io_works(handle, 4))
        return 7;
    return blkalign_close(handle) ? 8 : 0;
}

/* Refused only after the ring was made: requests still end. */
static int with_enter_refused(int error, uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, completion);
    blkalign_handle *handle = NULL;
    struct answer answer;

    options.engine = BLKALIGN_ENGINE_IO_URING;
    if (blkalign_open(bed.path, &options, &handle))
        return 1;
    if (!io_works(handle, 5))
        return 2;
    if (refuse(__NR_io_uring_enter, error))
        return 77;
    aio_write(handle, 5, buf, 100, 0, &answer);
    if (blkalign_close(handle))
        return 3;
    return answer_calls(&answer) == 1 ? 0 : 4;
}

/* Opens with ever more descriptors left: an error or a handle that works,
 * and nothing left behind. */
static int without_descriptors(int completion)
{
    blkalign_open_options options = options_of(
        BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, (uint32_t)completion);
    struct rlimit limit = { 0, 0 };
    int before = proc_descriptors(), spare, opened = 0, ret, lowest;

    getrlimit(RLIMIT_NOFILE, &limit);
    lowest = dup(1);
    close(lowest);
    for (spare = 0; spare < 24; spare++) {
        blkalign_handle *handle = NULL;

        limit.rlim_cur = (rlim_t)(lowest + spare);
        setrlimit(RLIMIT_NOFILE, &limit);
        ret = blkalign_open(bed.path, &options, &handle);
        if (ret && ret != -EMFILE)
            return 1;
        if (ret && (handle || !strlen(blkalign_errmsg())))
            return 2;
        if (!ret && completion == BLKALIGN_COMPLETION_EVENTFD) {
            int fd = blkalign_get_event_fd(handle);

            if (fd < 0 && fd != -EMFILE)
                return 3;
        }
        if (!ret && !io_works(handle, (uint64_t)spare + 10))
            return 4;
        if (!ret && blkalign_close(handle))
            return 5;
        opened += !ret;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        if (proc_descriptors() != before)
            return 6;
    }
    return opened ? 0 : 7;
}

static void in_a_child(int (*tried)(int, uint32_t), int error,
                       const char *words)
{
    uint32_t completion;
    int status;
    pid_t pid;

    for (completion = 0; completion < 3; completion++) {
        pid = fork();
        if (pid == 0) {
            alarm(20);
            status = tried(error, completion);
            if (status)
                printf("# %s\n", blkalign_errmsg());
            _exit(status);
        }
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            skip("no seccomp here", "mode %u: %s", completion, words);
        else
            is_int(WIFEXITED(status) ? WEXITSTATUS(status)
                                     : -WTERMSIG(status),
                   0, "mode %u: %s", completion, words);
    }
}

static int few_descriptors(int unused, uint32_t completion)
{
    (void)unused;
    return without_descriptors((int)completion);
}

int main(void)
{
    run_begin(240);
    buf = aligned_memory(2 * BLOCK);
    if (bed_make(&bed, BED_FILE, 16 * BLOCK))
        skip_all("%s", bed.why_not);
    in_a_child(with_setup_refused, EPERM, "io_uring_setup is EPERM");
    in_a_child(with_setup_refused, ENOSYS, "io_uring_setup is ENOSYS");
    in_a_child(with_setup_refused, ENOMEM, "io_uring_setup is ENOMEM");
    in_a_child(with_enter_refused, EPERM, "io_uring_enter is EPERM later");
    in_a_child(few_descriptors, 0, "few descriptors");
    bed_remove(&bed);
    free(buf);
    return done_testing();
}
