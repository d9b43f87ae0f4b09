/*
 * io_uring is refused: by seccomp, as container runtimes do, or by a lack of
 * descriptors. Each case is a child with its own rules.
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
#define MANY 80

static struct bed bed;
static uint8_t *buf, *many;

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

/* Exit status: 0, or the number of the first expectation that failed. */
static int refused_at_open(int error, uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, completion);
    blkalign_handle *handle = NULL;
    int reasons = 0;

    blkalign_set_log(count_reasons, &reasons, BLKALIGN_LOG_WARNING);
    if (blkalign_open(bed.path, &options, &handle))
        return 1;
    blkalign_set_log(NULL, NULL, 0);
    if (reasons != 1)
        return 9;
    if (limits_of(handle).engine != BLKALIGN_ENGINE_THREADS)
        return 2;
    if (!strstr(blkalign_engine_reason(handle), "io_uring") ||
        !strstr(blkalign_engine_reason(handle), strerror(error)))
        return 3;
    /* The open was no failure. */
    if (strlen(blkalign_errmsg()))
        return 10;
    if (!io_works(handle, 3))
        return 4;
    if (blkalign_close(handle))
        return 5;
    options.engine = BLKALIGN_ENGINE_THREADS;
    if (blkalign_open(bed.path, &options, &handle))
        return 6;
    if (strlen(blkalign_engine_reason(handle)))
        return 11;
    blkalign_close(handle);
    options.engine = BLKALIGN_ENGINE_IO_URING;
    handle = NULL;
    if (blkalign_open(bed.path, &options, &handle) != -error || handle)
        return 7;
    return strstr(blkalign_errmsg(), "io_uring") ? 0 : 8;
}

static int with_setup_refused(int error, uint32_t completion)
{
    if (refuse(__NR_io_uring_setup, error))
        return 77;
    return refused_at_open(error, completion);
}

/* A ring can be made, but not entered. */
static int with_enter_refused_before(int error, uint32_t completion)
{
    if (refuse(__NR_io_uring_enter, error))
        return 77;
    return refused_at_open(error, completion);
}

/* Refused only after the ring was made, with requests under way: all of them
 * end, once and with success, and so do later ones. */
static int with_enter_refused(int error, uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, completion);
    blkalign_handle *handle = NULL;
    struct answer answers[MANY];
    int i, reasons = 0;

    options.engine = BLKALIGN_ENGINE_IO_URING;
    options.queue_depth = 4;
    if (blkalign_open(bed.path, &options, &handle))
        return 77;
    if (!io_works(handle, 5) || strlen(blkalign_engine_reason(handle)))
        return 2;
    blkalign_set_log(count_reasons, &reasons, BLKALIGN_LOG_WARNING);
    for (i = 0; i < MANY; i++) {
        pattern_fill(many + i * 700, 6, i * 700, 700);
        aio_write(handle, i * 700, many + i * 700, 700,
                  i % 7 ? 0 : BLKALIGN_REQ_FUA, &answers[i]);
        if (i == MANY / 2 && refuse(__NR_io_uring_enter, error))
            return 77;
    }
    for (i = 0; i < MANY; i++)
        if (answer_wait(&answers[i]) || answer_calls(&answers[i]) != 1)
            return 3;
    memset(many, 0, MANY * 700);
    if (blkalign_pread(handle, 0, MANY * 700, many, 0) ||
        pattern_differs(many, 6, 0, MANY * 700) != -1)
        return 4;
    blkalign_set_log(NULL, NULL, 0);
    if (reasons != 1)
        return 5;
    if (limits_of(handle).engine != BLKALIGN_ENGINE_THREADS)
        return 6;
    if (!strstr(blkalign_engine_reason(handle), "io_uring_enter"))
        return 7;
    for (i = 0; i < 20; i++)
        if (!io_works(handle, 7 + (uint64_t)i))
            return 8;
    if (completion == BLKALIGN_COMPLETION_EVENTFD &&
        blkalign_get_event_fd(handle) < 0)
        return 9;
    if (!io_works(handle, 40))
        return 10;
    return blkalign_close(handle) ? 11 : 0;
}

struct part {
    pthread_t thread;
    blkalign_handle *handle;
    int number, failed;
    struct answer answers[MANY];
};

static void *submit_part(void *opaque)
{
    struct part *part = opaque;
    int i;

    for (i = 0; i < MANY; i++)
        aio_write(part->handle, part->number * 256 + i % 32 * 1024,
                  many + part->number * 256, 256, 0, &part->answers[i]);
    for (i = 0; i < MANY; i++)
        part->failed += answer_wait(&part->answers[i]) != 0 ||
                        answer_calls(&part->answers[i]) != 1;
    return NULL;
}

/* Four threads submit and wait while the filter is installed. */
static int with_threads(int error, uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, completion);
    static struct part parts[4];
    int i, at;

    options.engine = BLKALIGN_ENGINE_IO_URING;
    if (blkalign_open(bed.path, &options, &parts[0].handle))
        return 77;
    pattern_fill(many, 9, 0, 1024);
    for (i = 0; i < 4; i++) {
        parts[i].handle = parts[0].handle;
        parts[i].number = i;
        pthread_create(&parts[i].thread, NULL, submit_part, &parts[i]);
    }
    sleep_ms(1);
    if (refuse(__NR_io_uring_enter, error))
        return 77;
    for (i = 0; i < 4; i++)
        pthread_join(parts[i].thread, NULL);
    for (i = 0; i < 4; i++)
        if (parts[i].failed)
            return 1;
    for (at = 0; at < 32; at++) {
        if (blkalign_pread(parts[0].handle, at * 1024, 1024, many, 0) ||
            pattern_differs(many, 9, 0, 1024) != -1)
            return 2;
    }
    return blkalign_close(parts[0].handle) ? 3 : 0;
}

/* The ring cannot get an eventfd any more. */
static int with_register_refused(int error, uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, completion);
    blkalign_handle *handle = NULL;

    options.engine = BLKALIGN_ENGINE_IO_URING;
    if (blkalign_open(bed.path, &options, &handle))
        return 77;
    if (refuse(__NR_io_uring_register, error))
        return 77;
    if (!io_works(handle, 8))
        return 1;
    if (completion == BLKALIGN_COMPLETION_EVENTFD &&
        blkalign_get_event_fd(handle) < 0)
        return 2;
    if (!io_works(handle, 9))
        return 3;
    return blkalign_close(handle) ? 4 : 0;
}

/* No thread polls otherwise: one thread sleeps in the ring, others submit. */
static void *poll_for_ever(void *handle)
{
    while (blkalign_poll(handle, 1, -1) < 1)
        ;
    return NULL;
}

static int with_a_sleeper(int error, uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, completion);
    blkalign_handle *handle = NULL;
    struct answer answer = { 0, 0, pthread_self(), 0, NULL };
    pthread_t sleeper;
    int64_t begin;
    int i, ret;

    if (completion != BLKALIGN_COMPLETION_EVENTFD)
        return 0;
    options.engine = BLKALIGN_ENGINE_IO_URING;
    if (blkalign_open(bed.path, &options, &handle))
        return 77;
    pthread_create(&sleeper, NULL, poll_for_ever, handle);
    sleep_ms(100);
    if (refuse(__NR_io_uring_enter, error))
        return 77;
    begin = now_ms();
    ret = blkalign_aio_flush(handle, answer_done, &answer) > 0 ? 0 : 1;
    pthread_join(sleeper, NULL);
    if (ret || answer_calls(&answer) != 1 ||
        now_ms() - begin > 10000 * run_slowness())
        return 2;
    for (i = 0; i < 20; i++)
        if (!io_works(handle, 60 + (uint64_t)i))
            return 3;
    return blkalign_close(handle) ? 4 : 0;
}

/* Opens with ever more descriptors left: the result is an error or a handle
 * that works, and nothing is left behind. */
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
            alarm(20 * run_slowness());
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
    int i;

    run_begin(240);
    buf = aligned_memory(2 * BLOCK);
    many = aligned_memory(MANY * 700);
    if (bed_make(&bed, BED_FILE, 16 * BLOCK))
        skip_all("%s", bed.why_not);
    in_a_child(with_setup_refused, EPERM, "io_uring_setup is EPERM");
    in_a_child(with_setup_refused, ENOSYS, "io_uring_setup is ENOSYS");
    in_a_child(with_setup_refused, ENOMEM, "io_uring_setup is ENOMEM");
    in_a_child(with_enter_refused_before, EPERM, "io_uring_enter is EPERM");
    in_a_child(with_enter_refused_before, ENOSYS,
               "io_uring_enter is ENOSYS");
    in_a_child(with_enter_refused, EPERM, "io_uring_enter is EPERM later");
    in_a_child(with_enter_refused, EACCES, "io_uring_enter is EACCES later");
    in_a_child(with_enter_refused, ENOSYS, "io_uring_enter is ENOSYS later");
    for (i = 0; i < 20; i++)
        in_a_child(with_threads, EPERM, "the same beside threads");
    in_a_child(with_register_refused, EPERM,
               "io_uring_register is EPERM later");
    in_a_child(with_a_sleeper, EPERM, "io_uring_enter, while one sleeps");
    in_a_child(few_descriptors, 0, "few descriptors");
    bed_remove(&bed);
    free(buf);
    free(many);
    return done_testing();
}
