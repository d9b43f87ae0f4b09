/*
 * An NBD server through libnbd: QEMU's, nbdkit's or any other. Each handle is
 * a connection with many commands under way. Built without libnbd this adapter
 * only says so.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "adapters.h"

#include <errno.h>
#include <stdio.h>

#ifndef HAVE_LIBNBD

static int nbd_absent(const struct place *place, void *first, void **handle,
                      char *why)
{
    (void)place;
    (void)first;
    (void)handle;
    snprintf(why, WHY_BYTES, "built without libnbd, so no NBD "
             "(Debian: libnbd-dev, then build again)");
    return -ENOTSUP;
}

const struct adapter nbd_adapter = {
    .name = "nbd",
    .help = "an NBD URI; not in this program: it was built without libnbd",
    .option_names = " ",
    .open = nbd_absent,
};

#else

#include <libnbd.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The smallest request that each server must take by the protocol. */
enum { LARGEST_SURE = 32 << 20 };

struct connection {
    struct nbd_handle *nbd;
};

static int failure(void)
{
    int number = nbd_get_errno();

    return number ? -number : -EIO;
}

static int connection_open(const struct place *place, void *first,
                           void **handle, char *why)
{
    struct connection *connection = calloc(1, sizeof *connection);
    int result = 0;

    (void)first;
    if (!connection)
        return -ENOMEM;
    connection->nbd = nbd_create();
    /* The server must answer, not libnbd: also for requests past the end. */
    if (!connection->nbd ||
        nbd_set_strict_mode(connection->nbd, LIBNBD_STRICT_COMMANDS) < 0 ||
        nbd_connect_uri(connection->nbd, place->target) < 0) {
        result = failure();
        snprintf(why, WHY_BYTES, "%s", nbd_get_error());
        nbd_close(connection->nbd);
        free(connection);
        return result;
    }
    *handle = connection;
    return 0;
}

static void connection_close(void *handle)
{
    struct connection *connection = handle;

    nbd_shutdown(connection->nbd, 0);
    nbd_close(connection->nbd);
    free(connection);
}

static uint32_t limited(int64_t bytes)
{
    return bytes > 0 && bytes <= INT32_MAX ? (uint32_t)bytes : 0;
}

static int connection_describe(void *handle, struct facts *facts)
{
    struct nbd_handle *nbd = ((struct connection *)handle)->nbd;
    int64_t smallest = nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM);
    int64_t liked = nbd_get_block_size(nbd, LIBNBD_SIZE_PREFERRED);

    memset(facts, 0, sizeof *facts);
    facts->length = nbd_get_size(nbd);
    if (facts->length < 0)
        return failure();
    facts->smallest = limited(smallest) ? limited(smallest) : 1;
    facts->block = limited(liked) <= 65536 ? limited(liked) : 0;
    facts->memory = 1;
    facts->largest = limited(nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM));
    if (!facts->largest || facts->largest > LARGEST_SURE)
        facts->largest = LARGEST_SURE;
    facts->flush = nbd_can_flush(nbd) > 0;
    facts->fua = nbd_can_fua(nbd) > 0;
    facts->zero = nbd_can_zero(nbd) > 0;
    facts->discard = nbd_can_trim(nbd) > 0;
    snprintf(facts->words, sizeof facts->words,
             "libnbd %s, the server announces blocks of %lld at least and "
             "%lld at best, %sseveral connections", nbd_get_version(nbd),
             (long long)smallest, (long long)liked,
             nbd_can_multi_conn(nbd) > 0 ? "" : "no coherence of ");
    return 0;
}

/* libnbd's callback: the request is over. Returning 1 forgets the command. */
static int completed(void *opaque, int *error)
{
    request_done(opaque, -*error);
    return 1;
}

static int connection_submit(void *handle, struct request *request)
{
    struct nbd_handle *nbd = ((struct connection *)handle)->nbd;
    nbd_completion_callback done = { .callback = completed,
                                     .user_data = request };
    uint64_t offset = (uint64_t)request->offset;
    uint64_t bytes = (uint64_t)request->bytes;
    uint32_t fua = request->fua ? LIBNBD_CMD_FLAG_FUA : 0;

    switch (request->operation) {
    case OP_READ:
        request->adapter_cookie = nbd_aio_pread(
            nbd, request->iov->iov_base, bytes, offset, done, 0);
        break;
    case OP_WRITE:
        request->adapter_cookie = nbd_aio_pwrite(
            nbd, request->iov->iov_base, bytes, offset, done, fua);
        break;
    case OP_ZERO:
        request->adapter_cookie = nbd_aio_zero(nbd, bytes, offset, done, fua);
        break;
    case OP_DISCARD:
        request->adapter_cookie = nbd_aio_trim(nbd, bytes, offset, done, fua);
        break;
    default:
        request->adapter_cookie = nbd_aio_flush(nbd, done, 0);
        break;
    }
    return request->adapter_cookie < 0 ? failure() : 0;
}

static int connection_poll(void *handle, int timeout_ms)
{
    struct nbd_handle *nbd = ((struct connection *)handle)->nbd;

    return nbd_poll(nbd, timeout_ms) < 0 ? failure() : 0;
}

const struct adapter nbd_adapter = {
    .name = "nbd",
    .help = "an NBD URI (nbd+unix:///?socket=PATH, nbd://HOST, ...)",
    .option_names = " ",
    .open = connection_open,
    .close = connection_close,
    .describe = connection_describe,
    .submit = connection_submit,
    .poll = connection_poll,
};

#endif
