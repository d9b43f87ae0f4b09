/*
 * One request of a client: checked, given to the library, and its reply made.
 * Knows nothing of sockets.
 *
 * Divisions: memory, checks, the library, replies.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "server.h"

#include <errno.h>

/* ---- memory ---- */

void requests_init(struct connection *connection)
{
    unsigned i;

    STAILQ_INIT(&connection->idle);
    STAILQ_INIT(&connection->replies);
    for (i = 0; i < REQUESTS_MAX; i++) {
        connection->requests[i].connection = connection;
        STAILQ_INSERT_TAIL(&connection->idle, &connection->requests[i],
                           entry);
    }
}

void requests_free(struct connection *connection)
{
    unsigned i;

    for (i = 0; i < REQUESTS_MAX; i++)
        blkalign_free(connection->requests[i].memory);
}

static bool has_data(const struct request *request)
{
    return request->type == NBD_CMD_READ || request->type == NBD_CMD_WRITE;
}

static bool get_memory(struct request *request)
{
    size_t bytes = request->bytes;

    request->connection->held_bytes += bytes;
    if (bytes <= request->memory_bytes)
        return true;
    if (bytes < KEPT_BYTES_MAX / 16)
        bytes = KEPT_BYTES_MAX / 16;
    blkalign_free(request->memory);
    request->memory = blkalign_memalign(request->connection->disk, bytes);
    request->memory_bytes = request->memory ? bytes : 0;
    return request->memory != NULL;
}

void request_end(struct request *request)
{
    struct connection *connection = request->connection;

    if (has_data(request))
        connection->held_bytes -= request->bytes;
    if (request->memory_bytes > KEPT_BYTES_MAX) {
        blkalign_free(request->memory);
        request->memory = NULL;
        request->memory_bytes = 0;
    }
    /* The next one takes memory that the caches know. */
    STAILQ_INSERT_HEAD(&connection->idle, request, entry);
}

bool request_may_begin(const struct connection *connection)
{
    return !STAILQ_EMPTY(&connection->idle) &&
           connection->held_bytes < HELD_BYTES_MAX;
}

/* ---- checks ---- */

/* Flags that mean nothing to a command are not in the specification. */
static unsigned flags_of(unsigned type)
{
    switch (type) {
    case NBD_CMD_WRITE_ZEROES:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE |
               NBD_CMD_FLAG_FAST_ZERO;
    default:
        return NBD_CMD_FLAG_FUA;
    }
}

static uint32_t check(const struct request *request)
{
    const struct connection *connection = request->connection;
    bool changes = request->type == NBD_CMD_WRITE ||
                   request->type == NBD_CMD_TRIM ||
                   request->type == NBD_CMD_WRITE_ZEROES;

    if (!changes && request->type != NBD_CMD_READ &&
        request->type != NBD_CMD_FLUSH)
        return NBD_EINVAL;
    if (request->flags & ~flags_of(request->type))
        return NBD_EINVAL;
    if (changes && !connection->server->writable)
        return NBD_EPERM;
    if (request->type == NBD_CMD_FLUSH)
        return request->offset || request->bytes ? NBD_EINVAL : NBD_SUCCESS;
    if (request->offset > connection->length ||
        request->bytes > connection->length - request->offset)
        return changes ? NBD_ENOSPC : NBD_EINVAL;
    if (has_data(request) && request->bytes > REQUEST_BYTES_MAX)
        return NBD_EOVERFLOW;
    return NBD_SUCCESS;
}

struct request *request_begin(struct connection *connection,
                              const unsigned char *header)
{
    struct request *request = STAILQ_FIRST(&connection->idle);

    STAILQ_REMOVE_HEAD(&connection->idle, entry);
    request->flags = (uint16_t)get_number(header + 4, 2);
    request->type = (uint16_t)get_number(header + 6, 2);
    request->cookie = get_number(header + 8, 8);
    request->offset = get_number(header + 16, 8);
    request->bytes = (uint32_t)get_number(header + 24, 4);
    request->error = check(request);
    if (!has_data(request))
        return request;
    if (request->error)
        connection->held_bytes += request->bytes;
    else if (!get_memory(request))
        request->error = NBD_ENOMEM;
    return request;
}

/* ---- the library ---- */

static uint32_t error_of(int ret)
{
    switch (-ret) {
    case 0:
        return NBD_SUCCESS;
    case EPERM:
    case EACCES:
    case EROFS:
        return NBD_EPERM;
    case ENOMEM:
        return NBD_ENOMEM;
    case EINVAL:
        return NBD_EINVAL;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return NBD_ENOSPC;
    case ENOTSUP:
        return NBD_ENOTSUP;
    default:
        return NBD_EIO;
    }
}

static void finish(struct request *request)
{
    unsigned char *to = request->reply;

    to = put_number(to, NBD_SIMPLE_REPLY_MAGIC, 4);
    to = put_number(to, request->error, 4);
    put_number(to, request->cookie, 8);
    STAILQ_INSERT_TAIL(&request->connection->replies, request, entry);
}

static void completed(void *opaque, int ret)
{
    struct request *request = opaque;

    request->connection->submitted--;
    request->error = error_of(ret);
    finish(request);
}

/* A discard has no FUA of its own. */
static void discarded(void *opaque, int ret)
{
    struct request *request = opaque;
    int64_t id = -1;

    if (ret == 0 && request->flags & NBD_CMD_FLAG_FUA) {
        id = blkalign_aio_flush(request->connection->disk, completed,
                                request);
        ret = id < 0 ? (int)id : 0;
    }
    if (id < 0)
        completed(request, ret);
}

static uint32_t flags_for_library(const struct request *request)
{
    uint32_t flags = 0;

    if (request->type != NBD_CMD_READ && request->flags & NBD_CMD_FLAG_FUA)
        flags |= BLKALIGN_REQ_FUA;
    if (request->type != NBD_CMD_WRITE_ZEROES)
        return flags;
    if (!(request->flags & NBD_CMD_FLAG_NO_HOLE))
        flags |= BLKALIGN_REQ_MAY_UNMAP;
    if (request->flags & NBD_CMD_FLAG_FAST_ZERO)
        flags |= BLKALIGN_REQ_NO_FALLBACK;
    return flags;
}

static int64_t submit(struct request *request)
{
    blkalign_handle *disk = request->connection->disk;
    struct iovec whole = { request->memory, request->bytes };
    int64_t offset = (int64_t)request->offset;
    uint32_t flags = flags_for_library(request);

    switch (request->type) {
    case NBD_CMD_READ:
        return blkalign_aio_preadv(disk, offset, &whole, 1, flags, completed,
                                   request);
    case NBD_CMD_WRITE:
        return blkalign_aio_pwritev(disk, offset, &whole, 1, flags, completed,
                                    request);
    case NBD_CMD_WRITE_ZEROES:
        return blkalign_aio_pwrite_zeroes(disk, offset, request->bytes, flags,
                                          completed, request);
    case NBD_CMD_TRIM:
        return blkalign_aio_pdiscard(disk, offset, request->bytes, discarded,
                                     request);
    default:
        return blkalign_aio_flush(disk, completed, request);
    }
}

void request_start(struct request *request)
{
    int64_t id;

    if (!request->error) {
        id = submit(request);
        if (id >= 0) {
            request->connection->submitted++;
            return;
        }
        request->error = error_of((int)id);
    }
    finish(request);
}

/* ---- replies ---- */

uint32_t request_reply_data(const struct request *request)
{
    return request->type == NBD_CMD_READ && !request->error ? request->bytes
                                                            : 0;
}
