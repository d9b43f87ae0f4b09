/*
 * An NBD export as storage of libblkalign: opening.
 *
 * Divisions: words, options, opening.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    ALIGNMENT_MAX = 1 << 20,            /* of libblkalign */
    CONNECTIONS = 4, RECONNECT_S = 30
};

/* ---- words ---- */

static int fail(char *words, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(char *words, int result, const char *format, ...)
{
    va_list arguments;

    if (words) {
        va_start(arguments, format);
        vsnprintf(words, BLKALIGN_NBD_WORDS, format, arguments);
        va_end(arguments);
    }
    return result;
}

/* ---- options ---- */

/* As the library does with its own: shorter is older, the rest zero; longer
 * is newer, its rest must be zero. */
static int read_options(const blkalign_nbd_options *from,
                        blkalign_nbd_options *to, char *words)
{
    const unsigned char *bytes = (const unsigned char *)from;
    size_t i;

    memset(to, 0, sizeof *to);
    if (from && from->size < sizeof from->size)
        return fail(words, -EINVAL, "blkalign_nbd_options has no size");
    for (i = sizeof *to; from && i < from->size; i++) {
        if (bytes[i])
            return fail(words, -E2BIG, "blkalign_nbd_options is of a newer "
                        "version than this driver");
    }
    if (from)
        memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    to->size = sizeof *to;
    if (!to->connections)
        to->connections = CONNECTIONS;
    if (!to->reconnect_s)
        to->reconnect_s = RECONNECT_S;
    if (to->flags & ~(uint32_t)BLKALIGN_NBD_LOCAL_FILES)
        return fail(words, -EINVAL, "unknown flags: 0x%x",
                    (unsigned)to->flags);
    if (to->connections > CONNECTIONS_MAX)
        return fail(words, -EINVAL, "connections: at most %d, not %u",
                    CONNECTIONS_MAX, (unsigned)to->connections);
    return 0;
}

/* ---- opening ---- */

static int connection_init(struct disk *disk, unsigned number)
{
    struct connection *connection = &disk->connections[number];
    pthread_condattr_t monotonic;

    connection->disk = disk;
    connection->number = number;
    connection->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (connection->wake < 0)
        return -errno;
    disk->count = number + 1;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&connection->back, &monotonic);
    pthread_condattr_destroy(&monotonic);
    TAILQ_INIT(&connection->todo);
    TAILQ_INIT(&connection->flying);
    TAILQ_INIT(&connection->finished);
    return 0;
}

/* The server's words are not to be trusted: what they say ends up in sizes
 * and loops. */
static int choose_blocks(struct disk *disk, char *words)
{
    const struct export *export = &disk->export;
    int64_t smallest = export->smallest, largest = export->largest;

    if (export->length < 0)
        return fail(words, -EINVAL, "%s: a length of %lld", disk->uri,
                    (long long)export->length);
    /* None named: sectors, as QEMU takes it, if the length allows that. */
    if (smallest <= 0)
        smallest = export->length % 512 ? 1 : 512;
    if (smallest > ALIGNMENT_MAX || smallest & (smallest - 1))
        return fail(words, -EINVAL, "%s: blocks of %lld, which is no power "
                    "of two up to 1 MiB", disk->uri, (long long)smallest);
    if (largest > 0 && largest < smallest)
        return fail(words, -EINVAL, "%s: blocks of %lld at least and %lld "
                    "at most", disk->uri, (long long)smallest,
                    (long long)largest);
    if (export->length % smallest)
        return fail(words, -EINVAL, "%s: blocks of %lld at least, and a "
                    "length of %lld, which is no multiple: its end could "
                    "not be reached", disk->uri, (long long)smallest,
                    (long long)export->length);
    disk->alignment = (uint32_t)smallest;
    return 0;
}

/* The first must be there; further ones only where they are coherent. One
 * that is refused later is no error: there are fewer then. */
static int connect_all(struct disk *disk, char *words)
{
    struct connection *first = &disk->connections[0];
    unsigned i, wanted;
    int result = connection_init(disk, 0);

    if (result == 0)
        result = connection_open(first, 0);
    if (result < 0)
        return fail(words, result, "%s: %s", disk->uri,
                    first->why[0] ? first->why : strerror(-result));
    first->up = true;
    connection_describe(first->nbd, &disk->export);
    disk->tls = nbd_get_tls_negotiated(first->nbd) > 0;
    result = choose_blocks(disk, words);
    wanted = disk->export.multi ? disk->options.connections : 1;
    for (i = 1; result == 0 && i < wanted; i++) {
        if (connection_init(disk, i) < 0)
            break;
        if (connection_open(&disk->connections[i], 0) < 0) {
            close(disk->connections[i].wake);
            pthread_cond_destroy(&disk->connections[i].back);
            disk->count = i;
            break;
        }
        disk->connections[i].up = true;
    }
    disk->up = disk->count;
    disk->ready = true;
    return result;
}

/* All signals are the program's own threads'. */
static int start_threads(struct disk *disk, char *words)
{
    sigset_t all, before;
    unsigned i, started;
    int result = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (started = 0; result == 0 && started < disk->count; started++)
        result = -pthread_create(&disk->connections[started].thread, NULL,
                                 connection_run,
                                 &disk->connections[started]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0)
        return 0;
    started--;
    pthread_mutex_lock(&disk->lock);
    disk->closing = true;
    pthread_mutex_unlock(&disk->lock);
    for (i = 0; i < started; i++) {
        wake(&disk->connections[i]);
        pthread_join(disk->connections[i].thread, NULL);
    }
    return fail(words, result, "cannot start a thread: %s",
                strerror(-result));
}

static int open_handle(struct disk *disk,
                       const blkalign_open_options *options, char *words,
                       blkalign_handle **out)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    int result;

    driver_fill(disk, &driver);
    result = blkalign_open_driver(&driver, disk, options, out);
    return result == 0 ? 0 : fail(words, result, "%s", blkalign_errmsg());
}

int blkalign_nbd_open(const char *uri, const blkalign_nbd_options *nbd,
                      const blkalign_open_options *options,
                      char words[BLKALIGN_NBD_WORDS], blkalign_handle **out)
{
    struct disk *disk;
    unsigned i;
    int result;

    if (words)
        words[0] = '\0';
    if (!uri || !out)
        return fail(words, -EINVAL, "no URI, or no place for the handle");
    disk = calloc(1, sizeof *disk);
    if (!disk)
        return fail(words, -ENOMEM, "out of memory");
    pthread_mutex_init(&disk->lock, NULL);
    TAILQ_INIT(&disk->waiting);
    disk->told_given_up = true;         /* there is nothing to give up yet */
    disk->uri = strdup(uri);
    result = read_options(nbd, &disk->options, words);
    if (result == 0 && !disk->uri)
        result = fail(words, -ENOMEM, "out of memory");
    if (result == 0)
        result = connect_all(disk, words);
    if (result == 0 && options && options->flags & BLKALIGN_O_RDWR &&
        disk->export.read_only)
        result = fail(words, -EROFS, "%s: the export is read-only", uri);
    if (result == 0 && (result = start_threads(disk, words)) == 0) {
        result = open_handle(disk, options, words, out);
        if (result < 0)
            driver_close(disk);
        return result;
    }
    for (i = 0; i < disk->count; i++)
        connection_close(&disk->connections[i]);
    disk_free(disk);
    return result;
}
