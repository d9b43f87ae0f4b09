/*
 * blkalign-nbd: serves a file or disk over NBD, at any offset and length,
 * whatever blocks it has. server.h has the picture.
 *
 * Divisions: messages and the clock, the disk, the program.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_PATIENCE_S = 15 };

/* ---- messages and the clock ---- */

void say(const char *format, ...)
{
    char words[2048];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    fprintf(stderr, "blkalign-nbd: %s\n", words);
}

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void logged(void *opaque, int level, const char *message)
{
    (void)opaque;
    (void)level;
    say("%s", message);
}

/* ---- the disk ---- */

/* A server that was killed keeps its locks until the last of its I/O is done:
 * until then who takes its place waits, and nothing comes after its own. */
static int open_patiently(struct arguments *arguments, uint32_t flags)
{
    struct server *server = &arguments->server;
    struct timespec nap = { 0, 50 * 1000 * 1000 };
    int ret, naps = LOCK_PATIENCE_S * 20;

    server->options.flags |= flags;
    if (arguments->lock)
        server->options.flags |= BLKALIGN_O_LOCK;
    while ((ret = blkalign_open(server->path, &server->options,
                                &server->disk)) == -EAGAIN &&
           arguments->lock && naps-- > 0)
        nanosleep(&nap, NULL);
    /* One lock is enough for all handles of this process. */
    server->options.flags &= ~(uint32_t)BLKALIGN_O_LOCK;
    return ret;
}

static bool open_disk(struct arguments *arguments)
{
    struct server *server = &arguments->server;
    uint32_t flags = BLKALIGN_O_RDWR;
    int ret;

    if (server->discards)
        flags |= BLKALIGN_O_UNMAP;
    ret = open_patiently(arguments, server->writable ? flags : 0);
    if (arguments->read_only_auto &&
        (ret == -EROFS || ret == -EACCES || ret == -EPERM)) {
        say("%s; serving it read-only", blkalign_errmsg());
        server->writable = false;
        server->options.flags &= ~flags;
        ret = open_patiently(arguments, 0);
    }
    if (ret == 0 && arguments->throttles)
        ret = blkalign_throttle_new(&arguments->limits, &server->throttle);
    if (ret < 0)
        say("%s", blkalign_errmsg());
    return ret == 0;
}

/* ---- the program ---- */

static int catch_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    /* Before there are connections, so that none of them is interrupted. */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
    static struct arguments arguments;
    int listener, signals;
    bool ended;

    arguments_parse(&arguments, argc, argv);
    setvbuf(stderr, NULL, _IOLBF, 0);
    blkalign_set_log(logged, NULL, arguments.verbose ? BLKALIGN_LOG_DEBUG
                                                     : BLKALIGN_LOG_WARNING);
    /* A signal ends what waits for a lock. The library's threads block it. */
    if (!open_disk(&arguments))
        return EXIT_FAILURE;
    signals = catch_signals();
    listener = arguments.socket
                   ? listen_on_socket(arguments.socket)
                   : listen_on_port(arguments.address, arguments.port);
    if (listener < 0)
        return EXIT_FAILURE;
    ended = serve(&arguments.server, listener, signals,
                  arguments.connections_max);
    if (arguments.socket)
        remove_socket(arguments.socket);
    if (!ended) {
        say("the storage has not come to an end");
        _exit(EXIT_FAILURE);
    }
    blkalign_throttle_free(arguments.server.throttle);
    return blkalign_close(arguments.server.disk) < 0 ? EXIT_FAILURE
                                                     : EXIT_SUCCESS;
}
