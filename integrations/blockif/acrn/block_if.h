/*
 * The block interface that the device models of ACRN use (virtio_block.c,
 * ahci.c), on libblkalign. Names and meanings are those of ACRN's block_if.h.
 * The implementation takes requests of any size at any offset, several of one
 * block in flight, in any of the queues, on any disk.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef _BLOCK_IF_H_
#define _BLOCK_IF_H_

/* What iothread.h takes for granted, and with _GNU_SOURCE. */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
/* ACRN's header has this one, and the device models rely on it. */
#include <unistd.h>

#include "iothread.h"

#define BLOCKIF_IOV_MAX 256

struct blockif_ctxt;

/* A request. The caller keeps it, and the memory that `iov` names, from the
 * call until the callback. */
struct blockif_req {
    struct iovec iov[BLOCKIF_IOV_MAX];
    int iovcnt;
    off_t offset;               /* bytes */
    ssize_t resid;              /* bytes that are not done yet; 0 at the end */
    void (*callback)(struct blockif_req *req, int err);     /* 0 or an errno */
    void *param;                /* the caller's own */
    int qidx;                   /* the queue, from 0 */
};

/* OPTIONS: PATH[,ro][,nocache][,writeback|writethru]
 *          [,sectorsize=LOGICAL[/PHYSICAL]][,range=FIRST/SECTORS]
 *          [,discard[=SECTORS:SEGMENTS:ALIGNMENT]][,aio=threads|io_uring]
 *          [,no_bst_block]
 * As in ACRN, each write is durable unless `writeback` is said, and nothing is
 * discarded unless `discard` is. range counts in the guest's sectors. aio
 * chooses the library's engine, which chooses itself where nothing is said.
 * no_bst_block changes nothing: the library orders what overlaps, and only it.
 * A file that may not be written is opened to be read.
 *
 * `queues` is how many values `qidx` has. The library has threads of its own
 * and leaves ACRN's alone; but where `threads` is NULL, as in AHCI, a discard
 * has its range in `offset` and `resid`; else, as in virtio-blk, its ranges
 * are in `iov`.
 *
 * NULL if the file cannot be opened, with a message on stderr that begins with
 * `ident`. */
struct blockif_ctxt *blockif_open(const char *options, const char *ident,
                                  int queues, struct iothreads_info *threads);
/* Waits for the requests in flight. Returns 0 or an errno. */
int blockif_close(struct blockif_ctxt *bc);

off_t blockif_size(struct blockif_ctxt *bc);                        /* bytes */
void blockif_chs(struct blockif_ctxt *bc, uint16_t *cylinders,
                 uint8_t *heads, uint8_t *sectors);
int blockif_sectsz(struct blockif_ctxt *bc);
void blockif_psectsz(struct blockif_ctxt *bc, int *size, int *offset);
int blockif_queuesz(struct blockif_ctxt *bc);
int blockif_is_ro(struct blockif_ctxt *bc);
int blockif_candiscard(struct blockif_ctxt *bc);
/* What a discard may have: sectors of 512 bytes a range, ranges; and what its
 * first sector is a multiple of, 0 if of nothing. */
int blockif_max_discard_sectors(struct blockif_ctxt *bc);
int blockif_max_discard_seg(struct blockif_ctxt *bc);
int blockif_discard_sector_alignment(struct blockif_ctxt *bc);

/* Return 0: the callback runs once, on a thread of the library, one at a time
 * for each queue, also for what cannot work: virtio_block.c forgets a request
 * for which anything else is returned, and its guest waits for ever. Without
 * memory ENOMEM, for a queue that is not there ENOENT: the callback never
 * runs. */
int blockif_read(struct blockif_ctxt *bc, struct blockif_req *req);
int blockif_write(struct blockif_ctxt *bc, struct blockif_req *req);
int blockif_flush(struct blockif_ctxt *bc, struct blockif_req *req);
int blockif_discard(struct blockif_ctxt *bc, struct blockif_req *req);

/* Returns 0: the request is cancelled, and its callback never runs. EBUSY: the
 * request is at the storage; its callback will run or is running. EINVAL: the
 * request is not in flight. A discard of ranges is never cancelled. */
int blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *req);

/* The write cache that the guest sees: off makes each write durable. */
uint8_t blockif_get_wce(struct blockif_ctxt *bc);
void blockif_set_wce(struct blockif_ctxt *bc, uint8_t wce);
/* Waits until what was written is durable. Returns 0 or an errno. */
int blockif_flush_all(struct blockif_ctxt *bc);

#endif
