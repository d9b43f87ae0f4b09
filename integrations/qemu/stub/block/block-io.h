/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_BLOCK_IO_H
#define STUB_BLOCK_IO_H

AioContext *bdrv_get_aio_context(BlockDriverState *bs);

#endif
