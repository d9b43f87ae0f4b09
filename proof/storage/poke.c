/*
 * One small write through the library, for beds that want a certain one:
 *
 *     poke PATH OFFSET BYTES      prints 0, or what the write failed with
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <blkalign.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    long long offset, bytes;
    blkalign_handle *handle;
    static char data[65536];
    int ret;

    if (argc != 4)
        return 2;
    offset = strtoll(argv[2], NULL, 10);
    bytes = strtoll(argv[3], NULL, 10);
    if (bytes < 0 || bytes > (long long)sizeof(data))
        return 2;
    memset(data, 'p', sizeof(data));
    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT;
    ret = blkalign_open(argv[1], &options, &handle);
    if (ret == 0) {
        ret = blkalign_pwrite(handle, offset, bytes, data, 0);
        blkalign_close(handle);
    }
    puts(ret ? strerror(-ret) : "0");
    return 0;
}
