/*
 * A window of odd offset and length is a disk of its own: all of it can be
 * reached, nothing beside it is read into a caller's memory or written, and
 * two windows that meet inside a block do not damage each other.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES (32 * BLOCK)
#define BASE (2 * BLOCK + 1234)
#define LENGTH 20011
#define WRITES 120

static uint8_t *model, *got, *buf;

static blkalign_open_options window_options(int64_t offset, int64_t bytes)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_UNMAP);

    options.window_offset = (uint64_t)offset;
    options.window_length = (uint64_t)bytes;
    return options;
}

static blkalign_handle *open_window(struct bed *bed, int64_t offset,
                                    int64_t bytes)
{
    blkalign_open_options options = window_options(offset, bytes);

    return bed_open(bed, &options);
}

static void fill(struct bed *bed)
{
    pattern_fill(model, 1, 0, DISK_BYTES);
    bed_poke(bed, 0, model, DISK_BYTES);
}

static void disk_is_model(struct bed *bed, const char *words)
{
    bed_peek(bed, 0, got, DISK_BYTES);
    ok(!memcmp(got, model, DISK_BYTES), "%s, %s: %s", bed->name,
       mode_words(), words);
}

static void ends(struct bed *bed)
{
    blkalign_handle *handle = open_window(bed, BASE, LENGTH);
    struct answer answer;

    is_int(blkalign_getlength(handle), LENGTH, "%s: its length", bed->name);
    is_int(blkalign_pread(handle, LENGTH - 1, 2, buf, 0), -EIO,
           "read past the end");
    is_int(blkalign_pread(handle, LENGTH, 0, buf, 0), 0,
           "nothing, at the end");
    is_int(blkalign_pread(handle, LENGTH + 1, 0, buf, 0), -EIO,
           "nothing, beyond it");
    is_int(blkalign_pwrite(handle, LENGTH, 1, buf, 0), -EIO,
           "write past the end");
    is_int(blkalign_pwrite(handle, 0, LENGTH + 1, buf, 0), -EIO,
           "write all and one more");
    is_int(blkalign_pwrite_zeroes(handle, LENGTH - 1, 2, 0), -EIO,
           "zeros past the end");
    is_int(blkalign_pdiscard(handle, LENGTH - 1, 2), -EIO,
           "discard past the end");
    is_int(blkalign_pwrite(handle, -1, 1, buf, 0), -EINVAL,
           "before the beginning");
    is_int(blkalign_truncate(handle, 5), -EINVAL, "truncate");
    aio_write(handle, LENGTH, buf, 1, 0, &answer);
    is_int(answer.ret, -EIO, "aio: past the end, at submit");
    disk_is_model(bed, "nothing changed");
    blkalign_close(handle);
}

static void to_the_end(struct bed *bed)
{
    blkalign_handle *handle = open_window(bed, BASE, 0);

    is_int(blkalign_getlength(handle), DISK_BYTES - BASE,
           "%s: length 0 is to the end", bed->name);
    is_int(blkalign_pread(handle, 5, 99, buf, 0), 0, "a read");
    is_int(pattern_differs(buf, 1, BASE + 5, 99), -1, "of its bytes");
    blkalign_close(handle);
    handle = open_window(bed, DISK_BYTES - 1, 1);
    is_int(blkalign_getlength(handle), 1, "%s: the last byte", bed->name);
    buf[0] = model[DISK_BYTES - 1] = 77;
    is_int(blkalign_pwrite(handle, 0, 1, buf, 0), 0, "is written");
    disk_is_model(bed, "and no other");
    blkalign_close(handle);
}

static void no_window(struct bed *bed, int64_t offset, int64_t bytes)
{
    blkalign_open_options options = window_options(offset, bytes);
    blkalign_handle *handle = NULL, *first = bed_open(bed, NULL);

    options.flags |= BLKALIGN_O_RDWR;
    is_int(blkalign_dup(first, &options, &handle), -EINVAL,
           "%s: a window of %lld at %lld", bed->name, (long long)bytes,
           (long long)offset);
    ok(!handle && *blkalign_errmsg(), "with words: %s", blkalign_errmsg());
    blkalign_close(handle);
    blkalign_close(first);
}

/* The memory around a read is unchanged, at each odd place. */
static void reads(struct bed *bed)
{
    blkalign_handle *handle = open_window(bed, BASE, LENGTH);
    int64_t offset, bytes, i;
    int wrong = 0;

    for (offset = 0; offset < LENGTH; offset += 1237)
        for (bytes = 1; bytes <= LENGTH - offset; bytes += 2711) {
            memset(buf, 0xaa, (size_t)bytes + 128);
            if (blkalign_pread(handle, offset, bytes, buf + 64, 0) ||
                pattern_differs(buf + 64, 1, BASE + offset,
                                (size_t)bytes) != -1)
                wrong++;
            for (i = 0; i < 64; i++)
                wrong += buf[i] != 0xaa || buf[64 + bytes + i] != 0xaa;
        }
    is_int(wrong, 0, "%s, %s: reads have its bytes and no others",
           bed->name, mode_words());
    blkalign_close(handle);
}

/* Random writes, zeros and discards, up to the very ends. */
static void changes(struct bed *bed, uint64_t random)
{
    blkalign_handle *handle = open_window(bed, BASE, LENGTH);
    int64_t offset, bytes, at;
    int i, failed = 0, kind;

    for (i = 0; i < WRITES; i++) {
        kind = (int)random_below(&random, 6);
        offset = (int64_t)random_below(&random, LENGTH);
        bytes = 1 + (int64_t)random_below(&random, 3 * BLOCK);
        if (i % 7 == 0)
            offset = 0;
        if (i % 7 == 1 || bytes > LENGTH - offset)
            bytes = LENGTH - offset;
        at = BASE + offset;
        if (kind == 0) {
            failed += blkalign_pdiscard(handle, offset, bytes) != 0;
            /* The discarded bytes are anything now. */
            kind = 2;
        }
        if (kind == 1) {
            failed += blkalign_pwrite_zeroes(handle, offset, bytes,
                                             BLKALIGN_REQ_MAY_UNMAP) != 0;
            memset(model + at, 0, (size_t)bytes);
            continue;
        }
        pattern_fill(model + at, random_next(&random), at, (size_t)bytes);
        failed += blkalign_pwrite(handle, offset, bytes, model + at,
                                  0) != 0;
    }
    is_int(failed, 0, "%s: %d changes", bed->name, WRITES);
    blkalign_close(handle);
    disk_is_model(bed, "its bytes changed and no others");
}

struct neighbour {
    blkalign_handle *handle;
    int64_t base, bytes;
    uint64_t random;
    int failed;
    pthread_t thread;
};

static void *work(void *opaque)
{
    struct neighbour *own = opaque;
    uint8_t *mine = aligned_memory(3 * BLOCK), *back;
    struct answer answers[3];
    int i, j;

    back = mine + BLOCK + BLOCK / 2;
    for (i = 0; i < WRITES; i++) {
        int64_t bytes = 1 + (int64_t)random_below(&own->random, 700);
        int64_t offset = i % 2 ? own->bytes - bytes : 0;

        /* The three pieces follow each other, away from the border. */
        for (j = 0; j < 3; j++) {
            int64_t at = i % 2 ? offset - j * bytes : offset + j * bytes;

            pattern_fill(mine + j * bytes, own->random + (uint64_t)j,
                         at, (size_t)bytes);
            memcpy(model + own->base + at, mine + j * bytes,
                   (size_t)bytes);
            aio_write(own->handle, at, mine + j * bytes, (size_t)bytes, 0,
                      &answers[j]);
        }
        for (j = 0; j < 3; j++)
            own->failed += answer_wait(&answers[j]) != 0;
        if (blkalign_pread(own->handle, offset, bytes, back, 0) ||
            memcmp(back, mine, (size_t)bytes))
            own->failed++;
    }
    free(mine);
    return NULL;
}

/* Three windows side by side with borders inside blocks, all at once. */
static void neighbours(struct bed *bed, uint64_t seed)
{
    static const int64_t borders[] = { BASE, BASE + 2 * BLOCK + 77,
                                       BASE + 5 * BLOCK - 1, DISK_BYTES };
    struct neighbour each[3];
    int i, failed = 0;

    for (i = 0; i < 3; i++) {
        blkalign_open_options options = window_options(
            borders[i], borders[i + 1] - borders[i]);

        memset(&each[i], 0, sizeof(each[i]));
        each[i].base = borders[i];
        each[i].bytes = borders[i + 1] - borders[i];
        each[i].random = seed + (uint64_t)i;
        each[i].handle = i ? bed_open_again(bed, each[0].handle, &options)
                           : bed_open(bed, &options);
    }
    for (i = 0; i < 3; i++)
        pthread_create(&each[i].thread, NULL, work, &each[i]);
    for (i = 0; i < 3; i++) {
        pthread_join(each[i].thread, NULL);
        failed += each[i].failed;
    }
    for (i = 2; i >= 0; i--)
        blkalign_close(each[i].handle);
    is_int(failed, 0, "%s: three windows at once", bed->name);
    disk_is_model(bed, "none hurts another");
}

static void run(struct bed *bed, uint64_t seed)
{
    int64_t start = now_ms();

    fill(bed);
    ends(bed);
    to_the_end(bed);
    no_window(bed, DISK_BYTES - 5, 6);
    no_window(bed, DISK_BYTES + 1, 0);
    no_window(bed, DISK_BYTES + 1, 1);
    no_window(bed, 1, DISK_BYTES);
    no_window(bed, 5, INT64_MAX);
    no_window(bed, INT64_MAX, 5);
    no_window(bed, -5, 10);
    fill(bed);
    reads(bed);
    changes(bed, seed);
    mode_next();
    neighbours(bed, seed);
    mode_next();
    changes(bed, seed + 9);
    if (bed->sim)
        ok(!*sim_violation(bed->sim), "%s: nothing to refuse %s", bed->name,
           sim_violation(bed->sim));
    diag("%s took %lld ms", bed->name, (long long)(now_ms() - start));
}

int main(void)
{
    uint64_t seed;
    struct bed bed;
    int kind;

    run_begin(60);
    seed = run_seed();
    model = aligned_memory(DISK_BYTES);
    got = aligned_memory(DISK_BYTES);
    buf = aligned_memory(DISK_BYTES);
    for (kind = 0; kind < BED_ALL_KINDS; kind++) {
        if (kind == BED_ZRAM)
            continue;
        if (bed_make(&bed, (enum bed_kind)kind, DISK_BYTES)) {
            skip(bed.why_not, "%s: windows", bed.name);
            continue;
        }
        run(&bed, seed);
        bed_remove(&bed);
    }
    free(model);
    free(got);
    free(buf);
    return done_testing();
}
