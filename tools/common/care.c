/*
 * Checks that a tool makes before it overwrites something.
 *
 * Divisions: descriptors, devices, files behind loop devices, image locks,
 * zones.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "care.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- descriptors ---- */

/* Opened for the wrong direction on purpose: output to a missing standard
 * output must fail, as without this. A directory serves where there is no
 * /dev/null. */
void care_descriptors(void)
{
    int wanted, fd;

    for (wanted = 0; wanted <= 2; wanted++) {
        if (fcntl(wanted, F_GETFD) >= 0)
            continue;
        fd = open("/dev/null", wanted == 0 ? O_WRONLY : O_RDONLY);
        if (fd < 0)
            fd = open("/", O_RDONLY | O_DIRECTORY);
        /* open() returns the lowest free number: all lower ones are open by
         * now. */
        if (fd != wanted)
            _exit(EXIT_FAILURE);
    }
}

/* ---- devices ---- */

/* O_EXCL: Linux refuses a device that is mounted, used for swap, or part of a
 * volume or an array, and also the whole disk of such a partition. */
static bool device_in_use(const char *path, char *why, size_t why_bytes)
{
    if (open(path, O_RDONLY | O_EXCL | O_CLOEXEC) >= 0 || errno != EBUSY)
        return false;
    snprintf(why, why_bytes, "is mounted, or in use by something else");
    return true;
}

/* ---- files behind loop devices ---- */

static bool is_behind(const char *loop, const struct stat *file)
{
    char name[300], path[4096];
    struct stat behind;
    FILE *from;
    bool is = false;

    snprintf(name, sizeof name, "/sys/block/%s/loop/backing_file", loop);
    from = fopen(name, "re");
    if (from && fgets(path, sizeof path, from)) {
        path[strcspn(path, "\n")] = '\0';
        is = stat(path, &behind) == 0 && behind.st_dev == file->st_dev &&
             behind.st_ino == file->st_ino;
    }
    if (from)
        fclose(from);
    return is;
}

static bool behind_loop(const struct stat *file, char *why, size_t why_bytes)
{
    DIR *directory = opendir("/sys/block");
    struct dirent *entry;
    bool found = false;

    if (!directory)
        return false;
    while (!found && (entry = readdir(directory)) != NULL) {
        found = strncmp(entry->d_name, "loop", 4) == 0 &&
                is_behind(entry->d_name, file);
        if (found)
            snprintf(why, why_bytes, "is behind /dev/%s", entry->d_name);
    }
    closedir(directory);
    return found;
}

/* ---- image locks ---- */

/* The bytes that QEMU locks, and BLKALIGN_O_LOCK with it. */
static bool locked(const char *path, char *why, size_t why_bytes)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
                          .l_start = 100, .l_len = 200 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is;

    if (fd < 0)
        return false;
    is = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    if (is)
        snprintf(why, why_bytes, "is an image that a guest has open");
    return is;
}

bool care_in_use(const char *path, char *why, size_t why_bytes)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return false;
    if (S_ISBLK(status.st_mode) && device_in_use(path, why, why_bytes))
        return true;
    if (!S_ISBLK(status.st_mode) && !S_ISREG(status.st_mode))
        return false;
    if (S_ISREG(status.st_mode) && behind_loop(&status, why, why_bytes))
        return true;
    return locked(path, why, why_bytes);
}

/* ---- zones ---- */

bool care_zoned(const char *path)
{
    static const char *const places[] = { "", "/.." };  /* of a partition */
    char name[128], model[32] = "";
    struct stat status;
    FILE *from;
    unsigned i;

    if (stat(path, &status) < 0 || !S_ISBLK(status.st_mode))
        return false;
    for (i = 0; i < 2 && !model[0]; i++) {
        snprintf(name, sizeof name, "/sys/dev/block/%u:%u%s/queue/zoned",
                 major(status.st_rdev), minor(status.st_rdev), places[i]);
        from = fopen(name, "re");
        if (from && !fgets(model, sizeof model, from))
            model[0] = '\0';
        if (from)
            fclose(from);
    }
    return strncmp(model, "host-managed", 12) == 0;
}
