/* epoll-loop PATH: an event loop of one thread with a timer and a disk. For a
 * second it keeps 32 writes of 512 bytes in flight, which overwrite PATH, and
 * then reads the data back.   SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include <blkalign.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "care.h"

enum { DEPTH = 32, SECTOR = 512, TICKS = 10, CALLBACKS_MAX = 64 };
static struct job { char memory[SECTOR]; int64_t offset, rounds; } jobs[DEPTH];
static blkalign_handle *disk;
static int ticks, in_flight;

static void stop(const char *why)
{
    fprintf(stderr, "epoll-loop: %s\n", why);
    exit(EXIT_FAILURE);
}

/* A call that fails returns -errno, and blkalign_errmsg() describes it. */
static int check(int64_t ret)
{
    if (ret < 0)
        stop(blkalign_errmsg());
    return (int)ret;
}

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

    check(ret);
    in_flight--;
    job->rounds++;
    if (ticks < TICKS)
        submit(job);                    /* is submitted with its neighbours */
}

int main(int argc, char **argv)
{
    struct itimerspec every = { { 0, 100000000 }, { 0, 100000000 } };
    struct epoll_event timed = { EPOLLIN, { NULL } };
    struct epoll_event due = { EPOLLIN, { &disk } }, what;
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    int i, loop = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    char memory[SECTOR];
    uint64_t expired, writes = 0;

    if (argc != 2)
        stop("usage: epoll-loop PATH");
    take_care(argv[1]);
    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT;
    options.completion = BLKALIGN_COMPLETION_EVENTFD;
    check(blkalign_open(argv[1], &options, &disk));
    timerfd_settime(timer, 0, &every, NULL);
    if (epoll_ctl(loop, EPOLL_CTL_ADD, timer, &timed) < 0 ||
        epoll_ctl(loop, EPOLL_CTL_ADD, check(blkalign_get_event_fd(disk)),
                  &due) < 0)
        stop("no epoll");
    blkalign_plug(disk);                /* the first 32 as one batch */
    for (i = 0; i < DEPTH; submit(&jobs[i++]))
        jobs[i].offset = (int64_t)i * SECTOR;
    blkalign_unplug(disk);
    while (ticks < TICKS || in_flight > 0) {
        if (epoll_wait(loop, &what, 1, -1) != 1)
            continue;                   /* a signal */
        if (what.data.ptr == &disk)
            check(blkalign_poll(disk, CALLBACKS_MAX, 0));  /* calls done() */
        else if (read(timer, &expired, sizeof expired) > 0)
            ticks++;
    }
    for (i = 0; i < DEPTH; writes += (uint64_t)jobs[i++].rounds) {
        check(blkalign_pread(disk, jobs[i].offset, SECTOR, memory, 0));
        if (memcmp(memory, jobs[i].memory, SECTOR) != 0)
            stop("a sector is not what was written");
    }
    printf("%" PRIu64 " writes in a second\n", writes);
    return check(blkalign_close(disk));
}
