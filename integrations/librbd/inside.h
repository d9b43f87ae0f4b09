/*
 * What the pages of the RBD driver share.
 *
 *     blkalign-rbd.c   opening: the cluster, the image, its lock
 *     place.c          takes "rbd:POOL/IMAGE:NAME=VALUE" apart; knows no Ceph
 *     driver.c         from libblkalign's calls to librbd's
 *
 * There is no lock and no thread here: an image may be used by any thread,
 * and librbd's threads say when an I/O is done.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef INSIDE_H
#define INSIDE_H

#include "blkalign-rbd.h"

#include <rbd/librbd.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SETTINGS_MAX = 64 };

/* All strings but `text` lie in `text`. NULL: not named. */
struct place {
    char *text;
    const char *pool, *name_space, *image, *snapshot;
    const char *user, *conf;
    struct setting {
        const char *name, *value;
    } settings[SETTINGS_MAX];
    unsigned count;
};

struct disk {
    char *name;                 /* the place, for messages */
    rados_t cluster;            /* NULL: not there, as for the next two */
    rados_ioctx_t pool;
    rbd_image_t image;
};

/* ---- place.c ---- */

/* Returns NULL, or what is wrong; then, too, the place is to be freed. */
const char *blkalign_rbd_place_parse(const char *text, struct place *place);
void blkalign_rbd_place_free(struct place *place);

/* ---- driver.c ---- */

void blkalign_rbd_driver_fill(struct disk *disk, blkalign_driver *driver);
/* Called when no request is left, by the thread that closes. */
void blkalign_rbd_driver_close(void *disk);

#endif
