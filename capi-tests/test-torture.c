/*
 * Four threads, two handles, any offset and length, at once, for some seconds
 * a bed.
 *
 * The disk is divided into extents of whole 64-byte cells, so that neighbours
 * share blocks. Each extent has one writer, which knows every byte of it.
 * BLKALIGN_SEED replays the requests, BLKALIGN_TEST_SECONDS prolongs each run
 * of it; BLKALIGN_TORTURE_SECONDS is for the whole program.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_extents.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CELLS 4096
#define DISK_BYTES (CELL * CELLS)
#define THREADS 4
#define BATCH 5
#define TURNS 3
#define LONGEST_READ (5 * 4096)

struct torture {
    struct bed *bed;
    blkalign_handle *handles[2];
    struct extents extents;
    uint8_t *model;             /* each byte changed by its owner only */
    uint8_t owners[CELLS];
    int64_t end_ms;
};

struct worker {
    struct torture *torture;
    int number;
    uint64_t random, requests, errors, wrong;
    int64_t first_wrong;
    uint8_t *read_buf, *write_bufs[BATCH];
    pthread_t thread;
};

static void cut_disk(struct torture *torture, uint64_t *random)
{
    int i;

    extents_cut(&torture->extents, CELLS, THREADS, random);
    for (i = 0; i < torture->extents.count; i++) {
        const struct extent *extent = &torture->extents.each[i];

        memset(torture->owners + extent->offset / CELL, extent->owner,
               (size_t)(extent->bytes / CELL));
    }
}

static struct extent *own_extent(struct worker *worker)
{
    return extents_pick(&worker->torture->extents, worker->number,
                        &worker->random);
}

static blkalign_handle *some_handle(struct worker *worker)
{
    return worker->torture->handles[random_below(&worker->random, 2)];
}

/* Chooses a random part of one of the thread's extents, and marks the extent
 * busy. */
static struct extent *submit_write(struct worker *worker, int number,
                                   struct answer *answer)
{
    struct extent *extent = own_extent(worker);
    uint8_t *buf = worker->write_bufs[number];
    uint32_t flags;
    size_t start, bytes;

    if (!extent)
        return NULL;
    bytes = (size_t)extent->bytes;
    start = random_below(&worker->random, bytes);
    bytes = 1 + random_below(&worker->random, bytes - start);
    if (random_below(&worker->random, 2)) {
        start = 0;
        bytes = (size_t)extent->bytes;
    }
    buf += random_below(&worker->random, 3) ? 0 : 7;
    extent->busy = 1;
    pattern_fill(buf, random_next(&worker->random), 0, bytes);
    memcpy(worker->torture->model + extent->offset + start, buf, bytes);
    flags = random_below(&worker->random, 50) ? 0 : BLKALIGN_REQ_FUA;
    aio_write(some_handle(worker), extent->offset + (int64_t)start, buf,
              bytes, flags, answer);
    worker->requests++;
    return extent;
}

/* Compares the bytes of the thread's own extents that no write of this batch
 * touched. */
static void check_read(struct worker *worker, int64_t offset, size_t bytes,
                       struct extent *const *batch)
{
    const struct torture *torture = worker->torture;
    size_t i;
    int j;

    for (i = 0; i < bytes; i++) {
        int64_t at = offset + (int64_t)i;
        int skipped = torture->owners[at / CELL] != worker->number;

        for (j = 0; j < BATCH && !skipped; j++)
            skipped = batch[j] && at >= batch[j]->offset &&
                      at < batch[j]->offset + (int64_t)batch[j]->bytes;
        if (skipped || worker->read_buf[i] == torture->model[at])
            continue;
        if (worker->wrong++ == 0)
            worker->first_wrong = at;
    }
}

static void judge(struct worker *worker, int ret)
{
    /* The answer is on the stack, and the callback may still come. */
    if (ret == INT_MIN)
        bail("no callback in ten seconds");
    if (ret && worker->errors++ == 0)
        diag("thread %d: %d %s", worker->number, ret, strerror(-ret));
}

static void one_batch(struct worker *worker)
{
    struct extent *batch[BATCH] = { NULL };
    struct answer answers[BATCH], read_answer;
    size_t bytes = 1 + random_below(&worker->random, LONGEST_READ);
    int64_t offset = (int64_t)random_below(&worker->random,
                                           DISK_BYTES - bytes + 1);
    int i, count = (int)random_below(&worker->random, BATCH + 1);
    blkalign_handle *plugged = NULL;

    if (random_below(&worker->random, 3) == 0)
        plugged = some_handle(worker);
    if (plugged)
        blkalign_plug(plugged);
    for (i = 0; i < count; i++)
        batch[i] = submit_write(worker, i, &answers[i]);
    aio_read(some_handle(worker), offset, worker->read_buf, bytes,
             &read_answer);
    worker->requests++;
    if (plugged)
        blkalign_unplug(plugged);
    for (i = 0; i < count; i++)
        if (batch[i])
            judge(worker, answer_wait(&answers[i]));
    judge(worker, answer_wait(&read_answer));
    check_read(worker, offset, bytes, batch);
    for (i = 0; i < count; i++)
        if (batch[i])
            batch[i]->busy = 0;
    if (random_below(&worker->random, 200) == 0)
        worker->errors += blkalign_flush(some_handle(worker)) != 0;
}

/* The same by a synchronous call: no extent is busy now, so the whole read is
 * checked. */
static void one_synchronous(struct worker *worker)
{
    struct extent *none[BATCH] = { NULL };
    struct extent *extent = own_extent(worker);
    int64_t offset, bytes;

    if (!extent)
        return;
    offset = extent->offset;
    bytes = extent->bytes;
    if (random_below(&worker->random, 2)) {
        pattern_fill(worker->torture->model + offset,
                     random_next(&worker->random), 0, (size_t)bytes);
        worker->errors += blkalign_pwrite(some_handle(worker), offset,
                                          bytes,
                                          worker->torture->model + offset,
                                          0) != 0;
    }
    worker->errors += blkalign_pread(some_handle(worker), offset, bytes,
                                     worker->read_buf, 0) != 0;
    check_read(worker, offset, (size_t)bytes, none);
    worker->requests += 2;
}

static void *work(void *opaque)
{
    struct worker *worker = opaque;

    while (now_ms() < worker->torture->end_ms && !worker->wrong &&
           !worker->errors) {
        one_batch(worker);
        one_synchronous(worker);
    }
    return NULL;
}

static void run_workers(struct torture *torture, uint64_t seed)
{
    uint64_t requests = 0, errors = 0, wrong = 0;
    struct worker workers[THREADS];
    int i, j;

    memset(workers, 0, sizeof(workers));
    for (i = 0; i < THREADS; i++) {
        workers[i].torture = torture;
        workers[i].number = i;
        workers[i].random = seed + (uint64_t)i * 1000;
        workers[i].read_buf = aligned_memory(LONGEST_READ);
        for (j = 0; j < BATCH; j++)
            workers[i].write_bufs[j] = aligned_memory(200 * CELL + 4096);
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        requests += workers[i].requests;
        errors += workers[i].errors;
        wrong += workers[i].wrong;
        if (workers[i].wrong)
            diag("thread %d: first wrong byte at %lld", i,
                 (long long)workers[i].first_wrong);
        free(workers[i].read_buf);
        for (j = 0; j < BATCH; j++)
            free(workers[i].write_bufs[j]);
    }
    is_int((int64_t)errors, 0, "%s: none of %llu requests failed",
           torture->bed->name, (unsigned long long)requests);
    is_int((int64_t)wrong, 0, "%s: every byte read was right",
           torture->bed->name);
}

static void run(struct bed *bed, uint32_t flags, uint64_t seed,
                int64_t ms)
{
    struct torture *torture = calloc(1, sizeof(*torture));
    blkalign_open_options options = mode_options(flags);
    uint8_t *got = aligned_memory(DISK_BYTES);
    int64_t i, different = 0;

    diag("%s: %s%s", bed->name, mode_words(), flags ? ", no merging" : "");
    torture->bed = bed;
    torture->model = aligned_memory(DISK_BYTES);
    cut_disk(torture, &seed);
    pattern_fill(torture->model, seed, 0, DISK_BYTES);
    bed_poke(bed, 0, torture->model, DISK_BYTES);
    torture->handles[0] = bed_open(bed, &options);
    torture->handles[1] = bed_open_again(bed, torture->handles[0],
                                         &options);
    torture->end_ms = now_ms() + ms;
    run_workers(torture, seed);
    is_int(blkalign_close(torture->handles[1]), 0, "%s: close", bed->name);
    is_int(blkalign_close(torture->handles[0]), 0, "%s: close", bed->name);
    bed_peek(bed, 0, got, DISK_BYTES);
    for (i = 0; i < DISK_BYTES; i++)
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

int main(void)
{
    const char *given = getenv("BLKALIGN_TEST_SECONDS");
    const char *whole = getenv("BLKALIGN_TORTURE_SECONDS");
    int64_t ms = given ? 1000 * strtoll(given, NULL, 10) : 600;
    unsigned turn, turns = 0;
    struct bed bed;
    uint64_t seed;
    int kind;

    if (whole)
        ms = 1000 * strtoll(whole, NULL, 10) / (BED_KINDS * TURNS);
    run_begin((unsigned)(60 + BED_KINDS * TURNS * ms / 500));
    seed = run_seed();
    for (kind = 0; kind < BED_KINDS; kind++) {
        if (bed_make(&bed, (enum bed_kind)kind, DISK_BYTES)) {
            skip(bed.why_not, "%s: torture", bed.name);
            continue;
        }
        /* After the first round of modes one round without merging. */
        for (turn = 0; turn < TURNS; turn++, turns++) {
            run(&bed, turns / MODES % 2 ? BLKALIGN_O_NO_MERGE : 0,
                seed + turn, ms);
            mode_next();
        }
        bed_remove(&bed);
    }
    return done_testing();
}
