/* Opening what cannot be opened: the errno, words that name the path, no
 * handle, and no descriptor left. */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Opens the path; closes the handle again on success. */
static int try_path(const char *path, uint32_t flags)
{
    blkalign_open_options options = options_of(flags, 0);
    blkalign_handle *untouched = (blkalign_handle *)&options;
    blkalign_handle *handle = untouched;
    int ret = blkalign_open(path, &options, &handle);

    if (ret == 0)
        blkalign_close(handle);
    else
        ok(handle == untouched, "`out` is left alone");
    return ret;
}

static void bad_paths(const char *dir)
{
    char path[200];

    is_int(try_path(NULL, 0), -EINVAL, "no path");
    is_int(try_path("", 0), -ENOENT, "an empty path");
    snprintf(path, sizeof(path), "%s/missing", dir);
    is_int(try_path(path, BLKALIGN_O_RDWR), -ENOENT, "a missing file");
    ok(strstr(blkalign_errmsg(), path) != NULL, "the words name it: %s",
       blkalign_errmsg());
    is_int(access(path, F_OK), -1, "and it is not created");
    ok(try_path(dir, BLKALIGN_O_RDWR) < 0, "a directory: %s",
       blkalign_errmsg());
    ok(try_path(dir, 0) < 0, "a directory, read-only");
    ok(try_path("/dev/null", BLKALIGN_O_RDWR) < 0,
       "a character device: %s", blkalign_errmsg());
    snprintf(path, sizeof(path), "%s/fifo", dir);
    if (mkfifo(path, 0600) == 0) {
        ok(try_path(path, BLKALIGN_O_RDWR) < 0, "a fifo: %s",
           blkalign_errmsg());
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/disk/below", dir);
    is_int(try_path(path, 0), -ENOTDIR, "a path through a file");
    is_int(blkalign_open("/dev/zero", NULL, NULL), -EINVAL, "no `out`");
}

static void bad_descriptors(const char *path)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_handle *handle = NULL;
    char buf[1] = "";
    int ends[2], fd, ret;

    ret = blkalign_open_fd(-1, NULL, &handle);
    ok(ret == -EBADF || ret == -EINVAL, "descriptor -1: %d", ret);
    ret = blkalign_open_fd(9999, NULL, &handle);
    is_int(ret, -EBADF, "a descriptor that is not open");
    if (pipe(ends) == 0) {
        ok(blkalign_open_fd(ends[0], NULL, &handle) < 0, "a pipe: %s",
           blkalign_errmsg());
        close(ends[0]);
        close(ends[1]);
    }
    fd = open(path, O_RDONLY);
    is_int(blkalign_open_fd(fd, NULL, NULL), -EINVAL, "no `out`");
    ret = blkalign_open_fd(fd, &options, &handle);
    if (ret == 0)
        ret = blkalign_pwrite(handle, 0, 1, buf, 0);
    ok(ret < 0, "writing through a read-only descriptor: %d", ret);
    blkalign_close(handle);
    handle = NULL;
    is_int(blkalign_open_fd(fd, NULL, &handle), 0, "a good descriptor");
    close(fd);
    is_int(blkalign_pread(handle, 3, 1, buf, 0), 0,
           "the caller may close its own");
    is_int(blkalign_close(handle), 0, "close");
}

static int64_t length_answer;
static int closes;

static int64_t odd_length(void *opaque)
{
    (void)opaque;
    return length_answer;
}

static void count_close(void *opaque)
{
    (void)opaque;
    closes++;
}

static int try_length(struct sim *sim, int64_t length)
{
    blkalign_driver driver = sim_driver(sim);
    blkalign_handle *handle = NULL;
    int ret;

    length_answer = length;
    driver.getlength = odd_length;
    driver.close = count_close;
    ret = blkalign_open_driver(&driver, sim, NULL, &handle);
    if (ret == 0)
        blkalign_close(handle);
    return ret;
}

static void lengths_of_drivers(void)
{
    struct sim_options disk = sim_disk_4k(65536, SIM_SYNC);
    struct sim *sim = sim_new(&disk);

    is_int(try_length(sim, 65535), -EINVAL,
           "a length that is no multiple of the alignment");
    ok(strstr(blkalign_errmsg(), "65535") != NULL, "the words name it: %s",
       blkalign_errmsg());
    ok(strstr(blkalign_errmsg(), "whole blocks") != NULL,
       "and say why a driver's must be one");
    is_int(try_length(sim, 512), -EINVAL, "a length below the alignment");
    is_int(try_length(sim, -EIO), -EIO, "a length that cannot be told");
    is_int(closes, 0, "close is not called where opening failed");
    is_int(try_length(sim, 0), 0, "an empty driver");
    is_int(closes, 1, "close is called once where it did not");
    sim_free(sim);
}

/* The file system has O_DIRECT, or the words say that it has not. */
static void no_direct(void)
{
    char path[] = "/dev/shm/blkalign-test-XXXXXX";
    blkalign_open_options options;
    blkalign_handle *handle = NULL;
    int fd = mkstemp(path), ret;

    if (fd < 0 || write(fd, "0123456789", 10) != 10) {
        skip("no /dev/shm", "a file system without O_DIRECT");
        return;
    }
    janitor_tell("file", path);
    close(fd);
    ret = try_path(path, BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT);
    ok(ret == 0 || (ret == -EINVAL && strstr(blkalign_errmsg(), path)),
       "O_DIRECT on tmpfs: %d %s", ret, ret ? blkalign_errmsg() : "");
    options = options_of(BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK, 0);
    is_int(blkalign_open(path, &options, &handle), 0,
           "BUFFERED_OK opens it anyway");
    is_int(blkalign_getlength(handle), 10, "with its length");
    blkalign_close(handle);
    is_int(try_path(path, BLKALIGN_O_RDWR), 0, "so does buffered I/O");
    unlink(path);
}

int main(void)
{
    struct bed bed;
    int before;

    run_begin(60);
    before = descriptors();
    lengths_of_drivers();
    no_direct();
    if (bed_make(&bed, BED_FILE, 65536)) {
        skip(bed.why_not, "opening files");
        return done_testing();
    }
    bad_paths(bed.dir);
    bad_descriptors(bed.path);
    bed_remove(&bed);
    is_int(descriptors(), before, "no descriptor is left behind");
    return done_testing();
}
