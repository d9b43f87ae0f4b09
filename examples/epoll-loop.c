/* epoll-loop PATH: an event loop of one thread that has a timer and a disk.
 * It keeps 32 writes of 512 bytes in flight, for a second, over what PATH
 * holds, and then looks at them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <blkalign.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { DEPTH = 32, SECTOR = 512, TICKS = 10, CALLBACKS_MAX = 64 };
static blkalign_handle *disk;
static int ticks, in_flight;

/* What fails returns -errno, and blkalign_errmsg() has it in words. */
static int64_t check(int64_t ret)
{
    if (ret < 0) {
        fprintf(stderr, "epoll-loop: %s\n", blkalign_errmsg());
        exit(EXIT_FAILURE);
    }
    return ret;
}

struct job {
    char memory[SECTOR];
    int64_t offset, rounds;
};

static void done(void *opaque, int ret);

static void submit(struct job *job)
{
    struct iovec iov = { job->memory, SECTOR };

    snprintf(job->memory, SECTOR, "round %" PRId64 " of the sector at %"
             PRId64 "\n", job->rounds, job->offset);
    check(blkalign_aio_pwritev(disk, job->offset, &iov, 1, 0, done, job));
    in_flight++;
}

/* Runs inside blkalign_poll(), on this program's only thread: no lock. */
static void done(void *opaque, int ret)
{
    struct job *job = opaque;

    check(ret);                         /* errmsg has its words in here */
    in_flight--;
    job->rounds++;
    if (ticks < TICKS)
        submit(job);                    /* goes out with its neighbours */
}

/* A descriptor like any other of an event loop. */
static void add(int loop, int fd)
{
    struct epoll_event what = { EPOLLIN, { NULL } };

    what.data.fd = fd;
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &what) < 0)
        perror("epoll-loop"), exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    struct itimerspec every = { { 0, 100000000 }, { 0, 100000000 } };
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    int loop = epoll_create1(EPOLL_CLOEXEC), event_fd, i;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    static struct job jobs[DEPTH];
    char memory[SECTOR];
    int64_t writes = 0;
    uint64_t expired;

    if (argc != 2)
        fprintf(stderr, "usage: epoll-loop PATH\n"), exit(EXIT_FAILURE);
    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT;
    options.completion = BLKALIGN_COMPLETION_EVENTFD;
    check(blkalign_open(argv[1], &options, &disk));
    event_fd = (int)check(blkalign_get_event_fd(disk));
    timerfd_settime(timer, 0, &every, NULL);
    add(loop, timer);
    add(loop, event_fd);
    blkalign_plug(disk);                /* the first 32 as one batch */
    for (i = 0; i < DEPTH; i++) {
        jobs[i].offset = (int64_t)i * SECTOR;
        submit(&jobs[i]);
    }
    blkalign_unplug(disk);
    while (ticks < TICKS || in_flight > 0) {
        struct epoll_event what;

        if (epoll_wait(loop, &what, 1, -1) != 1)
            continue;
        if (what.data.fd == event_fd)
            check(blkalign_poll(disk, CALLBACKS_MAX, 0));
        else if (read(timer, &expired, sizeof expired) > 0)
            ticks++;
    }
    for (i = 0; i < DEPTH; writes += jobs[i++].rounds) {
        check(blkalign_pread(disk, jobs[i].offset, SECTOR, memory, 0));
        if (memcmp(memory, jobs[i].memory, SECTOR) != 0)
            puts("a sector is not what was written"), exit(EXIT_FAILURE);
    }
    printf("%" PRId64 " writes in a second\n", writes);
    return (int)check(blkalign_close(disk));
}
