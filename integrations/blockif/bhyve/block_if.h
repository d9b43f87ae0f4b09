/*
 * The block interface that the device models of bhyve use, on libblkalign.
 * Names and meanings are those of bhyve's block_if.h before nvlists, FreeBSD
 * 12 and older. The implementation takes requests of any size at any offset,
 * several of one block in flight, on any disk.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BLOCK_IF_H
#define BLOCK_IF_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
/* bhyve's header has this one, and pci_nvme.c relies on it. */
#include <unistd.h>

#define BLOCKIF_IOV_MAX 128
/* Of a guest's requests at once; more wait in the library. */
#define BLOCKIF_RING_MAX 128

struct blockif_ctxt;

/* A request. The caller keeps it, and the memory that br_iov names, from the
 * call until the callback. */
struct blockif_req {
    struct iovec br_iov[BLOCKIF_IOV_MAX];
    int br_iovcnt;
    off_t br_offset;            /* bytes */
    /* Read, write: bytes of the vector that are not done yet; 0 at the end.
     * Delete: the caller sets the number of bytes to discard; 0 at the end. */
    ssize_t br_resid;
    void (*br_callback)(struct blockif_req *br, int err);   /* 0 or an errno */
    void *br_param;             /* the caller's own */
};

/* OPTIONS: PATH[,ro][,nocache][,sync|direct|writethru][,nodelete]
 *          [,sectorsize=LOGICAL[/PHYSICAL]][,range=FIRST/SECTORS][,lock]
 * direct: as bhyve has it, each write is durable; it is nocache that goes
 * around the page cache. range: SECTORS sectors of 512 bytes, beginning with
 * FIRST. A file that may not be written is opened to be read.
 * NULL if the file cannot be opened, with a message on stderr that begins with
 * `ident`. */
struct blockif_ctxt *blockif_open(const char *options, const char *ident);
/* Waits for the requests in flight. Returns 0 or an errno. */
int blockif_close(struct blockif_ctxt *bc);

off_t blockif_size(struct blockif_ctxt *bc);                        /* bytes */
void blockif_chs(struct blockif_ctxt *bc, uint16_t *cylinders,
                 uint8_t *heads, uint8_t *sectors);
int blockif_sectsz(struct blockif_ctxt *bc);
void blockif_psectsz(struct blockif_ctxt *bc, int *size, int *offset);
int blockif_queuesz(struct blockif_ctxt *bc);
int blockif_is_ro(struct blockif_ctxt *bc);
int blockif_candelete(struct blockif_ctxt *bc);

/* Return 0: br_callback runs once, on a thread of the library, one at a time
 * for each blockif_ctxt, also for what cannot work: bhyve asserts that nothing
 * else is returned. Without memory ENOMEM: br_callback never runs. */
int blockif_read(struct blockif_ctxt *bc, struct blockif_req *br);
int blockif_write(struct blockif_ctxt *bc, struct blockif_req *br);
int blockif_flush(struct blockif_ctxt *bc, struct blockif_req *br);
int blockif_delete(struct blockif_ctxt *bc, struct blockif_req *br);

/* Returns 0: the request is cancelled, and its callback never runs. EBUSY: the
 * request is at the storage; its callback will run or is running. EINVAL: the
 * request is not in flight. */
int blockif_cancel(struct blockif_ctxt *bc, struct blockif_req *br);

/* The write cache that the guest sees: off makes each write durable. */
void blockif_set_wce(struct blockif_ctxt *bc, int enable);
uint8_t blockif_get_wce(struct blockif_ctxt *bc);

#endif
