/*
 * Opens overlays and what they lie over.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "overlay.h"

#include <errno.h>
#include <string.h>

#ifdef HAVE_LIBNBD
#include <blkalign-nbd.h>
#endif

static bool is_nbd_uri(const char *what)
{
    return strncmp(what, "nbd", 3) == 0 && strstr(what, "://");
}

static blkalign_handle *open_nbd(const char *uri)
{
    blkalign_handle *handle = NULL;
#ifdef HAVE_LIBNBD
    char words[BLKALIGN_NBD_WORDS];

    if (blkalign_nbd_open(uri, NULL, NULL, words, &handle) < 0) {
        complain("%s: %s", uri, words);
        return NULL;
    }
#else
    complain("%s: built without libnbd, so no NBD", uri);
#endif
    return handle;
}

blkalign_handle *open_backing(const char *what)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_handle *handle;
    int result;

    if (is_nbd_uri(what))
        return open_nbd(what);
    options.flags = BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK;
    result = blkalign_open(what, &options, &handle);
    if (result == 0)
        return handle;
    complain_of(what, result);
    return NULL;
}

/* A backing object in which there is nothing. */

static int64_t nothing_length(void *opaque)
{
    (void)opaque;
    return 0;
}

static int nothing_read(void *opaque, int64_t offset, int64_t bytes,
                        const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)opaque, (void)offset, (void)bytes;
    (void)iov, (void)iovcnt, (void)flags;
    return -EIO;
}

static int open_with(const char *path, blkalign_handle *backing,
                     uint32_t flags, int64_t cluster, blkalign_handle **out)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_overlay_options overlay = BLKALIGN_OVERLAY_OPTIONS_INIT;

    options.flags = flags | BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK;
    overlay.cluster_size = (uint32_t)cluster;
    return blkalign_open_overlay(path, backing, &options, &overlay, out);
}

static blkalign_handle *nothing(void)
{
    static blkalign_handle *handle;
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    int result;

    driver.name = "nothing";
    driver.getlength = nothing_length;
    driver.preadv = nothing_read;
    if (handle)
        return handle;
    result = blkalign_open_driver(&driver, NULL, NULL, &handle);
    if (result < 0)
        complain_of("blkalign_open_driver", result);
    return handle;
}

blkalign_handle *open_overlay(const char *path, blkalign_handle *backing)
{
    uint32_t flags = backing ? BLKALIGN_O_RDWR : 0;
    blkalign_handle *handle;
    int result;

    if (!backing && !(backing = nothing()))
        return NULL;
    result = open_with(path, backing, flags, 0, &handle);
    if (result == 0)
        return handle;
    complain_of(path, result);
    return NULL;
}

int64_t cluster_of(const char *path)
{
    blkalign_handle *handle;
    int64_t cluster;
    int result = -EINVAL;

    if (!nothing())
        return -1;
    for (cluster = 4096; cluster <= 2 << 20; cluster *= 2) {
        result = open_with(path, nothing(), 0, cluster, &handle);
        if (result == 0) {
            blkalign_close(handle);
            return cluster;
        }
    }
    complain_of(path, result);
    return -1;
}

bool measure(blkalign_handle *overlay, const char *path,
             struct extent *extent)
{
    int64_t at, run = 0;
    int there;

    extent->there = 0;
    extent->length = blkalign_getlength(overlay);
    for (at = 0; at < extent->length; at += run) {
        there = blkalign_overlay_status(overlay, at, extent->length - at,
                                        &run);
        if (there < 0) {
            complain_of(path, there);
            return false;
        }
        extent->there += there ? run : 0;
    }
    return true;
}
