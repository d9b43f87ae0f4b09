/*
 * BLKALIGN_O_STABLE_WRITES: a write writes the bytes that the memory held at
 * the call, whatever its owner does to the memory afterwards.
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
#define DISK_BYTES (64 * BLOCK)
#define MEMORY_BYTES (16 * BLOCK)

static uint8_t disk[DISK_BYTES];
static uint8_t *memory;

/* Disk functions that spoil the guest's memory before they look at their own
 * data. */
static int64_t spoiler_length(void *opaque)
{
    (void)opaque;
    return DISK_BYTES;
}

static int spoiler_read(void *opaque, int64_t offset, int64_t bytes,
                        const struct iovec *iov, int iovcnt, uint32_t flags)
{
    int i;

    (void)opaque;
    (void)bytes;
    (void)flags;
    for (i = 0; i < iovcnt; i++) {
        memcpy(iov[i].iov_base, disk + offset, iov[i].iov_len);
        offset += (int64_t)iov[i].iov_len;
    }
    return 0;
}

static int spoiler_write(void *opaque, int64_t offset, int64_t bytes,
                         const struct iovec *iov, int iovcnt, uint32_t flags)
{
    int i;

    (void)opaque;
    (void)bytes;
    (void)flags;
    memset(memory, 0xee, MEMORY_BYTES);
    for (i = 0; i < iovcnt; i++) {
        memcpy(disk + offset, iov[i].iov_base, iov[i].iov_len);
        offset += (int64_t)iov[i].iov_len;
    }
    return 0;
}

static blkalign_handle *open_spoiler(uint32_t flags)
{
    blkalign_driver driver;
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);
    blkalign_handle *handle = NULL;

    memset(&driver, 0, sizeof(driver));
    driver.size = sizeof(driver);
    driver.name = "spoiler";
    driver.request_alignment = BLOCK;
    driver.mem_alignment = 512;
    driver.segment_alignment = 512;
    driver.getlength = spoiler_length;
    driver.preadv = spoiler_read;
    driver.pwritev = spoiler_write;
    if (blkalign_open_driver(&driver, NULL, &options, &handle) != 0)
        bail("open_driver: %s", blkalign_errmsg());
    return handle;
}

/* Shapes of writes: aligned, sectors, odd, many blocks. */
static const struct shape {
    int64_t offset;
    size_t at, bytes;
} shapes[] = {
    { 0, 0, BLOCK }, { 512, 0, 512 }, { BLOCK, 512, 2 * BLOCK },
    { 5 * BLOCK + 7, 3, 5 * BLOCK + 100 }, { BLOCK - 1, 1, 2 },
    { 512, 512, 15 * BLOCK }
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void memory_changes_during_the_write(void)
{
    blkalign_handle *handle = open_spoiler(BLKALIGN_O_STABLE_WRITES);
    struct answer answer;
    blkalign_stats stats;
    size_t i, way;

    for (i = 0; i < 2 * SHAPES; i++) {
        const struct shape *shape = &shapes[i / 2];
        uint8_t *from = memory + shape->at;

        way = i % 2;
        memset(disk, 0x11, sizeof(disk));
        pattern_fill(memory, i, 0, MEMORY_BYTES);
        memset(&answer, 0, sizeof(answer));
        answer.handle = handle;
        if (way == 0) {
            answer.ret = blkalign_pwrite(handle, shape->offset,
                                         (int64_t)shape->bytes, from, 0);
        } else {
            aio_write(handle, shape->offset, from, shape->bytes, 0, &answer);
            answer_wait(&answer);
        }
        is_int(answer.ret, 0, "%s: %s write of %d bytes at %d", mode_words(),
               way ? "asynchronous" : "synchronous", (int)shape->bytes,
               (int)shape->offset);
        is_int(pattern_differs(disk + shape->offset, i, (int64_t)shape->at,
                               shape->bytes), -1,
               "%s: is what was there when it was submitted", mode_words());
        ok(disk[shape->offset + (int64_t)shape->bytes] == 0x11 &&
           (shape->offset == 0 || disk[shape->offset - 1] == 0x11),
           "%s: and changes nothing else", mode_words());
    }
    stats = stats_of(handle);
    is_int((int64_t)stats.bounced, 2 * SHAPES, "all count as bounced");
    is_int((int64_t)stats.zero_copy, 0, "and none as zero_copy");
    blkalign_close(handle);
}

/* A test of the test: without the flag the spoilt bytes arrive. */
static void without_the_flag_the_memory_is_used(void)
{
    blkalign_handle *handle = open_spoiler(0);

    pattern_fill(memory, 1, 0, MEMORY_BYTES);
    is_int(blkalign_pwrite(handle, 0, BLOCK, memory, 0), 0, "not stable");
    ok(disk[0] == 0xee, "without the flag the guest's own memory is taken");
    is_int((int64_t)stats_of(handle).zero_copy, 1, "zero_copy counts it");
    blkalign_close(handle);
}

/* On storage of all kinds, with writes that are held back and merged. */
static void memory_changes_after_submission(enum bed_kind kind)
{
    blkalign_open_options options =
        mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT |
                     BLKALIGN_O_STABLE_WRITES);
    struct answer answers[12];
    struct bed bed;
    blkalign_handle *handle;
    uint8_t *found;
    int i, failed = 0;

    if (bed_make(&bed, kind, DISK_BYTES) < 0) {
        skip(bed.why_not, "stable writes on %s", bed.name);
        return;
    }
    handle = bed_open(&bed, &options);
    found = aligned_memory(8 * BLOCK);
    pattern_fill(memory, 42, 0, MEMORY_BYTES);
    memset(answers, 0, sizeof(answers));
    blkalign_plug(handle);
    for (i = 0; i < 12; i++) {
        size_t bytes = i < 8 ? 512 : BLOCK;
        int64_t offset = i < 8 ? 512 * i : BLOCK * (i - 7);

        answers[i].handle = handle;
        aio_write(handle, offset, memory + offset, bytes, 0, &answers[i]);
        memset(memory + offset, 0xee, bytes);
    }
    blkalign_unplug(handle);
    for (i = 0; i < 12; i++)
        failed += answer_wait(&answers[i]) != 0;
    is_int(failed, 0, "%s, %s: a batch of twelve", bed.name, mode_words());
    is_int(blkalign_flush(handle), 0, "%s: flush", bed.name);
    bed_peek(&bed, 0, found, 5 * BLOCK);
    is_int(pattern_differs(found, 42, 0, 5 * BLOCK), -1,
           "%s: each is what was there when it was submitted", bed.name);
    is_int((int64_t)stats_of(handle).bounced, 12, "%s: bounced", bed.name);
    blkalign_close(handle);
    bed_remove(&bed);
    free(found);
}

/* A disk of 4 EiB, for a write whose copy fits into no memory. */
static int64_t endless_length(void *opaque)
{
    (void)opaque;
    return INT64_C(1) << 62;
}

static void no_memory_is_refused_at_submit(void)
{
    blkalign_handle *handle = NULL;
    blkalign_open_options options =
        mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_STABLE_WRITES);
    blkalign_driver driver;
    struct answer answer;
    struct iovec element = { memory, (size_t)1 << 61 };

    memset(&answer, 0, sizeof(answer));
    memset(&driver, 0, sizeof(driver));
    driver.size = sizeof(driver);
    driver.getlength = endless_length;
    driver.preadv = spoiler_read;
    driver.pwritev = spoiler_write;
    if (blkalign_open_driver(&driver, NULL, &options, &handle) != 0)
        bail("open_driver: %s", blkalign_errmsg());
    is_int(blkalign_pwritev(handle, 0, &element, 1, 0), -ENOMEM,
           "no memory for a copy: the synchronous call says so");
    is_int(blkalign_aio_pwritev(handle, 0, &element, 1, 0, answer_done,
                                &answer), -ENOMEM, "so does the other");
    ok(strstr(blkalign_errmsg(), "copying") != NULL, "in words: %s",
       blkalign_errmsg());
    is_int((int64_t)stats_of(handle).writes, 0, "neither was a request");
    is_int(blkalign_drain(handle), 0, "nothing is in flight");
    is_int(answer_calls(&answer), 0, "and no callback came");
    blkalign_close(handle);
}

int main(void)
{
    unsigned mode;
    int kind;

    run_begin(120);
    memory = aligned_memory(MEMORY_BYTES);
    mode_first(0);
    for (mode = 0; mode < MODES; mode++) {
        memory_changes_during_the_write();
        mode_next();
    }
    without_the_flag_the_memory_is_used();
    for (kind = 0; kind < BED_KINDS; kind++) {
        memory_changes_after_submission((enum bed_kind)kind);
        mode_next();
    }
    no_memory_is_refused_at_submit();
    free(memory);
    return done_testing();
}
