/*
 * The guest's side of a virtio-blk disk whose device model is in this process:
 * legacy rings in memory that both see. The checks of kvmtool and of ACRN
 * drive real device models with it; it includes nothing of theirs.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef GUEST_QUEUE_H
#define GUEST_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_PAGE 4096
#define GUEST_QUEUES_MAX 8

enum guest_op { GUEST_READ = 0, GUEST_WRITE = 1, GUEST_FLUSH = 4 };

struct guest_queue;

struct guest {
    char *memory;               /* the guest's address 0 */
    size_t bytes;
    int queues, entries;        /* entries of each ring */
    /* Tells the device that the queue has something new. */
    void (*kick)(int queue);
    struct guest_queue *queue[GUEST_QUEUES_MAX];
};

void guest_make(struct guest *guest, int queues, int entries,
                void (*kick)(int queue));
void guest_free(struct guest *guest);
/* The page where the ring of a queue begins. */
uint32_t guest_page(const struct guest *guest, int queue);
/* After the device has forgotten the queue. */
void guest_reset(struct guest *guest, int queue);

/* Makes a request available, without a kick; `data` is the queue's own memory
 * for it, until the next of the same `slot`, of which there is one for each
 * three entries. */
char *guest_data(struct guest *guest, int queue, int slot);
void guest_put(struct guest *guest, int queue, int slot, enum guest_op op,
               uint64_t sector, uint32_t bytes);
/* The status that the device gave: 0 is well; -1: none, for 10 seconds. */
int guest_wait(struct guest *guest, int queue, int slot);

/* 300 times the eight sectors of a block are written at once, dealt to the
 * queues, and read back around the device: what is not there is lost; all is,
 * once a request gets no answer. */
struct guest_tally {
    int lost, failed, of;
};
struct guest_tally guest_race(struct guest *guest, const char *device);

/* Starts `count` writes in queue 0 and does not wait. */
void guest_flood(struct guest *guest, int count);

#endif
