/*
 * Growing and shrinking under load. Several threads write the file's end at
 * once, each its own pieces of 256 bytes, so that each byte has one writer;
 * another thread checks the length all the time. Writes inside a file that is
 * not to grow never make it longer, not even for a moment.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define PIECE 256
#define THREADS 4
#define PIECES 640
#define ROOM (PIECES * PIECE)

struct load {
    struct bed *bed;
    blkalign_handle *handle;
    char path[200];
    int64_t bound;              /* it may never be longer */
    int64_t unit;               /* its length is always a multiple */
    int stop, errors, longer;   /* atomics */
    uint64_t looks;
};

struct worker {
    struct load *load;
    int number;
    uint64_t random;
    pthread_t thread;
};

static int64_t length_behind(const struct load *load)
{
    struct stat status;

    if (load->bed->sim)
        return blkalign_getlength(load->handle);
    return stat(load->path, &status) ? -1 : (int64_t)status.st_size;
}

static void count(int *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static void *looker(void *opaque)
{
    struct load *load = opaque;

    while (!__atomic_load_n(&load->stop, __ATOMIC_RELAXED)) {
        int64_t length = length_behind(load);

        if (length > load->bound || length % load->unit)
            count(&load->longer);
        load->looks++;
        sched_yield();
    }
    return NULL;
}

static void load_open(struct load *load, struct bed *bed, uint32_t flags)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);
    int ret;

    load->bed = bed;
    if (bed->sim) {
        load->handle = sim_open(bed->sim, &options);
        return;
    }
    if (!bed_is_buffered(bed))
        options.flags |= BLKALIGN_O_DIRECT;
    ret = blkalign_open(load->path, &options, &load->handle);
    if (ret)
        bail("open %s: %d %s", load->path, ret, blkalign_errmsg());
}

static void load_begin(struct load *load, struct bed *bed, uint32_t flags)
{
    memset(load, 0, sizeof(*load));
    load->unit = 1;
    snprintf(load->path, sizeof(load->path), "%s/load", bed->dir);
    if (!bed->sim && !bed->mounted)
        janitor_tell("file", load->path);
    load_open(load, bed, flags);
}

static void load_end(struct load *load, const char *words)
{
    is_int(load->errors, 0, "%s, %s, %s: no errors", load->bed->name,
           mode_words(), words);
    is_int(load->longer, 0, "%s, %s: never of a wrong length", load->bed->name,
           words);
    is_int(blkalign_close(load->handle), 0, "%s: close", load->bed->name);
    if (!load->bed->sim)
        unlink(load->path);
    if (load->bed->sim)
        ok(!*sim_violation(load->bed->sim), "nothing to refuse %s",
           sim_violation(load->bed->sim));
}

/* Each thread's pieces are every fourth, so all four grow the same end. */
static void *grow(void *opaque)
{
    struct worker *worker = opaque;
    struct load *load = worker->load;
    uint8_t buf[PIECE];
    int piece;

    for (piece = worker->number; piece < PIECES; piece += THREADS) {
        int64_t offset = (int64_t)piece * PIECE;

        pattern_fill(buf, 5, offset, PIECE);
        if (blkalign_pwrite(load->handle, offset, PIECE, buf, 0) &&
            __atomic_add_fetch(&load->errors, 1, __ATOMIC_RELAXED) == 1)
            diag("%s", blkalign_errmsg());
        if (blkalign_getlength(load->handle) < offset + PIECE)
            count(&load->errors);
        memset(buf, 0, PIECE);
        if (blkalign_pread(load->handle, offset, PIECE, buf, 0) ||
            pattern_differs(buf, 5, offset, PIECE) != -1)
            count(&load->errors);
        if (piece % 16 == worker->number)
            sched_yield();
    }
    return NULL;
}

static void run_threads(struct load *load, void *(*work)(void *),
                        uint64_t seed)
{
    struct worker workers[THREADS];
    pthread_t look;
    int i;

    pthread_create(&look, NULL, looker, load);
    for (i = 0; i < THREADS; i++) {
        workers[i].load = load;
        workers[i].number = i;
        workers[i].random = seed + (uint64_t)i;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    __atomic_store_n(&load->stop, 1, __ATOMIC_RELAXED);
    pthread_join(look, NULL);
}

static void growth_by_many(struct bed *bed)
{
    struct load load;
    uint8_t *all = aligned_memory(ROOM);

    load_begin(&load, bed, BLKALIGN_O_RESIZE | BLKALIGN_O_CREATE);
    load.bound = ROOM;
    load.unit = PIECE;
    run_threads(&load, grow, 0);
    is_int(length_behind(&load), ROOM, "%s: it is as long as written",
           bed->name);
    is_int(blkalign_pread(load.handle, 0, ROOM, all, 0), 0, "%s: read",
           bed->name);
    is_int(pattern_differs(all, 5, 0, ROOM), -1, "%s: every byte is right",
           bed->name);
    load_end(&load, "growth by four threads");
    free(all);
}

/* Asynchronously: sixteen writes in a row, each past the end of the one
 * before. */
static void growth_in_flight(struct bed *bed)
{
    const int64_t step = 1000;
    struct answer answers[16];
    uint8_t *all = aligned_memory(17 * BLOCK);
    struct load load;
    int i, failed = 0;

    load_begin(&load, bed, BLKALIGN_O_RESIZE | BLKALIGN_O_CREATE);
    is_int(blkalign_truncate(load.handle, 0), 0, "%s: empty", bed->name);
    pattern_fill(all, 6, 0, 16 * 1000);
    for (i = 15; i >= 0; i--)
        aio_write(load.handle, i * step, all + i * step, (size_t)step, 0,
                  &answers[i]);
    for (i = 0; i < 16; i++)
        failed += answer_wait(&answers[i]) != 0;
    is_int(failed, 0, "%s: 16 extending writes at once", bed->name);
    load.bound = 16 * step;
    is_int(length_behind(&load), load.bound, "%s: the length", bed->name);
    memset(all, 0xaa, 17 * BLOCK);
    is_int(blkalign_pread(load.handle, 0, 17 * 1000, all, 0), 0, "read");
    is_int(pattern_differs(all, 6, 0, 16 * 1000), -1,
           "%s: every byte is right", bed->name);
    for (i = 0; i < 1000 && !all[16000 + i]; i++)
        ;
    is_int(i, 1000, "%s: zeros behind", bed->name);
    load_end(&load, "growth in flight");
    free(all);
}

/* Inside of a file with an odd end, without RESIZE. */
static void *write_inside(void *opaque)
{
    struct worker *worker = opaque;
    struct load *load = worker->load;
    uint8_t buf[3 * BLOCK];
    int i;

    for (i = 0; i < 150; i++) {
        int64_t bytes = 1 + (int64_t)random_below(&worker->random,
                                                  3 * BLOCK);
        int64_t offset = load->bound - bytes;

        if (random_below(&worker->random, 2))
            offset -= (int64_t)random_below(&worker->random, BLOCK);
        pattern_fill(buf, 8, offset, (size_t)bytes);
        if (i % 4 == 3 ? blkalign_pread(load->handle, offset, bytes, buf, 0)
                       : blkalign_pwrite(load->handle, offset, bytes, buf,
                                         0))
            count(&load->errors);
        if (length_behind(load) != load->bound)
            count(&load->longer);
    }
    return NULL;
}

static void inside_only(struct bed *bed, uint64_t seed)
{
    struct load load;
    int fd;

    memset(&load, 0, sizeof(load));
    snprintf(load.path, sizeof(load.path), "%s/load", bed->dir);
    fd = open(load.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 20 * BLOCK + 777))
        bail("%s: %s", load.path, strerror(errno));
    close(fd);
    load_begin(&load, bed, 0);
    load.bound = 20 * BLOCK + 777;
    run_threads(&load, write_inside, seed);
    load_end(&load, "writes inside a file that does not grow");
}

/* Three threads write and read their own blocks far from the end; one thread
 * shrinks and grows the end. */
static void *truncate_or_write(void *opaque)
{
    struct worker *worker = opaque;
    struct load *load = worker->load;
    int64_t offset, end;
    uint8_t buf[700];
    int i, ret;

    for (i = 0; i < 120; i++) {
        if (worker->number == 0) {
            end = 8 * BLOCK + (int64_t)random_below(&worker->random,
                                                    8 * BLOCK);
            ret = blkalign_truncate(load->handle, end);
            if (ret || blkalign_getlength(load->handle) != end)
                count(&load->errors);
            continue;
        }
        offset = worker->number * 2 * BLOCK +
                 (int64_t)random_below(&worker->random, BLOCK);
        pattern_fill(buf, (uint64_t)i + 9, offset, sizeof(buf));
        ret = blkalign_pwrite(load->handle, offset, sizeof(buf), buf, 0);
        memset(buf, 0, sizeof(buf));
        ret |= blkalign_pread(load->handle, offset, sizeof(buf), buf, 0);
        if (ret || pattern_differs(buf, (uint64_t)i + 9, offset,
                                   sizeof(buf)) != -1)
            count(&load->errors);
        /* Perhaps past the end by now: a read returns zeros or fails. */
        ret = blkalign_pread(load->handle, 12 * BLOCK, sizeof(buf), buf, 0);
        if (ret || buf[0] || buf[sizeof(buf) - 1])
            count(&load->errors);
    }
    return NULL;
}

static void truncate_under_load(struct bed *bed, uint64_t seed)
{
    struct load load;

    load_begin(&load, bed, BLKALIGN_O_RESIZE | BLKALIGN_O_CREATE);
    load.bound = 16 * BLOCK;
    is_int(blkalign_truncate(load.handle, load.bound), 0, "%s: room",
           bed->name);
    run_threads(&load, truncate_or_write, seed);
    is_int(length_behind(&load), blkalign_getlength(load.handle),
           "%s: both lengths agree", bed->name);
    load_end(&load, "truncate under load");
}

static void run(struct bed *bed, uint64_t seed)
{
    growth_by_many(bed);
    mode_next();
    growth_in_flight(bed);
    mode_next();
    truncate_under_load(bed, seed);
    mode_next();
    if (!bed->sim)
        inside_only(bed, seed);
}

int main(void)
{
    struct sim_options disk = sim_disk_4k(0, SIM_SYNC);
    uint64_t seed;
    struct bed bed;
    int kind;

    run_begin(100);
    seed = run_seed();
    disk.bytes_max = 2 * ROOM;
    disk.latency_us_max = 60;
    for (kind = 0; kind < 3; kind++) {
        memset(&bed, 0, sizeof(bed));
        bed.name = "simulated disk that grows";
        disk.mode = (enum sim_mode)kind;
        bed.sim = sim_new(&disk);
        run(&bed, seed);
        sim_free(bed.sim);
    }
    for (kind = 0; kind < BED_ALL_KINDS; kind++) {
        bed.kind = (enum bed_kind)kind;
        if (!bed_is_file(&bed))
            continue;
        if (bed_make(&bed, (enum bed_kind)kind, BLOCK)) {
            skip(bed.why_not, "%s: growing under load", bed.name);
            continue;
        }
        run(&bed, seed);
        bed_remove(&bed);
    }
    return done_testing();
}
