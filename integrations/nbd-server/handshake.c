/*
 * The first phase of a connection, "fixed newstyle": the client names options,
 * and one of them leads to transmission. Simple replies only, no TLS.
 *
 * Divisions: the socket, answers, the export, options.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "server.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* A client that asks for more is up to something. */
enum { OPTIONS_MAX = 64, OPTION_BYTES_MAX = 8 << 10, NO_ZEROES_BYTES = 124 };

struct talk {
    struct connection *connection;
    int64_t until_ms;
    bool fixed, no_zeroes;          /* what the client said it knows */
    uint32_t option, bytes;         /* the current one, and its data: */
    unsigned char data[OPTION_BYTES_MAX];
};

enum next { GO_ON, TRANSMIT, HANG_UP };

/* ---- the socket ---- */

/* False: the time is over, or the server ends. */
static bool wait_for(const struct talk *talk, short events)
{
    struct pollfd fds[2] = {
        { .fd = talk->connection->fd, .events = events },
        { .fd = talk->connection->server->stop, .events = POLLIN },
    };
    int64_t left_ms;
    int result;

    do {
        left_ms = talk->until_ms - now_ms();
        result = left_ms <= 0 ? 0 : poll(fds, 2, (int)left_ms);
    } while (result < 0 && errno == EINTR);
    return result > 0 && fds[0].revents && !fds[1].revents;
}

static bool get(const struct talk *talk, void *to, size_t bytes)
{
    unsigned char *at = to;
    ssize_t got;

    while (bytes > 0) {
        if (!wait_for(talk, POLLIN))
            return false;
        got = recv(talk->connection->fd, at, bytes, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (got > 0) {
            at += got;
            bytes -= (size_t)got;
        }
    }
    return true;
}

static bool put(const struct talk *talk, const unsigned char *from,
                const unsigned char *end)
{
    ssize_t sent;

    while (from < end) {
        if (!wait_for(talk, POLLOUT))
            return false;
        sent = send(talk->connection->fd, from, (size_t)(end - from),
                    MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (sent > 0)
            from += sent;
    }
    return true;
}

/* ---- answers ---- */

static enum next answer(const struct talk *talk, uint32_t type,
                        const unsigned char *data, uint32_t bytes)
{
    unsigned char head[20], *to = head;

    to = put_number(to, NBD_OPTION_REPLY_MAGIC, 8);
    to = put_number(to, talk->option, 4);
    to = put_number(to, type, 4);
    to = put_number(to, bytes, 4);
    if (!put(talk, head, to) || (bytes && !put(talk, data, data + bytes)))
        return HANG_UP;
    return GO_ON;
}

static enum next plain_answer(const struct talk *talk, uint32_t type)
{
    return answer(talk, type, NULL, 0);
}

/* ---- the export ---- */

static uint16_t transmission_flags(const struct server *server)
{
    unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
                     NBD_FLAG_SEND_FUA | NBD_FLAG_CAN_MULTI_CONN;

    if (!server->writable)
        return (uint16_t)(flags | NBD_FLAG_READ_ONLY);
    flags |= NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    if (server->discards)
        flags |= NBD_FLAG_SEND_TRIM;
    return (uint16_t)flags;
}

static uint32_t preferred_bytes(const struct connection *connection)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;

    if (blkalign_get_limits(connection->disk, &limits) < 0 ||
        limits.request_alignment < 4096)
        return 4096;
    return limits.request_alignment;
}

static bool is_ours(const struct talk *talk, const unsigned char *name,
                    uint32_t bytes)
{
    const char *ours = talk->connection->server->export_name;

    return strlen(ours) == bytes && memcmp(ours, name, bytes) == 0;
}

static enum next describe(const struct talk *talk)
{
    const struct connection *connection = talk->connection;
    unsigned char data[14], *to = data;

    to = put_number(to, NBD_INFO_EXPORT, 2);
    to = put_number(to, connection->length, 8);
    to = put_number(to, transmission_flags(connection->server), 2);
    if (answer(talk, NBD_REP_INFO, data, (uint32_t)(to - data)) == HANG_UP)
        return HANG_UP;
    to = put_number(data, NBD_INFO_BLOCK_SIZE, 2);
    to = put_number(to, 1, 4);
    to = put_number(to, preferred_bytes(connection), 4);
    to = put_number(to, REQUEST_BYTES_MAX, 4);
    if (answer(talk, NBD_REP_INFO, data, (uint32_t)(to - data)) == HANG_UP)
        return HANG_UP;
    return plain_answer(talk, NBD_REP_ACK);
}

/* ---- options ---- */

/* The oldest of them. Its answer has no room for an error. */
static enum next export_name(const struct talk *talk)
{
    const struct connection *connection = talk->connection;
    unsigned char data[10 + NO_ZEROES_BYTES] = { 0 }, *to = data;

    if (!is_ours(talk, talk->data, talk->bytes))
        return HANG_UP;
    to = put_number(to, connection->length, 8);
    to = put_number(to, transmission_flags(connection->server), 2);
    if (!talk->no_zeroes)
        to += NO_ZEROES_BYTES;
    return put(talk, data, to) ? TRANSMIT : HANG_UP;
}

/* Data: length of the name, name, count of wishes, wishes. All that there is
 * to wish for comes anyhow. */
static enum next info_or_go(const struct talk *talk)
{
    const unsigned char *name = talk->data + 4;
    uint32_t bytes;
    enum next next;

    if (talk->bytes < 6)
        return plain_answer(talk, NBD_REP_ERR_INVALID);
    bytes = (uint32_t)get_number(talk->data, 4);
    if (bytes > talk->bytes - 6 ||
        get_number(name + bytes, 2) * 2 != talk->bytes - 6 - bytes)
        return plain_answer(talk, NBD_REP_ERR_INVALID);
    if (!is_ours(talk, name, bytes))
        return plain_answer(talk, NBD_REP_ERR_UNKNOWN);
    next = describe(talk);
    return next == GO_ON && talk->option == NBD_OPT_GO ? TRANSMIT : next;
}

static enum next list(const struct talk *talk)
{
    const char *name = talk->connection->server->export_name;
    unsigned char data[4 + OPTION_BYTES_MAX];
    uint32_t bytes = (uint32_t)strlen(name);

    if (talk->bytes)
        return plain_answer(talk, NBD_REP_ERR_INVALID);
    memcpy(put_number(data, bytes, 4), name, bytes);
    if (answer(talk, NBD_REP_SERVER, data, 4 + bytes) == HANG_UP)
        return HANG_UP;
    return plain_answer(talk, NBD_REP_ACK);
}

static enum next obey(const struct talk *talk)
{
    switch (talk->option) {
    case NBD_OPT_EXPORT_NAME:
        return export_name(talk);
    case NBD_OPT_ABORT:
        plain_answer(talk, NBD_REP_ACK);
        return HANG_UP;
    case NBD_OPT_LIST:
        return list(talk);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return info_or_go(talk);
    default:
        return plain_answer(talk, NBD_REP_ERR_UNSUP);
    }
}

/* Data that are too long are read all the same, and thrown away. */
static enum next take_option(struct talk *talk)
{
    unsigned char head[16];
    uint32_t left, piece;

    if (!get(talk, head, sizeof head) ||
        get_number(head, 8) != NBD_OPTION_MAGIC)
        return HANG_UP;
    talk->option = (uint32_t)get_number(head + 8, 4);
    talk->bytes = (uint32_t)get_number(head + 12, 4);
    for (left = talk->bytes; left > 0; left -= piece) {
        piece = left < OPTION_BYTES_MAX ? left : OPTION_BYTES_MAX;
        if (!get(talk, talk->data, piece))
            return HANG_UP;
    }
    if (!talk->fixed && talk->option != NBD_OPT_EXPORT_NAME)
        return HANG_UP;
    if (talk->bytes <= OPTION_BYTES_MAX)
        return obey(talk);
    return talk->option == NBD_OPT_EXPORT_NAME
               ? HANG_UP : plain_answer(talk, NBD_REP_ERR_TOO_BIG);
}

static bool greet(struct talk *talk)
{
    unsigned char words[18], *to = words;
    uint32_t flags;

    to = put_number(to, NBD_MAGIC, 8);
    to = put_number(to, NBD_OPTION_MAGIC, 8);
    to = put_number(to, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 2);
    if (!put(talk, words, to) || !get(talk, words, 4))
        return false;
    flags = (uint32_t)get_number(words, 4);
    talk->fixed = flags & NBD_FLAG_FIXED_NEWSTYLE;
    talk->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    return (flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) == 0;
}

bool handshake(struct connection *connection)
{
    struct talk talk = { .connection = connection };
    enum next next = GO_ON;
    int i;

    talk.until_ms = now_ms() + HANDSHAKE_S * 1000;
    if (!greet(&talk))
        return false;
    for (i = 0; i < OPTIONS_MAX && next == GO_ON; i++)
        next = take_option(&talk);
    return next == TRANSMIT;
}
