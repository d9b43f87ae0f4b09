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

/* Bytes of the words of a failure. */
#define BLKALIGN_RBD_WORDS 256

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
 * `options` may be NULL: all defaults, read-only. Blocks until the cluster
 * has answered; Ceph's option client_mount_timeout says how long at most.
 * *out is then used like any other handle; blkalign_close() closes the image
 * and ends the connection.
 *
 * Ceph takes any bytes, and the request alignment is 1: requests go to librbd
 * as they are, and librbd merges writes that lie side by side. With a
 * `request_alignment` of 4096, say, in the options the library merges them,
 * whatever librbd is set to, and reads a block to write a part of it.
 *
 * A handle for writing with BLKALIGN_O_LOCK or a `request_alignment` takes
 * the image's exclusive lock and keeps it until it is closed: nobody else can
 * write, so nobody writes between the reading and the writing of a block. A
 * handle for reading takes no lock.
 *
 * With BLKALIGN_O_DIRECT librbd's cache is off, unless `place` has
 * rbd_cache=true.
 *
 * @return 0
 * -EINVAL   place or out is NULL; place is not written as above; the image's
 *           length is no multiple of the `request_alignment`
 * -EAGAIN   another client holds the image's exclusive lock and keeps it
 * -ENOTSUP  the lock is wanted, and the image lacks the feature exclusive-lock
 * -EROFS    BLKALIGN_O_RDWR, and place names a snapshot
 * or any error of librados, of librbd and of blkalign_open_driver(), with
 * words in `words`, unless `words` is NULL.
 */
int blkalign_rbd_open(const char *place, const blkalign_open_options *options,
                      char words[BLKALIGN_RBD_WORDS], blkalign_handle **out);

#ifdef __cplusplus
}
#endif

#endif
