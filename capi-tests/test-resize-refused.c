/*
 * An object that cannot grow reports that, and an extending write that fails
 * leaves the length unchanged.
 */
#include "common_aio.h"
#include "common_grow.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096

static uint8_t *buf;

/* The storage is full: length and content of the object stay as they were. */
static void failure(enum sim_mode mode, enum sim_op failing)
{
    static const char *const words[] = { "read", "write", "flush", "zero",
                                         "discard", "truncate" };
    struct growing growing;
    struct answer answer;
    struct bed bed;
    int i;

    memset(&growing, 0, sizeof(growing));
    memset(grow_model, 0, GROW_ROOM);
    grow_sim(&bed, mode, BLOCK);
    grow_open(&growing, &bed, 0);
    grow_write(&growing, 0, 1000, 1);
    for (i = 0; i < 4; i++) {
        sim_fail_nth(bed.sim, failing, 1, ENOSPC);
        is_int(blkalign_pwrite(growing.handle, i * 700, 3 * BLOCK, buf, 0),
               -ENOSPC, "an extending write whose %s fails: -ENOSPC",
               words[failing]);
        /* The part of the write before the old end may be there or not, but
         * not in a block that is written completely. */
        is_int(blkalign_getlength(growing.handle), 1000,
               "leaves the length");
        is_int(blkalign_pwrite(growing.handle, 0, 1000, grow_model, 0), 0,
               "the next one goes on");
        grow_look(&growing);
    }
    sim_fail_nth(bed.sim, failing, 1, ENOSPC);
    aio_write(growing.handle, BLOCK, buf, BLOCK, 0, &answer);
    is_int(answer_wait(&answer), -ENOSPC, "by aio, too");
    growing.doing = "after failing";
    grow_look(&growing);
    is_int(blkalign_truncate(growing.handle, 2 * GROW_ROOM), -ENOSPC,
           "truncate where there is no room");
    grow_look(&growing);
    grow_write(&growing, 5 * BLOCK, 5, 3);
    is_int(growing.wrong, 0, "nothing else is wrong");
    blkalign_close(growing.handle);
    ok(!*sim_violation(bed.sim), "nothing to refuse %s",
       sim_violation(bed.sim));
    sim_free(bed.sim);
}

static void arguments(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_handle *handle = NULL, *reader = NULL, *window = NULL;
    struct bed bed;

    grow_sim(&bed, SIM_SYNC, BLOCK);
    options.flags |= BLKALIGN_O_RESIZE;
    handle = sim_open(bed.sim, &options);
    is_int(blkalign_truncate(NULL, 0), -EINVAL, "no handle");
    is_int(blkalign_truncate(handle, -1), -EINVAL, "length -1");
    is_int(blkalign_truncate(handle, INT64_MAX), -EINVAL, "INT64_MAX");
    is_int(blkalign_truncate(handle, 2 * BLOCK), 0, "two blocks");
    options.flags = 0;
    is_int(blkalign_dup(handle, &options, &reader), 0, "a reader");
    is_int(blkalign_truncate(reader, 0), -EPERM, "may not truncate");
    options.flags = BLKALIGN_O_RDWR;
    options.window_offset = 5;
    options.window_length = BLOCK;
    is_int(blkalign_dup(handle, &options, &window), 0, "a window");
    is_int(blkalign_truncate(window, 0), -EINVAL, "has no length to set");
    blkalign_close(window);
    options.flags |= BLKALIGN_O_RESIZE;
    is_int(blkalign_dup(handle, &options, &window), -EINVAL,
           "a window that resizes is refused");
    ok(*blkalign_errmsg(), "with words: %s", blkalign_errmsg());
    blkalign_close(reader);
    blkalign_close(handle);
    sim_free(bed.sim);
}

static void where_it_cannot_be(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR |
                                                 BLKALIGN_O_RESIZE);
    struct sim_options disk = sim_disk_4k(GROW_ROOM, SIM_SYNC);
    struct sim *sim = sim_new(&disk);
    blkalign_driver driver = sim_driver(sim);
    blkalign_handle *handle = NULL;
    struct bed bed;

    is_int(blkalign_open_driver(&driver, sim, &options, &handle), -EINVAL,
           "RESIZE, a driver without truncate");
    ok(!handle && *blkalign_errmsg(), "with words: %s", blkalign_errmsg());
    options.flags = BLKALIGN_O_RDWR;
    handle = sim_open(sim, &options);
    is_int(blkalign_truncate(handle, BLOCK), -ENOTSUP, "truncate of it");
    blkalign_close(handle);
    sim_free(sim);
    if (bed_make(&bed, BED_LOOP, GROW_ROOM)) {
        skip(bed.why_not, "RESIZE of a block device");
        return;
    }
    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_RESIZE;
    handle = NULL;
    is_int(blkalign_open(bed.path, &options, &handle), -EINVAL,
           "RESIZE of a block device");
    ok(!handle && *blkalign_errmsg(), "with words: %s", blkalign_errmsg());
    handle = bed_open(&bed, NULL);
    is_int(blkalign_truncate(handle, BLOCK), -EINVAL, "truncate of one");
    ok(*blkalign_errmsg(), "with words: %s", blkalign_errmsg());
    blkalign_close(handle);
    bed_remove(&bed);
}

int main(void)
{
    int mode;

    run_begin(60);
    buf = aligned_memory(3 * BLOCK);
    memset(buf, 0xee, 3 * BLOCK);
    for (mode = 0; mode < MODES; mode++) {
        failure((enum sim_mode)(mode % 3), SIM_TRUNCATE);
        failure((enum sim_mode)(mode % 3), SIM_WRITE);
        arguments();
        where_it_cannot_be();
        mode_next();
    }
    free(buf);
    return done_testing();
}
