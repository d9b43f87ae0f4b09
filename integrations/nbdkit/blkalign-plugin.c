/*
 * nbdkit-blkalign-plugin: a file or disk over NBD, at any offset and length,
 * whatever blocks it has.
 *
 * Data flow: a client's request arrives on one of nbdkit's threads, many at
 * once and of one connection in any order. That thread makes the synchronous
 * call of libblkalign, which does the I/O on it unless another request is in
 * the way. A connection has a handle of its own; handles of one file know of
 * each other, so connections are safe against each other and a flush on one
 * covers all (multi-conn).
 *
 * Knows NBD and <blkalign.h>; nothing of how either works inside.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <blkalign.h>

#include "overlay.h"
#include "../../tools/common/throttle_option.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* What the command line says; only written before the first connection. */
static char *path;
static int use_direct = -1;     /* -1: where the file system has it */
static int use_unmap = 1;
static int use_lock;
static enum { READ_WRITE, READ_ONLY, READ_ONLY_AUTO } mode = READ_WRITE;
static unsigned engine = BLKALIGN_ENGINE_AUTO;
static unsigned workers;
static blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;

static blkalign_throttle *throttle;     /* of all connections; NULL: none */
static struct overlay_choices over;

struct connection {
    blkalign_handle *disk;
    bool writable;
};

/* Tells nbdkit of a failure of the library; what a callback returns then. */
static int failed(int64_t ret)
{
    nbdkit_error("%s", blkalign_errmsg());
    nbdkit_set_error((int)-ret);
    return -1;
}

static int result(int64_t ret)
{
    return ret < 0 ? failed(ret) : 0;
}

static int set_switch(const char *value, int *to)
{
    int on = nbdkit_parse_bool(value);

    if (on < 0)
        return -1;
    *to = on;
    return 0;
}

static int set_engine(const char *value)
{
    if (strcmp(value, "auto") == 0)
        engine = BLKALIGN_ENGINE_AUTO;
    else if (strcmp(value, "threads") == 0)
        engine = BLKALIGN_ENGINE_THREADS;
    else if (strcmp(value, "io_uring") == 0)
        engine = BLKALIGN_ENGINE_IO_URING;
    else {
        nbdkit_error("engine=%s: auto, threads or io_uring", value);
        return -1;
    }
    return 0;
}

static int set_mode(const char *value)
{
    int on;

    if (strcmp(value, "auto") == 0) {
        mode = READ_ONLY_AUTO;
        return 0;
    }
    on = nbdkit_parse_bool(value);
    if (on < 0)
        return -1;
    mode = on ? READ_ONLY : READ_WRITE;
    return 0;
}

/* `name` is what stands behind "throttle-". */
static int set_limit(const char *name, const char *value)
{
    switch (throttle_option(&limits, name, value)) {
    case THROTTLE_TAKEN:
        return 0;
    case THROTTLE_WRONG:
        nbdkit_error("throttle-%s=%s: not RATE or RATE:BURST", name, value);
        return -1;
    default:
        nbdkit_error("unknown parameter 'throttle-%s'", name);
        return -1;
    }
}

static int plugin_config(const char *key, const char *value)
{
    if (strcmp(key, "file") == 0) {
        free(path);
        path = nbdkit_absolute_path(value);
        return path == NULL ? -1 : 0;
    }
    if (strcmp(key, "direct") == 0)
        return set_switch(value, &use_direct);
    if (strcmp(key, "unmap") == 0)
        return set_switch(value, &use_unmap);
    if (strcmp(key, "lock") == 0)
        return set_switch(value, &use_lock);
    if (strcmp(key, "ro") == 0)
        return set_mode(value);
    if (strcmp(key, "backing") == 0) {
        free(over.backing);
        over.backing = overlay_is_uri(value) ? strdup(value)
                                             : nbdkit_absolute_path(value);
        return over.backing == NULL ? -1 : 0;
    }
    if (strcmp(key, "copy-on-read") == 0)
        return set_switch(value, &over.copy_on_read);
    if (strcmp(key, "fill") == 0)
        return set_switch(value, &over.fill);
    if (strcmp(key, "engine") == 0)
        return set_engine(value);
    if (strcmp(key, "workers") == 0)
        return nbdkit_parse_unsigned("workers", value, &workers);
    if (strncmp(key, "throttle-", 9) == 0)
        return set_limit(key + 9, value);
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

static int plugin_config_complete(void)
{
    const char *wrong = NULL;

    if (path == NULL)
        wrong = "file=PATH is missing: the file or disk to serve";
    else if ((over.copy_on_read || over.fill) && over.backing == NULL)
        wrong = "copy-on-read and fill are for an overlay: backing= is "
                "missing";
    else if ((over.copy_on_read || over.fill) && mode != READ_WRITE)
        wrong = "copy-on-read and fill write to the disk: not with ro=";
    if (wrong != NULL)
        nbdkit_error("%s", wrong);
    return wrong != NULL ? -1 : 0;
}

static void plugin_unload(void)
{
    blkalign_throttle_free(throttle);
    overlay_end();
    free(over.backing);
    free(path);
}

static void plugin_dump(void)
{
    printf("blkalign_version=%s\n", blkalign_version());
}

/* A server that was killed keeps its locks until the last of its I/O is done:
 * until then who takes its place waits, and nothing comes after its own. */
static int open_patiently(const blkalign_open_options *options,
                          blkalign_handle **disk)
{
    struct timespec nap = { 0, 50 * 1000 * 1000 };
    int ret, naps = 100;

    while ((ret = blkalign_open(path, options, disk)) == -EAGAIN && use_lock &&
           naps-- > 0)
        nanosleep(&nap, NULL);
    return ret;
}

static blkalign_open_options options_for(bool writable)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    options.engine = engine;
    options.workers = workers;
    if (use_direct != 0)
        options.flags |= BLKALIGN_O_DIRECT;
    if (use_direct < 0)
        options.flags |= BLKALIGN_O_BUFFERED_OK;
    if (writable)
        options.flags |= BLKALIGN_O_RDWR;
    if (writable && use_unmap)
        options.flags |= BLKALIGN_O_UNMAP;
    if (use_lock)
        options.flags |= BLKALIGN_O_LOCK;
    return options;
}

/* Not before: nbdkit forks, and the library does not outlive a fork. */
static int plugin_after_fork(void)
{
    blkalign_open_options options = options_for(mode == READ_WRITE);

    if (throttle_limits_any(&limits) &&
        result(blkalign_throttle_new(&limits, &throttle)) != 0)
        return -1;
    return over.backing != NULL ? overlay_begin(path, &over, &options) : 0;
}

static int open_disk(struct connection *connection, bool writable)
{
    blkalign_open_options options = options_for(writable);

    connection->writable = writable;
    if (over.backing != NULL)
        return overlay_handle(&options, &connection->disk);
    return open_patiently(&options, &connection->disk);
}

/* A disk may have grown or shrunk: each connection begins with its length. */
static int length_now(blkalign_handle *disk)
{
    int64_t bytes = blkalign_refresh_length(disk);

    return bytes < 0 ? (int)bytes : 0;
}

static void *plugin_open(int readonly)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    int ret;

    if (connection == NULL) {
        nbdkit_error("calloc: %s", strerror(errno));
        return NULL;
    }
    readonly = readonly || mode == READ_ONLY ||
               (over.backing != NULL && mode != READ_WRITE);
    ret = open_disk(connection, !readonly);
    if (!readonly && mode == READ_ONLY_AUTO &&
        (ret == -EROFS || ret == -EACCES || ret == -EPERM)) {
        nbdkit_debug("%s; serving it read-only", blkalign_errmsg());
        ret = open_disk(connection, false);
    }
    /* A handle of another connection may have been open for long. */
    if (ret == 0 && over.backing == NULL)
        ret = length_now(connection->disk);
    if (ret == 0 && throttle != NULL)
        ret = blkalign_set_throttle(connection->disk, throttle);
    if (ret < 0) {
        failed(ret);
        if (connection->disk != NULL)
            blkalign_close(connection->disk);
        free(connection);
        return NULL;
    }
    return connection;
}

static void plugin_close(void *handle)
{
    struct connection *connection = handle;

    blkalign_close(connection->disk);
    free(connection);
}

static int64_t plugin_get_size(void *handle)
{
    struct connection *connection = handle;
    int64_t bytes = blkalign_getlength(connection->disk);

    return bytes < 0 ? failed(bytes) : bytes;
}

static int plugin_block_size(void *handle, uint32_t *minimum,
                             uint32_t *preferred, uint32_t *maximum)
{
    struct connection *connection = handle;
    blkalign_limits its = BLKALIGN_LIMITS_INIT;
    int ret = blkalign_get_limits(connection->disk, &its);

    if (ret < 0)
        return failed(ret);
    *minimum = 1;
    *preferred = 4096;
    if (its.request_alignment > *preferred)
        *preferred = its.request_alignment;
    *maximum = 0xffffffff;
    return 0;
}

static int plugin_can_write(void *handle)
{
    struct connection *connection = handle;

    return connection->writable;
}

static int plugin_can_trim(void *handle)
{
    struct connection *connection = handle;

    return connection->writable && use_unmap;
}

static int plugin_yes(void *handle)
{
    (void)handle;
    return 1;
}

static int plugin_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

static int plugin_pread(void *handle, void *buffer, uint32_t count,
                        uint64_t offset, uint32_t flags)
{
    struct connection *connection = handle;

    (void)flags;
    return result(blkalign_pread(connection->disk, (int64_t)offset, count,
                                 buffer, 0));
}

static uint32_t fua(uint32_t flags)
{
    return flags & NBDKIT_FLAG_FUA ? BLKALIGN_REQ_FUA : 0;
}

static int plugin_pwrite(void *handle, const void *buffer, uint32_t count,
                         uint64_t offset, uint32_t flags)
{
    struct connection *connection = handle;

    return result(blkalign_pwrite(connection->disk, (int64_t)offset, count,
                                  buffer, fua(flags)));
}

static int plugin_zero(void *handle, uint32_t count, uint64_t offset,
                       uint32_t flags)
{
    struct connection *connection = handle;
    uint32_t request = fua(flags);
    int ret;

    if (flags & NBDKIT_FLAG_MAY_TRIM)
        request |= BLKALIGN_REQ_MAY_UNMAP;
    if (flags & NBDKIT_FLAG_FAST_ZERO)
        request |= BLKALIGN_REQ_NO_FALLBACK;
    ret = blkalign_pwrite_zeroes(connection->disk, (int64_t)offset, count,
                                 request);
    if (ret == -ENOTSUP && flags & NBDKIT_FLAG_FAST_ZERO) {
        nbdkit_set_error(ENOTSUP);      /* an answer, not a failure */
        return -1;
    }
    return result(ret);
}

static int plugin_flush(void *handle, uint32_t flags)
{
    struct connection *connection = handle;

    (void)flags;
    return result(blkalign_flush(connection->disk));
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset,
                       uint32_t flags)
{
    struct connection *connection = handle;
    int ret = blkalign_pdiscard(connection->disk, (int64_t)offset, count);

    if (ret == 0 && flags & NBDKIT_FLAG_FUA)
        ret = blkalign_flush(connection->disk);
    return result(ret);
}

static struct nbdkit_plugin plugin = {
    .name              = "blkalign",
    .longname          = "libblkalign",
    .description       = "serve any range of a disk that takes only blocks",
    .unload            = plugin_unload,
    .config            = plugin_config,
    .config_complete   = plugin_config_complete,
    .after_fork        = plugin_after_fork,
    .magic_config_key  = "file",
    .config_help       =
        "file=<PATH>      (required) The file or block device to serve.\n"
        "direct=<BOOL>    O_DIRECT, or not; default: if available.\n"
        "engine=auto|threads|io_uring\n"
        "unmap=<BOOL>     Let clients trim; default: true.\n"
        "ro=<BOOL>|auto   Read-only; auto: if the disk cannot be written.\n"
        "lock=<BOOL>      Lock the image as QEMU does; default: false.\n"
        "workers=<N>      Threads of a connection's own; default: shared.\n"
        "throttle-bytes=<RATE>[:<BURST>]  All clients together, a second;\n"
        "                 also read-bytes, write-bytes, requests,\n"
        "                 read-requests, write-requests; request-bytes=<N>:\n"
        "                 a request of more bytes counts as several.\n"
        "backing=<PATH>|<URI>  The disk is an overlay over this file, device\n"
        "                 or NBD export, made by blkalign-overlay.\n"
        "copy-on-read=<BOOL>   Keep what a read takes from it.\n"
        "fill=<BOOL>      Copy all of it meanwhile.",
    .dump_plugin       = plugin_dump,
    .open              = plugin_open,
    .close             = plugin_close,
    .get_size          = plugin_get_size,
    .block_size        = plugin_block_size,
    .can_write         = plugin_can_write,
    .can_flush         = plugin_yes,
    .can_trim          = plugin_can_trim,
    .can_zero          = plugin_yes,
    .can_fast_zero     = plugin_yes,
    .can_fua           = plugin_can_fua,
    .can_multi_conn    = plugin_yes,
    .pread             = plugin_pread,
    .pwrite            = plugin_pwrite,
    .zero              = plugin_zero,
    .trim              = plugin_trim,
    .flush             = plugin_flush,
    .errno_is_preserved = 0,
};

NBDKIT_REGISTER_PLUGIN(plugin)
