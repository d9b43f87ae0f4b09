/*
 * Disks of bhyve and ACRN on libblkalign.
 *
 * Each queue is a handle of the same object. Each request in flight has an
 * `element`, which names the caller's request and the library's id for it.
 * Elements are in a list of their queue under a lock, for cancelling; the
 * caller's functions run without it. Life of an element:
 *
 *   blockif_disk_submit: made, listed, submitted
 *   finished():          unlisted; the caller is told unless cancelled; freed
 *   blockif_disk_cancel: finds it listed, asks the library. 0: the library
 *                        calls finished() with -ECANCELED, which says nothing.
 *
 * Divisions: options, opening, questions, requests, discards, cancelling.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "blockif_disk.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct queue;

struct element {
    struct queue *queue;
    void *request;
    blockif_done_fn done;
    int64_t id;
    int parts;              /* of a discard: not over yet; `id` is 0 */
    int refused;            /* an errno: what it ends with in any case */
    bool cancelled;
    struct element *next, **link;
};

struct queue {
    blkalign_handle *handle;
    pthread_mutex_t lock;   /* `elements` and what they hold; nothing else is
                             * taken under it but what the library takes */
    struct element *elements;
};

struct blockif_disk {
    struct queue *queues;
    int count;              /* of them; at least one */
    int sector, physical;
    bool read_only;
    int write_cache;        /* atomic */
};

/* Options. */

static bool parse_sizes(const char *value, struct blockif_choices *choices)
{
    int used = 0;

    if (sscanf(value, "%d/%d%n", &choices->sector, &choices->physical,
               &used) < 2 || value[used] != '\0') {
        used = 0;
        if (sscanf(value, "%d%n", &choices->sector, &used) != 1 ||
            value[used] != '\0')
            return false;
        choices->physical = choices->sector;
    }
    return choices->sector >= 512 && choices->physical >= choices->sector &&
           (choices->sector & (choices->sector - 1)) == 0 &&
           (choices->physical & (choices->physical - 1)) == 0;
}

static bool parse_range(const char *value, struct blockif_choices *choices)
{
    int used = 0;

    return sscanf(value, "%" SCNu64 "/%" SCNu64 "%n", &choices->first,
                  &choices->sectors, &used) == 2 && value[used] == '\0' &&
           choices->first < UINT64_C(1) << 32 &&
           choices->sectors < UINT64_C(1) << 32;
}

static bool parse_word(const char *word, struct blockif_choices *choices)
{
    if (strcmp(word, "ro") == 0)
        choices->flags &= ~(uint32_t)BLKALIGN_O_RDWR;
    else if (strcmp(word, "nocache") == 0)
        choices->flags |= BLKALIGN_O_DIRECT;
    else if (strcmp(word, "writethru") == 0)
        choices->flags |= BLKALIGN_O_WRITETHROUGH;
    else if (strncmp(word, "sectorsize=", 11) == 0)
        return parse_sizes(word + 11, choices);
    else if (strncmp(word, "range=", 6) == 0)
        return parse_range(word + 6, choices);
    else
        return false;
    return true;
}

/* False, and words on stderr. `text` is changed: the path stays in it. */
static bool parse(char *text, const char *ident,
                  struct blockif_choices *choices, blockif_word_fn own,
                  void *opaque)
{
    char *rest, *word;
    int known;

    if (text[0] == ',' || text[0] == '\0') {
        fprintf(stderr, "%s: the path is missing\n", ident);
        return false;
    }
    strtok_r(text, ",", &rest);
    while ((word = strtok_r(NULL, ",", &rest)) != NULL) {
        known = own(word, choices, opaque);
        if (known < 0 || (known == 0 && !parse_word(word, choices))) {
            fprintf(stderr, "%s: not understood: %s\n", ident, word);
            return false;
        }
    }
    return true;
}

/* Opening. */

static int open_queues(struct blockif_disk *disk, const char *path,
                       const blkalign_open_options *options, int count)
{
    struct queue *queue;
    int ret;

    for (; disk->count < count; disk->count++) {
        queue = &disk->queues[disk->count];
        ret = disk->count == 0 ?
              blkalign_open(path, options, &queue->handle) :
              blkalign_dup(disk->queues[0].handle, options, &queue->handle);
        if (ret < 0)
            return ret;
        pthread_mutex_init(&queue->lock, NULL);
    }
    return 0;
}

static int open_disk(struct blockif_disk *disk, const char *path, int count,
                     const struct blockif_choices *choices)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    int64_t unit = choices->range_sector;
    int ret;

    disk->sector = choices->sector ? choices->sector : 512;
    unit = unit != 0 ? unit : disk->sector;
    options.flags = choices->flags;
    options.engine = choices->engine;
    options.window_offset = (int64_t)choices->first * unit;
    options.window_length = (int64_t)choices->sectors * unit;
    if (!(options.flags & BLKALIGN_O_RDWR))
        options.flags &= ~(uint32_t)BLKALIGN_O_UNMAP;
    ret = open_queues(disk, path, &options, count);
    if ((ret == -EACCES || ret == -EPERM || ret == -EROFS) &&
        disk->count == 0 && (options.flags & BLKALIGN_O_RDWR)) {
        options.flags &= ~(uint32_t)(BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP);
        ret = open_queues(disk, path, &options, count);
    }
    if (ret < 0)
        return ret;
    blkalign_get_limits(disk->queues[0].handle, &limits);
    disk->read_only = !(options.flags & BLKALIGN_O_RDWR);
    disk->write_cache = !(options.flags & BLKALIGN_O_WRITETHROUGH);
    disk->physical = choices->physical;
    if (disk->physical == 0)
        disk->physical = limits.request_alignment > (uint32_t)disk->sector ?
                         (int)limits.request_alignment : disk->sector;
    return 0;
}

struct blockif_disk *blockif_disk_open(const char *options, const char *ident,
                                       int queues,
                                       struct blockif_choices *choices,
                                       blockif_word_fn word, void *opaque)
{
    struct blockif_disk *disk = calloc(1, sizeof(*disk));
    char *text = strdup(options);

    if (queues < 1)
        queues = 1;
    if (disk != NULL)
        disk->queues = calloc((size_t)queues, sizeof(*disk->queues));
    if (disk == NULL || disk->queues == NULL || text == NULL) {
        fprintf(stderr, "%s: no memory\n", ident);
    } else if (parse(text, ident, choices, word, opaque)) {
        if (open_disk(disk, text, queues, choices) == 0) {
            free(text);
            return disk;
        }
        fprintf(stderr, "%s: %s\n", ident, blkalign_errmsg());
    }
    free(text);
    if (disk != NULL && disk->queues != NULL)
        blockif_disk_close(disk);
    else
        free(disk);
    return NULL;
}

int blockif_disk_close(struct blockif_disk *disk)
{
    int ret = 0, one;

    while (disk->count > 0) {
        one = blkalign_close(disk->queues[disk->count - 1].handle);
        /* Inside a callback: all is as before, but for those closed. */
        if (one == -EDEADLK)
            return EDEADLK;
        pthread_mutex_destroy(&disk->queues[--disk->count].lock);
        if (ret == 0)
            ret = -one;
    }
    free(disk->queues);
    free(disk);
    return ret;
}

/* Questions. */

int64_t blockif_disk_size(struct blockif_disk *disk)
{
    return blkalign_getlength(disk->queues[0].handle);
}

int blockif_disk_sector(struct blockif_disk *disk)
{
    return disk->sector;
}

int blockif_disk_physical(struct blockif_disk *disk)
{
    return disk->physical;
}

bool blockif_disk_read_only(struct blockif_disk *disk)
{
    return disk->read_only;
}

/* The geometry that old guests ask for, as virtual hard disks have it: heads
 * and sectors such that the cylinders fit. */
void blockif_disk_geometry(struct blockif_disk *disk, uint16_t *cylinders,
                           uint8_t *heads, uint8_t *sectors)
{
    uint64_t total = (uint64_t)blockif_disk_size(disk) /
                     (uint64_t)disk->sector;
    uint64_t most = UINT64_C(65535) * 16 * 255, tracks, h;

    if (total > most)
        total = most;
    if (total >= UINT64_C(65535) * 16 * 63) {
        *sectors = 255;
        h = 16;
        tracks = total / 255;
    } else {
        *sectors = 17;
        tracks = total / 17;
        h = (tracks + 1023) / 1024;
        if (h < 4)
            h = 4;
        if (tracks >= h * 1024 || h > 16) {
            *sectors = 31;
            h = 16;
            tracks = total / 31;
        }
        if (tracks >= h * 1024) {
            *sectors = 63;
            tracks = total / 63;
        }
    }
    *heads = (uint8_t)h;
    *cylinders = (uint16_t)(tracks / h);
}

void blockif_disk_set_cache(struct blockif_disk *disk, bool on)
{
    int i;

    __atomic_store_n(&disk->write_cache, on, __ATOMIC_RELAXED);
    for (i = 0; i < disk->count; i++)
        blkalign_set_write_cache(disk->queues[i].handle, on);
}

bool blockif_disk_cache(struct blockif_disk *disk)
{
    return __atomic_load_n(&disk->write_cache, __ATOMIC_RELAXED) != 0;
}

int blockif_disk_flush(struct blockif_disk *disk)
{
    return -blkalign_flush(disk->queues[0].handle);
}

/* Requests. */

static struct element *make(struct blockif_disk *disk, int queue,
                            void *request, blockif_done_fn done)
{
    struct element *element = calloc(1, sizeof(*element));

    if (element != NULL) {
        element->queue = &disk->queues[queue];
        element->request = request;
        element->done = done;
    }
    return element;
}

static void list(struct element *element)
{
    element->next = element->queue->elements;
    element->link = &element->queue->elements;
    if (element->next != NULL)
        element->next->link = &element->next;
    element->queue->elements = element;
}

static void unlist(struct element *element)
{
    *element->link = element->next;
    if (element->next != NULL)
        element->next->link = element->link;
}

/* A callback of the library. */
static void finished(void *opaque, int ret)
{
    struct element *element = opaque;
    struct queue *queue = element->queue;
    bool cancelled, over;

    pthread_mutex_lock(&queue->lock);
    if (ret < 0 && element->refused == 0)
        element->refused = -ret;
    over = element->parts == 0 || --element->parts == 0;
    if (over)
        unlist(element);
    cancelled = element->cancelled;
    pthread_mutex_unlock(&queue->lock);
    if (!over)
        return;
    if (!cancelled)
        element->done(element->request, element->refused);
    free(element);
}

/* Nothing is read: the library calls back, from one of its threads. */
static int64_t call_back(struct element *element)
{
    return blkalign_aio_preadv(element->queue->handle, 0, NULL, 0, 0, finished,
                               element);
}

static int submit(struct element *element, const blkalign_request *what)
{
    struct queue *queue = element->queue;
    blkalign_request request;
    int64_t id = -EINVAL;

    /* The lock is held until the id is known: finished() may be there. */
    pthread_mutex_lock(&queue->lock);
    list(element);
    if (what != NULL) {
        request = *what;
        request.cb = finished;
        request.opaque = element;
        id = blkalign_aio_submit(queue->handle, &request);
        if (id < 0)
            element->refused = (int)-id;
    }
    if (id < 0)
        id = call_back(element);
    if (id > 0)
        element->id = id;
    else
        unlist(element);
    pthread_mutex_unlock(&queue->lock);
    if (id > 0)
        return 0;
    free(element);
    return (int)-id;
}

int blockif_disk_submit(struct blockif_disk *disk, int queue, void *request,
                        const blkalign_request *what, blockif_done_fn done)
{
    struct element *element;

    if (queue < 0 || queue >= disk->count)
        return EINVAL;
    element = make(disk, queue, request, done);
    return element == NULL ? ENOMEM : submit(element, what);
}

int blockif_disk_refuse(struct blockif_disk *disk, int queue, void *request,
                        int error, blockif_done_fn done)
{
    struct element *element;

    if (queue < 0 || queue >= disk->count)
        return EINVAL;
    element = make(disk, queue, request, done);
    if (element == NULL)
        return ENOMEM;
    element->refused = error;
    return submit(element, NULL);
}

/* Discards. */

int blockif_disk_discard(struct blockif_disk *disk, int queue, void *request,
                         const struct blockif_range *ranges, int count,
                         blockif_done_fn done)
{
    blkalign_request part = BLKALIGN_REQUEST_INIT;
    struct element *element;
    int64_t id = 1;
    int i;

    if (queue < 0 || queue >= disk->count)
        return EINVAL;
    element = make(disk, queue, request, done);
    if (element == NULL)
        return ENOMEM;
    part.op = BLKALIGN_OP_DISCARD;
    part.cb = finished;
    part.opaque = element;
    /* One more part, the last, is no discard: it calls back in any case. */
    element->parts = count + 1;
    pthread_mutex_lock(&element->queue->lock);
    list(element);
    for (i = 0; i < count && id > 0; i++) {
        part.offset = ranges[i].offset;
        part.bytes = ranges[i].bytes;
        id = blkalign_aio_submit(element->queue->handle, &part);
        if (id < 0) {
            element->refused = (int)-id;
            element->parts -= count - i;
        }
    }
    id = call_back(element);
    if (id < 0) {
        element->parts--;
        if (element->parts == 0)
            unlist(element);
    }
    i = element->parts;
    pthread_mutex_unlock(&element->queue->lock);
    if (id > 0 || i > 0)
        return 0;
    free(element);
    return (int)-id;
}

/* Cancelling. */

int blockif_disk_cancel(struct blockif_disk *disk, int queue, void *request)
{
    struct element *element;
    struct queue *own;
    int ret = -EBUSY;

    if (queue < 0 || queue >= disk->count)
        return EINVAL;
    own = &disk->queues[queue];
    pthread_mutex_lock(&own->lock);
    for (element = own->elements; element != NULL; element = element->next)
        if (element->request == request && !element->cancelled)
            break;
    if (element != NULL && element->id > 0) {
        ret = blkalign_aio_cancel(own->handle, element->id);
        element->cancelled = ret == 0;
    }
    pthread_mutex_unlock(&own->lock);
    if (element == NULL)
        return EINVAL;
    /* Listed, but its result is decided: its callback is about to run. */
    return ret == 0 ? 0 : EBUSY;
}
