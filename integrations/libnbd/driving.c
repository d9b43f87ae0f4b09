/*
 * Who drives a connection: uses libnbd's handle, `flying` and `finished`.
 *
 * Its own thread does while it is awake. A thread that submits while that one
 * sleeps sends by itself: so the server has the command before its thread has
 * woken up, and that thread wakes for the answer only.
 *
 * A thread that does nothing but wait for its command (a synchronous call)
 * would still wait for two threads: the connection's own wakes for the
 * answer, and then wakes the one that waits. So an idle connection is lent to
 * such calls: its own thread does not listen any more, and each call sends,
 * listens and takes its answer by itself, like a program with a socket. When
 * no call has done so for LENT_MS, the connection's own thread listens again,
 * so that it finds out if the server goes.
 *
 *     asleep   its own thread uses nothing of it: it is in poll(), or lent
 *     driven   another thread uses it
 *     lent     its own thread waits for `back`, not for the socket
 *
 * The lock of the disk guards these. Not over TLS, where sending may raise
 * SIGPIPE, which only the threads of this driver block.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <time.h>

enum { LENT_MS = 100 };

/* ---- for threads that submit ---- */

bool driving_begin(struct connection *connection, bool waits)
{
    if (connection->disk->tls)
        return false;
    if (waits && !connection->lent)
        connection->lend_soon = true;
    if (!connection->asleep || connection->driven)
        return false;
    connection->driven = true;
    return true;
}

/* Its own thread looks at `todo` before it sleeps, and one that drives it to
 * send before it gives it back. Over TLS nobody drives what is asleep. */
bool driving_must_wake(const struct connection *connection)
{
    return connection->asleep && (!connection->driven || connection->lent);
}

/* False: there is something to send first. `thread`: its own is to go on. */
static bool give_back(struct connection *connection, bool thread)
{
    struct disk *disk = connection->disk;
    bool nothing;

    pthread_mutex_lock(&disk->lock);
    nothing = thread || TAILQ_EMPTY(&connection->todo);
    if (nothing) {
        connection->driven = false;
        connection->uses++;
        if (thread)
            wake(connection);
        else if (connection->awaited ||
                 (connection->lent && connection->load > 0))
            pthread_cond_signal(&connection->back);
    }
    pthread_mutex_unlock(&disk->lock);
    return nothing;
}

void drive_to_send(struct connection *connection)
{
    int result;

    do {
        result = connection_send(connection);
    } while (!give_back(connection, result < 0 ||
                                    connection_needs_thread(connection)));
}

void drive_until(struct connection *connection, const bool *done)
{
    struct disk *disk = connection->disk;
    bool lent, up = true;

    pthread_mutex_lock(&disk->lock);
    lent = connection->lent;
    pthread_mutex_unlock(&disk->lock);
    if (!lent) {
        drive_to_send(connection);
        return;
    }
    do {
        connection_serve(connection, false);
        up = connection_is_up(connection);
    } while (up && !__atomic_load_n(done, __ATOMIC_ACQUIRE));
    if (!give_back(connection, !up || connection_needs_thread(connection)))
        drive_to_send(connection);
}

/* ---- for its own thread ---- */

bool driving_sleep(struct connection *connection)
{
    struct disk *disk = connection->disk;

    pthread_mutex_lock(&disk->lock);
    connection->asleep = TAILQ_EMPTY(&connection->todo);
    pthread_mutex_unlock(&disk->lock);
    return connection->asleep;
}

void driving_wake(struct connection *connection)
{
    struct disk *disk = connection->disk;

    pthread_mutex_lock(&disk->lock);
    connection->awaited = true;
    while (connection->driven)
        pthread_cond_wait(&connection->back, &disk->lock);
    connection->awaited = connection->asleep = false;
    pthread_mutex_unlock(&disk->lock);
}

/* Under the lock: whether it may stay with those that submit. */
static bool is_idle(const struct connection *connection)
{
    const struct disk *disk = connection->disk;

    return !disk->closing && connection->up &&
           connection->session == disk->session && connection->load == 0;
}

static void wait_while_lent(struct connection *connection)
{
    struct disk *disk = connection->disk;
    unsigned uses = connection->uses;
    struct timespec until;
    int result;

    do {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LENT_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        uses = connection->uses;
        do {
            result = pthread_cond_timedwait(&connection->back, &disk->lock,
                                            &until);
        } while (result == 0 &&
                 (connection->driven || is_idle(connection)));
    } while (connection->driven ||
             (is_idle(connection) && uses != connection->uses));
}

void driving_lend(struct connection *connection)
{
    struct disk *disk = connection->disk;

    pthread_mutex_lock(&disk->lock);
    if (connection->lend_soon && is_idle(connection)) {
        connection->asleep = connection->lent = true;
        wait_while_lent(connection);
        connection->asleep = connection->lent = false;
        connection->lend_soon = false;
    }
    pthread_mutex_unlock(&disk->lock);
}
