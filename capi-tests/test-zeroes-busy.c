/*
 * Linux refuses zeros and discards while another opener, who has the disk
 * exclusively, keeps dirty pages of it in the page cache. The refusal passes:
 * the library must not conclude that the disk has no such operation.
 */
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <blkalign.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BYTES (64 * 4096)
#define QUICKLY (BLKALIGN_REQ_MAY_UNMAP | BLKALIGN_REQ_NO_FALLBACK)

static uint8_t page[4096];

static int first_byte(blkalign_handle *handle, int64_t offset)
{
    uint8_t byte = 'x';

    if (blkalign_pread(handle, offset, 1, &byte, 0))
        bail("read: %s", blkalign_errmsg());
    return byte;
}

static void beside_another(struct bed *bed, blkalign_handle *handle)
{
    int other = open(bed->path, O_RDWR | O_EXCL | O_CLOEXEC);

    if (other < 0 || pwrite(other, page, sizeof page, 0) < 0)
        bail("%s: %s", bed->path, strerror(errno));
    if (blkalign_pwrite_zeroes(handle, 0, 4096, QUICKLY) == 0) {
        skip("this kernel does not mind", "a disk that is busy");
        close(other);
        return;
    }
    is_int(blkalign_pwrite_zeroes(handle, 0, 4096, QUICKLY), -ENOTSUP,
           "busy: zeros would have to be written");
    is_int(blkalign_pdiscard(handle, 0, 4096), 0, "busy: a discard");
    fsync(other);
    close(other);
    is_int(blkalign_pwrite_zeroes(handle, 0, 4096, QUICKLY), 0,
           "not busy any more: zeros in the quick way");
    is_int(first_byte(handle, 0), 0, "are zeros");
    is_int(blkalign_pwrite(handle, 8192, 4096, page, 0), 0, "data");
    is_int(blkalign_pdiscard(handle, 8192, 4096), 0, "and their discard");
    is_int(first_byte(handle, 8192), 0, "reach the disk again");
}

int main(void)
{
    struct bed bed;
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_handle *handle;

    run_begin(60);
    memset(page, 'd', sizeof page);
    if (bed_make(&bed, BED_LOOP, BYTES))
        skip_all("%s", bed.why_not);
    options.flags = BLKALIGN_O_UNMAP;
    handle = bed_open(&bed, &options);
    beside_another(&bed, handle);
    blkalign_close(handle);
    bed_remove(&bed);
    return done_testing();
}
