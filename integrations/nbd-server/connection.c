/*
 * Connections: how they come, how many there may be, and how they end. What is
 * said on them is in handshake.c and transmission.c.
 *
 * Divisions: one connection, its thread, taking clients in.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* How many there are. */
static struct {
    pthread_mutex_t lock;               /* guards `count` */
    pthread_cond_t fewer;
    unsigned count;
    int left;                           /* eventfd: one has ended */
} all = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, -1 };

/* ---- one connection ---- */

/* Small replies go at once, and a host that has gone without a word is found
 * out in the end. Sockets that are not TCP refuse, and need no such thing. */
static void set_options(int fd)
{
    int on = 1, idle_s = 60, interval_s = 10, probes = 6;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s,
                     sizeof interval_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

/* The handle begins with the length that the disk has now. */
static bool open_disk(struct connection *connection)
{
    const struct server *server = connection->server;
    int64_t length = blkalign_dup(server->disk, &server->options,
                                  &connection->disk);

    if (length == 0 && server->throttle)
        length = blkalign_set_throttle(connection->disk, server->throttle);
    if (length == 0)
        length = blkalign_getlength(connection->disk);
    if (length < 0)
        say("%s", blkalign_errmsg());
    connection->length = length < 0 ? 0 : (uint64_t)length;
    return length >= 0;
}

static void *run(void *opaque)
{
    struct connection *connection = opaque;
    uint64_t one = 1;

    if (open_disk(connection) && handshake(connection))
        transmission(connection);
    /* The memory of requests is in use until then. */
    blkalign_close(connection->disk);
    close(connection->fd);
    requests_free(connection);
    free(connection);
    pthread_mutex_lock(&all.lock);
    all.count--;
    pthread_cond_signal(&all.fewer);
    /* Within the lock: after the last one the program may end. */
    if (write(all.left, &one, sizeof one) < 0)
        say("eventfd: %s", strerror(errno));
    pthread_mutex_unlock(&all.lock);
    return NULL;
}

/* ---- its thread ---- */

static bool start_thread(struct connection *connection)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int result;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    result = pthread_create(&thread, &attributes, run, connection);
    pthread_attr_destroy(&attributes);
    if (result != 0)
        say("a client is turned away: %s", strerror(result));
    return result == 0;
}

static void begin(const struct server *server, int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);

    if (!connection) {
        say("a client is turned away: no memory");
        close(fd);
        return;
    }
    connection->server = server;
    connection->fd = fd;
    requests_init(connection);
    set_options(fd);
    pthread_mutex_lock(&all.lock);
    all.count++;
    pthread_mutex_unlock(&all.lock);
    if (start_thread(connection))
        return;
    pthread_mutex_lock(&all.lock);
    all.count--;
    pthread_mutex_unlock(&all.lock);
    close(fd);
    free(connection);
}

/* ---- taking clients in ---- */

static unsigned count_now(void)
{
    unsigned count;

    pthread_mutex_lock(&all.lock);
    count = all.count;
    pthread_mutex_unlock(&all.lock);
    return count;
}

static void take_in(const struct server *server, int listener)
{
    struct timespec nap = { 0, 100 * 1000 * 1000 };
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0) {
        begin(server, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        /* No descriptors, for example: the client waits, and so do we. */
        say("accept: %s", strerror(errno));
        nanosleep(&nap, NULL);
    }
}

static bool all_have_ended(void)
{
    struct timespec until;
    bool ended;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_S;
    pthread_mutex_lock(&all.lock);
    while (all.count > 0 &&
           pthread_cond_timedwait(&all.fewer, &all.lock, &until) == 0)
        continue;
    ended = all.count == 0;
    pthread_mutex_unlock(&all.lock);
    return ended;
}

bool serve(struct server *server, int listener, int signals,
           unsigned connections_max)
{
    struct pollfd fds[3] = {
        { .events = POLLIN }, { .fd = signals, .events = POLLIN },
        { .events = POLLIN },
    };
    uint64_t count;

    fds[2].fd = all.left = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->stop = eventfd(0, EFD_CLOEXEC);
    if (all.left < 0 || server->stop < 0) {
        say("eventfd: %s", strerror(errno));
        return false;
    }
    while (!fds[1].revents) {
        fds[0].fd = count_now() < connections_max ? listener : -1;
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[2].revents && read(all.left, &count, sizeof count) < 0)
            continue;
        if (fds[0].revents)
            take_in(server, listener);
    }
    count = 1;
    if (write(server->stop, &count, sizeof count) < 0)
        say("eventfd: %s", strerror(errno));
    return all_have_ended();
}
