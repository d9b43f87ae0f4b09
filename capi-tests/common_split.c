/* A driver that splits requests into sectors: see common_split.h. */
#include "common_split.h"

#include "common_run.h"
#include "tap.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 8

/* A request, until its last sector is done. */
struct whole {
    int write;
    int64_t left;               /* sectors */
    blkalign_driver_done_fn done;
    void *token;
};

/* A sector of a request, in one piece of its memory or in several. */
struct piece {
    struct whole *whole;
    int64_t offset;
    struct iovec iov[SPLIT_SECTOR];
    int iovcnt;
    struct piece *next;
};

struct split {
    pthread_mutex_t lock;       /* guards all below */
    pthread_cond_t queued;
    struct piece *pieces;       /* the latest first */
    uint64_t count, random, overtakings;
    int stopping;
    uint8_t *bytes;
    int64_t length;
    pthread_t threads[THREADS_MAX];
    unsigned thread_count;
};

/* With the lock: the memory of a sector and the disk change together. */
static void move_sector(struct split *split, const struct piece *piece)
{
    uint8_t *disk = split->bytes + piece->offset;
    int i;

    for (i = 0; i < piece->iovcnt; i++) {
        if (piece->whole->write)
            memcpy(disk, piece->iov[i].iov_base, piece->iov[i].iov_len);
        else
            memcpy(piece->iov[i].iov_base, disk, piece->iov[i].iov_len);
        disk += piece->iov[i].iov_len;
    }
}

/* With the lock: takes any of them off the list. */
static struct piece *draw(struct split *split)
{
    uint64_t at = random_below(&split->random, split->count);
    struct piece **place = &split->pieces, *piece;

    split->overtakings += at + 1 < split->count;
    while (at--)
        place = &(*place)->next;
    piece = *place;
    *place = piece->next;
    split->count--;
    return piece;
}

static void *serve(void *opaque)
{
    struct split *split = opaque;
    struct piece *piece;
    struct whole *whole;
    int last;

    for (;;) {
        pthread_mutex_lock(&split->lock);
        while (!split->count && !split->stopping)
            pthread_cond_wait(&split->queued, &split->lock);
        if (!split->count) {
            pthread_mutex_unlock(&split->lock);
            return NULL;
        }
        piece = draw(split);
        whole = piece->whole;
        move_sector(split, piece);
        last = !--whole->left;
        pthread_mutex_unlock(&split->lock);
        free(piece);
        if (last) {
            whole->done(whole->token, 0);
            free(whole);
        }
        sched_yield();
    }
}

/* Takes the memory of one sector off a vector, of which `*into` bytes of the
 * first element are used. */
static void cut(struct piece *piece, const struct iovec **iov, size_t *into)
{
    size_t left = SPLIT_SECTOR, bytes;

    while (left) {
        bytes = (*iov)->iov_len - *into;
        if (bytes > left)
            bytes = left;
        if (bytes) {
            piece->iov[piece->iovcnt].iov_base =
                (uint8_t *)(*iov)->iov_base + *into;
            piece->iov[piece->iovcnt++].iov_len = bytes;
        }
        *into += bytes;
        left -= bytes;
        if (*into == (*iov)->iov_len) {
            (*iov)++;
            *into = 0;
        }
    }
}

static int start(struct split *split, int write, int64_t offset,
                 int64_t bytes, const struct iovec *iov,
                 blkalign_driver_done_fn done, void *token)
{
    struct whole *whole = calloc(1, sizeof(*whole));
    struct piece *piece, *first = NULL;
    size_t into = 0;
    int64_t at;

    whole->write = write;
    whole->left = bytes / SPLIT_SECTOR;
    whole->done = done;
    whole->token = token;
    for (at = 0; at < bytes; at += SPLIT_SECTOR) {
        piece = calloc(1, sizeof(*piece));
        piece->whole = whole;
        piece->offset = offset + at;
        cut(piece, &iov, &into);
        piece->next = first;
        first = piece;
    }
    pthread_mutex_lock(&split->lock);
    while (first) {
        piece = first;
        first = piece->next;
        piece->next = split->pieces;
        split->pieces = piece;
        split->count++;
    }
    pthread_cond_broadcast(&split->queued);
    pthread_mutex_unlock(&split->lock);
    return 0;
}

static int split_read(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags,
                      blkalign_driver_done_fn done, void *token)
{
    (void)iovcnt, (void)flags;
    return start(opaque, 0, offset, bytes, iov, done, token);
}

static int split_write(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags,
                       blkalign_driver_done_fn done, void *token)
{
    (void)iovcnt, (void)flags;
    return start(opaque, 1, offset, bytes, iov, done, token);
}

static int64_t split_getlength(void *opaque)
{
    return ((struct split *)opaque)->length;
}

blkalign_driver split_driver(void)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;

    driver.name = "splitting driver";
    driver.request_alignment = SPLIT_SECTOR;
    driver.getlength = split_getlength;
    driver.aio_preadv = split_read;
    driver.aio_pwritev = split_write;
    return driver;
}

struct split *split_new(int64_t bytes, unsigned threads, uint64_t seed)
{
    struct split *split = calloc(1, sizeof(*split));

    pthread_mutex_init(&split->lock, NULL);
    pthread_cond_init(&split->queued, NULL);
    split->bytes = aligned_memory((size_t)bytes);
    split->length = bytes;
    split->random = seed;
    while (split->thread_count < threads && threads <= THREADS_MAX)
        if (pthread_create(&split->threads[split->thread_count++], NULL,
                           serve, split))
            bail("no thread for the splitting driver");
    return split;
}

void split_free(struct split *split)
{
    pthread_mutex_lock(&split->lock);
    split->stopping = 1;
    pthread_cond_broadcast(&split->queued);
    pthread_mutex_unlock(&split->lock);
    while (split->thread_count)
        pthread_join(split->threads[--split->thread_count], NULL);
    free(split->bytes);
    free(split);
}

uint8_t *split_bytes(struct split *split)
{
    return split->bytes;
}

uint64_t split_overtakings(struct split *split)
{
    uint64_t overtakings;

    pthread_mutex_lock(&split->lock);
    overtakings = split->overtakings;
    pthread_mutex_unlock(&split->lock);
    return overtakings;
}
