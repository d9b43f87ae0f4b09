/*
 * What the parts of blkalign-overlay share. Each command is a file; options.c
 * reads the command line, opening.c opens overlays and backing objects.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef OVERLAY_H
#define OVERLAY_H

#include <blkalign.h>

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct choices {
    const char *path, *backing;
    const char *like;           /* of create */
    int64_t length;             /* of create; -1: not given */
    int64_t cluster;            /* of create; 0: the library's */
    int64_t rate;               /* of fill, bytes a second; 0: no limit */
    bool progress;              /* of fill */
    bool json;                  /* of info */
    bool read;                  /* of check */
};

/* What is there of an overlay, in bytes. */
struct extent {
    int64_t length, there;
    int64_t cluster;
};

/* The commands: the exit status. */
int run_create(const struct choices *choices);
int run_info(const struct choices *choices);
int run_fill(const struct choices *choices);
int run_check(const struct choices *choices);

/* Opens for reading what an overlay lies over: a path or an NBD URI. Returns
 * NULL after a complaint. */
blkalign_handle *open_backing(const char *what);

/* Opens an overlay. Without `backing` only what is there can be read, and
 * nothing is written. Returns NULL after a complaint. */
blkalign_handle *open_overlay(const char *path, blkalign_handle *backing);

/* Bytes of a cluster of the overlay, which nobody has open; -1 after a
 * complaint. */
int64_t cluster_of(const char *path);

/* Counts what is there; false after a complaint. */
bool measure(blkalign_handle *overlay, const char *path,
             struct extent *extent);

/* A path's or a command's failure, in the words of the library. */
void complain_of(const char *path, int result);
void complain(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

#endif
