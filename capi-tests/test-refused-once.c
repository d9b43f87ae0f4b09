/*
 * A disk refuses an operation for a moment, because it is read-only just then.
 * The library asks for the operation again: it remembers only an answer that
 * the operation does not exist.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define BLOCK 4096
#define BYTES (256 * BLOCK)

static uint8_t *buffer;

static void set_read_only(struct bed *bed, int on)
{
    if (ioctl(bed->loop_fd, BLKROSET, &on))
        bail("BLKROSET: %s", strerror(errno));
}

/* The operations that the file behind the disk takes. */
static int64_t room(struct bed *bed)
{
    struct stat status;

    return fstat(bed->backing_fd, &status) ? -1 : status.st_blocks * 512;
}

static void fill(blkalign_handle *handle)
{
    memset(buffer, 'x', BYTES);
    is_int(blkalign_pwrite(handle, 0, BYTES, buffer, 0), 0, "%s: it is full",
           mode_words());
    is_int(blkalign_flush(handle), 0, "and durable");
}

static void run(struct bed *bed)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_UNMAP);
    blkalign_handle *handle = bed_open(bed, &options);
    int64_t full;

    fill(handle);
    full = room(bed);
    set_read_only(bed, 1);
    is_int(blkalign_pdiscard(handle, 0, BYTES), -EPERM,
           "a discard while it is read-only");
    is_int(blkalign_pwrite_zeroes(handle, 0, BYTES, BLKALIGN_REQ_MAY_UNMAP),
           -EPERM, "zeros while it is");
    is_int(blkalign_pwrite_zeroes(handle, 0, BYTES, 0), -EPERM,
           "zeros that stay");
    is_int(blkalign_pwrite_zeroes(handle, 0, BYTES, BLKALIGN_REQ_NO_FALLBACK),
           -EPERM, "and fast ones");
    set_read_only(bed, 0);
    is_int(blkalign_pdiscard(handle, 0, BYTES), 0, "a discard afterwards");
    ok(room(bed) < full, "gives room back: %lld after %lld",
       (long long)room(bed), (long long)full);
    fill(handle);
    is_int(blkalign_pwrite_zeroes(handle, 0, BYTES,
                                  BLKALIGN_REQ_MAY_UNMAP |
                                      BLKALIGN_REQ_NO_FALLBACK),
           0, "fast zeros afterwards");
    ok(room(bed) < full, "give room back, too");
    is_int(blkalign_pwrite_zeroes(handle, 0, BYTES, BLKALIGN_REQ_NO_FALLBACK),
           0, "zeros that stay, fast");
    blkalign_close(handle);
}

int main(void)
{
    struct bed bed;
    int mode;

    run_begin(100);
    buffer = aligned_memory(BYTES);
    if (bed_make(&bed, BED_LOOP, BYTES))
        skip_all("%s", bed.why_not);
    for (mode = 0; mode < MODES; mode++) {
        run(&bed);
        mode_next();
    }
    bed_remove(&bed);
    return done_testing();
}
