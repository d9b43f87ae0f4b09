/*
 * What bhyve's block_if and ACRN's have in common, on libblkalign: options, a
 * disk with its queues, requests in flight, cancelling. It knows neither
 * `struct blockif_req`: a request is the address that the caller gives.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BLOCKIF_DISK_H
#define BLOCKIF_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include <blkalign.h>

/* What an option string asks for. The caller sets the defaults first. */
struct blockif_choices {
    uint32_t flags;                 /* BLKALIGN_O_* */
    uint32_t engine;                /* BLKALIGN_ENGINE_* */
    int sector, physical;           /* of the guest; 0: not said */
    uint64_t first, sectors;        /* a range, in sectors; 0, 0: all */
    int64_t range_sector;           /* bytes of these; 0: `sector` */
};

/* A word after the path: 1 understood, 0 unknown here, -1 wrong. */
typedef int (*blockif_word_fn)(const char *word,
                               struct blockif_choices *choices, void *opaque);

struct blockif_disk;

/* OPTIONS is PATH[,WORD]...; words that `word` does not know are these, of
 * both hypervisors: ro nocache writethru sectorsize=LOGICAL[/PHYSICAL]
 * range=FIRST/SECTORS. As both do, a disk that may not be written is opened to
 * be read. NULL, with a message on stderr that begins with `ident`. */
struct blockif_disk *blockif_disk_open(const char *options, const char *ident,
                                       int queues,
                                       struct blockif_choices *choices,
                                       blockif_word_fn word, void *opaque);
/* Waits for the requests in flight. 0 or an errno. */
int blockif_disk_close(struct blockif_disk *disk);

int64_t blockif_disk_size(struct blockif_disk *disk);
int blockif_disk_sector(struct blockif_disk *disk);
int blockif_disk_physical(struct blockif_disk *disk);
bool blockif_disk_read_only(struct blockif_disk *disk);
void blockif_disk_geometry(struct blockif_disk *disk, uint16_t *cylinders,
                           uint8_t *heads, uint8_t *sectors);

/* Off: each write is durable. */
void blockif_disk_set_cache(struct blockif_disk *disk, bool on);
bool blockif_disk_cache(struct blockif_disk *disk);
int blockif_disk_flush(struct blockif_disk *disk);      /* 0 or an errno */

/* Runs once for each request that was taken and not cancelled, on a thread of
 * the library, one at a time for each queue. */
typedef void (*blockif_done_fn)(void *request, int error);

/* Takes a request: `what` says what is to be done. 0, and `done` runs, also
 * for what cannot work: the device models take an error returned here for a
 * bug of theirs, and end the process or forget the request. ENOMEM alone is
 * returned, and EINVAL for a queue that is not there. */
int blockif_disk_submit(struct blockif_disk *disk, int queue, void *request,
                        const blkalign_request *what, blockif_done_fn done);
/* The same for what is known to fail. */
int blockif_disk_refuse(struct blockif_disk *disk, int queue, void *request,
                        int error, blockif_done_fn done);

struct blockif_range {
    int64_t offset, bytes;
};

/* Discards several ranges; the first error is that of the request. */
int blockif_disk_discard(struct blockif_disk *disk, int queue, void *request,
                         const struct blockif_range *ranges, int count,
                         blockif_done_fn done);

/* 0: cancelled, `done` never runs. EBUSY: `done` will run or is running.
 * EINVAL: the request is not in flight. */
int blockif_disk_cancel(struct blockif_disk *disk, int queue, void *request);

#endif
