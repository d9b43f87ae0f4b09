/* first-write PATH: writes one sector of 512 bytes, makes it durable, reads it
 * back. PATH is a file or a disk, whatever its blocks; its sector 7 is
 * overwritten.                SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <blkalign.h>
#include <stdio.h>
#include <string.h>
#include "care.h"

static int write_and_read(const char *path, char *sector, char *again)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_handle *disk;
    int ret;

    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT;
    ret = blkalign_open(path, &options, &disk);
    if (ret < 0)
        return ret;                     /* -errno; main prints the words */
    ret = blkalign_pwrite(disk, 7 * 512, 512, sector, BLKALIGN_REQ_FUA);
    if (ret == 0)
        ret = blkalign_pread(disk, 7 * 512, 512, again, 0);
    blkalign_close(disk);
    return ret;
}

int main(int argc, char **argv)
{
    char sector[512], again[512];

    if (argc != 2)
        return fprintf(stderr, "usage: first-write PATH\n"), 2;
    take_care(argv[1]);
    memset(sector, 'x', sizeof(sector));
    if (write_and_read(argv[1], sector, again) < 0)
        return fprintf(stderr, "first-write: %s\n", blkalign_errmsg()), 1;
    return memcmp(sector, again, sizeof(sector)) != 0;
}
