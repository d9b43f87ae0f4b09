/*
 * A discard is advice: it needs a flag of the handle, touches whole units
 * only, never fails because the storage cannot discard, and keeps its order
 * among the writes beside it.
 */
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "common_stage.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define DISK_BYTES (64 * BLOCK)

static struct sim_options disk;
static uint8_t *model, *got;

static void begin(struct stage *stage, uint32_t flags)
{
    stage_begin(stage, &disk, flags, model);
}

static int64_t asked(struct stage *stage)
{
    return (int64_t)sim_counts(stage->sim).ios[SIM_DISCARD];
}

static void without_leave(void)
{
    const char *words = "without UNMAP";
    struct stage stage;
    struct answer answer;

    begin(&stage, 0);
    is_int(blkalign_pdiscard(stage.handle, 0, DISK_BYTES), 0,
           "%s: succeeds", words);
    aio_discard(stage.handle, 5, 3 * BLOCK, &answer);
    is_int(answer_wait(&answer), 0, "%s: by aio", words);
    is_int(asked(&stage), 0, "%s: does nothing", words);
    is_int((int64_t)stats_of(stage.handle).discards, 2,
           "%s: stats count it", words);
    stage_end(&stage, words);
}

/* Works with any unit: that of a driver is a block or more. */
static void inwards(void)
{
    const char *words = "rounded inwards";
    int64_t unit, start, stop, first, last, before;
    struct stage stage;

    begin(&stage, BLKALIGN_O_UNMAP);
    unit = limits_of(stage.handle).discard_alignment;
    unit = unit ? unit : BLOCK;
    ok(unit % BLOCK == 0, "%s: the unit is %lld", words, (long long)unit);
    for (start = unit - 513; start <= unit + 513; start += 513)
        for (stop = start; stop <= 4 * unit + 513; stop += 513) {
            first = (start + unit - 1) / unit * unit;
            last = stop / unit * unit;
            before = asked(&stage);
            is_int(blkalign_pdiscard(stage.handle, start, stop - start), 0,
                   "%lld to %lld succeeds", (long long)start,
                   (long long)stop);
            is_int(asked(&stage) - before, first < last,
                   "tells the driver of whole units only");
            if (first < last)
                memset(model + first, SIM_DISCARDED,
                       (size_t)(last - first));
        }
    is_int((int64_t)sim_counts(stage.sim).ios[SIM_WRITE], 0,
           "%s: never writes", words);
    is_int((int64_t)sim_counts(stage.sim).ios[SIM_READ], 0,
           "%s: never reads", words);
    stage_end(&stage, words);
}

static void refusal(int error, const char *words)
{
    struct stage stage;
    struct answer answer;
    int i;

    begin(&stage, BLKALIGN_O_UNMAP);
    if (error)
        sim_fail_range(stage.sim, SIM_DISCARD, 0, DISK_BYTES, error);
    for (i = 0; i < 3; i++)
        is_int(blkalign_pdiscard(stage.handle, 7, 5 * BLOCK), 0,
               "%s: is success", words);
    aio_discard(stage.handle, 7, 5 * BLOCK, &answer);
    is_int(answer_wait(&answer), 0, "%s: by aio", words);
    ok(asked(&stage) <= 1, "%s: is asked once", words);
    stage_end(&stage, words);
}

static void other_errors(void)
{
    const char *words = "an error of the driver";
    struct stage stage;

    begin(&stage, BLKALIGN_O_UNMAP);
    sim_fail_nth(stage.sim, SIM_DISCARD, 1, EIO);
    is_int(blkalign_pdiscard(stage.handle, 0, BLOCK), -EIO,
           "%s: comes through", words);
    is_int(blkalign_pdiscard(stage.handle, 0, BLOCK), 0,
           "%s: is not remembered", words);
    is_int(asked(&stage), 2, "%s: asked again", words);
    memset(model, SIM_DISCARDED, BLOCK);
    stage_end(&stage, words);
}

static void arguments(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_UNMAP);
    blkalign_handle *reader = NULL;
    struct stage stage;
    struct answer answer;

    begin(&stage, BLKALIGN_O_UNMAP);
    is_int(blkalign_pdiscard(NULL, 0, 1), -EINVAL, "no handle");
    is_int(blkalign_pdiscard(stage.handle, -1, 1), -EINVAL, "offset -1");
    is_int(blkalign_pdiscard(stage.handle, 0, -1), -EINVAL, "length -1");
    is_int(blkalign_pdiscard(stage.handle, 0, DISK_BYTES + 1), -EIO,
           "past the end");
    is_int(blkalign_pdiscard(stage.handle, DISK_BYTES, 0), 0,
           "nothing, at the end");
    is_int(blkalign_dup(stage.handle, &options, &reader), 0, "a reader");
    is_int(blkalign_pdiscard(reader, 0, BLOCK), -EPERM, "may not");
    is_int(blkalign_pdiscard(reader, 0, 0), -EPERM, "not even nothing");
    aio_discard(reader, 0, BLOCK, &answer);
    is_int(answer.ret, -EPERM, "nor by aio");
    blkalign_close(reader);
    is_int(asked(&stage), 0, "nothing reached the driver");
    stage_end(&stage, "arguments");
}

static void with_the_drivers(void)
{
    int round;

    for (round = 0; round < MODES; round++) {
        diag("driver %d, %s", round % 3, mode_words());
        disk = sim_disk_4k(DISK_BYTES, (enum sim_mode)(round % 3));
        disk.discards = 1;
        without_leave();
        inwards();
        refusal(ENOTSUP, "a driver that does not know it");
        refusal(EINVAL, "a driver that calls it invalid");
        other_errors();
        arguments();
        disk.discards = 0;
        refusal(0, "a driver without the function");
        mode_next();
    }
}

/* Held at the storage, so that the order is certain. */
static void order(uint32_t first, uint32_t second, const char *words)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_UNMAP);
    uint8_t *buf = aligned_memory(2 * BLOCK);
    struct answer answers[2];
    struct scene scene;
    int i, held;

    scene_begin(&scene, &options);
    memset(buf, 7, 2 * BLOCK);
    for (i = 0; i < 2; i++) {
        blkalign_request request = request_at(i ? second : first,
                                              BLOCK, 2 * BLOCK, 0);

        if (i)
            request.offset += BLOCK;
        if ((i ? second : first) == BLKALIGN_OP_WRITE) {
            /* Inside of one block, so that it needs only that block. */
            request.offset += 100;
            request.bytes = BLOCK;
            memset(scene.want + request.offset, 7, BLOCK);
        } else {
            memset(scene.want + request.offset, 0xdd, 2 * BLOCK);
        }
        aio_any(scene.handle, &request, buf, &answers[i]);
        held_wait(scene.held, 1);
    }
    held = held_quiet(scene.held, SCENE_QUIET_MS);
    /* One I/O may read both edges, or two. */
    if (first == BLKALIGN_OP_WRITE)
        held -= held_find(scene.held, HELD_READ, HELD_ANYWHERE) - 1;
    is_int(held_find(scene.held, HELD_DISCARD, 2),
           first == BLKALIGN_OP_DISCARD, "%s: the first goes first", words);
    is_int(held, 1, "%s: alone", words);
    held_pass(scene.held);
    is_int(answer_wait(&answers[0]), 0, "%s: first", words);
    is_int(answer_wait(&answers[1]), 0, "%s: second", words);
    scene_end(&scene, words);
    free(buf);
}

static int64_t blocks_of(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) || fstat(fd, &status))
        bail("%s: %s", path, strerror(errno));
    close(fd);
    return status.st_blocks;
}

/* Whether the file system can give space back at all: NFS 3, vfat and NTFS by
 * FUSE cannot. Asked of bytes that were discarded already. */
static int can_punch(const struct bed *bed, int64_t offset)
{
    int fd = open(bed->path, O_RDWR | O_CLOEXEC);
    int ret = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        (off_t)offset, BLOCK);

    close(fd);
    return ret == 0;
}

/* Bytes outside of whole units are unchanged; later writes to discarded bytes
 * are there. */
static void on_real_storage(struct bed *bed)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_UNMAP);
    const int64_t start = BLOCK + 5, stop = DISK_BYTES - BLOCK - 5;
    blkalign_handle *handle = bed_open(bed, &options);
    int64_t unit = limits_of(handle).discard_alignment, first, last, before;

    unit = unit ? unit : BLOCK;
    pattern_fill(model, 1, 0, DISK_BYTES);
    bed_poke(bed, 0, model, DISK_BYTES);
    before = bed_is_file(bed) ? blocks_of(bed->path) : 0;
    is_int(blkalign_pdiscard(handle, start, stop - start), 0,
           "%s, %s, unit %lld: discard", bed->name, mode_words(),
           (long long)unit);
    first = (start + unit - 1) / unit * unit;
    last = stop / unit * unit;
    first = first < stop ? first : stop;
    last = last > first ? last : first;
    bed_peek(bed, 0, got, DISK_BYTES);
    ok(!memcmp(got, model, (size_t)first), "%s: nothing before it changed",
       bed->name);
    ok(!memcmp(got + last, model + last, (size_t)(DISK_BYTES - last)),
       "%s: nothing behind it changed", bed->name);
    /* A block of 64 KiB does not fit in between. */
    if (bed_is_file(bed) && bed->kind != BED_RAMFS &&
        bed->kind != BED_XFS_64K && !can_punch(bed, first))
        skip("this file system cannot", "%s: gives space back", bed->name);
    else if (bed_is_file(bed) && bed->kind != BED_RAMFS &&
             bed->kind != BED_XFS_64K)
        ok(blocks_of(bed->path) < before / 2, "%s: gives space back",
           bed->name);
    is_int(blkalign_pwrite(handle, 100, DISK_BYTES - 200, model + 100, 0),
           0, "%s: written anew", bed->name);
    bed_peek(bed, 0, got, DISK_BYTES);
    ok(!memcmp(got, model, DISK_BYTES), "%s: is there again", bed->name);
    is_int(blkalign_close(handle), 0, "%s: close", bed->name);
}

int main(void)
{
    struct bed bed;
    int kind;

    run_begin(60);
    model = aligned_memory(DISK_BYTES);
    got = aligned_memory(DISK_BYTES);
    with_the_drivers();
    for (kind = 0; kind < MODES; kind++) {
        order(BLKALIGN_OP_DISCARD, BLKALIGN_OP_WRITE,
              "a write after a discard");
        order(BLKALIGN_OP_WRITE, BLKALIGN_OP_DISCARD,
              "a discard after a write");
    }
    for (kind = 0; kind < BED_ALL_KINDS; kind++) {
        if (bed_make(&bed, (enum bed_kind)kind, DISK_BYTES)) {
            skip(bed.why_not, "%s: discard", bed.name);
            continue;
        }
        on_real_storage(&bed);
        bed_remove(&bed);
        mode_next();
    }
    free(model);
    free(got);
    return done_testing();
}
