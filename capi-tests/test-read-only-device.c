/*
 * A read-only device (blockdev --setro): Linux lets a program open it for
 * writing, and then fails each write.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BLOCK 4096

static struct bed bed;
static uint8_t *buf;
static int fd;

static void set_read_only(int read_only)
{
    if (ioctl(fd, BLKROSET, &read_only))
        bail("BLKROSET: %s", strerror(errno));
}

static void is_refused(int ret, blkalign_handle *handle, const char *words)
{
    ok(ret == -EROFS && !handle, "%s is -EROFS: %d", words, ret);
    ok(strstr(blkalign_errmsg(), "the device is read-only") != NULL,
       "in words: %s", blkalign_errmsg());
}

static void at_open(uint32_t direct)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR | direct, 0);
    blkalign_open_options reader = options_of(direct, 0);
    blkalign_open_options creating = options;
    blkalign_handle *handle = NULL, *again = NULL;

    set_read_only(1);
    is_refused(blkalign_open(bed.path, &options, &handle), handle, "open");
    is_refused(blkalign_open_fd(fd, &options, &handle), handle, "open_fd");
    creating.flags |= BLKALIGN_O_CREATE;
    is_refused(blkalign_open(bed.path, &creating, &handle), handle,
               "open with CREATE");
    is_int(blkalign_open(bed.path, &reader, &handle), 0, "for reading");
    is_int(blkalign_pread(handle, 5, 50, buf, 0), 0, "and it reads");
    is_refused(blkalign_dup(handle, &options, &again), again, "dup");
    set_read_only(0);
    is_int(blkalign_dup(handle, &options, &again), 0, "dup once it may");
    is_int(blkalign_pwrite(again, 5, 50, buf, 0), 0, "and it writes");
    blkalign_close(again);
    blkalign_close(handle);
}

static void meanwhile(uint32_t engine)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, 0);
    blkalign_handle *handle = NULL;
    struct answer answer;

    options.engine = engine;
    if (blkalign_open(bed.path, &options, &handle))
        bail("open: %s", blkalign_errmsg());
    set_read_only(1);
    is_int(blkalign_pwrite(handle, 5, 50, buf, 0), -EPERM,
           "engine %u: a write after it became read-only", engine);
    ok(strstr(blkalign_errmsg(), "has become read-only") != NULL,
       "in words: %s", blkalign_errmsg());
    aio_write(handle, 0, buf, BLOCK, 0, &answer);
    is_int(answer_wait(&answer), -EPERM, "and an asynchronous one");
    set_read_only(0);
    is_int(blkalign_pwrite(handle, 5, 50, buf, 0), 0, "and after that");
    is_int(blkalign_close(handle), 0, "close");
}

int main(void)
{
    run_begin(120);
    buf = aligned_memory(BLOCK);
    if (bed_make(&bed, BED_LOOP, 64 * BLOCK))
        skip_all("%s", bed.why_not);
    fd = open(bed.path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        bail("%s: %s", bed.path, strerror(errno));
    at_open(BLKALIGN_O_DIRECT);
    at_open(0);
    meanwhile(BLKALIGN_ENGINE_AUTO);
    meanwhile(BLKALIGN_ENGINE_THREADS);
    close(fd);
    bed_remove(&bed);
    free(buf);
    return done_testing();
}
