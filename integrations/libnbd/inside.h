/*
 * What the pages of the NBD driver share.
 *
 *     blkalign-nbd.c   opening
 *     driver.c         from libblkalign's calls to commands
 *     session.c        all connections together: which are up, who sends
 *                      what, what was lost, what may still be flushed
 *     driving.c        who uses a connection at the moment
 *     connection.c     one connection, its thread, and libnbd
 *
 * A command goes
 *
 *     waiting (of the disk) -> todo (of a connection) -> flying -> finished
 *        ^                                                  |
 *        +----------- the connection was lost --------------+
 *
 * and then its `done` is called, once. `waiting` is used while there is no
 * session. `flying`, `finished` and all of libnbd belong to one thread at a
 * time, which drives the connection: its own thread, or, while that one
 * sleeps, a thread that submits. See driving.c.
 *
 * A session is all connections, up at the same time. It ends for all when
 * one is lost, and answers of an ended session count no more: else a write
 * that the old server acknowledged might be taken to be covered by a flush
 * of a new one. The next begins when each connection is up again or, another
 * one being up, has been refused.
 *
 * Locks: `disk->lock` is the only one, held briefly and never while libnbd,
 * `done` or `tell` is called.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef INSIDE_H
#define INSIDE_H

#include "blkalign-nbd.h"

#include <libnbd.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    CONNECTIONS_MAX = 16, CONNECT_S = 30, TICK_MS = 200,
    LARGEST = 1 << 20           /* one I/O; bounds the copies, too */
};

#define SECOND_NS UINT64_C(1000000000)

enum kind { NBD_READ, NBD_WRITE, NBD_ZERO, NBD_TRIM, NBD_FLUSH };

struct command {
    TAILQ_ENTRY(command) entry;
    struct connection *connection;      /* of `todo` and `flying` */
    enum kind kind;
    uint32_t flags;                     /* LIBNBD_CMD_FLAG_* */
    bool flush_after;                   /* FUA, and the server has none */
    bool flushing;                      /* ... and the flush is under way */
    bool sent;                          /* once at least */
    uint64_t offset, bytes;
    unsigned char *memory;              /* one piece, the caller's or ... */
    unsigned char *gathered;            /* ... ours, or NULL */
    const struct iovec *iov;            /* where `gathered` belongs */
    int iovcnt;
    uint64_t covers;                    /* a flush: see disk->acknowledged */
    uint64_t lost_ns;                   /* when first lost; 0: never */
    int result;
    blkalign_driver_done_fn done;
    void *token;
};

TAILQ_HEAD(commands, command);

/* What a server says of an export. Compared as memory: zeroed first. */
struct export {
    int64_t length, smallest, largest;
    int read_only, flush, fua, zero, fast_zero, trim, multi;
};

struct connection {
    struct disk *disk;
    unsigned number;
    pthread_t thread;
    int wake;                           /* eventfd */

    /* Under disk->lock. */
    struct commands todo;
    unsigned load;                      /* commands of this connection */
    bool asleep;                        /* its thread is, and ... */
    bool driven;                        /* ... another one drives it */
    bool lent;                          /* ... or may drive it for long */
    bool lend_soon;                     /* a call has waited for its thread */
    bool awaited;                       /* its thread wants to drive again */
    unsigned uses;                      /* calls that have driven it */
    pthread_cond_t back;                /* for its thread: driven, lent */
    bool up, refused;                   /* in session `session` */
    bool late;                          /* others were up at the attempt */
    uint64_t session;

    /* Of who drives it. */
    struct nbd_handle *nbd;             /* NULL: not connected */
    struct commands flying, finished;
    uint64_t heard_ns;
    char why[BLKALIGN_NBD_WORDS];       /* of the last failure */
};

struct disk {
    char *uri;
    blkalign_nbd_options options;       /* with defaults filled in */
    struct export export;
    uint32_t alignment;
    bool tls;
    struct connection connections[CONNECTIONS_MAX];
    unsigned count;

    pthread_mutex_t lock;               /* guards all below */
    bool closing;
    bool ready;                         /* the session may be used */
    uint64_t session;
    unsigned up, refused;               /* connections, in this session */
    uint64_t down_ns;                   /* since when it is not ready */
    bool told_given_up;
    struct commands waiting;
    /* Completed writes without FUA are counted. A flush covers those counted
     * when it is submitted. What is counted beyond `stable` may be lost with
     * the session: then `lost`, for ever. */
    uint64_t acknowledged, stable;
    bool lost;
};

/* ---- driver.c ---- */

void driver_fill(struct disk *disk, blkalign_driver *driver);
/* Called when no request is left, by the thread that closes. */
void driver_close(void *disk);
void disk_free(struct disk *disk);

/* ---- session.c ---- */

uint64_t now_ns(void);
void tell(const struct disk *disk, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void wake(struct connection *connection);

/* Takes the command, and calls its `done` later; or returns -errno. The caller
 * then drives what `to_drive` names, if that is not NULL. `waits`: it has
 * nothing else to do than to wait for the command. */
int disk_submit(struct disk *disk, struct command *command, bool waits,
                struct connection **to_drive);
/* Ends commands of `waiting` that have waited long enough. */
void disk_expire(struct disk *disk);
/* The connection is lost, which ends its session if that has not ended. */
void session_end(struct connection *connection);
/* Gives back what the connection had; it takes part in the session that is
 * returned, once it is up. */
uint64_t session_leave(struct connection *connection);
/* An attempt is over. False: the session has ended meanwhile. */
bool session_join(struct connection *connection, uint64_t session, bool up);
/* Moves todo to `batch`. False: there is nothing. */
bool session_take(struct connection *connection, struct commands *batch);
/* Answers that have come: counts them, calls `done`. Those of an ended
 * session, or with errors of a dying connection, go back to flying. */
void session_settle(struct connection *connection, bool dead);

/* ---- driving.c ---- */

/* Under the lock: whether the thread that submits to it is to drive it. */
bool driving_begin(struct connection *connection, bool waits);
/* Under the lock: whether, if not, who has it must be woken. */
bool driving_must_wake(const struct connection *connection);
/* Sends, and gives the connection back to its thread. */
void drive_to_send(struct connection *connection);
/* Until `done`, if the connection is lent; else as drive_to_send(). */
void drive_until(struct connection *connection, const bool *done);
/* For its thread. False: there is something to send first. */
bool driving_sleep(struct connection *connection);
/* For its thread, which has slept: waits for another that drives. */
void driving_wake(struct connection *connection);
/* For its thread: if calls would rather drive it themselves they may, until
 * none has for a while. */
void driving_lend(struct connection *connection);

/* ---- connection.c ---- */

/* Sends what is to be sent. 0, or -errno: the connection is no more. */
int connection_send(struct connection *connection);
/* Whether its thread has something to do besides waiting for an answer. */
bool connection_needs_thread(struct connection *connection);
/* Sends, waits for the server or to be woken, and takes what has come. */
void connection_serve(struct connection *connection, bool own_thread);
bool connection_is_up(struct connection *connection);

int connection_open(struct connection *connection, uint64_t session);
void connection_describe(struct nbd_handle *nbd, struct export *export);
void *connection_run(void *connection);
void connection_close(struct connection *connection);

#endif
