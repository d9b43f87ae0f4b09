/*
 * Registered memory: requests with the flag must lie in it, regions do not
 * overlap, and the bytes are the same on both engines, in files and with
 * drivers, aligned or not.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define DISK_BYTES (64 * BLOCK)
#define REGION (32 * BLOCK)
#define IN BLKALIGN_REQ_REGISTERED_BUF

static uint8_t *region, *second, *model;

static void registering(blkalign_handle *handle)
{
    is_int(blkalign_register_buf(NULL, region, BLOCK), -EINVAL, "no handle");
    is_int(blkalign_register_buf(handle, NULL, BLOCK), -EINVAL,
           "no memory");
    is_int(blkalign_register_buf(handle, region, 0), -EINVAL, "no bytes");
    is_int(blkalign_register_buf(handle, region, SIZE_MAX), -EINVAL,
           "more than there is");
    is_int(blkalign_unregister_buf(handle, region, REGION), -ENOENT,
           "not registered yet");
    is_int(blkalign_register_buf(handle, region, REGION), 0, "a region");
    is_int(blkalign_register_buf(handle, region, REGION), -EEXIST,
           "the same again");
    is_int(blkalign_register_buf(handle, region + REGION - 1, 2), -EEXIST,
           "one that overlaps its end");
    is_int(blkalign_register_buf(handle, region + 5, 5), -EEXIST,
           "one inside");
    is_int(blkalign_register_buf(handle, second, REGION), 0, "another");
    is_int(blkalign_register_buf(handle, second + REGION, BLOCK), 0,
           "one that lies beside it");
    is_int(blkalign_unregister_buf(handle, region, REGION - 1), -ENOENT,
           "not the region that it was");
    is_int(blkalign_unregister_buf(handle, region + 1, REGION), -ENOENT,
           "nor this");
}

static void outside(blkalign_handle *handle)
{
    struct iovec parts[2] = { { region, BLOCK }, { model, BLOCK } };
    struct answer answer;

    is_int(blkalign_pwrite(handle, 0, BLOCK, model, IN), -EINVAL,
           "memory that was never registered");
    is_int(blkalign_pread(handle, 0, BLOCK, region + REGION - BLOCK + 1,
                          IN), -EINVAL, "a byte past the region");
    is_int(blkalign_pread(handle, 0, BLOCK, region - 1, IN), -EINVAL,
           "a byte before it");
    is_int(blkalign_pwritev(handle, 0, parts, 2, IN), -EINVAL,
           "one element in it, one not");
    aio_write(handle, 0, model, BLOCK, IN, &answer);
    is_int(answer.ret, -EINVAL, "aio: at submit");
    is_int(answer.calls, 1, "aio: once");
}

/* Each kind of place in memory and storage, by vectors of two regions. */
static void moving(struct bed *bed, blkalign_handle *handle)
{
    static const struct { int64_t offset, at, bytes; } each[] = {
        { 0, 0, BLOCK }, { 0, 0, REGION }, { BLOCK, 512, 4 * BLOCK },
        { 2 * BLOCK, 1, BLOCK }, { 100, 0, 512 }, { 4095, 7, 2 },
        { 100, 100, 3 * BLOCK }, { 5 * BLOCK, 3, 20 * BLOCK },
        { DISK_BYTES - 1, REGION - 1, 1 }
    };
    struct answer answers[2];
    struct iovec parts[3];
    int wrong = 0;
    size_t i;

    for (i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
        size_t bytes = (size_t)each[i].bytes;
        int64_t offset = each[i].offset;

        pattern_fill(region + each[i].at, i + 5, offset, bytes);
        memcpy(model + offset, region + each[i].at, bytes);
        aio_write(handle, offset, region + each[i].at, bytes, IN,
                  &answers[0]);
        wrong += answer_wait(&answers[0]) != 0;
        memset(second, 0xee, REGION + BLOCK);
        wrong += blkalign_pread(handle, offset, each[i].bytes,
                                second + each[i].at, IN) != 0;
        wrong += memcmp(second + each[i].at, model + offset, bytes) != 0;
        wrong += second[each[i].at + each[i].bytes] != 0xee;
        wrong += each[i].at > 0 && second[each[i].at - 1] != 0xee;
        /* Without the flag registered memory is ordinary memory. */
        wrong += blkalign_pread(handle, offset, each[i].bytes,
                                region + each[i].at, 0) != 0;
        wrong += memcmp(region + each[i].at, model + offset, bytes) != 0;
    }
    parts[0].iov_base = region;
    parts[0].iov_len = BLOCK;
    parts[1].iov_base = NULL;
    parts[1].iov_len = 0;
    parts[2].iov_base = second + 512;
    parts[2].iov_len = 2 * BLOCK;
    wrong += blkalign_preadv(handle, 7 * BLOCK, parts, 3, IN) != 0;
    wrong += memcmp(region, model + 7 * BLOCK, BLOCK) != 0;
    wrong += memcmp(second + 512, model + 8 * BLOCK, 2 * BLOCK) != 0;
    is_int(wrong, 0, "%s, %s: all bytes move", bed->name, mode_words());
}

/* Several requests at once, beside others that are not registered. */
static void many(struct bed *bed, blkalign_handle *handle)
{
    struct answer answers[32];
    int i, wrong = 0;

    pattern_fill(model, 70, 0, REGION);
    memcpy(region, model, REGION);
    for (i = 0; i < 32; i++)
        aio_write(handle, i * BLOCK, (i % 3 ? region : model) + i * BLOCK,
                  BLOCK, i % 3 ? IN : 0, &answers[i]);
    for (i = 0; i < 32; i++)
        wrong += answer_wait(&answers[i]) != 0;
    for (i = 0; i < 32; i++)
        aio_read(handle, i * BLOCK, second + i * BLOCK, BLOCK, &answers[i]);
    for (i = 0; i < 32; i++)
        wrong += answer_wait(&answers[i]) != 0;
    wrong += memcmp(second, model, REGION) != 0;
    is_int(wrong, 0, "%s: many at once", bed->name);
}

static void no_more(blkalign_handle *handle)
{
    is_int(blkalign_unregister_buf(handle, region, REGION), 0,
           "the first is not registered any more");
    is_int(blkalign_pwrite(handle, 0, BLOCK, region, IN), -EINVAL,
           "and not to be claimed");
    is_int(blkalign_pread(handle, 0, BLOCK, second, IN), 0,
           "the other is");
    is_int(blkalign_register_buf(handle, region + BLOCK, BLOCK), 0,
           "a part of it may be");
    is_int(blkalign_pread(handle, 0, BLOCK, region + BLOCK, IN), 0,
           "and used");
    /* The second region and this one stay until close. */
}

static void run(struct bed *bed)
{
    blkalign_handle *handle = bed_open(bed, NULL), *other;

    memset(model, 0, DISK_BYTES);
    bed_poke(bed, 0, model, DISK_BYTES);
    diag("%s, %s", bed->name, mode_words());
    registering(handle);
    outside(handle);
    moving(bed, handle);
    many(bed, handle);
    other = bed_open_again(bed, handle, NULL);
    is_int(blkalign_pread(other, 0, BLOCK, region, IN), -EINVAL,
           "another handle has its own regions");
    blkalign_close(other);
    no_more(handle);
    is_int(blkalign_close(handle), 0, "%s: close", bed->name);
    if (bed->sim)
        ok(!*sim_violation(bed->sim), "%s: nothing to refuse %s", bed->name,
           sim_violation(bed->sim));
}

/* The number of modes in a row. */
static void run_on(enum bed_kind kind, int modes)
{
    struct bed bed;

    if (bed_make(&bed, kind, DISK_BYTES)) {
        skip(bed.why_not, "%s: registered memory", bed.name);
        return;
    }
    while (modes-- > 0) {
        run(&bed);
        mode_next();
    }
    bed_remove(&bed);
}

int main(void)
{
    int kind;

    run_begin(120);
    region = (uint8_t *)aligned_memory(REGION + 2 * BLOCK) + BLOCK;
    second = aligned_memory(REGION + 2 * BLOCK);
    model = aligned_memory(DISK_BYTES);
    mode_first(0);
    for (kind = 0; kind < BED_KINDS; kind++)
        run_on((enum bed_kind)kind, kind == BED_LOOP ? MODES : 2);
    free(region - BLOCK);
    free(second);
    free(model);
    return done_testing();
}
