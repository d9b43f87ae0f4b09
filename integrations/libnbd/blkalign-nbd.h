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

/* What was lost with a connection is not repeated: it fails. */
#define BLKALIGN_NBD_NEVER UINT32_MAX

/* The URI may name local files (tls-psk-file=...): it is to be trusted. */
#define BLKALIGN_NBD_LOCAL_FILES 0x1

/* Room for the words of a failure. */
#define BLKALIGN_NBD_WORDS 256

typedef struct blkalign_nbd_options {
    size_t size;                /* sizeof(blkalign_nbd_options) */
    uint32_t flags;             /* BLKALIGN_NBD_LOCAL_FILES or 0 */
    /* Connections at most, up to 16; 0: 4. One, whatever this says, where
     * the server does not promise that they are coherent. */
    uint32_t connections;
    /* Seconds; 0: 30. For so long requests wait for a lost connection to be
     * made again, and are repeated then. BLKALIGN_NBD_NEVER: they fail. */
    uint32_t reconnect_s;
    /* Seconds; 0: without end. A connection on which nothing has come for so
     * long, though requests are under way, counts as lost. */
    uint32_t stall_s;
    /* Told of each connection that is lost, made again or given up, on a
     * thread of the driver; may be NULL. Must not use the handle. */
    void (*tell)(void *opaque, const char *words);
    void *tell_opaque;
} blkalign_nbd_options;

#define BLKALIGN_NBD_OPTIONS_INIT \
    { sizeof(blkalign_nbd_options), 0, 0, 0, 0, NULL, NULL }

/**
 * Opens the export that `uri` names (nbd://HOST/EXPORT, nbds://...,
 * nbd+unix:///EXPORT?socket=PATH, all that libnbd knows). `nbd` and `options`
 * may be NULL: all defaults, read-only. Blocks until the server has answered,
 * at most half a minute for each connection. Everything else is done with
 * *out, as with any handle; blkalign_close() ends the connections.
 *
 * The server's smallest block becomes the request alignment, so that the
 * handle takes any offset and length. A server without flush is taken to
 * have no cache: flushing it succeeds.
 *
 * Connections that are lost: requests are repeated on new ones, see
 * README.md. Where writes that had been completed, and not flushed, may be
 * lost with a connection, the next flush fails with -EIO; by libblkalign's
 * rule so do all later ones.
 *
 * @return 0
 * -EINVAL  uri or out is NULL; options are wrong; the server's blocks or
 *          length are nothing that can be used
 * -EROFS   BLKALIGN_O_RDWR, and the export is read-only
 * -E2BIG   nbd is of a newer version and uses what this one does not know
 * -errno   of connecting, and of blkalign_open_driver()
 * and words in `words`, unless that is NULL.
 */
int blkalign_nbd_open(const char *uri, const blkalign_nbd_options *nbd,
                      const blkalign_open_options *options,
                      char words[BLKALIGN_NBD_WORDS], blkalign_handle **out);

#ifdef __cplusplus
}
#endif

#endif
