/*
 * Storage of libblkalign that is an image of Ceph (RBD), through librbd.
 *
 * To use it copy this header, inside.h, blkalign-rbd.c, place.c and driver.c
 * into a program; link with -lblkalign -lrbd -lrados -lpthread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef BLKALIGN_RBD_H
#define BLKALIGN_RBD_H

#include <blkalign.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Other clients write to the image at the same time, as under a file system
 * of a cluster. The driver then takes no lock and never reads to write: the
 * request alignment is 1, and nothing is merged. */
#define BLKALIGN_RBD_SHARED 0x1

/* Bytes of the words of a failure. */
#define BLKALIGN_RBD_WORDS 256

typedef struct blkalign_rbd_options {
    size_t size;                /* sizeof(blkalign_rbd_options) */
    uint32_t flags;             /* BLKALIGN_RBD_SHARED or 0 */
    uint32_t reserved;          /* 0 */
} blkalign_rbd_options;

#define BLKALIGN_RBD_OPTIONS_INIT { sizeof(blkalign_rbd_options), 0, 0 }

/**
 * Opens the image that `place` names, in QEMU's way of writing:
 *
 *     rbd:POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][:NAME=VALUE...]
 *
 * NAME is `id` (a user of Ceph without "client."), `conf` (path of ceph.conf;
 * without it librados looks where it always does) or any option of Ceph. A
 * backslash before a character takes away its meaning. VALUE may name files
 * of this machine: the caller trusts `place`.
 *
 * `rbd` and `options` may be NULL: all defaults, read-only. Blocks until the
 * cluster has answered; Ceph's option client_mount_timeout says how long at
 * most. *out is then used like any other handle; blkalign_close() closes the
 * image and ends the connection.
 *
 * The request alignment is 4096, or the greatest power of two that divides
 * the image's length if that is less: Ceph takes any bytes, but small writes
 * that arrive together are then merged. `request_alignment` of the options
 * changes it. A handle for writing takes the image's exclusive lock and keeps
 * it until it is closed, so that nobody else writes between the reading and
 * the writing of a block. If the image has no such lock, or with
 * BLKALIGN_RBD_SHARED, the alignment is 1. With BLKALIGN_O_DIRECT librbd's
 * cache is off, unless `place` has rbd_cache=true.
 *
 * @return 0
 * -EINVAL  place or out is NULL, or place is not written as above; options
 *          are wrong
 * -EBUSY   another client holds the image's exclusive lock and keeps it
 * -EROFS   BLKALIGN_O_RDWR, and place names a snapshot
 * -E2BIG   rbd comes from a newer version and uses a field that this driver
 *          does not have
 * or any error of librados, of librbd and of blkalign_open_driver(), with
 * words in `words`, unless `words` is NULL.
 */
int blkalign_rbd_open(const char *place, const blkalign_rbd_options *rbd,
                      const blkalign_open_options *options,
                      char words[BLKALIGN_RBD_WORDS], blkalign_handle **out);

#ifdef __cplusplus
}
#endif

#endif
