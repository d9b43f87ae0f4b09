/*
 * The commands that need no time: create, info and check.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "overlay.h"

#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 1 << 20 };

int run_create(const struct choices *choices)
{
    blkalign_overlay_options overlay = BLKALIGN_OVERLAY_OPTIONS_INIT;
    int64_t length = choices->length;
    blkalign_handle *backing;
    int result;

    if (choices->like) {
        backing = open_backing(choices->like);
        if (!backing)
            return EXIT_FAILED;
        length = blkalign_getlength(backing);
        blkalign_close(backing);
    }
    if (length < 0 || choices->cluster > UINT32_MAX) {
        complain_of(choices->path, length < 0 ? (int)length : -EINVAL);
        return EXIT_FAILED;
    }
    overlay.cluster_size = (uint32_t)choices->cluster;
    result = blkalign_overlay_create(choices->path, length, &overlay);
    if (result == 0)
        return 0;
    complain_of(choices->path, result);
    return EXIT_FAILED;
}

static void show(const char *path, const struct extent *extent, bool json)
{
    int64_t absent = extent->length - extent->there;

    if (json) {
        fputs("{\n", stdout);
        json_path(path, "  ");
        printf(",\n  \"length\": %" PRId64 ",\n  \"cluster\": %" PRId64
               ",\n  \"there\": %" PRId64 ",\n  \"absent\": %" PRId64
               "\n}\n", extent->length, extent->cluster, extent->there,
               absent);
        return;
    }
    put_text(stdout, path);
    printf("\n  %-10s%20" PRId64 "\n  %-10s%20" PRId64
           "\n  %-10s%20" PRId64 "\n  %-10s%20" PRId64 "\n",
           "length", extent->length, "cluster", extent->cluster, "there",
           extent->there, "absent", absent);
}

int run_info(const struct choices *choices)
{
    struct extent extent;
    blkalign_handle *overlay = open_overlay(choices->path, NULL);
    bool measured;

    if (!overlay)
        return EXIT_FAILED;
    measured = measure(overlay, choices->path, &extent);
    blkalign_close(overlay);
    if (!measured || (extent.cluster = cluster_of(choices->path)) < 0)
        return EXIT_FAILED;
    show(choices->path, &extent, choices->json);
    return 0;
}

/* Reads what is there of the overlay; false after a complaint. */
static bool read_there(blkalign_handle *overlay, const char *path)
{
    int64_t length = blkalign_getlength(overlay), at, run = 0;
    bool readable = true;
    char *piece = malloc(PIECE);
    int there, result;

    for (at = 0; piece && at < length; at += run) {
        int64_t bytes = length - at < PIECE ? length - at : PIECE;

        there = blkalign_overlay_status(overlay, at, bytes, &run);
        if (there < 0) {
            complain_of(path, there);
            readable = false;
            break;
        }
        result = there ? blkalign_pread(overlay, at, run, piece, 0) : 0;
        if (result < 0) {
            complain("%s: %" PRId64 " bytes at %" PRId64 ": %s", path, run,
                     at, blkalign_errmsg());
            readable = false;
        }
    }
    if (!piece)
        complain("no memory");
    free(piece);
    return piece && readable;
}

int run_check(const struct choices *choices)
{
    blkalign_handle *overlay = open_overlay(choices->path, NULL);
    struct extent extent;
    bool sound;

    /* Opening it checks all of the map. */
    if (!overlay)
        return EXIT_FAILED;
    sound = measure(overlay, choices->path, &extent) &&
            (!choices->read || read_there(overlay, choices->path));
    blkalign_close(overlay);
    if (!sound)
        return EXIT_FAILED;
    put_text(stdout, choices->path);
    printf(": sound; %" PRId64 " of %" PRId64 " bytes are there%s\n",
           extent.there, extent.length,
           choices->read ? " and can be read" : "");
    return 0;
}
