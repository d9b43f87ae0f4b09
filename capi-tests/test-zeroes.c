/*
 * Zero writes change their own bytes and no others: every range around the
 * edges of three blocks, on every kind of storage, many at once, against a
 * model of each byte; and with MAY_UNMAP the file frees space.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_given.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define WINDOW (3 * BLOCK)
#define SLOTS 64
/* A block between two windows, so that requests could meet only at edges. */
#define STRIDE (WINDOW + BLOCK)
#define DISK_BYTES (SLOTS * STRIDE)

/* Each multiple of 512 in the window, and its two neighbours. */
#define POINTS_MAX (3 * (WINDOW / 512 + 1))

static int64_t points[POINTS_MAX];
static int points_count;
static uint8_t *pattern, *model, *got;

/* FUA is rare, since disks are slow with it. */
static uint32_t flags_of(uint64_t request)
{
    return (request % 2 ? BLKALIGN_REQ_MAY_UNMAP : 0) |
           (request % 3 ? 0 : BLKALIGN_REQ_SERIALISING) |
           (request % 61 ? 0 : BLKALIGN_REQ_FUA);
}

static void make_points(void)
{
    int64_t at;
    int off;

    for (at = 0; at <= WINDOW; at += 512)
        for (off = -1; off <= 1; off++)
            if (at + off >= 0 && at + off <= WINDOW)
                points[points_count++] = at + off;
}

struct rounds {
    struct bed *bed;
    blkalign_handle *handle;
    struct answer answers[SLOTS];
    int slot, errors, different;
    uint64_t requests;
};

/* Collects the results of all requests, and compares the whole disk. */
static void end_round(struct rounds *rounds)
{
    int64_t i;
    int ret;

    for (i = 0; i < rounds->slot; i++) {
        ret = answer_wait(&rounds->answers[i]);
        if (ret == INT_MIN)
            bail("no callback in ten seconds");
        if (ret && rounds->errors++ == 0)
            diag("first error: %s", strerror(-ret));
    }
    bed_peek(rounds->bed, 0, got, DISK_BYTES);
    for (i = 0; i < DISK_BYTES; i++)
        if (got[i] != model[i] && rounds->different++ == 0)
            diag("byte %lld: got %d, want %d", (long long)i, got[i],
                 model[i]);
    rounds->slot = 0;
}

static void begin_round(struct rounds *rounds)
{
    memcpy(model, pattern, DISK_BYTES);
    bed_poke(rounds->bed, 0, pattern, DISK_BYTES);
}

static void one(struct rounds *rounds, int64_t start, int64_t end)
{
    int64_t offset;

    if (rounds->slot == 0)
        begin_round(rounds);
    offset = (int64_t)rounds->slot * STRIDE + start;
    memset(model + offset, 0, (size_t)(end - start));
    aio_zeroes(rounds->handle, offset, end - start,
               flags_of(rounds->requests++),
               &rounds->answers[rounds->slot++]);
    if (rounds->slot == SLOTS)
        end_round(rounds);
}

/* All ranges, or each nth. */
static void every_range(struct bed *bed, uint32_t open_flags, int nth)
{
    blkalign_open_options options = mode_options(open_flags);
    struct rounds rounds;
    /* Kinds of storage that take turns leave out different ranges. */
    int i, j, number = (int)bed->kind;

    memset(&rounds, 0, sizeof(rounds));
    rounds.bed = bed;
    rounds.handle = bed_open(bed, &options);
    for (i = 0; i < points_count; i++)
        for (j = i; j < points_count; j++)
            if (number++ % nth == 0)
                one(&rounds, points[i], points[j]);
    if (rounds.slot)
        end_round(&rounds);
    is_int(rounds.errors, 0, "%s, %s: %llu ranges without an error",
           bed->name, mode_words(), (unsigned long long)rounds.requests);
    is_int(rounds.different, 0, "%s: every byte is right", bed->name);
    is_int((int64_t)stats_of(rounds.handle).write_zeroes,
           (int64_t)rounds.requests, "%s: stats count them", bed->name);
    is_int(blkalign_close(rounds.handle), 0, "%s: close", bed->name);
}

/* Long ranges, split and in one piece, beside sub-block writes. */
static void the_whole_disk(struct bed *bed)
{
    blkalign_open_options options = mode_options(0);
    blkalign_handle *handle = bed_open(bed, &options);
    struct answer answers[3];
    int i;

    memset(model, 0, DISK_BYTES);
    memcpy(model, pattern, 3);
    memcpy(model + DISK_BYTES - 5, pattern + DISK_BYTES - 5, 5);
    bed_poke(bed, 0, pattern, DISK_BYTES);
    aio_zeroes(handle, 3, DISK_BYTES - 8, 0, &answers[0]);
    pattern_fill(got, 7, 0, 1000);
    memcpy(model + 40000, got, 1000);
    aio_write(handle, 40000, got, 1000, 0, &answers[1]);
    aio_zeroes(handle, 40100, 100, BLKALIGN_REQ_MAY_UNMAP, &answers[2]);
    memset(model + 40100, 0, 100);
    for (i = 0; i < 3; i++)
        is_int(answer_wait(&answers[i]), 0, "%s: part %d of a long one",
               bed->name, i);
    bed_peek(bed, 0, got, DISK_BYTES);
    ok(!memcmp(got, model, DISK_BYTES),
       "%s: a long one, a write into it, zeros into that, in order",
       bed->name);
    blkalign_close(handle);
}

static int64_t blocks_of(const struct bed *bed)
{
    struct stat status;
    int fd = open(bed->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) || fstat(fd, &status))
        bail("%s: %s", bed->path, strerror(errno));
    close(fd);
    return status.st_blocks;
}

static int64_t size_of(const struct bed *bed)
{
    struct stat status;

    return stat(bed->path, &status) ? -1 : (int64_t)status.st_size;
}

static void space(struct bed *bed)
{
    blkalign_open_options options = mode_options(0);
    blkalign_handle *handle = bed_open(bed, &options);
    int64_t before;

    bed_poke(bed, 0, pattern, DISK_BYTES);
    before = blocks_of(bed);
    is_int(blkalign_pwrite_zeroes(handle, 100, DISK_BYTES - 200, 0), 0,
           "%s: nearly all, not to be unmapped", bed->name);
    if (bed->kind == BED_XFS || bed->kind == BED_EXT4)
        ok(blocks_of(bed) >= before - 16, "%s: the space stays", bed->name);
    is_int(size_of(bed), DISK_BYTES, "%s: the length stays", bed->name);
    bed_poke(bed, 0, pattern, DISK_BYTES);
    is_int(blkalign_pwrite_zeroes(handle, 100, DISK_BYTES - 200,
                                  BLKALIGN_REQ_MAY_UNMAP), 0,
           "%s: nearly all, may be unmapped", bed->name);
    /* Not every file system can: vfat, NFS 3. */
    if (!given_directory())
        ok(blocks_of(bed) < before / 4, "%s: the space is given back",
           bed->name);
    is_int(size_of(bed), DISK_BYTES, "%s: the length stays", bed->name);
    blkalign_close(handle);
}

/* A file that ends inside a block keeps its length and its last bytes. */
static void odd_end(struct bed *bed)
{
    const int64_t bytes = 5 * BLOCK + 777;
    int64_t from[] = { 0, 100, 5 * BLOCK, 5 * BLOCK + 1, bytes - 1 };
    int64_t to[] = { bytes, bytes - 1, 5 * BLOCK + 500 };
    blkalign_open_options options = mode_options(0);
    blkalign_handle *handle;
    int wrong = 0, longer = 0;
    size_t i;

    if (truncate(bed->path, bytes))
        bail("truncate: %s", strerror(errno));
    handle = bed_open(bed, &options);
    for (i = 0; i < 15; i++) {
        int64_t start = from[i % 5], end = to[i / 5];

        if (start >= end)
            continue;
        wrong += blkalign_pwrite(handle, 0, bytes, pattern, 0) != 0;
        wrong += blkalign_pwrite_zeroes(handle, start, end - start,
                                        i % 2 ? BLKALIGN_REQ_MAY_UNMAP
                                              : 0) != 0;
        wrong += blkalign_pread(handle, 0, bytes, got, 0) != 0;
        memcpy(model, pattern, (size_t)bytes);
        memset(model + start, 0, (size_t)(end - start));
        if (memcmp(got, model, (size_t)bytes) && wrong++ == 0)
            diag("zeros from %lld to %lld", (long long)start,
                 (long long)end);
        longer += size_of(bed) != bytes;
    }
    is_int(wrong, 0, "%s: zeros up to an odd end", bed->name);
    is_int(longer, 0, "%s: never change the length", bed->name);
    blkalign_close(handle);
    if (truncate(bed->path, DISK_BYTES))
        bail("truncate: %s", strerror(errno));
}

static void run(struct bed *bed)
{
    int64_t start = now_ms();

    every_range(bed, 0, bed->sim || bed->kind == BED_LOOP ? 1 : 5);
    mode_next();
    every_range(bed, BLKALIGN_O_UNMAP, 11);
    the_whole_disk(bed);
    if (bed_is_file(bed)) {
        if (bed->kind != BED_RAMFS)
            space(bed);
        odd_end(bed);
    }
    if (bed->sim)
        ok(!*sim_violation(bed->sim), "%s: nothing to refuse %s", bed->name,
           sim_violation(bed->sim));
    diag("%s took %lld ms", bed->name, (long long)(now_ms() - start));
    mode_next();
}

int main(void)
{
    struct bed bed;
    int kind;

    run_begin(170);
    make_points();
    pattern = aligned_memory(DISK_BYTES);
    model = aligned_memory(DISK_BYTES);
    got = aligned_memory(DISK_BYTES);
    pattern_fill(pattern, 1, 0, DISK_BYTES);
    for (kind = 0; kind < BED_ALL_KINDS; kind++) {
        if (kind == BED_LOOP_512 || kind == BED_SIM_AT_ONCE)
            continue;
        if (bed_make(&bed, (enum bed_kind)kind, DISK_BYTES)) {
            skip(bed.why_not, "%s: zero writes", bed.name);
            continue;
        }
        run(&bed);
        bed_remove(&bed);
    }
    free(pattern);
    free(model);
    free(got);
    return done_testing();
}
