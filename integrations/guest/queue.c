/*
 * Rings as virtio 0.9.5 lays them out: descriptors, available, and on the next
 * page used. Slot n has the descriptors 3n, 3n + 1 and 3n + 2: header, data,
 * status.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "queue.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define SECTORS 8
#define ROUNDS 300
#define SLOT_BYTES 4096

struct descriptor {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags, next;
};

struct header {
    uint32_t type, priority;
    uint64_t sector;
};

struct slot {                   /* in the guest's memory */
    struct header header;
    uint8_t status;
};

struct guest_queue {
    struct descriptor *descriptors;
    uint16_t *available;        /* flags, index, ring */
    volatile uint16_t *used;    /* flags, index, then pairs of 32 bits */
    struct slot *slots;
    char *data;
    int count;                  /* slots */
    size_t first_page;
};

enum { NEXT = 1, DEVICE_WRITES = 2, PENDING = 0xff };

static size_t pages(size_t bytes)
{
    return (bytes + GUEST_PAGE - 1) / GUEST_PAGE;
}

static size_t front_bytes(int entries)
{
    return (size_t)entries * sizeof(struct descriptor) +
           (3 + (size_t)entries) * sizeof(uint16_t);
}

static size_t ring_pages(int entries)
{
    return pages(front_bytes(entries)) + pages(6 + 8 * (size_t)entries);
}

static uint64_t address(const struct guest *guest, const void *at)
{
    return (uint64_t)((const char *)at - guest->memory);
}

void guest_make(struct guest *guest, int queues, int entries,
                void (*kick)(int queue))
{
    int slots = entries / 3, i;
    size_t own = ring_pages(entries) + pages((size_t)slots *
                 sizeof(struct slot)) + (size_t)slots;
    struct guest_queue *queue;

    guest->queues = queues;
    guest->entries = entries;
    guest->kick = kick;
    guest->bytes = (own * (size_t)queues + 1) * GUEST_PAGE;
    guest->memory = mmap(NULL, guest->bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guest->memory == MAP_FAILED)
        abort();
    for (i = 0; i < queues; i++) {
        queue = calloc(1, sizeof(*queue));
        if (queue == NULL)
            abort();
        guest->queue[i] = queue;
        queue->count = slots;
        queue->first_page = 1 + own * (size_t)i;
        queue->descriptors = (struct descriptor *)(void *)
            (guest->memory + queue->first_page * GUEST_PAGE);
        queue->available = (uint16_t *)(void *)
            (queue->descriptors + entries);
        queue->used = (volatile uint16_t *)(void *)
            ((char *)queue->descriptors +
             pages(front_bytes(entries)) * GUEST_PAGE);
        queue->slots = (struct slot *)(void *)((char *)queue->descriptors +
                       ring_pages(entries) * GUEST_PAGE);
        queue->data = (char *)queue->slots +
                      pages((size_t)slots * sizeof(struct slot)) * GUEST_PAGE;
    }
}

void guest_free(struct guest *guest)
{
    int i;

    for (i = 0; i < guest->queues; i++)
        free(guest->queue[i]);
    munmap(guest->memory, guest->bytes);
}

uint32_t guest_page(const struct guest *guest, int queue)
{
    return (uint32_t)guest->queue[queue]->first_page;
}

void guest_reset(struct guest *guest, int queue)
{
    memset(guest->queue[queue]->descriptors, 0,
           ring_pages(guest->entries) * GUEST_PAGE);
}

char *guest_data(struct guest *guest, int queue, int slot)
{
    return guest->queue[queue]->data + slot * SLOT_BYTES;
}

void guest_put(struct guest *guest, int number, int slot, enum guest_op op,
               uint64_t sector, uint32_t bytes)
{
    struct guest_queue *queue = guest->queue[number];
    struct descriptor *at = queue->descriptors + 3 * slot;
    uint16_t first = (uint16_t)(3 * slot), index = queue->available[1];
    struct slot *own = &queue->slots[slot];

    own->header.type = op;
    own->header.sector = sector;
    own->status = PENDING;
    at[0].address = address(guest, &own->header);
    at[0].bytes = sizeof(own->header);
    at[0].flags = NEXT;
    at[0].next = op == GUEST_FLUSH ? first + 2 : first + 1;
    at[1].address = address(guest, guest_data(guest, number, slot));
    at[1].bytes = bytes;
    at[1].flags = op == GUEST_READ ? NEXT | DEVICE_WRITES : NEXT;
    at[1].next = first + 2;
    at[2].address = address(guest, &own->status);
    at[2].bytes = 1;
    at[2].flags = DEVICE_WRITES;
    queue->available[2 + index % guest->entries] = first;
    __atomic_store_n(&queue->available[1], (uint16_t)(index + 1),
                     __ATOMIC_SEQ_CST);
}

int guest_wait(struct guest *guest, int queue, int slot)
{
    uint8_t *status = &guest->queue[queue]->slots[slot].status, now;
    struct timespec pause = { 0, 20000 };
    time_t until = time(NULL) + 10;

    while ((now = __atomic_load_n(status, __ATOMIC_SEQ_CST)) == PENDING) {
        if (time(NULL) > until)
            return -1;
        nanosleep(&pause, NULL);
    }
    return now;
}

struct guest_tally guest_race(struct guest *guest, const char *device)
{
    struct guest_tally tally = { 0, 0, SECTORS * ROUNDS };
    int fd = open(device, O_RDONLY | O_DIRECT), round, i;
    int slot_of[SECTORS], queue_of[SECTORS];
    char *block = NULL, expected[SECTOR];
    bool answers = true;
    int status;

    if (fd < 0 || posix_memalign((void **)&block, 4096, 4096) != 0)
        abort();
    for (round = 1; round <= ROUNDS && answers; round++) {
        for (i = 0; i < SECTORS; i++) {
            queue_of[i] = i % guest->queues;
            slot_of[i] = i / guest->queues;
            memset(guest_data(guest, queue_of[i], slot_of[i]),
                   round % 251 + 1, SECTOR);
            guest_put(guest, queue_of[i], slot_of[i], GUEST_WRITE,
                      (uint64_t)i, SECTOR);
        }
        for (i = 0; i < guest->queues; i++)
            guest->kick(i);
        for (i = 0; i < SECTORS && answers; i++) {
            status = guest_wait(guest, queue_of[i], slot_of[i]);
            tally.failed += status != 0;
            answers = status != -1;
        }
        if (pread(fd, block, 4096, 0) != 4096)
            abort();
        memset(expected, round % 251 + 1, SECTOR);
        for (i = 0; i < SECTORS; i++)
            tally.lost += memcmp(block + i * SECTOR, expected, SECTOR) != 0;
    }
    if (!answers)
        tally.lost = tally.failed = tally.of;
    free(block);
    close(fd);
    return tally;
}

void guest_flood(struct guest *guest, int count)
{
    int i;

    for (i = 0; i < count; i++)
        guest_put(guest, 0, i, GUEST_WRITE, (uint64_t)i, SECTOR);
    guest->kick(0);
}
