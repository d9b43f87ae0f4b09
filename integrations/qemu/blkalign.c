/*
 * A protocol driver for QEMU's block layer: files and block devices on
 * libblkalign. The block layer above may ask for any byte; the library pads.
 *
 * Goes into QEMU's block/ as it is (10.0; README.md says what else changes).
 *
 * Data flow: a coroutine puts its request into `pending` and yields. At the
 * end of the device's deferred section, or at once, all that is pending goes
 * to the library as one batch. The library's eventfd is in the AioContext of
 * the node; its handler polls, and each callback has its coroutine scheduled
 * in whichever context that belongs to. It is not entered right there: it
 * might run a nested event loop, which could then not poll.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "qemu/osdep.h"
#include "block/block-io.h"
#include "block/block_int.h"
#include "block/thread-pool.h"
#include "qapi/error.h"
#include "qemu/defer-call.h"
#include "qemu/module.h"
#include "qobject/qdict.h"

#include <blkalign.h>

/* Callbacks in one go before the event loop looks at others. */
#define POLL_MAX 64

typedef struct BlkalignRequest {
    blkalign_request request;
    Coroutine *co;
    int ret;
    struct BlkalignRequest *next;
} BlkalignRequest;

typedef struct BDRVBlkalignState {
    blkalign_handle *handle;
    int event_fd;
    bool regular;               /* a file: it may change its length */
    /* Guards the list: with several iothreads requests come from each. */
    QemuMutex lock;
    BlkalignRequest *pending, **pending_end;
} BDRVBlkalignState;

/* ---- completion --------------------------------------------------------- */

/* Also from the thread of another context than the coroutine's, even before
 * the coroutine has yielded: it is scheduled, and runs after that. */
static void blkalign_finish(BlkalignRequest *request, int ret)
{
    Coroutine *co = request->co;

    request->ret = ret;
    aio_co_schedule(qemu_coroutine_get_aio_context(co), co);
}

static void blkalign_done(void *opaque, int ret)
{
    blkalign_finish(opaque, ret);
}

static bool blkalign_on_poll(void *opaque)
{
    BDRVBlkalignState *s = opaque;

    return blkalign_poll(s->handle, POLL_MAX, 0) > 0;
}

/* The descriptor stays readable while there is more. */
static void blkalign_on_event(void *opaque)
{
    blkalign_on_poll(opaque);
}

static void blkalign_attach_aio_context(BlockDriverState *bs,
                                        AioContext *new_context)
{
    BDRVBlkalignState *s = bs->opaque;

    aio_set_fd_handler(new_context, s->event_fd, blkalign_on_event, NULL,
                       blkalign_on_poll, blkalign_on_event, s);
}

static void blkalign_detach_aio_context(BlockDriverState *bs)
{
    BDRVBlkalignState *s = bs->opaque;

    aio_set_fd_handler(bdrv_get_aio_context(bs), s->event_fd, NULL, NULL,
                       NULL, NULL, NULL);
}

/* ---- submission --------------------------------------------------------- */

static void blkalign_submit_pending(void *opaque)
{
    BDRVBlkalignState *s = opaque;
    BlkalignRequest *request, *next;
    int64_t id;

    qemu_mutex_lock(&s->lock);
    request = s->pending;
    s->pending = NULL;
    s->pending_end = &s->pending;
    qemu_mutex_unlock(&s->lock);

    blkalign_plug(s->handle);
    for (; request != NULL; request = next) {
        next = request->next;   /* the request may be over with submitting */
        id = blkalign_aio_submit(s->handle, &request->request);
        if (id < 0) {
            blkalign_finish(request, (int)id);
        }
    }
    blkalign_unplug(s->handle);
}

static uint32_t blkalign_flags(BdrvRequestFlags flags)
{
    return (flags & BDRV_REQ_FUA ? BLKALIGN_REQ_FUA : 0) |
           (flags & BDRV_REQ_MAY_UNMAP ? BLKALIGN_REQ_MAY_UNMAP : 0) |
           (flags & BDRV_REQ_NO_FALLBACK ? BLKALIGN_REQ_NO_FALLBACK : 0);
}

static int coroutine_fn blkalign_co_run(BlockDriverState *bs, uint32_t op,
                                        int64_t offset, int64_t bytes,
                                        QEMUIOVector *qiov, uint32_t flags)
{
    BDRVBlkalignState *s = bs->opaque;
    BlkalignRequest request = {
        .request = BLKALIGN_REQUEST_INIT,
        .co = qemu_coroutine_self(),
    };

    request.request.op = op;
    request.request.flags = flags;
    request.request.offset = offset;
    request.request.bytes = bytes;
    request.request.iov = qiov != NULL ? qiov->iov : NULL;
    request.request.iovcnt = qiov != NULL ? qiov->niov : 0;
    request.request.cb = blkalign_done;
    request.request.opaque = &request;

    qemu_mutex_lock(&s->lock);
    *s->pending_end = &request;
    s->pending_end = &request.next;
    qemu_mutex_unlock(&s->lock);
    defer_call(blkalign_submit_pending, s);
    qemu_coroutine_yield();
    return request.ret;
}

static int coroutine_fn blkalign_co_preadv(BlockDriverState *bs,
                                           int64_t offset, int64_t bytes,
                                           QEMUIOVector *qiov,
                                           BdrvRequestFlags flags)
{
    return blkalign_co_run(bs, BLKALIGN_OP_READ, offset, bytes, qiov, 0);
}

static int coroutine_fn blkalign_co_pwritev(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            BdrvRequestFlags flags)
{
    return blkalign_co_run(bs, BLKALIGN_OP_WRITE, offset, bytes, qiov,
                           blkalign_flags(flags));
}

static int coroutine_fn blkalign_co_pwrite_zeroes(BlockDriverState *bs,
                                                  int64_t offset,
                                                  int64_t bytes,
                                                  BdrvRequestFlags flags)
{
    return blkalign_co_run(bs, BLKALIGN_OP_WRITE_ZEROES, offset, bytes, NULL,
                           blkalign_flags(flags));
}

static int coroutine_fn blkalign_co_pdiscard(BlockDriverState *bs,
                                             int64_t offset, int64_t bytes)
{
    return blkalign_co_run(bs, BLKALIGN_OP_DISCARD, offset, bytes, NULL, 0);
}

static int coroutine_fn blkalign_co_flush(BlockDriverState *bs)
{
    return blkalign_co_run(bs, BLKALIGN_OP_FLUSH, 0, 0, NULL, 0);
}

/* ---- length ------------------------------------------------------------- */

typedef struct BlkalignTruncate {
    blkalign_handle *handle;
    int64_t length;
} BlkalignTruncate;

/* On a thread of QEMU's pool: it waits for the requests that it touches. */
static int blkalign_truncate_worker(void *opaque)
{
    BlkalignTruncate *truncate = opaque;

    return blkalign_truncate(truncate->handle, truncate->length);
}

static int coroutine_fn blkalign_co_truncate(BlockDriverState *bs,
                                             int64_t offset, bool exact,
                                             PreallocMode prealloc,
                                             BdrvRequestFlags flags,
                                             Error **errp)
{
    BDRVBlkalignState *s = bs->opaque;
    BlkalignTruncate truncate = { s->handle, offset };
    int64_t length = blkalign_getlength(s->handle);
    int ret;

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "blkalign does not preallocate");
        return -ENOTSUP;
    }
    if (!s->regular) {
        if (offset > length) {
            error_setg(errp, "a device does not grow");
            return -EINVAL;
        }
        if (exact && offset != length) {
            error_setg(errp, "a device keeps its length");
            return -ENOTSUP;
        }
        return 0;
    }
    ret = thread_pool_submit_co(blkalign_truncate_worker, &truncate);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot resize");
    }
    return ret;
}

static int64_t coroutine_fn blkalign_co_getlength(BlockDriverState *bs)
{
    BDRVBlkalignState *s = bs->opaque;

    return blkalign_getlength(s->handle);
}

/* ---- opening ------------------------------------------------------------ */

static void blkalign_parse_filename(const char *filename, QDict *options,
                                    Error **errp)
{
    bdrv_parse_filename_strip_prefix(filename, "blkalign:", options);
}

static int blkalign_open_path(BlockDriverState *bs, const char *path,
                              int flags, bool lock)
{
    BDRVBlkalignState *s = bs->opaque;
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    struct stat st;

    s->regular = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    options.completion = BLKALIGN_COMPLETION_EVENTFD;
    options.flags = (flags & BDRV_O_NOCACHE ? BLKALIGN_O_DIRECT : 0) |
                    (flags & BDRV_O_UNMAP ? BLKALIGN_O_UNMAP : 0) |
                    (lock ? BLKALIGN_O_LOCK : 0);
    if (flags & BDRV_O_RDWR) {
        options.flags |= BLKALIGN_O_RDWR;
        options.flags |= s->regular ? BLKALIGN_O_RESIZE : 0;
    }
    return blkalign_open(path, &options, &s->handle);
}

static int blkalign_open_node(BlockDriverState *bs, QDict *options, int flags,
                              Error **errp)
{
    BDRVBlkalignState *s = bs->opaque;
    const char *path = qdict_get_try_str(options, "filename");
    const char *locking = qdict_get_try_str(options, "locking");
    int ret;

    if (path == NULL) {
        error_setg(errp, "blkalign needs a filename");
        return -EINVAL;
    }
    ret = blkalign_open_path(bs, path, flags,
                             locking != NULL && strcmp(locking, "on") == 0);
    if (ret < 0) {
        error_setg(errp, "%s", blkalign_errmsg());
        return ret;
    }
    s->event_fd = blkalign_get_event_fd(s->handle);
    if (s->event_fd < 0) {
        error_setg(errp, "%s", blkalign_errmsg());
        blkalign_close(s->handle);
        return s->event_fd;
    }
    qdict_del(options, "filename");
    qdict_del(options, "locking");
    qemu_mutex_init(&s->lock);
    s->pending = NULL;
    s->pending_end = &s->pending;
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP |
                               BDRV_REQ_NO_FALLBACK;
    /* What a file gains reads as zeros. */
    bs->supported_truncate_flags = s->regular ? BDRV_REQ_ZERO_WRITE : 0;
    blkalign_attach_aio_context(bs, bdrv_get_aio_context(bs));
    return 0;
}

static void blkalign_close_node(BlockDriverState *bs)
{
    BDRVBlkalignState *s = bs->opaque;

    blkalign_detach_aio_context(bs);
    blkalign_close(s->handle);
    qemu_mutex_destroy(&s->lock);
}

/* The block layer is to pad nothing, split nothing and bounce nothing. */
static void blkalign_refresh_limits(BlockDriverState *bs, Error **errp)
{
    BDRVBlkalignState *s = bs->opaque;
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;

    if (blkalign_get_limits(s->handle, &limits) < 0) {
        error_setg(errp, "%s", blkalign_errmsg());
        return;
    }
    bs->bl.request_alignment = 1;
    bs->bl.min_mem_alignment = limits.mem_alignment;
    bs->bl.opt_mem_alignment = MAX(limits.request_alignment,
                                   qemu_real_host_page_size());
    bs->bl.pdiscard_alignment = limits.discard_alignment;
    bs->bl.opt_transfer = limits.opt_transfer;
    bs->bl.max_iov = IOV_MAX;
}

static int blkalign_probe_blocksizes(BlockDriverState *bs, BlockSizes *sizes)
{
    BDRVBlkalignState *s = bs->opaque;
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;

    if (blkalign_get_limits(s->handle, &limits) < 0 ||
        limits.physical_block_size == 0) {
        return -ENOTSUP;
    }
    sizes->log = 512;
    sizes->phys = limits.physical_block_size;
    return 0;
}

static BlockDriver bdrv_blkalign = {
    .format_name             = "blkalign",
    .protocol_name           = "blkalign",
    .instance_size           = sizeof(BDRVBlkalignState),
    .bdrv_needs_filename     = true,
    .bdrv_parse_filename     = blkalign_parse_filename,
    .bdrv_open               = blkalign_open_node,
    .bdrv_close              = blkalign_close_node,
    .bdrv_co_getlength       = blkalign_co_getlength,
    .bdrv_co_truncate        = blkalign_co_truncate,
    .bdrv_co_preadv          = blkalign_co_preadv,
    .bdrv_co_pwritev         = blkalign_co_pwritev,
    .bdrv_co_pwrite_zeroes   = blkalign_co_pwrite_zeroes,
    .bdrv_co_pdiscard        = blkalign_co_pdiscard,
    .bdrv_co_flush_to_disk   = blkalign_co_flush,
    .bdrv_refresh_limits     = blkalign_refresh_limits,
    .bdrv_probe_blocksizes   = blkalign_probe_blocksizes,
    .bdrv_attach_aio_context = blkalign_attach_aio_context,
    .bdrv_detach_aio_context = blkalign_detach_aio_context,
};

static void bdrv_blkalign_init(void)
{
    bdrv_register(&bdrv_blkalign);
}

block_init(bdrv_blkalign_init);
