/*
 * Everything at once: writes, zeros, discards, reads, flushes, with FUA, guest
 * blocks, SERIALISING and NO_WAIT, plugged or not, some cancelled, through two
 * handles, while the object's end moves.
 *
 * The disk is divided into extents of whole 64-byte cells that share blocks.
 * Each extent has one writer, which knows every byte of it. BLKALIGN_SEED
 * replays the requests, BLKALIGN_TORTURE_SECONDS is the time of the whole
 * program, BLKALIGN_TORTURE_LOOP_ONLY=1 spends all of it on the loop disk of
 * 4096-byte blocks.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_extents.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define CELLS 2048
/* The last cells belong to the thread that moves the end. */
#define END_CELLS 37
#define DISK_BYTES (CELL * CELLS)
#define BASE ((CELLS - END_CELLS) * CELL)
#define ROOM (DISK_BYTES + 16 * BLOCK)
#define THREADS 4
#define BATCH 6
#define LONGEST (200 * CELL)
#define LONGEST_PART_MS 20000  /* then the disk is cut anew */

struct torture {
    struct bed *bed;
    blkalign_handle *handles[2];
    int resizes;
    struct extents extents;
    uint8_t *model;             /* each byte changed by its owner only */
    int64_t end_ms;
};

/* A request in flight, and its effect on the model if it succeeds. */
struct doing {
    struct extent *extent;
    blkalign_request request;
    int handle, cancelled;
    uint8_t *buf;
    struct answer answer;
};

struct worker {
    struct torture *torture;
    int number;
    uint64_t random, requests, cancelled;
    int failed;                 /* the first wrong thing ends it */
    uint8_t *got;
    struct doing batch[BATCH];
    pthread_t thread;
};

static void failed(struct worker *worker, const char *what, int64_t value)
{
    if (worker->failed++ == 0)
        diag("thread %d: %s: %lld", worker->number, what,
             (long long)value);
}

static struct extent *own_extent(struct worker *worker)
{
    return extents_pick(&worker->torture->extents, worker->number,
                        &worker->random);
}

static int one_in(struct worker *worker, uint64_t chance)
{
    return random_below(&worker->random, chance) == 0;
}

static uint32_t some_flags(struct worker *worker, uint32_t op)
{
    uint32_t flags = 0;

    flags |= one_in(worker, 12) ? BLKALIGN_REQ_SERIALISING : 0;
    flags |= one_in(worker, 12) ? BLKALIGN_REQ_NO_WAIT : 0;
    if (op != BLKALIGN_OP_DISCARD && op != BLKALIGN_OP_READ)
        flags |= one_in(worker, 50) ? BLKALIGN_REQ_FUA : 0;
    if (op == BLKALIGN_OP_WRITE_ZEROES) {
        flags |= one_in(worker, 2) ? BLKALIGN_REQ_MAY_UNMAP : 0;
        flags |= one_in(worker, 5) ? BLKALIGN_REQ_NO_FALLBACK : 0;
    }
    return flags;
}

/* Chooses a part of one of the thread's extents, which becomes busy. */
static void submit_one(struct worker *worker, struct doing *doing)
{
    /* The frequency of each: READ 1, WRITE 2, ZEROES 3, DISCARD 4. */
    uint32_t op = (uint32_t)"12222334"[random_below(&worker->random, 8)] -
                  '0';
    struct extent *extent = doing->extent = own_extent(worker);
    int64_t start = 0;

    if (!extent)
        return;
    doing->request = request_at(op, extent->offset, extent->bytes,
                                some_flags(worker, op));
    if (one_in(worker, 2)) {
        start = (int64_t)random_below(&worker->random,
                                      (uint64_t)extent->bytes);
        doing->request.offset += start;
        doing->request.bytes = 1 + (int64_t)random_below(
            &worker->random, (uint64_t)(extent->bytes - start));
    }
    if (one_in(worker, 8))
        doing->request.guest_block_size = one_in(worker, 2) ? BLOCK : 512;
    extent->busy = 1;
    doing->cancelled = 0;
    doing->handle = (int)random_below(&worker->random, 2);
    pattern_fill(doing->buf, random_next(&worker->random), 0,
                 (size_t)doing->request.bytes);
    aio_any(worker->torture->handles[doing->handle], &doing->request,
            doing->buf, &doing->answer);
    worker->requests++;
}

static void cancel_one(struct worker *worker, struct doing *doing)
{
    blkalign_handle *handle = worker->torture->handles[doing->handle];
    int ret = blkalign_aio_cancel(handle, doing->answer.id);

    doing->cancelled = ret == 0;
    worker->cancelled += ret == 0;
    if (ret && ret != -EBUSY && ret != -ENOENT)
        failed(worker, "cancel", ret);
}

/* The expected bytes: a read compares with the model, other requests change
 * it. */
static void succeeded(struct worker *worker, struct doing *doing)
{
    const blkalign_request *request = &doing->request;
    uint8_t *model = worker->torture->model + request->offset;
    size_t bytes = (size_t)request->bytes;

    if (request->op == BLKALIGN_OP_WRITE)
        memcpy(model, doing->buf, bytes);
    else if (request->op == BLKALIGN_OP_WRITE_ZEROES)
        memset(model, 0, bytes);
    else if (request->op == BLKALIGN_OP_READ &&
             memcmp(doing->buf, model, bytes))
        failed(worker, "wrong bytes read at", request->offset);
}

static void finish_one(struct worker *worker, struct doing *doing)
{
    const blkalign_request *request = &doing->request;
    int ret = answer_wait(&doing->answer);

    if (!answer_calls(&doing->answer))
        bail("no callback in ten seconds");
    if (doing->cancelled != (ret == -ECANCELED))
        failed(worker, "answer of a cancelled one", ret);
    else if (ret == 0)
        succeeded(worker, doing);
    else if (!doing->cancelled &&
             !(ret == -EBUSY && request->flags & BLKALIGN_REQ_NO_WAIT) &&
             !(ret == -ENOTSUP && request->flags & BLKALIGN_REQ_NO_FALLBACK))
        failed(worker, "answer", ret);
    if (request->op == BLKALIGN_OP_DISCARD &&
        blkalign_pwrite(worker->torture->handles[doing->handle],
                        request->offset, request->bytes,
                        worker->torture->model + request->offset, 0))
        failed(worker, "write after discard", request->offset);
    doing->extent->busy = 0;
}

/* One of the thread's extents as a whole, by a synchronous call. */
static void look(struct worker *worker)
{
    struct torture *torture = worker->torture;
    struct extent *extent = own_extent(worker);

    if (!extent)
        return;
    if (blkalign_pread(torture->handles[0], extent->offset, extent->bytes,
                       worker->got, 0))
        failed(worker, "read", extent->offset);
    else if (memcmp(worker->got, torture->model + extent->offset,
                    (size_t)extent->bytes))
        failed(worker, "wrong bytes at", extent->offset);
}

static void one_batch(struct worker *worker)
{
    int i, count = 1 + (int)random_below(&worker->random, BATCH);
    blkalign_handle **handles = worker->torture->handles;
    blkalign_handle *plugged = one_in(worker, 3) ? handles[count % 2] : NULL;

    if (plugged)
        blkalign_plug(plugged);
    for (i = 0; i < count; i++)
        submit_one(worker, &worker->batch[i]);
    for (i = 0; i < count; i++)
        if (worker->batch[i].extent && one_in(worker, 8))
            cancel_one(worker, &worker->batch[i]);
    if (plugged)
        blkalign_unplug(plugged);
    look(worker);
    for (i = 0; i < count; i++)
        if (worker->batch[i].extent)
            finish_one(worker, &worker->batch[i]);
    look(worker);
    if (one_in(worker, 200) && blkalign_flush(handles[0]))
        failed(worker, "flush", 0);
}

static void *work(void *opaque)
{
    struct worker *worker = opaque;

    while (now_ms() < worker->torture->end_ms && !worker->failed)
        one_batch(worker);
    return NULL;
}

/* Moves the end up and down, by truncate and by writes, and checks it. */
static void *move_end(void *opaque)
{
    struct worker *worker = opaque;
    struct torture *torture = worker->torture;
    blkalign_handle *handle = torture->handles[1];
    int64_t length = ROOM, at, bytes;
    int ret;

    while (now_ms() < torture->end_ms && !worker->failed) {
        at = BASE + (int64_t)random_below(&worker->random, ROOM - BASE);
        bytes = 1 + (int64_t)random_below(&worker->random,
                                          (uint64_t)(ROOM - at));
        if (torture->resizes && one_in(worker, 2)) {
            ret = blkalign_truncate(handle, at);
            if (at < length)
                memset(torture->model + at, 0, (size_t)(length - at));
            length = at;
        } else {
            bytes = bytes > LONGEST ? LONGEST : bytes;
            pattern_fill(worker->got, random_next(&worker->random), 0,
                         (size_t)bytes);
            ret = blkalign_pwrite(handle, at, bytes, worker->got, 0);
            memcpy(torture->model + at, worker->got, (size_t)bytes);
            length = at + bytes > length ? at + bytes : length;
        }
        if (ret || blkalign_getlength(handle) != length)
            failed(worker, "moving the end", ret);
        at = BASE + (int64_t)random_below(&worker->random,
                                          ROOM - BASE - LONGEST);
        if (blkalign_pread(handle, at, LONGEST, worker->got, 0) ||
            memcmp(worker->got, torture->model + at, LONGEST))
            failed(worker, "around the end", at);
    }
    if (torture->resizes && blkalign_truncate(handle, ROOM))
        failed(worker, "the last truncate", 0);
    return NULL;
}

static void run_workers(struct torture *torture, uint64_t seed)
{
    struct worker *workers = calloc(THREADS + 1, sizeof(*workers)), *each;
    uint64_t requests = 0, cancelled = 0;
    int i, j, wrong = 0;

    for (i = 0; i <= THREADS; i++) {
        each = &workers[i];
        each->torture = torture;
        each->number = i;
        each->random = seed + (uint64_t)i * 1000;
        each->got = aligned_memory(LONGEST);
        for (j = 0; j < BATCH; j++)
            each->batch[j].buf = aligned_memory(LONGEST);
        pthread_create(&each->thread, NULL, i < THREADS ? work : move_end,
                       each);
    }
    for (i = 0; i <= THREADS; i++) {
        each = &workers[i];
        pthread_join(each->thread, NULL);
        requests += each->requests;
        cancelled += each->cancelled;
        wrong += each->failed;
        for (j = 0; j < BATCH; j++)
            free(each->batch[j].buf);
        free(each->got);
    }
    diag("%llu requests, %llu cancelled", (unsigned long long)requests,
         (unsigned long long)cancelled);
    is_int(wrong, 0, "%s, %s: all went well", torture->bed->name,
           mode_words());
    free(workers);
}

static void run(struct bed *bed, uint32_t flags, uint64_t seed, int64_t ms)
{
    struct torture *torture = calloc(1, sizeof(*torture));
    uint8_t *got = aligned_memory(ROOM);
    blkalign_open_options options;
    int64_t i, different = 0;

    torture->bed = bed;
    torture->resizes = bed->kind == BED_SIM_ZEROES || bed_is_file(bed);
    options = mode_options(BLKALIGN_O_UNMAP | flags |
                           (torture->resizes ? BLKALIGN_O_RESIZE : 0));
    torture->model = aligned_memory(ROOM);
    extents_cut(&torture->extents, CELLS - END_CELLS, THREADS, &seed);
    pattern_fill(torture->model, seed, 0, ROOM);
    bed_poke(bed, 0, torture->model, ROOM);
    torture->handles[0] = bed_open(bed, &options);
    torture->handles[1] = bed_open_again(bed, torture->handles[0],
                                         &options);
    torture->end_ms = now_ms() + ms;
    run_workers(torture, seed);
    is_int((int64_t)stats_of(torture->handles[0]).in_flight, 0,
           "%s: nothing is left in flight", bed->name);
    is_int(blkalign_close(torture->handles[1]) |
               blkalign_close(torture->handles[0]), 0, "%s: close",
           bed->name);
    bed_peek(bed, 0, got, ROOM);
    for (i = 0; i < ROOM; i++)
        if (got[i] != torture->model[i] && different++ == 0)
            diag("first byte that differs: %lld", (long long)i);
    is_int(different, 0, "%s: so is the disk in the end", bed->name);
    if (bed->sim)
        ok(!*sim_violation(bed->sim), "%s: nothing to refuse %s", bed->name,
           sim_violation(bed->sim));
    free(torture->model);
    free(torture);
    free(got);
}

/* For `ms` in all, with merging and without in turn. */
static void run_bed(enum bed_kind kind, uint64_t seed, int64_t ms)
{
    int64_t parts = ms / LONGEST_PART_MS / 2 * 2 + 2, part;
    struct bed bed;

    if (bed_make(&bed, kind, ROOM)) {
        skip(bed.why_not, "%s: torture", bed.name);
        return;
    }
    for (part = 0; part < parts; part++) {
        run(&bed, part % 2 ? BLKALIGN_O_NO_MERGE : 0,
            seed + (uint64_t)part, ms / parts);
        mode_next();
    }
    bed_remove(&bed);
}

int main(void)
{
    static const enum bed_kind kinds[] = {
        BED_LOOP, BED_XFS, BED_EXT4, BED_FILE, BED_TMPFS, BED_SIM_ASYNC,
        BED_SIM_AT_ONCE, BED_SIM_ZEROES
    };
    const char *given = getenv("BLKALIGN_TORTURE_SECONDS");
    const char *loop = getenv("BLKALIGN_TORTURE_LOOP_ONLY");
    int i, kinds_count = (int)(sizeof(kinds) / sizeof(kinds[0]));
    int64_t seconds = given ? strtoll(given, NULL, 10) : 7;
    uint64_t seed;

    if (loop && *loop)
        kinds_count = 1;        /* the first of them */
    run_begin((unsigned)(60 + 2 * seconds));
    seed = run_seed();
    for (i = 0; i < kinds_count; i++)
        run_bed(kinds[i], seed + ((uint64_t)i << 20),
                seconds * 1000 / kinds_count);
    return done_testing();
}
