/* A bed that the environment gives: see common_given.h. */
#include "common_given.h"

#include "common_run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096

static const char *given(mode_t type)
{
    const char *path = getenv("BLKALIGN_TEST_BED");
    struct stat status;

    if (!path || stat(path, &status) || (status.st_mode & S_IFMT) != type)
        return NULL;
    return path;
}

const char *given_directory(void)
{
    return given(S_IFDIR);
}

const char *given_disk(void)
{
    return given(S_IFBLK);
}

static int has_large_blocks(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), bytes = 0, ret;

    if (fd < 0)
        return 0;
    ret = ioctl(fd, BLKSSZGET, &bytes);
    close(fd);
    return ret == 0 && bytes == BLOCK;
}

int given_another(enum bed_kind kind)
{
    const char *disk = given_disk();

    if (!getenv("BLKALIGN_TEST_BED"))
        return 0;
    if (!disk)
        return kind != BED_FILE || !given_directory();
    return kind != (has_large_blocks(disk) ? BED_LOOP : BED_LOOP_512);
}

int given_make(struct bed *bed, int64_t bytes)
{
    const char *disk = given_disk();
    void *zeros = aligned_memory((size_t)bytes);
    int fd = open(disk, O_RDWR | O_DIRECT | O_CLOEXEC);
    int failed = fd < 0 || pwrite(fd, zeros, (size_t)bytes, 0) != bytes;

    if (failed)
        snprintf(bed->why_not, sizeof(bed->why_not), "%s: %s", disk,
                 strerror(errno));
    if (fd >= 0)
        close(fd);
    free(zeros);
    bed->name = disk;
    snprintf(bed->path, sizeof(bed->path), "%s", disk);
    return failed ? -1 : 0;
}
