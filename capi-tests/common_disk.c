/* Test beds: see common_disk.h. */
#include "common_disk.h"

#include "common_given.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096

extern char **environ;

static const char *const bed_names[BED_ALL_KINDS] = {
    "4Kn loop disk", "XFS on 4Kn", "ext4 on 4Kn", "this machine's files",
    "zram", "simulated disk", "simulated asynchronous disk",
    "simulated disk that answers at once", "btrfs on 4Kn", "tmpfs", "ramfs",
    "512-byte loop disk", "simulated disk that zeroes",
    "XFS of 16 KiB blocks", "XFS of 64 KiB blocks", "ext4, data=journal"
};

static int cannot(struct bed *bed, const char *why, ...)
    __attribute__((format(printf, 2, 3)));

static int cannot(struct bed *bed, const char *why, ...)
{
    va_list words;

    va_start(words, why);
    vsnprintf(bed->why_not, sizeof(bed->why_not), why, words);
    va_end(words);
    bed_remove(bed);
    return -1;
}

static const char *base_dir(void)
{
    const char *base = given_directory();

    if (!base)
        base = getenv("TMPDIR");
    return base && *base && strlen(base) < 80 ? base : "/var/tmp";
}

static int make_dir(struct bed *bed)
{
    snprintf(bed->dir, sizeof(bed->dir), "%s/blkalign-test-XXXXXX",
             base_dir());
    if (!mkdtemp(bed->dir)) {
        bed->dir[0] = 0;
        return -1;
    }
    janitor_tell("dir", bed->dir);
    return 0;
}

static int run(char *const argv[])
{
    posix_spawn_file_actions_t files;
    int status = -1;
    pid_t pid;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&pid, argv[0], &files, NULL, argv, environ) == 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    posix_spawn_file_actions_destroy(&files);
    return status;
}

/* An unlinked file of zeros that lives as long as its descriptor. */
static int backing_file(int64_t bytes)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/blkalign-disk-XXXXXX", base_dir());
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -1;
    unlink(path);
    if (ftruncate(fd, bytes)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Ties the file to a free loop device. Another program may take that device
 * first, so this is tried again. */
static int configure_loop(struct bed *bed, int control,
                          const struct loop_config *config)
{
    int attempt, number, fd;

    for (attempt = 0; attempt < 50; attempt++) {
        number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return -errno;
        snprintf(bed->path, sizeof(bed->path), "/dev/loop%d", number);
        fd = open(bed->path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        if (ioctl(fd, LOOP_CONFIGURE, config) == 0) {
            bed->loop_fd = fd;
            return 0;
        }
        if (errno != EBUSY) {
            int error = errno;

            close(fd);
            return -error;
        }
        close(fd);
    }
    return -EBUSY;
}

static int make_loop(struct bed *bed, int64_t bytes, uint32_t sector)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    struct loop_config config;
    int backing, ret;

    if (control < 0)
        return cannot(bed, "no loop devices: %s", strerror(errno));
    backing = backing_file(bytes);
    memset(&config, 0, sizeof(config));
    config.fd = (uint32_t)backing;
    config.block_size = sector;
    config.info.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR;
    ret = backing < 0 ? -errno : configure_loop(bed, control, &config);
    bed->backing_fd = backing;
    close(control);
    if (ret)
        return cannot(bed, "no loop disk: %s", strerror(-ret));
    return 0;
}

static int make_file(struct bed *bed, int64_t bytes)
{
    void *zeros;
    int fd;

    snprintf(bed->path, sizeof(bed->path), "%s/disk", bed->dir);
    if (!bed->mounted)
        janitor_tell("file", bed->path);
    fd = open(bed->path, O_RDWR | O_CREAT | O_CLOEXEC |
                             (bed_is_buffered(bed) ? 0 : O_DIRECT), 0600);
    if (fd < 0)
        return cannot(bed, "no O_DIRECT in %s: %s", bed->dir,
                      strerror(errno));
    zeros = aligned_memory((size_t)bytes);
    if (pwrite(fd, zeros, (size_t)bytes, 0) != bytes) {
        close(fd);
        free(zeros);
        return cannot(bed, "cannot fill %s: %s", bed->path,
                      strerror(errno));
    }
    free(zeros);
    close(fd);
    return 0;
}

/* The stripe and largeio make st_blksize 256 KiB. */
static int make_xfs_of(struct bed *bed, char *block)
{
    char *argv[] = { "mkfs.xfs", "-q", "-f", "-b", block, "-d",
                     "su=65536,sw=4", bed->path, NULL };

    return run(argv);
}

static int run_mkfs(struct bed *bed)
{
    char *mkfs_xfs[] = { "mkfs.xfs", "-q", "-f", bed->path, NULL };
    char *mkfs_ext4[] = { "mkfs.ext4", "-q", "-F", bed->path, NULL };
    char *mkfs_btrfs[] = { "mkfs.btrfs", "-q", "-f", bed->path, NULL };

    switch (bed->kind) {
    case BED_EXT4:
    case BED_EXT4_JOURNAL:
        return run(mkfs_ext4);
    case BED_BTRFS:
        return run(mkfs_btrfs);
    case BED_XFS_16K:
        return make_xfs_of(bed, "size=16384");
    case BED_XFS_64K:
        return make_xfs_of(bed, "size=65536");
    default:
        return run(mkfs_xfs);
    }
}

static int make_filesystem(struct bed *bed, const char *type, int64_t bytes)
{
    int large = bed->kind == BED_XFS_16K || bed->kind == BED_XFS_64K;
    int ext4 = bed->kind == BED_EXT4 || bed->kind == BED_EXT4_JOURNAL;
    int64_t room = ext4 ? 64 : large ? 768 : 320;
    const char *options = large ? "largeio"
                          : bed->kind == BED_EXT4_JOURNAL ? "data=journal"
                                                          : NULL;

    if (make_loop(bed, room * INT64_C(1048576) + bytes, BLOCK))
        return -1;
    if (run_mkfs(bed))
        return cannot(bed, "mkfs.%s is missing or failed", type);
    if (make_dir(bed))
        return cannot(bed, "no directory for %s: %s", type,
                      strerror(errno));
    if (mount(bed->path, bed->dir, type, 0, options))
        return cannot(bed, "cannot mount %s: %s", type, strerror(errno));
    bed->mounted = 1;
    return make_file(bed, bytes);
}

static int make_in_memory(struct bed *bed, const char *type, int64_t bytes)
{
    if (make_dir(bed))
        return cannot(bed, "no directory: %s", strerror(errno));
    if (mount("none", bed->dir, type, 0, NULL))
        return cannot(bed, "cannot mount %s: %s", type, strerror(errno));
    bed->mounted = 1;
    return make_file(bed, bytes);
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written;

    if (fd < 0)
        return -1;
    written = write(fd, text, strlen(text));
    close(fd);
    return written < 0 ? -1 : 0;
}

static int make_zram(struct bed *bed, int64_t bytes)
{
    int fd = open("/sys/class/zram-control/hot_add", O_RDONLY | O_CLOEXEC);
    char number[16] = "", size_file[80], size[32];
    int attempt;

    if (fd < 0 || read(fd, number, sizeof(number) - 1) <= 0) {
        if (fd >= 0)
            close(fd);
        return cannot(bed, "no zram: %s", strerror(errno));
    }
    close(fd);
    number[strcspn(number, "\n")] = 0;
    janitor_tell("zram", number);
    snprintf(bed->path, sizeof(bed->path), "/dev/zram%s", number);
    snprintf(size_file, sizeof(size_file), "/sys/block/zram%s/disksize",
             number);
    snprintf(size, sizeof(size), "%lld", (long long)bytes);
    if (write_text(size_file, size))
        return cannot(bed, "zram takes no size: %s", strerror(errno));
    for (attempt = 0; attempt < 50 && access(bed->path, R_OK); attempt++)
        sleep_ms(20);
    if (access(bed->path, R_OK | W_OK))
        return cannot(bed, "%s did not appear", bed->path);
    return 0;
}

static int make_sim(struct bed *bed, enum sim_mode mode, int64_t bytes)
{
    struct sim_options options = sim_disk_4k(bytes, mode);

    options.latency_us_max = mode == SIM_ASYNC_AT_ONCE ? 0 : 60;
    if (bed->kind == BED_SIM_ZEROES) {
        options.zeroes = options.discards = 1;
        options.bytes_max = bytes;
    }
    bed->sim = sim_new(&options);
    return 0;
}

int bed_make(struct bed *bed, enum bed_kind kind, int64_t bytes)
{
    memset(bed, 0, sizeof(*bed));
    bed->kind = kind;
    bed->name = bed_names[kind];
    bed->bytes = bytes;
    bed->loop_fd = bed->backing_fd = -1;
    if (given_another(kind))
        return cannot(bed, "the bed is %s", getenv("BLKALIGN_TEST_BED"));
    if (given_disk())
        return given_make(bed, bytes);
    switch (kind) {
    case BED_LOOP:
        return make_loop(bed, bytes, BLOCK);
    case BED_LOOP_512:
        return make_loop(bed, bytes, 512);
    case BED_XFS:
    case BED_XFS_16K:
    case BED_XFS_64K:
        return make_filesystem(bed, "xfs", bytes);
    case BED_EXT4:
    case BED_EXT4_JOURNAL:
        return make_filesystem(bed, "ext4", bytes);
    case BED_TMPFS:
        return make_in_memory(bed, "tmpfs", bytes);
    case BED_RAMFS:
        return make_in_memory(bed, "ramfs", bytes);
    case BED_BTRFS:
        return make_filesystem(bed, "btrfs", bytes);
    case BED_FILE:
        if (make_dir(bed))
            return cannot(bed, "no directory: %s", strerror(errno));
        return make_file(bed, bytes);
    case BED_ZRAM:
        return make_zram(bed, bytes);
    case BED_SIM_SYNC:
    case BED_SIM_ZEROES:
        return make_sim(bed, SIM_SYNC, bytes);
    case BED_SIM_ASYNC:
        return make_sim(bed, SIM_ASYNC, bytes);
    default:
        return make_sim(bed, SIM_ASYNC_AT_ONCE, bytes);
    }
}

void bed_remove(struct bed *bed)
{
    char reset[80];

    if (bed->sim)
        sim_free(bed->sim);
    if (bed->mounted && umount2(bed->dir, 0))
        umount2(bed->dir, MNT_DETACH);
    else if (bed->kind == BED_FILE && bed->path[0])
        unlink(bed->path);
    if (bed->loop_fd >= 0)
        close(bed->loop_fd);
    if (bed->backing_fd >= 0)
        close(bed->backing_fd);
    if (bed->dir[0])
        rmdir(bed->dir);
    if (bed->kind == BED_ZRAM && bed->path[0]) {
        /* Frees the device's memory; the janitor removes the device itself. */
        snprintf(reset, sizeof(reset), "/sys/block/%s/reset",
                 bed->path + strlen("/dev/"));
        write_text(reset, "1");
    }
    bed->sim = NULL;
    bed->mounted = 0;
    bed->loop_fd = bed->backing_fd = -1;
    bed->dir[0] = bed->path[0] = 0;
}

void bed_resize_disk(struct bed *bed, int64_t bytes)
{
    if (ftruncate(bed->backing_fd, bytes) ||
        ioctl(bed->loop_fd, LOOP_SET_CAPACITY, 0))
        bail("%s: to %lld bytes: %s", bed->path, (long long)bytes,
             strerror(errno));
}

int bed_is_file(const struct bed *bed)
{
    return bed->kind == BED_XFS || bed->kind == BED_EXT4 ||
           bed->kind == BED_FILE || bed->kind == BED_BTRFS ||
           bed->kind == BED_XFS_16K || bed->kind == BED_XFS_64K ||
           bed->kind == BED_EXT4_JOURNAL || bed_is_buffered(bed);
}

int bed_is_buffered(const struct bed *bed)
{
    return bed->kind == BED_TMPFS || bed->kind == BED_RAMFS;
}
