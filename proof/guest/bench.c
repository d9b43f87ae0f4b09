/*
 * One measurement of a disk, in a guest: requests with O_DIRECT through the
 * kernel's own asynchronous I/O, so many under way at any time. By raw system
 * calls: a guest needs no more than this file.
 *
 *     bench DISK read|write BYTES DEPTH random|sequential|same SECONDS
 *
 * Prints how many requests were done, and in how many microseconds. What is
 * done at one look is asked for anew by one call, as fio and QEMU do.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 256
#define BYTES_MAX 65536

enum order { RANDOM, SEQUENTIAL, SAME };

struct work {
    int fd;
    bool writes;
    size_t bytes;
    unsigned depth;
    enum order order;
    uint64_t places;      /* requests that the disk is long */
    uint64_t next;        /* where in sequence */
    uint64_t dice;        /* state of the random numbers, never 0 */
    uint64_t requests;    /* that were done */
    aio_context_t context;
    struct iocb iocbs[DEPTH_MAX];
};

static volatile sig_atomic_t over;

static void stop(const char *what, int error)
{
    printf("bench: %s: %s\n", what, strerror(error));
    exit(1);
}

static void on_alarm(int signal)
{
    (void)signal;
    over = 1;
}

/* xorshift64 */
static uint64_t roll(struct work *work)
{
    work->dice ^= work->dice << 13;
    work->dice ^= work->dice >> 7;
    work->dice ^= work->dice << 17;
    return work->dice;
}

static uint64_t next_offset(struct work *work)
{
    switch (work->order) {
    case RANDOM:
        return roll(work) % work->places * work->bytes;
    case SEQUENTIAL:
        return work->next++ % work->places * work->bytes;
    default:
        return 0;
    }
}

/* Memory for each, with what does not compress: a disk may do that. */
static void prepare(struct work *work)
{
    uint64_t *memory;
    unsigned i;
    size_t j;

    if (posix_memalign((void **)&memory, 4096, work->bytes * work->depth) != 0)
        stop("memory", ENOMEM);
    for (j = 0; j < work->bytes * work->depth / sizeof(*memory); j++)
        memory[j] = roll(work);
    for (i = 0; i < work->depth; i++) {
        work->iocbs[i].aio_fildes = (uint32_t)work->fd;
        work->iocbs[i].aio_lio_opcode =
            work->writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
        work->iocbs[i].aio_buf =
            (uintptr_t)((char *)memory + i * work->bytes);
        work->iocbs[i].aio_nbytes = work->bytes;
    }
    if (syscall(SYS_io_setup, DEPTH_MAX, &work->context) < 0)
        stop("io_setup", errno);
}

static void submit(struct work *work, struct iocb **list, unsigned count)
{
    unsigned i;
    long ret;

    for (i = 0; i < count; i++)
        list[i]->aio_offset = (int64_t)next_offset(work);
    for (i = 0; i < count; i += (unsigned)ret) {
        ret = syscall(SYS_io_submit, work->context, (long)(count - i),
                      list + i);
        if (ret < 0 && errno == EINTR)
            ret = 0;
        if (ret < 0)
            stop("io_submit", errno);
    }
}

/* Waits for one and takes what else is done into `list`; how many. */
static unsigned reap(struct work *work, struct iocb **list)
{
    struct io_event events[DEPTH_MAX];
    unsigned i;
    long ret;

    do {
        ret = syscall(SYS_io_getevents, work->context, 1L, (long)DEPTH_MAX,
                      events, NULL);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0)
        stop("io_getevents", errno);
    for (i = 0; i < (unsigned)ret; i++) {
        if (events[i].res != (int64_t)work->bytes)
            stop("a request", events[i].res < 0 ? (int)-events[i].res : EIO);
        list[i] = (struct iocb *)(uintptr_t)events[i].obj;
    }
    work->requests += (unsigned)ret;
    return (unsigned)ret;
}

static void run(struct work *work)
{
    struct iocb *list[DEPTH_MAX];
    unsigned i, under_way = work->depth, done;

    for (i = 0; i < work->depth; i++)
        list[i] = &work->iocbs[i];
    submit(work, list, work->depth);
    while (under_way > 0) {
        done = reap(work, list);
        if (over)
            under_way -= done;
        else
            submit(work, list, done);
    }
}

static uint64_t microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void set_alarm(double seconds)
{
    struct itimerval timer = { { 0, 0 }, { 0, 0 } };
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    timer.it_value.tv_sec = (time_t)seconds;
    timer.it_value.tv_usec =
        (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6);
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Whatever is not to be understood gives 0, which the caller refuses. */
static void parse(char **argv, struct work *work)
{
    uint64_t length;

    work->writes = strcmp(argv[2], "write") == 0;
    work->bytes = strtoul(argv[3], NULL, 10);
    work->depth = (unsigned)strtoul(argv[4], NULL, 10);
    work->order = strcmp(argv[5], "random") == 0 ? RANDOM :
                  strcmp(argv[5], "sequential") == 0 ? SEQUENTIAL : SAME;
    work->dice = microseconds() | 1;
    work->fd = open(argv[1], O_RDWR | O_DIRECT);
    if (work->fd < 0 || ioctl(work->fd, BLKGETSIZE64, &length) < 0)
        stop(argv[1], errno);
    if (work->bytes > 0 && work->bytes <= BYTES_MAX)
        work->places = length / work->bytes;
}

int main(int argc, char **argv)
{
    static struct work work;
    uint64_t begin, time;

    if (argc == 7)
        parse(argv, &work);
    if (work.places == 0 || work.depth == 0 || work.depth > DEPTH_MAX) {
        printf("usage: bench DISK read|write BYTES DEPTH "
               "random|sequential|same SECONDS\n");
        return 2;
    }
    prepare(&work);
    set_alarm(strtod(argv[6], NULL));
    begin = microseconds();
    run(&work);
    time = microseconds() - begin;
    printf("bench: %" PRIu64 " requests in %" PRIu64 " us, %.3f thousand a"
           " second\n", work.requests, time,
           (double)work.requests * 1e3 / (double)time);
    return 0;
}
