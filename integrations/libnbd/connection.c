/*
 * One connection and libnbd, which one thread at a time uses (driving.c),
 * since what a callback of libnbd may do, and what another thread may change
 * meanwhile, is little.
 *
 * Divisions: connecting, sending, listening, the thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAUSE_MS_MIN = 50, PAUSE_MS_MAX = 1000, SILENCE_S = 30 };

static void say_why(struct connection *connection, const char *words)
{
    snprintf(connection->why, sizeof connection->why, "%s",
             words && words[0] ? words : "closed by the server");
}

static int nbd_failure(struct connection *connection)
{
    int number = nbd_get_errno();

    say_why(connection, nbd_get_error());
    return number > 0 ? -number : -EIO;
}

static bool is_dead(struct connection *connection)
{
    return nbd_aio_is_dead(connection->nbd) ||
           nbd_aio_is_closed(connection->nbd);
}

/* As poll(). The connection's own thread lets others drive it meanwhile. */
static int poll_both(struct connection *connection, struct pollfd *both,
                     int timeout_ms, bool own_thread)
{
    int result;

    if (own_thread && !driving_sleep(connection))
        return 0;
    result = poll(both, 2, timeout_ms);
    if (own_thread)
        driving_wake(connection);
    return result;
}

/* Waits for the server, to be woken, or for the time; then takes one step of
 * libnbd's. 0, or -errno: the connection is no more. */
static int step(struct connection *connection, int timeout_ms,
                bool own_thread)
{
    struct nbd_handle *nbd = connection->nbd;
    unsigned direction = nbd_aio_get_direction(nbd);
    struct pollfd both[2] = {
        { .fd = nbd_aio_get_fd(nbd) }, { .fd = connection->wake,
                                         .events = POLLIN },
    };
    uint64_t count;
    int result = 0;

    both[0].events = (direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                     (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
    if (poll_both(connection, both, timeout_ms, own_thread) <= 0)
        return 0;
    if (both[1].revents && read(connection->wake, &count, sizeof count) < 0)
        return 0;
    /* One of them only: the first may change what is asked for next. */
    if (both[0].revents & ~POLLOUT &&
        direction & LIBNBD_AIO_DIRECTION_READ)
        result = nbd_aio_notify_read(nbd);
    else if (both[0].revents && direction & LIBNBD_AIO_DIRECTION_WRITE)
        result = nbd_aio_notify_write(nbd);
    if (both[0].revents)
        connection->heard_ns = now_ns();
    if (result < 0)
        return nbd_failure(connection);
    if (is_dead(connection)) {
        say_why(connection, NULL);
        return -ENOTCONN;
    }
    return 0;
}

/* ---- connecting ---- */

void connection_describe(struct nbd_handle *nbd, struct export *export)
{
    memset(export, 0, sizeof *export);
    export->length = nbd_get_size(nbd);
    export->smallest = nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM);
    export->largest = nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM);
    export->read_only = nbd_is_read_only(nbd) > 0;
    export->flush = nbd_can_flush(nbd) > 0;
    export->fua = nbd_can_fua(nbd) > 0;
    export->zero = nbd_can_zero(nbd) > 0;
    export->fast_zero = nbd_can_fast_zero(nbd) > 0;
    export->trim = nbd_can_trim(nbd) > 0;
    export->multi = nbd_can_multi_conn(nbd) > 0;
}

/* A host that has gone without a word is found out within half a minute.
 * Sockets that are not TCP refuse, and need no such thing. */
static void watch_peer(int fd)
{
    int on = 1, idle = SILENCE_S / 3, interval = SILENCE_S / 6, probes = 4;
    unsigned unanswered_ms = SILENCE_S * 1000;

    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0)
        return;
    if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) < 0)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval,
                     sizeof interval);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms,
                     sizeof unanswered_ms);
}

static bool still_wanted(struct connection *connection, uint64_t session)
{
    struct disk *disk = connection->disk;
    bool wanted;

    pthread_mutex_lock(&disk->lock);
    wanted = !disk->closing && disk->session == session;
    pthread_mutex_unlock(&disk->lock);
    return wanted;
}

static int shake_hands(struct connection *connection, uint64_t session)
{
    uint64_t until = now_ns() + CONNECT_S * SECOND_NS;
    int result = 0;

    while (result == 0 && !nbd_aio_is_ready(connection->nbd)) {
        result = is_dead(connection) ? nbd_failure(connection)
                                     : step(connection, TICK_MS, false);
        disk_expire(connection->disk);
        if (result == 0 && now_ns() > until) {
            say_why(connection, "no answer to the handshake");
            result = -ETIMEDOUT;
        }
        if (result == 0 && !still_wanted(connection, session))
            result = -ECANCELED;
    }
    return result;
}

/* Else requests would go where they do not belong. */
static int compare_export(struct connection *connection)
{
    struct disk *disk = connection->disk;
    struct export export;

    if (!disk->alignment)
        return 0;
    connection_describe(connection->nbd, &export);
    if (memcmp(&export, &disk->export, sizeof export) == 0)
        return 0;
    say_why(connection, export.length != disk->export.length
                            ? "the export has another length now"
                            : "the export has other properties now");
    return -ESTALE;
}

int connection_open(struct connection *connection, uint64_t session)
{
    const struct disk *disk = connection->disk;
    struct nbd_handle *nbd = nbd_create();
    int result;

    connection->nbd = nbd;
    if (!nbd)
        return nbd_failure(connection);
    if (disk->options.flags & BLKALIGN_NBD_LOCAL_FILES)
        nbd_set_uri_allow_local_file(nbd, true);
    result = nbd_aio_connect_uri(nbd, disk->uri) < 0
                 ? nbd_failure(connection)
                 : shake_hands(connection, session);
    if (result == 0)
        result = compare_export(connection);
    if (result == 0) {
        watch_peer(nbd_aio_get_fd(nbd));
    } else {
        nbd_close(nbd);
        connection->nbd = NULL;
    }
    return result;
}

/* Tells the server, without waiting for its consent. */
void connection_close(struct connection *connection)
{
    if (connection->nbd && nbd_aio_is_ready(connection->nbd))
        nbd_aio_disconnect(connection->nbd, 0);
    nbd_close(connection->nbd);
    connection->nbd = NULL;
}

/* ---- sending ---- */

/* libnbd's callback. 1: forget the command. */
static int answered(void *opaque, int *error)
{
    struct command *command = opaque;
    struct connection *connection = command->connection;

    command->result = -*error;
    TAILQ_REMOVE(&connection->flying, command, entry);
    TAILQ_INSERT_TAIL(&connection->finished, command, entry);
    return 1;
}

static int64_t start(struct nbd_handle *nbd, struct command *command)
{
    nbd_completion_callback done = { .callback = answered,
                                     .user_data = command };

    if (command->flushing)
        return nbd_aio_flush(nbd, done, 0);
    switch (command->kind) {
    case NBD_READ:
        return nbd_aio_pread(nbd, command->memory, command->bytes,
                             command->offset, done, 0);
    case NBD_WRITE:
        return nbd_aio_pwrite(nbd, command->memory, command->bytes,
                              command->offset, done, command->flags);
    case NBD_ZERO:
        return nbd_aio_zero(nbd, command->bytes, command->offset, done,
                            command->flags);
    case NBD_TRIM:
        return nbd_aio_trim(nbd, command->bytes, command->offset, done, 0);
    default:
        return nbd_aio_flush(nbd, done, 0);
    }
}

/* 0, or -errno: the connection is no more. */
static int send_batch(struct connection *connection, struct commands *batch)
{
    struct command *command;
    int result = 0;

    if (TAILQ_EMPTY(&connection->flying))
        connection->heard_ns = now_ns();
    while ((command = TAILQ_FIRST(batch)) != NULL) {
        TAILQ_REMOVE(batch, command, entry);
        TAILQ_INSERT_TAIL(&connection->flying, command, entry);
        if (result < 0)
            continue;
        command->sent = true;
        command->result = 1;
        if (start(connection->nbd, command) >= 0)
            continue;
        result = nbd_failure(connection);
        if (is_dead(connection))
            continue;
        /* libnbd itself refused this one; the next may be all right. */
        if (command->result == 1) {
            TAILQ_REMOVE(&connection->flying, command, entry);
            TAILQ_INSERT_TAIL(&connection->finished, command, entry);
            command->result = result;
        }
        result = 0;
    }
    return result;
}

int connection_send(struct connection *connection)
{
    struct commands batch = TAILQ_HEAD_INITIALIZER(batch);
    int result = 0;

    while (result == 0 && session_take(connection, &batch))
        result = send_batch(connection, &batch);
    return result;
}

/* What libnbd could not send at once, and what it has refused. With `stall_s`
 * the thread counts the time. */
bool connection_needs_thread(struct connection *connection)
{
    return is_dead(connection) || !TAILQ_EMPTY(&connection->finished) ||
           connection->disk->options.stall_s ||
           nbd_aio_get_direction(connection->nbd) &
               LIBNBD_AIO_DIRECTION_WRITE;
}

/* ---- listening ---- */

static int timeout_ms(const struct connection *connection)
{
    uint64_t stall_ns = connection->disk->options.stall_s * SECOND_NS, gone;

    if (!stall_ns || TAILQ_EMPTY(&connection->flying))
        return -1;
    gone = now_ns() - connection->heard_ns;
    return gone >= stall_ns ? 0 : (int)((stall_ns - gone) / 1000000 + 1);
}

void connection_serve(struct connection *connection, bool own_thread)
{
    int result = connection_send(connection);
    int timeout = timeout_ms(connection);

    if (result == 0 && TAILQ_EMPTY(&connection->finished))
        result = step(connection, timeout, own_thread);
    /* Sending may have found it dead, and ended commands without a word. */
    if (result == 0 && is_dead(connection)) {
        say_why(connection, NULL);
        result = -ENOTCONN;
    }
    if (result == 0 && timeout >= 0 && timeout_ms(connection) == 0) {
        say_why(connection, "no answer for too long");
        result = -ETIMEDOUT;
    }
    session_settle(connection, result < 0);
    if (result < 0)
        session_end(connection);
}

/* ---- the thread ---- */

enum state { CLOSING, OUT, REFUSED, UP };

static enum state state_of(struct connection *connection)
{
    struct disk *disk = connection->disk;
    enum state state;

    pthread_mutex_lock(&disk->lock);
    state = disk->closing                           ? CLOSING
            : connection->session != disk->session  ? OUT
            : connection->up                        ? UP
            : connection->refused                   ? REFUSED
                                                    : OUT;
    pthread_mutex_unlock(&disk->lock);
    return state;
}

bool connection_is_up(struct connection *connection)
{
    return state_of(connection) == UP;
}

/* Until woken, or so long. */
static void pause_for(struct connection *connection, int ms)
{
    struct pollfd one = { .fd = connection->wake, .events = POLLIN };
    uint64_t count;

    if (poll(&one, 1, ms) > 0 &&
        read(connection->wake, &count, sizeof count) < 0)
        return;
}

static void come_back(struct connection *connection)
{
    uint64_t session;
    int pause = PAUSE_MS_MIN, result;

    /* First, so that nothing of libnbd's touches the callers' memory. */
    nbd_close(connection->nbd);
    connection->nbd = NULL;
    session = session_leave(connection);
    while (still_wanted(connection, session)) {
        result = connection_open(connection, session);
        if (!session_join(connection, session, result == 0))
            break;
        if (state_of(connection) != OUT)
            break;
        pause_for(connection, pause);
        disk_expire(connection->disk);
        pause = 2 * pause < PAUSE_MS_MAX ? 2 * pause : PAUSE_MS_MAX;
    }
}

void *connection_run(void *opaque)
{
    struct connection *connection = opaque;
    enum state state;

    while ((state = state_of(connection)) != CLOSING) {
        if (state == UP) {
            connection_serve(connection, true);
            driving_lend(connection);
        } else if (state == REFUSED) {
            pause_for(connection, -1);
        } else {
            come_back(connection);
        }
    }
    connection_close(connection);
    return NULL;
}
