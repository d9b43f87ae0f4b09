/* What blkalign.c uses of QEMU's block layer: the members and functions that
 * it names, with the types that QEMU 10.0 gives them, and no others.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_BLOCK_INT_H
#define STUB_BLOCK_INT_H

#define coroutine_fn

#define BDRV_O_RDWR    0x0002
#define BDRV_O_NOCACHE 0x0020
#define BDRV_O_UNMAP   0x4000

typedef enum {
    BDRV_REQ_ZERO_WRITE  = 0x2,
    BDRV_REQ_MAY_UNMAP   = 0x4,
    BDRV_REQ_FUA         = 0x10,
    BDRV_REQ_NO_FALLBACK = 0x100
} BdrvRequestFlags;

typedef enum PreallocMode {
    PREALLOC_MODE_OFF,
    PREALLOC_MODE_METADATA
} PreallocMode;

typedef struct QEMUIOVector {
    struct iovec *iov;
    int niov;
    size_t size;
} QEMUIOVector;

typedef struct BlockSizes {
    uint32_t phys;
    uint32_t log;
} BlockSizes;

typedef struct BlockLimits {
    uint32_t request_alignment;
    uint32_t pdiscard_alignment;
    uint32_t opt_transfer;
    size_t min_mem_alignment;
    size_t opt_mem_alignment;
    int max_iov;
} BlockLimits;

struct BlockDriverState {
    void *opaque;
    AioContext *aio_context;
    BlockLimits bl;
    BdrvRequestFlags supported_write_flags;
    BdrvRequestFlags supported_zero_flags;
    BdrvRequestFlags supported_truncate_flags;
};

struct BlockDriver {
    const char *format_name;
    int instance_size;
    bool bdrv_needs_filename;
    const char *protocol_name;
    void (*bdrv_parse_filename)(const char *filename, QDict *options,
                                Error **errp);
    int (*bdrv_open)(BlockDriverState *bs, QDict *options, int flags,
                     Error **errp);
    void (*bdrv_close)(BlockDriverState *bs);
    void (*bdrv_refresh_limits)(BlockDriverState *bs, Error **errp);
    void (*bdrv_detach_aio_context)(BlockDriverState *bs);
    void (*bdrv_attach_aio_context)(BlockDriverState *bs,
                                    AioContext *new_context);
    int (*bdrv_probe_blocksizes)(BlockDriverState *bs, BlockSizes *bsz);
    int coroutine_fn (*bdrv_co_preadv)(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pwritev)(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes, QEMUIOVector *qiov,
                                        BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pwrite_zeroes)(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags);
    int coroutine_fn (*bdrv_co_pdiscard)(BlockDriverState *bs,
                                         int64_t offset, int64_t bytes);
    int coroutine_fn (*bdrv_co_flush_to_disk)(BlockDriverState *bs);
    int coroutine_fn (*bdrv_co_truncate)(BlockDriverState *bs, int64_t offset,
                                         bool exact, PreallocMode prealloc,
                                         BdrvRequestFlags flags,
                                         Error **errp);
    int64_t coroutine_fn (*bdrv_co_getlength)(BlockDriverState *bs);
};

typedef void IOHandler(void *opaque);
typedef bool AioPollFn(void *opaque);

void bdrv_register(BlockDriver *driver);
void bdrv_parse_filename_strip_prefix(const char *filename,
                                      const char *prefix, QDict *options);
void aio_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read,
                        IOHandler *io_write, AioPollFn *io_poll,
                        IOHandler *io_poll_ready, void *opaque);
void aio_co_schedule(AioContext *ctx, Coroutine *co);
Coroutine *qemu_coroutine_self(void);
AioContext *coroutine_fn qemu_coroutine_get_aio_context(Coroutine *co);
void coroutine_fn qemu_coroutine_yield(void);

#endif
