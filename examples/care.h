/* What an example checks before it overwrites PATH.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef CARE_H
#define CARE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A program that is started without descriptor 0, 1 or 2 must not write its
 * messages into the file. A device that is mounted, or in use in another way,
 * is refused; a free device is kept from others until the program ends. */
static void take_care(const char *path)
{
    struct stat status;
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (stat(path, &status) == 0 && S_ISBLK(status.st_mode) &&
        open(path, O_RDONLY | O_EXCL) < 0 && errno == EBUSY) {
        fprintf(stderr, "%s is mounted, or in use by something else\n", path);
        exit(EXIT_FAILURE);
    }
}

#endif
