/* How a test reaches a bed, through the library and behind its back. */
#include "common_disk.h"

#include "common_given.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a given disk only what the test asked for is to be seen. */
static blkalign_open_options direct_options(
    const struct bed *bed, const blkalign_open_options *options)
{
    blkalign_open_options direct = mode_options(0);

    if (options)
        direct = *options;
    direct.flags |= BLKALIGN_O_RDWR;
    if (!bed->sim && given_disk() && !direct.window_length)
        direct.window_length = bed->bytes - direct.window_offset;
    return direct;
}

blkalign_handle *bed_open(struct bed *bed,
                          const blkalign_open_options *options)
{
    blkalign_open_options direct = direct_options(bed, options);
    blkalign_handle *handle = NULL;
    int ret;

    if (bed->sim)
        return sim_open(bed->sim, &direct);
    if (!bed_is_buffered(bed))
        direct.flags |= BLKALIGN_O_DIRECT;
    ret = blkalign_open(bed->path, &direct, &handle);
    if (ret || !handle)
        bail("open %s: %d %s", bed->path, ret, blkalign_errmsg());
    return handle;
}

blkalign_handle *bed_open_again(struct bed *bed, blkalign_handle *first,
                                const blkalign_open_options *options)
{
    blkalign_open_options direct = direct_options(bed, options);
    blkalign_handle *handle = NULL;
    int ret;

    if (!bed->sim)
        return bed_open(bed, options);
    ret = blkalign_dup(first, &direct, &handle);
    if (ret || !handle)
        bail("dup: %d %s", ret, blkalign_errmsg());
    return handle;
}

static int open_behind(struct bed *bed)
{
    int fd = open(bed->path, O_RDWR | O_CLOEXEC |
                                 (bed_is_buffered(bed) ? 0 : O_DIRECT));

    if (fd < 0)
        bail("%s: %s", bed->path, strerror(errno));
    return fd;
}

void bed_peek(struct bed *bed, int64_t offset, void *buf, size_t bytes)
{
    void *aligned;
    int fd;

    if (bed->sim) {
        memcpy(buf, sim_bytes(bed->sim) + offset, bytes);
        return;
    }
    aligned = aligned_memory(bytes);
    fd = open_behind(bed);
    if (pread(fd, aligned, bytes, offset) != (ssize_t)bytes)
        bail("reading back %s: %s", bed->path, strerror(errno));
    memcpy(buf, aligned, bytes);
    close(fd);
    free(aligned);
}

void bed_poke(struct bed *bed, int64_t offset, const void *buf,
              size_t bytes)
{
    void *aligned;
    int fd;

    if (bed->sim) {
        memcpy(sim_bytes(bed->sim) + offset, buf, bytes);
        return;
    }
    aligned = aligned_memory(bytes);
    memcpy(aligned, buf, bytes);
    fd = open_behind(bed);
    if (pwrite(fd, aligned, bytes, offset) != (ssize_t)bytes)
        bail("preparing %s: %s", bed->path, strerror(errno));
    close(fd);
    free(aligned);
}
