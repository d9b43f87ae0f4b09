/*
 * Vectors of any shape: longer than the system takes, with empty elements,
 * with the same memory twice, at every misalignment of addresses.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES (8 << 20)
#define GUARD 0xa5

static struct bed bed;
static blkalign_handle *handle;
static uint8_t *disk, *memory;

/* Writes with the vector, checks behind the library's back, then reads with
 * the same vector. The elements lie in `memory` without overlap. */
static void there_and_back(int64_t offset, const struct iovec *iov,
                           int count, const char *words)
{
    int64_t at = offset, wrong = 0;
    int i;

    pattern_fill(disk, 1, 0, DISK_BYTES);
    bed_poke(&bed, 0, disk, DISK_BYTES);
    for (i = 0; i < count; at += (int64_t)iov[i++].iov_len) {
        pattern_fill(iov[i].iov_base, 2, at, iov[i].iov_len);
        pattern_fill(disk + at, 2, at, iov[i].iov_len);
    }
    is_int(blkalign_pwritev(handle, offset, iov, count, 0), 0,
           "%s: %s: written", bed.name, words);
    for (i = 0; i < count; i++)
        if (iov[i].iov_len)
            memset(iov[i].iov_base, 0, iov[i].iov_len);
    is_int(blkalign_preadv(handle, offset, iov, count, 0), 0,
           "%s: %s: read", bed.name, words);
    for (at = offset, i = 0; i < count; at += (int64_t)iov[i++].iov_len)
        wrong += pattern_differs(iov[i].iov_base, 2, at,
                                 iov[i].iov_len) != -1;
    is_int(wrong, 0, "%s: %s: each element is right", bed.name, words);
    bed_peek(&bed, 0, memory, DISK_BYTES);
    ok(!memcmp(memory, disk, DISK_BYTES), "%s: %s: so is the disk",
       bed.name, words);
}

static void many_elements(void)
{
    static struct iovec iov[5000];
    uint64_t state = 7;
    uint8_t *at = memory;
    int i;

    for (i = 0; i < 1024; i++) {
        iov[i].iov_base = memory + i * 512;
        iov[i].iov_len = 512;
    }
    there_and_back(0, iov, 1024, "1024 elements of 512");
    there_and_back(512, iov, 1024, "the same on odd sectors");
    there_and_back(BLOCK - 3, iov, 1024, "the same on odd bytes");
    iov[1023].iov_len = 400;
    iov[0].iov_len = 100;
    there_and_back(BLOCK + 13, iov, 1024, "odd first and last element");
    memmove(&iov[1], &iov[0], 1024 * sizeof(iov[0]));
    iov[0].iov_base = memory + (2 << 20);
    iov[0].iov_len = 77;
    iov[1025].iov_base = memory + (3 << 20) + 5;
    iov[1025].iov_len = 99;
    there_and_back(BLOCK + 1, iov, 1026, "1024 elements and two odd ones");
    for (i = 0; i < 5000; i++) {
        iov[i].iov_base = at;
        iov[i].iov_len = 1 + random_below(&state, 700);
        at += iov[i].iov_len + random_below(&state, 300);
    }
    there_and_back(12345, iov, 5000, "5000 elements of any length");
    for (i = 0; i < 5000; i++) {
        iov[i].iov_base = memory + i;
        iov[i].iov_len = 1;
    }
    there_and_back(4000, iov, 5000, "5000 elements of one byte");
}

static void empty_elements(void)
{
    struct iovec iov[9];
    int i;

    memset(iov, 0, sizeof(iov));
    for (i = 1; i < 9; i += 2) {
        iov[i].iov_base = memory + i * 1000;
        iov[i].iov_len = 700;
    }
    iov[4].iov_base = memory;
    there_and_back(3000, iov, 9, "empty elements between others");
    for (i = 1; i < 9; i += 2) {
        iov[i].iov_base = memory + i * BLOCK;
        iov[i].iov_len = BLOCK;
    }
    there_and_back(2 * BLOCK, iov, 9, "empty elements between blocks");
}

/* A Windows guest reads bytes that it does not want into one page. */
static void the_same_memory_twice(void)
{
    struct iovec iov[4] = { { memory, BLOCK }, { memory + BLOCK, BLOCK },
                            { memory + BLOCK, BLOCK },
                            { memory + 2 * BLOCK, BLOCK } };
    int64_t offset;

    pattern_fill(disk, 3, 0, DISK_BYTES);
    bed_poke(&bed, 0, disk, DISK_BYTES);
    for (offset = 0; offset < 2 * BLOCK; offset += 1365) {
        memset(memory, 0, 3 * BLOCK);
        is_int(blkalign_preadv(handle, offset, iov, 4, 0), 0,
               "%s: the same memory twice in a read", bed.name);
        is_int(pattern_differs(memory, 3, offset, BLOCK), -1,
               "%s: the element before is right", bed.name);
        is_int(pattern_differs(memory + 2 * BLOCK, 3, offset + 3 * BLOCK,
                               BLOCK), -1,
               "%s: the element after is right", bed.name);
        ok(pattern_differs(memory + BLOCK, 3, offset + BLOCK, BLOCK) == -1
           || pattern_differs(memory + BLOCK, 3, offset + 2 * BLOCK,
                              BLOCK) == -1,
           "%s: the element itself is one or the other", bed.name);
    }
    pattern_fill(memory, 4, 0, 3 * BLOCK);
    is_int(blkalign_pwritev(handle, 100, iov, 4, 0), 0,
           "%s: the same memory twice in a write", bed.name);
    memcpy(disk + 100, memory, 2 * BLOCK);
    memcpy(disk + 100 + 2 * BLOCK, memory + BLOCK, 2 * BLOCK);
    bed_peek(&bed, 0, memory, DISK_BYTES);
    ok(!memcmp(memory, disk, DISK_BYTES), "%s: writes it twice", bed.name);
}

static int is_filled(const uint8_t *from, const uint8_t *to)
{
    while (from < to && *from == GUARD)
        from++;
    return from == to;
}

static void every_misalignment(int step)
{
    int64_t offset, wrong = 0, failed = 0, spilt = 0;
    int shift;

    pattern_fill(disk, 5, 0, DISK_BYTES);
    for (shift = 0; shift < BLOCK; shift += step) {
        size_t bytes = (size_t)(shift % 3 ? BLOCK : 5000);
        uint8_t *buf = memory + shift;

        offset = shift % 2 ? BLOCK : 1 + shift;
        pattern_fill(buf, 6, shift, bytes);
        memcpy(disk + offset, buf, bytes);
        failed += blkalign_pwrite(handle, offset, (int64_t)bytes, buf, 0)
                  != 0;
        buf = memory + 16 * BLOCK + (BLOCK - 1 - shift);
        memset(memory + 15 * BLOCK, GUARD, 5 * BLOCK);
        failed += blkalign_pread(handle, offset, (int64_t)bytes, buf, 0)
                  != 0;
        wrong += pattern_differs(buf, 6, shift, bytes) != -1;
        spilt += !is_filled(memory + 15 * BLOCK, buf) ||
                 !is_filled(buf + bytes, memory + 20 * BLOCK);
    }
    is_int(failed, 0, "%s: every misalignment of address works", bed.name);
    is_int(wrong, 0, "%s: and brings the right bytes", bed.name);
    is_int(spilt, 0, "%s: and changes no memory beside them", bed.name);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_SIM_SYNC, BED_SIM_ASYNC,
                                           BED_LOOP, BED_XFS, BED_ZRAM,
                                           BED_FILE };
    unsigned i;

    run_begin(120);
    mode_first(1);
    disk = aligned_memory(DISK_BYTES);
    memory = aligned_memory(DISK_BYTES);
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (bed_make(&bed, kinds[i], DISK_BYTES)) {
            skip(bed.why_not, "%s: vectors", bed.name);
            continue;
        }
        diag("%s: %s", bed.name, mode_words());
        handle = bed_open(&bed, NULL);
        many_elements();
        empty_elements();
        the_same_memory_twice();
        every_misalignment(kinds[i] == BED_SIM_SYNC ? 1 : 37);
        is_int(blkalign_close(handle), 0, "%s: close", bed.name);
        if (bed.sim)
            ok(!*sim_violation(bed.sim), "%s: nothing to refuse %s",
               bed.name, sim_violation(bed.sim));
        bed_remove(&bed);
        mode_next();
    }
    free(disk);
    free(memory);
    return done_testing();
}
