/*
 * Storage of libblkalign that is a remote NBD export, through libnbd.
 *
 * To use it copy this header, inside.h, blkalign-nbd.c, driver.c, session.c
 * and connection.c into a program; link with -lblkalign -lnbd -lpthread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef BLKALIGN_NBD_H
#define BLKALIGN_NBD_H

#include <blkalign.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Requests that were under way on a lost connection fail, and are not sent
 * again. */
#define BLKALIGN_NBD_NEVER UINT32_MAX

/* The URI may name local files (tls-psk-file=...): the caller trusts it. */
#define BLKALIGN_NBD_LOCAL_FILES 0x1

/* Bytes of the words of a failure. */
#define BLKALIGN_NBD_WORDS 256

typedef struct blkalign_nbd_options {
    size_t size;                /* sizeof(blkalign_nbd_options) */
    uint32_t flags;             /* BLKALIGN_NBD_LOCAL_FILES or 0 */
    /* Greatest number of connections, up to 16; 0: 4. If the server does not
     * promise that connections are coherent, there is only one. */
    uint32_t connections;
    /* Seconds; 0: 30. The time for which requests wait for a new connection
     * after a loss; they are then sent again. BLKALIGN_NBD_NEVER: requests
     * fail at once. */
    uint32_t reconnect_s;
    /* Seconds; 0: no limit. A connection counts as lost if nothing has come
     * for this time although requests are under way. */
    uint32_t stall_s;
    /* Called when a connection is lost, made again or given up, on a thread
     * of the driver; may be NULL. Must not use the handle. */
    void (*tell)(void *opaque, const char *words);
    void *tell_opaque;
} blkalign_nbd_options;

#define BLKALIGN_NBD_OPTIONS_INIT \
    { sizeof(blkalign_nbd_options), 0, 0, 0, 0, NULL, NULL }

/**
 * Opens the export that `uri` names (nbd://HOST/EXPORT, nbds://...,
 * nbd+unix:///EXPORT?socket=PATH, or any other that libnbd knows). `nbd` and
 * `options` may be NULL: all defaults, read-only. Blocks until the server has
 * answered, at most half a minute for each connection. *out is then used like
 * any other handle; blkalign_close() ends the connections.
 *
 * The server's smallest block becomes the request alignment, so that the
 * handle takes any offset and length. A server without flush is assumed
 * to have no cache: a flush succeeds.
 *
 * When a connection is lost, its requests are sent again on a new one: see
 * README.md. If completed writes that were not flushed may be lost with the
 * connection, the next flush fails with -EIO; by libblkalign's rule all later
 * flushes fail, too.
 *
 * @return 0
 * -EINVAL  uri or out is NULL; options are wrong; the server's block size
 *          or length cannot be used
 * -EROFS   BLKALIGN_O_RDWR, and the export is read-only
 * -E2BIG   nbd comes from a newer version and uses a field that this driver
 *          does not have
 * or any error of connecting and of blkalign_open_driver(), with words in
 * `words`, unless `words` is NULL.
 */
int blkalign_nbd_open(const char *uri, const blkalign_nbd_options *nbd,
                      const blkalign_open_options *options,
                      char words[BLKALIGN_NBD_WORDS], blkalign_handle **out);

#ifdef __cplusplus
}
#endif

#endif
