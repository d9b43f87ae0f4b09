/*
 * All connections of a disk together: inside.h has the picture. Knows
 * nothing of libnbd.
 *
 * Divisions: ends of commands, the session, answers.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

void tell(const struct disk *disk, const char *format, ...)
{
    char words[2 * BLKALIGN_NBD_WORDS];
    va_list arguments;

    if (!disk->options.tell)
        return;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    disk->options.tell(disk->options.tell_opaque, words);
}

void wake(struct connection *connection)
{
    uint64_t one = 1;
    ssize_t written = write(connection->wake, &one, sizeof one);

    /* It fails only if the eventfd is full: then it is readable, too. */
    (void)written;
    pthread_cond_signal(&connection->back);
}

/* ---- ends of commands: without the lock, `done` may submit more ---- */

static void scatter(const struct command *command)
{
    const unsigned char *from = command->gathered;
    int i;

    for (i = 0; i < command->iovcnt; from += command->iov[i++].iov_len)
        memcpy(command->iov[i].iov_base, from, command->iov[i].iov_len);
}

static void end_all(struct commands *ended)
{
    struct command *command;

    while ((command = TAILQ_FIRST(ended)) != NULL) {
        TAILQ_REMOVE(ended, command, entry);
        if (command->kind == NBD_READ && command->gathered &&
            command->result == 0)
            scatter(command);
        free(command->gathered);
        command->done(command->token, command->result);
        free(command);
    }
}

/* ---- the session ---- */

static uint64_t patience_ns(const struct disk *disk)
{
    return disk->options.reconnect_s == BLKALIGN_NBD_NEVER
               ? 0 : disk->options.reconnect_s * SECOND_NS;
}

/* Under the lock: those that are not to be tried again go to `ended`. What
 * has been sent may have been done, or not. */
static void expire(struct disk *disk, struct commands *ended)
{
    struct command *command = TAILQ_FIRST(&disk->waiting), *next;
    uint64_t now = now_ns(), since;

    for (; command; command = next) {
        next = TAILQ_NEXT(command, entry);
        since = command->lost_ns ? command->lost_ns : disk->down_ns;
        if (command->kind == NBD_FLUSH && disk->lost)
            command->result = -EIO;
        else if (now - since >= patience_ns(disk))
            command->result = command->sent ? -EIO : -ESHUTDOWN;
        else
            continue;
        TAILQ_REMOVE(&disk->waiting, command, entry);
        TAILQ_INSERT_TAIL(ended, command, entry);
    }
}

void disk_expire(struct disk *disk)
{
    struct commands ended = TAILQ_HEAD_INITIALIZER(ended);
    bool given_up;

    pthread_mutex_lock(&disk->lock);
    expire(disk, &ended);
    given_up = !disk->ready && !disk->told_given_up &&
               now_ns() - disk->down_ns >= patience_ns(disk);
    disk->told_given_up |= given_up;
    pthread_mutex_unlock(&disk->lock);
    if (given_up)
        tell(disk, "%s: given up for now, requests fail until the server is "
             "back", disk->uri);
    end_all(&ended);
}

/* Under the lock: to the connection that has least to do; of several, to one
 * that is lent if the caller waits, else to one that is not. */
static struct connection *assign(struct disk *disk, struct command *command,
                                 bool waits)
{
    struct connection *best = NULL, *each;
    unsigned i;

    for (i = 0; i < disk->count; i++) {
        each = &disk->connections[i];
        if (each->up &&
            (!best || 2 * each->load + (each->lent != waits) <
                          2 * best->load + (best->lent != waits)))
            best = each;
    }
    command->connection = best;
    TAILQ_INSERT_TAIL(&best->todo, command, entry);
    best->load++;
    return best;
}

int disk_submit(struct disk *disk, struct command *command, bool waits,
                struct connection **to_drive)
{
    struct connection *its;
    int result = 0;

    *to_drive = NULL;
    pthread_mutex_lock(&disk->lock);
    command->covers = disk->acknowledged;
    if (command->kind == NBD_FLUSH && disk->lost)
        result = -EIO;
    else if (disk->ready) {
        its = assign(disk, command, waits);
        if (driving_begin(its, waits))
            *to_drive = its;
        else if (driving_must_wake(its))
            wake(its);
    } else if (now_ns() - disk->down_ns >= patience_ns(disk))
        result = -ESHUTDOWN;
    else
        TAILQ_INSERT_TAIL(&disk->waiting, command, entry);
    pthread_mutex_unlock(&disk->lock);
    return result;
}

void session_end(struct connection *connection)
{
    struct disk *disk = connection->disk;
    bool ended, lost = false;
    unsigned i;

    pthread_mutex_lock(&disk->lock);
    ended = connection->up && connection->session == disk->session &&
            !disk->closing;
    if (ended) {
        disk->session++;
        disk->up = disk->refused = 0;
        if (disk->ready)
            disk->down_ns = now_ns();
        disk->ready = disk->told_given_up = false;
        lost = disk->acknowledged > disk->stable && !disk->lost;
        disk->lost |= lost;
        for (i = 0; i < disk->count; i++)
            wake(&disk->connections[i]);
    }
    pthread_mutex_unlock(&disk->lock);
    if (ended)
        tell(disk, "%s: connection %u is lost: %s%s", disk->uri,
             connection->number, connection->why,
             lost ? "; writes that were not flushed may be lost, too: "
                    "flushes fail from now on" : "");
}

uint64_t session_leave(struct connection *connection)
{
    struct disk *disk = connection->disk;
    struct command *command;
    uint64_t now = now_ns(), session;

    pthread_mutex_lock(&disk->lock);
    TAILQ_CONCAT(&connection->flying, &connection->finished, entry);
    TAILQ_CONCAT(&connection->flying, &connection->todo, entry);
    TAILQ_FOREACH(command, &connection->flying, entry) {
        if (!command->lost_ns)
            command->lost_ns = now;
        command->flushing = false;
        command->result = 0;
    }
    TAILQ_CONCAT(&disk->waiting, &connection->flying, entry);
    connection->load = 0;
    connection->up = connection->refused = false;
    connection->late = disk->up > 0;
    session = connection->session = disk->session;
    pthread_mutex_unlock(&disk->lock);
    disk_expire(disk);
    return session;
}

/* Under the lock: what has waited goes out. */
static void begin(struct disk *disk, struct commands *ended)
{
    struct command *command;

    disk->ready = true;
    expire(disk, ended);
    while ((command = TAILQ_FIRST(&disk->waiting)) != NULL) {
        TAILQ_REMOVE(&disk->waiting, command, entry);
        wake(assign(disk, command, false));
    }
}

bool session_join(struct connection *connection, uint64_t session, bool up)
{
    struct commands ended = TAILQ_HEAD_INITIALIZER(ended);
    struct disk *disk = connection->disk;
    bool same, begins = false;
    unsigned count = 0;

    pthread_mutex_lock(&disk->lock);
    same = session == disk->session && !disk->closing;
    if (same) {
        connection->up = up;
        connection->refused = !up && connection->late;
        connection->late = disk->up > 0;
        count = disk->up += connection->up;
        disk->refused += connection->refused;
        begins = (up || connection->refused) &&
                 disk->up + disk->refused == disk->count;
        if (begins)
            begin(disk, &ended);
    }
    pthread_mutex_unlock(&disk->lock);
    if (begins)
        tell(disk, "%s: connected again, connections: %u", disk->uri, count);
    end_all(&ended);
    return same;
}

bool session_take(struct connection *connection, struct commands *batch)
{
    struct disk *disk = connection->disk;
    bool some;

    pthread_mutex_lock(&disk->lock);
    some = !TAILQ_EMPTY(&connection->todo);
    TAILQ_CONCAT(batch, &connection->todo, entry);
    pthread_mutex_unlock(&disk->lock);
    return some;
}

/* ---- answers ---- */

/* Under the lock. A server without flush has no cache that could be lost. */
static void count(struct disk *disk, struct command *command)
{
    bool durable = command->flags & LIBNBD_CMD_FLAG_FUA ||
                   command->flush_after || !disk->export.flush;

    if (command->kind == NBD_FLUSH && disk->lost)
        command->result = -EIO;
    if (command->result < 0)
        return;
    if (command->kind == NBD_FLUSH || command->flushing) {
        if (command->covers > disk->stable)
            disk->stable = command->covers;
    } else if ((command->kind == NBD_WRITE || command->kind == NBD_ZERO) &&
               !durable) {
        disk->acknowledged++;
    }
}

void session_settle(struct connection *connection, bool dead)
{
    struct commands ended = TAILQ_HEAD_INITIALIZER(ended);
    struct disk *disk = connection->disk;
    struct command *command;
    bool current;

    if (TAILQ_EMPTY(&connection->finished))
        return;
    pthread_mutex_lock(&disk->lock);
    current = connection->up && connection->session == disk->session;
    while ((command = TAILQ_FIRST(&connection->finished)) != NULL) {
        TAILQ_REMOVE(&connection->finished, command, entry);
        if (!current || (dead && command->result < 0)) {
            TAILQ_INSERT_TAIL(&connection->flying, command, entry);
        } else if (command->flush_after && !command->flushing &&
                   command->result == 0) {
            command->flushing = true;
            command->covers = disk->acknowledged;
            TAILQ_INSERT_TAIL(&connection->todo, command, entry);
        } else {
            count(disk, command);
            connection->load--;
            TAILQ_INSERT_TAIL(&ended, command, entry);
        }
    }
    pthread_mutex_unlock(&disk->lock);
    end_all(&ended);
}
