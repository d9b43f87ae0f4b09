/*
 * blkalign_block_status: data and holes of files, what a driver says, and what
 * it must not say.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
#define STEP (1 << 16)          /* no file system here has larger blocks */

static uint8_t *buf;

static int status(blkalign_handle *handle, int64_t offset, int64_t bytes,
                  int64_t *run)
{
    *run = -7;
    return blkalign_block_status(handle, offset, bytes, run);
}

/* Data in [STEP, 2 STEP) and [4 STEP, 5 STEP), holes elsewhere. */
static void of_a_file(enum bed_kind kind)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_handle *handle, *window = NULL;
    int64_t run, at, data = 0;
    struct bed bed;
    int ret, i;

    if (bed_make(&bed, kind, 8 * STEP)) {
        skip(bed.why_not, "%s", bed.name);
        return;
    }
    options.flags |= BLKALIGN_O_UNMAP;
    handle = bed_open(&bed, &options);
    blkalign_pwrite(handle, STEP, STEP, buf, 0);
    blkalign_pwrite(handle, 4 * STEP, STEP, buf, 0);
    blkalign_pdiscard(handle, 0, STEP);
    blkalign_pdiscard(handle, 2 * STEP, 2 * STEP);
    blkalign_pdiscard(handle, 5 * STEP, 3 * STEP);
    blkalign_flush(handle);
    is_int(status(handle, STEP + 5, 100, &run), BLKALIGN_STATUS_DATA,
           "%s: data", bed.name);
    is_int(run, 100, "%s: no more than was asked", bed.name);
    is_int(status(handle, STEP + 5, 7 * STEP - 5, &run), BLKALIGN_STATUS_DATA,
           "%s: the same, to the end", bed.name);
    is_int(run, STEP - 5, "%s: up to the hole", bed.name);
    is_int(status(handle, 7, 8 * STEP - 7, &run), BLKALIGN_STATUS_HOLE,
           "%s: the hole before it", bed.name);
    is_int(run, STEP - 7, "%s: up to the data", bed.name);
    is_int(status(handle, 5 * STEP, 3 * STEP, &run), BLKALIGN_STATUS_HOLE,
           "%s: the hole at the end", bed.name);
    is_int(run, 3 * STEP, "%s: all of it", bed.name);
    for (at = 0, i = 0; at < 8 * STEP && i < 100; at += run, i++) {
        ret = status(handle, at, 8 * STEP - at, &run);
        if (ret < 0 || run < 1)
            break;
        data += ret == BLKALIGN_STATUS_DATA ? run : 0;
    }
    is_int(at, 8 * STEP, "%s: run by run to the end", bed.name);
    is_int(data, 2 * STEP, "%s: with all the data", bed.name);
    is_int(status(handle, 8 * STEP - 1, 2, &run), -EIO,
           "%s: past the end", bed.name);
    is_int(run, -7, "%s: nothing is written on failure", bed.name);
    is_int(status(handle, 8 * STEP, 0, &run), BLKALIGN_STATUS_DATA,
           "%s: nothing at the end", bed.name);
    is_int(run, 0, "%s: is no bytes", bed.name);
    options.window_offset = STEP - 100;
    options.window_length = 200;
    if (blkalign_dup(handle, &options, &window) == 0) {
        is_int(status(window, 0, 200, &run), BLKALIGN_STATUS_HOLE,
               "%s: in a window", bed.name);
        is_int(run, 100, "%s: counted from its start", bed.name);
        blkalign_close(window);
    }
    blkalign_close(handle);
    bed_remove(&bed);
}

static int answers, lies;

static int64_t length_of(void *opaque)
{
    (void)opaque;
    return 16 * BLOCK;
}

static int reads(void *opaque, int64_t offset, int64_t bytes,
                 const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)opaque; (void)offset; (void)bytes; (void)iov; (void)iovcnt;
    (void)flags;
    return 0;
}

/* Zeros in block 1, a hole in blocks 2 and 3, data elsewhere. */
static int says(void *opaque, int64_t offset, int64_t bytes, int64_t *run)
{
    int64_t block = offset / BLOCK, end = block == 1 ? 2 : 4;

    (void)opaque;
    answers++;
    if (offset % BLOCK || bytes % BLOCK || !bytes)
        return -EDOM;
    if (lies == 1)
        return 17;
    if (lies == 2)
        return -ENODEV;
    if (lies == 3) {
        *run = 0;
        return BLKALIGN_STATUS_HOLE;
    }
    if (lies == 4) {
        *run = INT64_MAX;
        return BLKALIGN_STATUS_ZERO;
    }
    *run = block == 0 ? BLOCK : block < 4 ? end * BLOCK - offset : bytes;
    return block == 1 ? BLKALIGN_STATUS_ZERO
         : block == 2 || block == 3 ? BLKALIGN_STATUS_HOLE
                                    : BLKALIGN_STATUS_DATA;
}

static void of_a_driver(void)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_handle *handle = NULL;
    int64_t run;

    driver.request_alignment = BLOCK;
    driver.getlength = length_of;
    driver.preadv = reads;
    if (blkalign_open_driver(&driver, NULL, NULL, &handle))
        bail("%s", blkalign_errmsg());
    is_int(status(handle, 1, 9 * BLOCK, &run), BLKALIGN_STATUS_DATA,
           "a driver without the function: data");
    is_int(run, 9 * BLOCK, "all of it");
    blkalign_close(handle);
    driver.block_status = says;
    if (blkalign_open_driver(&driver, NULL, NULL, &handle))
        bail("%s", blkalign_errmsg());
    is_int(status(handle, BLOCK + 1, 1, &run), BLKALIGN_STATUS_ZERO,
           "a driver's zeros");
    is_int(run, 1, "one byte of them");
    is_int(status(handle, 2 * BLOCK + 9, 10 * BLOCK, &run),
           BLKALIGN_STATUS_HOLE, "a driver's hole");
    is_int(run, 2 * BLOCK - 9, "both blocks, from the offset on");
    is_int(answers, 2, "one call each");
    lies = 1;
    is_int(status(handle, 0, 1, &run), -EIO, "an answer that is none");
    lies = 2;
    is_int(status(handle, 0, 1, &run), -ENODEV, "its errno");
    ok(strstr(blkalign_errmsg(), "block status") != NULL, "in words");
    lies = 3;
    is_int(status(handle, 0, 1, &run), -EIO, "a run of nothing");
    lies = 4;
    is_int(status(handle, 5, 100, &run), BLKALIGN_STATUS_ZERO,
           "a run beyond the end");
    is_int(run, 100, "is cut");
    is_int(blkalign_block_status(handle, 0, 1, NULL), -EINVAL, "no run");
    is_int(status(NULL, 0, 1, &run), -EINVAL, "no handle");
    is_int(status(handle, -1, 1, &run), -EINVAL, "a negative offset");
    is_int(status(handle, 0, -1, &run), -EINVAL, "a negative length");
    blkalign_close(handle);
}

static void of_a_device(void)
{
    blkalign_handle *handle;
    struct bed bed;
    int64_t run;

    if (bed_make(&bed, BED_LOOP, 8 * STEP)) {
        skip(bed.why_not, "a device");
        return;
    }
    handle = bed_open(&bed, NULL);
    is_int(status(handle, 100, 7 * STEP, &run), BLKALIGN_STATUS_DATA,
           "a device has data");
    is_int(run, 7 * STEP, "everywhere");
    blkalign_close(handle);
    bed_remove(&bed);
}

static void beyond_the_end(void)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_RESIZE, 0);
    blkalign_handle *handle;
    struct bed bed;
    int64_t run;

    if (bed_make(&bed, BED_TMPFS, BLOCK)) {
        skip(bed.why_not, "beyond the end");
        return;
    }
    options.flags |= BLKALIGN_O_BUFFERED_OK;
    handle = bed_open(&bed, &options);
    blkalign_pwrite(handle, 0, BLOCK, buf, 0);
    is_int(status(handle, 10 * BLOCK, 99, &run), BLKALIGN_STATUS_HOLE,
           "with RESIZE there is a hole beyond the end");
    is_int(run, 99, "without an end");
    is_int(status(handle, BLOCK - 10, 99, &run), BLKALIGN_STATUS_DATA,
           "across the end");
    is_int(run, 10, "the data come first");
    blkalign_close(handle);
    bed_remove(&bed);
}

int main(void)
{
    run_begin(60);
    buf = aligned_memory(STEP);
    memset(buf, 7, STEP);
    of_a_file(BED_FILE);
    of_a_file(BED_XFS);
    of_a_file(BED_TMPFS);
    of_a_device();
    of_a_driver();
    beyond_the_end();
    free(buf);
    return done_testing();
}
