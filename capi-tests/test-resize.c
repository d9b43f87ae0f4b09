/*
 * An object that grows and shrinks: its length is exact at every step, as
 * stat(2) sees it; bytes in between read as zeros; bytes that were cut off do
 * not come back.
 */
#include "common_aio.h"
#include "common_grow.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
/* Lengths around the ends of blocks and sectors. */
static int64_t some_place(uint64_t *random)
{
    int64_t near = (int64_t)random_below(random, 16) *
                   (random_below(random, 2) ? BLOCK : 512);

    if (random_below(random, 3) == 0)
        return (int64_t)random_below(random, 16 * BLOCK);
    near += (int64_t)random_below(random, 5) - 2;
    return near < 0 ? 0 : near;
}

static void by_steps(struct growing *growing)
{
    grow_write(growing, 0, 1, 2);
    grow_write(growing, 1, 511, 3);
    grow_write(growing, 600, 10, 4);
    grow_write(growing, BLOCK - 1, 2, 5);
    grow_write(growing, 5 * BLOCK, BLOCK, 6);
    grow_write(growing, 10 * BLOCK + 7, 3, 7);
    grow_truncate(growing, 5 * BLOCK + 5);
    grow_truncate(growing, 11 * BLOCK);
    grow_truncate(growing, 5);
    grow_write(growing, 2 * BLOCK, 1, 8);
    grow_zeroes(growing, 2 * BLOCK + 1, 3 * BLOCK);
    grow_zeroes(growing, 9 * BLOCK + 100, 50);
    grow_truncate(growing, 0);
    grow_truncate(growing, 3 * BLOCK + 3);
    grow_write(growing, 3 * BLOCK - 10, 10, 9);
    grow_zeroes(growing, 3 * BLOCK + 2, 2);
}

static void by_chance(struct growing *growing, uint64_t random)
{
    int64_t offset, bytes;
    int i;

    for (i = 0; i < 60 && !growing->wrong; i++) {
        offset = some_place(&random);
        bytes = 1 + some_place(&random) % (3 * BLOCK);
        switch (random_below(&random, 4)) {
        case 0:
            grow_truncate(growing, offset);
            break;
        case 1:
            grow_zeroes(growing, offset, bytes);
            break;
        default:
            grow_write(growing, offset, bytes, random_next(&random));
        }
    }
}

/* Also for an empty file it is known that the disk has blocks of 4096 bytes.
 * */
static void probed(struct growing *growing, const char *words)
{
    const struct bed *bed = growing->bed;

    if (bed->kind == BED_XFS || bed->kind == BED_EXT4 ||
        bed->kind == BED_BTRFS)
        is_int(limits_of(growing->handle).request_alignment, BLOCK,
               "%s: the block size of a file, %s", bed->name, words);
}

/* The content is there when the file is opened again, and can be probed. */
static void open_anew(struct growing *growing)
{
    is_int(blkalign_close(growing->handle), 0, "%s: close",
           growing->bed->name);
    grow_open(growing, growing->bed, 0);
    probed(growing, "opened anew");
    growing->doing = "opened anew";
    grow_look(growing);
    is_int(growing->wrong, 0, "%s, %s: opened anew", growing->bed->name,
           mode_words());
}

/* A handle without RESIZE on the same object. */
static void second_handle(struct growing *growing)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    const char *name = growing->bed->name;
    blkalign_handle *second = NULL;
    uint8_t byte = 7, got[2];

    grow_truncate(growing, 1000);
    is_int(blkalign_dup(growing->handle, &options, &second), 0,
           "%s: a second handle", name);
    is_int(blkalign_getlength(second), 1000, "%s: knows the length", name);
    is_int(blkalign_pwrite(second, 1000, 1, &byte, 0), -EIO,
           "%s: may not write past it", name);
    is_int(blkalign_pread(second, 999, 2, got, 0), -EIO,
           "%s: nor read past it", name);
    grow_write(growing, 2 * BLOCK, 10, 4);
    is_int(blkalign_getlength(second), 2 * BLOCK + 10,
           "%s: sees it grow", name);
    is_int(blkalign_pwrite(second, BLOCK, 1, &byte, 0), 0,
           "%s: may write there", name);
    grow_model[BLOCK] = 7;
    grow_look(growing);
    is_int(blkalign_truncate(second, 100), 0,
           "%s: truncate needs no RESIZE", name);
    memset(grow_model + 100, 0, GROW_ROOM - 100);
    growing->length = 100;
    grow_look(growing);
    is_int(blkalign_pread(second, 100, 1, got, 0), -EIO,
           "%s: sees it shrink", name);
    blkalign_close(second);
    is_int(growing->wrong, 0, "%s: nothing else is wrong", name);
}

static void run(struct bed *bed, uint64_t seed)
{
    struct growing growing;

    memset(&growing, 0, sizeof(growing));
    memset(grow_model, 0, GROW_ROOM);
    snprintf(growing.path, sizeof(growing.path), "%s/grows", bed->dir);
    if (!bed->sim && !bed->mounted)
        janitor_tell("file", growing.path);
    growing.doing = "at first";
    grow_open(&growing, bed, bed->sim ? 0 : BLKALIGN_O_CREATE);
    probed(&growing, "just created");
    is_int(blkalign_getlength(growing.handle), 0,
           "%s, %s: it is empty at first", bed->name, mode_words());
    grow_look(&growing);
    by_steps(&growing);
    is_int(growing.wrong, 0, "%s: by steps", bed->name);
    by_chance(&growing, seed);
    is_int(growing.wrong, 0, "%s: by chance", bed->name);
    if (!bed->sim)
        open_anew(&growing);
    second_handle(&growing);
    is_int(blkalign_close(growing.handle), 0, "%s: close", bed->name);
    if (!bed->sim)
        unlink(growing.path);
}

static void simulated(uint64_t seed)
{
    static const uint32_t blocks[] = { 4096, 512, 1 };
    struct bed bed;
    int i;

    for (i = 0; i < 9; i++) {
        grow_sim(&bed, (enum sim_mode)(i % 3), blocks[i / 3]);
        run(&bed, seed + (uint64_t)i);
        ok(!*sim_violation(bed.sim), "nothing to refuse %s",
           sim_violation(bed.sim));
        sim_free(bed.sim);
        mode_next();
    }
}

int main(void)
{
    uint64_t seed;
    struct bed bed;
    int kind;

    run_begin(100);
    seed = run_seed();
    simulated(seed);
    for (kind = 0; kind < BED_ALL_KINDS; kind++) {
        bed.kind = (enum bed_kind)kind;
        if (!bed_is_file(&bed))
            continue;
        if (bed_make(&bed, (enum bed_kind)kind, GROW_ROOM)) {
            skip(bed.why_not, "%s: files that grow", bed.name);
            continue;
        }
        run(&bed, seed + 1);
        mode_next();
        run(&bed, seed + 2);
        bed_remove(&bed);
        mode_next();
    }
    return done_testing();
}
