/*
 * What the pages of blkalign-nbd share.
 *
 *     main.c           the disk, and the whole
 *     options.c        the command line
 *     listener.c       the sockets that clients connect to
 *     connection.c     one client, from its arrival to its end
 *     handshake.c      what client and server agree on
 *     transmission.c   bytes of the socket to requests, and replies to bytes
 *     request.c        one request, to the library and back
 *
 * Threads. Each connection has a thread and a handle of the library, whose
 * callbacks run on that thread alone (BLKALIGN_COMPLETION_EVENTFD). So a
 * connection needs no lock; connections share `struct server`, which does not
 * change once clients may connect. The library keeps handles of one disk safe
 * from each other, and a flush of one covers all: clients may use several
 * connections.
 *
 * A request goes
 *
 *     idle -> incoming (a write, until its data are there) -> the library
 *       ^                                                         |
 *       +---- sent <---- replies <--------------------------------+
 *
 * All that came with one look at the socket goes to the library as one batch,
 * and all replies that are ready go out with one system call.
 *
 * Bounds, for a client that means no good. It has REQUESTS_MAX requests and,
 * beyond one of them, HELD_BYTES_MAX of data; while it does not take its
 * replies, nothing more is read from it. It has HANDSHAKE_S seconds to come to
 * an end with its options.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SERVER_H
#define SERVER_H

#include "protocol.h"

#include <blkalign.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    REQUESTS_MAX = 128,
    REQUEST_BYTES_MAX = 32 << 20,   /* what clients may take for granted */
    HELD_BYTES_MAX = 32 << 20,
    KEPT_BYTES_MAX = 64 << 10,      /* memory that an idle request keeps */
    INPUT_BYTES = 128 << 10,
    HANDSHAKE_S = 10,
    FAREWELL_S = 3,                 /* for clients to take their replies */
    END_S = 5                       /* for the storage, at the end */
};

struct server {
    const char *path, *export_name;
    blkalign_open_options options;  /* of the disk, and of each connection */
    blkalign_handle *disk;          /* the first: keeps the object open */
    blkalign_throttle *throttle;    /* of all connections, or NULL */
    bool writable, discards;
    int stop;                       /* eventfd; readable: the server ends */
};

struct arguments {
    struct server server;
    const char *socket;             /* or NULL, and then */
    const char *address, *port;
    unsigned connections_max;
    bool read_only_auto, lock, verbose;
    bool throttles;                 /* `limits` limit anything */
    blkalign_throttle_limits limits;
};

struct request {
    STAILQ_ENTRY(request) entry;    /* of `idle` or `replies` */
    struct connection *connection;
    uint16_t type, flags;           /* NBD_CMD_*, NBD_CMD_FLAG_* */
    uint64_t cookie, offset;
    uint32_t bytes;
    uint32_t error;                 /* NBD_E*, the client's */
    unsigned char *memory;          /* blkalign_memalign() */
    size_t memory_bytes;
    unsigned char reply[NBD_REPLY_BYTES];
};

STAILQ_HEAD(requests, request);

struct connection {
    const struct server *server;
    int fd;
    blkalign_handle *disk;
    uint64_t length;                /* of the disk, as the client was told */

    struct request requests[REQUESTS_MAX];
    struct requests idle, replies;
    size_t sent;                    /* bytes of the first of `replies` */
    unsigned submitted;             /* at the library */
    uint64_t held_bytes;            /* memory of requests that are not idle */

    unsigned char input[INPUT_BYTES];
    size_t begin, end;              /* what `input` holds */
    struct request *incoming;       /* the write whose data come now */
    uint32_t arrived;               /* bytes of it */

    int64_t farewell_ms;            /* the server ends: when that is over */
    bool ending;                    /* nothing more is read */
    bool dead;                      /* nothing more is sent */
};

/* ---- main.c ---- */

/* One line on standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Of a clock that nobody sets. */
int64_t now_ms(void);

/* ---- options.c ---- */

/* Ends the program if it does not understand, or is asked for words only. */
void arguments_parse(struct arguments *arguments, int argc, char **argv);

/* ---- listener.c ---- */

/* Both return a descriptor that listens, or -1 and have said why. */
int listen_on_socket(const char *path);
int listen_on_port(const char *address, const char *port);
/* Unless another server has taken the path meanwhile. */
void remove_socket(const char *path);

/* ---- connection.c ---- */

/* Takes clients in, at most `connections_max` at once, until `signals` (a
 * signalfd) is readable; then has `server->stop` end the connections. Returns
 * false if some have not ended after END_S seconds. */
bool serve(struct server *server, int listener, int signals,
           unsigned connections_max);

/* ---- handshake.c ---- */

/* True: the client wants transmission. */
bool handshake(struct connection *connection);

/* ---- transmission.c ---- */

/* Until the client or the server ends. */
void transmission(struct connection *connection);

/* ---- request.c ---- */

void requests_init(struct connection *connection);
void requests_free(struct connection *connection);
/* Whether another one may begin. */
bool request_may_begin(const struct connection *connection);
/* Makes one of a header. It may have an error: then it does nothing. */
struct request *request_begin(struct connection *connection,
                              const unsigned char *header);
/* Gives it to the library, or straight to `replies`. A write has its data. */
void request_start(struct request *request);
/* The reply is sent. */
void request_end(struct request *request);
/* The data that follow its reply. */
uint32_t request_reply_data(const struct request *request);

#endif
