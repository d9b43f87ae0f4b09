/*
 * late DEVICE INFLIGHT: whether the image lock of a process that is killed
 * lasts as long as its I/O. On a device that takes its time, with INFLIGHT
 * the file in sysfs that counts what is under way there (reads, writes).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <blkalign.h>

static void stop(const char *words)
{
    printf("late: %s\n", words);
    exit(1);
}

static int open_locked(const char *path, blkalign_handle **disk)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT | BLKALIGN_O_LOCK;
    options.engine = BLKALIGN_ENGINE_IO_URING;
    /* Trials would take longer than the write. */
    options.request_alignment = 4096;
    options.mem_alignment = options.segment_alignment = 512;
    return blkalign_open(path, &options, disk);
}

static void done(void *opaque, int ret)
{
    (void)opaque;
    (void)ret;
    stop("the write was done before the process was killed");
}

static int writes_under_way(const char *path)
{
    int reads, writes;
    FILE *file = fopen(path, "r");

    if (file == NULL || fscanf(file, "%d %d", &reads, &writes) != 2)
        stop("it cannot be said what is under way");
    fclose(file);
    return writes;
}

/* Starts a write and waits to be killed. */
static void be_killed(const char *path, const char *inflight, int tell)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    static char memory[4096] __attribute__((aligned(4096)));
    struct iovec iov = { memory, sizeof(memory) };
    blkalign_handle *disk;

    if (open_locked(path, &disk) < 0)
        stop(blkalign_errmsg());
    blkalign_get_limits(disk, &limits);
    if (limits.engine != BLKALIGN_ENGINE_IO_URING)
        stop(blkalign_errmsg());
    if (blkalign_aio_pwritev(disk, 0, &iov, 1, 0, done, NULL) < 0)
        stop(blkalign_errmsg());
    /* A thread of the library hands it to the kernel. */
    while (writes_under_way(inflight) == 0)
        usleep(1000);
    if (write(tell, "w", 1) != 1)
        stop("the parent is gone");
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    blkalign_handle *disk;
    int ends[2], refused = 0, ret;
    pid_t child;
    char byte;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3 || pipe(ends) < 0)
        stop("usage: late DEVICE INFLIGHT");
    child = fork();
    if (child == 0)
        be_killed(argv[1], argv[2], ends[1]);
    close(ends[1]);
    if (child < 0 || read(ends[0], &byte, 1) != 1)
        stop("the child did not get so far");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (writes_under_way(argv[2]) == 0)
        stop("nothing was left under way: this tests nothing");
    while ((ret = open_locked(argv[1], &disk)) == -EAGAIN) {
        if (refused++ == 0)
            printf("late: %s\n", blkalign_errmsg());
        usleep(20000);
    }
    if (ret < 0)
        stop(blkalign_errmsg());
    if (writes_under_way(argv[2]) != 0)
        stop("the lock was given away with a write under way");
    printf("late: refused %d times, until the write was over\n", refused);
    blkalign_close(disk);
    return refused == 0;
}
