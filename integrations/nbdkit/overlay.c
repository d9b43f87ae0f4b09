/*
 * The overlay behind backing=: see overlay.h.
 *
 * A client outlives a server that is killed, and goes on with the next one: a
 * write that it was told is done has to be there. An overlay forgets what was
 * not flushed, since its map does not say yet that it is there. So as long as
 * clusters may be absent each write is as if a flush came with it.
 *
 * Written before the first connection and after the last one only, but for
 * `filling` and `complete`, which the library's thread changes when the fill
 * is over.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "overlay.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#ifdef HAVE_LIBNBD
#include <blkalign-nbd.h>
#endif

static blkalign_handle *backing, *overlay;
static int64_t fill_id;
static int filling, complete;   /* atomics */

bool overlay_is_uri(const char *backing)
{
    return strncmp(backing, "nbd", 3) == 0 && strstr(backing, "://") != NULL;
}

static int open_nbd(const char *uri)
{
#ifdef HAVE_LIBNBD
    char words[BLKALIGN_NBD_WORDS];
    int ret = blkalign_nbd_open(uri, NULL, NULL, words, &backing);

    if (ret < 0)
        nbdkit_error("backing=%s: %s", uri, words);
    return ret < 0 ? -1 : 0;
#else
    nbdkit_error("backing=%s: built without libnbd, so no NBD", uri);
    return -1;
#endif
}

static int open_backing(const char *what)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    if (overlay_is_uri(what))
        return open_nbd(what);
    options.flags = BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK;
    if (blkalign_open(what, &options, &backing) == 0)
        return 0;
    nbdkit_error("backing=%s: %s", what, blkalign_errmsg());
    return -1;
}

/* Callback, on a thread of the library. */
static void filled(void *opaque, int ret)
{
    (void)opaque;
    __atomic_store_n(&complete, ret == 0, __ATOMIC_RELAXED);
    if (ret == 0)
        nbdkit_debug("all of the backing object has been copied");
    else if (ret != -ECANCELED)
        nbdkit_error("the fill has failed, and the disk is served without "
                     "it: %s", strerror(-ret));
    __atomic_store_n(&filling, 0, __ATOMIC_RELAXED);
}

static int start_fill(void)
{
    __atomic_store_n(&filling, 1, __ATOMIC_RELAXED);
    fill_id = blkalign_overlay_fill(overlay, filled, NULL);
    if (fill_id > 0)
        return 0;
    nbdkit_error("fill: %s", blkalign_errmsg());
    return -1;
}

int overlay_begin(const char *path, const struct overlay_choices *choices,
                  const blkalign_open_options *options)
{
    blkalign_overlay_options how = BLKALIGN_OVERLAY_OPTIONS_INIT;
    blkalign_open_options serial = *options;

    if (open_backing(choices->backing) < 0)
        return -1;
    if (choices->copy_on_read)
        how.flags = BLKALIGN_OVERLAY_COPY_ON_READ;
    /* Nobody polls this handle. */
    serial.completion = BLKALIGN_COMPLETION_SERIAL;
    if (blkalign_open_overlay(path, backing, &serial, &how, &overlay) < 0) {
        nbdkit_error("%s", blkalign_errmsg());
        overlay_end();
        return -1;
    }
    if (choices->fill && start_fill() < 0) {
        overlay_end();
        return -1;
    }
    return 0;
}

int overlay_handle(const blkalign_open_options *options,
                   blkalign_handle **out)
{
    blkalign_open_options how = *options;

    if (how.flags & BLKALIGN_O_RDWR &&
        !__atomic_load_n(&complete, __ATOMIC_RELAXED))
        how.flags |= BLKALIGN_O_WRITETHROUGH;
    return blkalign_dup(overlay, &how, out);
}

void overlay_end(void)
{
    if (overlay != NULL && __atomic_load_n(&filling, __ATOMIC_RELAXED))
        blkalign_aio_cancel(overlay, fill_id);
    if (overlay != NULL && blkalign_close(overlay) < 0)
        nbdkit_error("the overlay was not closed well: %s",
                     blkalign_errmsg());
    if (backing != NULL)
        blkalign_close(backing);
    overlay = backing = NULL;
}
