/*
 * The phase of requests: what the socket brings becomes requests, what the
 * library has done becomes replies. One thread does both, and sleeps when
 * neither has anything to do.
 *
 * Divisions: receiving, sending, the loop.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "server.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { REPLIES_AT_ONCE = 64 };

/* ---- receiving ---- */

static bool wants_input(const struct connection *connection)
{
    return !connection->ending &&
           (connection->incoming || request_may_begin(connection));
}

/* What is left of the data of `incoming` goes where it belongs, if that is
 * not to be thrown away; what follows goes to `input`, which is empty then. */
static int room(struct connection *connection, struct iovec *iov)
{
    struct request *incoming = connection->incoming;
    size_t kept = connection->end - connection->begin;
    int count = 0;

    if (incoming && !incoming->error) {
        iov[count].iov_base = incoming->memory + connection->arrived;
        iov[count++].iov_len = incoming->bytes - connection->arrived;
    }
    memmove(connection->input, connection->input + connection->begin, kept);
    connection->begin = 0;
    connection->end = kept;
    iov[count].iov_base = connection->input + kept;
    iov[count++].iov_len = INPUT_BYTES - kept;
    return count;
}

static void receive(struct connection *connection)
{
    struct iovec iov[2];
    struct msghdr message = { .msg_iov = iov };
    size_t got, direct = 0;
    ssize_t result;

    message.msg_iovlen = (size_t)room(connection, iov);
    result = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    if (result < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (result <= 0) {
        connection->ending = true;
        connection->dead = result < 0;
        return;
    }
    got = (size_t)result;
    if (message.msg_iovlen == 2)
        direct = got < iov[0].iov_len ? got : iov[0].iov_len;
    connection->arrived += (uint32_t)direct;
    connection->end += got - direct;
}

/* Moves data of `incoming` out of `input`; starts it once they are there. */
static void take_data(struct connection *connection)
{
    struct request *incoming = connection->incoming;
    size_t bytes = incoming->bytes - connection->arrived;

    if (bytes > connection->end - connection->begin)
        bytes = connection->end - connection->begin;
    if (bytes && !incoming->error)
        memcpy(incoming->memory + connection->arrived,
               connection->input + connection->begin, bytes);
    connection->begin += bytes;
    connection->arrived += (uint32_t)bytes;
    if (connection->arrived == incoming->bytes) {
        connection->incoming = NULL;
        request_start(incoming);
    }
}

static bool has_header(const struct connection *connection)
{
    return !connection->incoming && request_may_begin(connection) &&
           connection->end - connection->begin >= NBD_REQUEST_BYTES;
}

static void take_header(struct connection *connection)
{
    const unsigned char *header = connection->input + connection->begin;
    struct request *request;

    if (get_number(header, 4) != NBD_REQUEST_MAGIC) {
        connection->ending = connection->dead = true;
        return;
    }
    if (get_number(header + 6, 2) == NBD_CMD_DISC) {
        connection->ending = true;
        return;
    }
    request = request_begin(connection, header);
    connection->begin += NBD_REQUEST_BYTES;
    if (request->type == NBD_CMD_WRITE && request->bytes) {
        connection->incoming = request;
        connection->arrived = 0;
    } else {
        request_start(request);
    }
}

static void take_requests(struct connection *connection)
{
    blkalign_plug(connection->disk);
    while (!connection->ending) {
        if (connection->incoming) {
            take_data(connection);
            if (connection->incoming)
                break;
        } else if (has_header(connection)) {
            take_header(connection);
        } else {
            break;
        }
    }
    blkalign_unplug(connection->disk);
}

/* ---- sending ---- */

/* Lays out replies, less the bytes of the first that are sent already. */
static size_t lay_out(struct connection *connection, struct iovec *iov)
{
    size_t count = 0, skip = connection->sent;
    struct request *request;
    uint32_t data;

    STAILQ_FOREACH(request, &connection->replies, entry) {
        data = request_reply_data(request);
        if (skip < NBD_REPLY_BYTES) {
            iov[count].iov_base = request->reply + skip;
            iov[count++].iov_len = NBD_REPLY_BYTES - skip;
            skip = 0;
        } else {
            skip -= NBD_REPLY_BYTES;
        }
        if (data) {
            iov[count].iov_base = request->memory + skip;
            iov[count++].iov_len = data - skip;
        }
        skip = 0;
        if (count > 2 * (REPLIES_AT_ONCE - 1))
            break;
    }
    return count;
}

static void end_sent(struct connection *connection)
{
    struct request *request;
    size_t bytes;

    while ((request = STAILQ_FIRST(&connection->replies)) != NULL) {
        bytes = NBD_REPLY_BYTES + request_reply_data(request);
        if (connection->sent < bytes)
            break;
        connection->sent -= bytes;
        STAILQ_REMOVE_HEAD(&connection->replies, entry);
        request_end(request);
    }
}

/* Until all is sent, or the socket takes no more. */
static void send_replies(struct connection *connection)
{
    struct iovec iov[2 * REPLIES_AT_ONCE];
    struct msghdr message = { .msg_iov = iov };
    ssize_t result;

    while (!connection->dead && !STAILQ_EMPTY(&connection->replies)) {
        message.msg_iovlen = lay_out(connection, iov);
        result = sendmsg(connection->fd, &message,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (result < 0 && errno == EINTR)
            continue;
        if (result < 0 && errno == EAGAIN)
            return;
        if (result < 0) {
            connection->ending = connection->dead = true;
            return;
        }
        connection->sent += (size_t)result;
        end_sent(connection);
    }
}

/* ---- the loop ---- */

static bool is_over(const struct connection *connection)
{
    return connection->ending && connection->submitted == 0 &&
           (connection->dead || STAILQ_EMPTY(&connection->replies));
}

/* How long the thread may sleep; -1: without end. A client that does not take
 * its replies is not waited for when the server ends. */
static int farewell(struct connection *connection)
{
    int64_t left_ms;

    if (!connection->farewell_ms || connection->dead)
        return -1;
    left_ms = connection->farewell_ms - now_ms();
    if (left_ms > 0)
        return (int)left_ms;
    connection->dead = true;
    return 0;
}

/* Sleeps until there is something to do. True: the socket may have input. */
static bool sleep_until_needed(struct connection *connection, int event_fd)
{
    int timeout_ms = farewell(connection);
    bool input = wants_input(connection);
    bool output = !connection->dead && !STAILQ_EMPTY(&connection->replies);
    struct pollfd fds[3] = {
        { .fd = connection->fd,
          .events = (short)((input ? POLLIN : 0) | (output ? POLLOUT : 0)) },
        { .fd = event_fd, .events = POLLIN },
        { .fd = connection->server->stop, .events = POLLIN },
    };

    /* A socket that is hung up would keep this thread awake. */
    if (!input && !output)
        fds[0].fd = -1;
    if (connection->farewell_ms)
        fds[2].fd = -1;
    if (poll(fds, 3, timeout_ms) <= 0)
        return false;
    if (fds[2].revents) {
        connection->ending = true;
        connection->farewell_ms = now_ms() + FAREWELL_S * 1000;
    }
    return input && fds[0].revents & ~POLLOUT;
}

void transmission(struct connection *connection)
{
    int event_fd = blkalign_get_event_fd(connection->disk);
    bool input = true;

    while (event_fd >= 0) {
        if (input)
            receive(connection);
        take_requests(connection);
        blkalign_poll(connection->disk, REQUESTS_MAX, 0);
        send_replies(connection);
        if (is_over(connection))
            break;
        /* Replies that went out may have made room for what waits. */
        input = !connection->ending && has_header(connection)
                    ? false : sleep_until_needed(connection, event_fd);
    }
}
