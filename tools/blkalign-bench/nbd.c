/*
 * An NBD URI in place of a file: the handle is one of libblkalign on its
 * driver for NBD; --verify reads through a connection of its own, like another
 * client.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <stdlib.h>
#include <string.h>

bool is_nbd_uri(const char *path)
{
    static const char *const schemes[] = {
        "nbd://", "nbds://", "nbd+unix://", "nbds+unix://", "nbd+vsock://",
        "nbds+vsock://"
    };
    size_t i;

    for (i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(path, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

#ifndef HAVE_LIBNBD

bool nbd_open(const char *uri, const blkalign_open_options *options,
              blkalign_handle **handle)
{
    (void)options;
    (void)handle;
    complain("%s: built without libnbd, so no NBD", uri);
    return false;
}

struct nbd_reader *nbd_reader_open(const char *uri)
{
    (void)uri;
    return NULL;
}

bool nbd_reader_read(struct nbd_reader *reader, unsigned char *to,
                     int64_t offset, int64_t bytes)
{
    (void)reader;
    (void)to;
    (void)offset;
    (void)bytes;
    return false;
}

void nbd_reader_close(struct nbd_reader *reader)
{
    (void)reader;
}

#else

#include <blkalign-nbd.h>
#include <libnbd.h>

enum { PIECE = 1 << 18 };

struct nbd_reader {
    struct nbd_handle *nbd;
    int64_t block;
    unsigned char piece[PIECE];
};

bool nbd_open(const char *uri, const blkalign_open_options *options,
              blkalign_handle **handle)
{
    char words[BLKALIGN_NBD_WORDS];
    int result = blkalign_nbd_open(uri, NULL, options, words, handle);

    if (result < 0)
        complain("%s", words);
    return result == 0;
}

struct nbd_reader *nbd_reader_open(const char *uri)
{
    struct nbd_reader *reader = calloc(1, sizeof *reader);

    if (!reader)
        return NULL;
    reader->nbd = nbd_create();
    if (!reader->nbd || nbd_connect_uri(reader->nbd, uri) < 0) {
        complain("%s: cannot connect to verify: %s", uri, nbd_get_error());
        nbd_reader_close(reader);
        return NULL;
    }
    reader->block = nbd_get_block_size(reader->nbd, LIBNBD_SIZE_MINIMUM);
    if (reader->block < 1 || reader->block > PIECE)
        reader->block = 1;
    return reader;
}

/* Reads whole blocks and copies the wanted bytes out of them. */
bool nbd_reader_read(struct nbd_reader *reader, unsigned char *to,
                     int64_t offset, int64_t bytes)
{
    while (bytes > 0) {
        int64_t skip = offset % reader->block;
        int64_t whole = (skip + bytes + reader->block - 1) / reader->block *
                        reader->block;
        int64_t part;

        if (whole > PIECE)
            whole = PIECE / reader->block * reader->block;
        part = whole - skip < bytes ? whole - skip : bytes;
        if (nbd_pread(reader->nbd, reader->piece, (size_t)whole,
                      (uint64_t)(offset - skip), 0) < 0) {
            complain("reading %lld bytes at %lld to verify: %s",
                     (long long)whole, (long long)(offset - skip),
                     nbd_get_error());
            return false;
        }
        memcpy(to, reader->piece + skip, (size_t)part);
        to += part;
        offset += part;
        bytes -= part;
    }
    return true;
}

void nbd_reader_close(struct nbd_reader *reader)
{
    if (!reader)
        return;
    if (reader->nbd)
        nbd_close(reader->nbd);
    free(reader);
}

#endif
