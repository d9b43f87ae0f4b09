/*
 * Zero writes, discards and lengths on a driver whose storage consists of
 * whole blocks: the bytes behind the end stay zero, and operations that the
 * driver lacks are done in another way, or refused.
 */
#include "tap.h"

#include <blkalign.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define BLOCK 512
#define ROOM (64 * BLOCK)

static uint8_t disk[ROOM];
static int64_t length;
static int zeroes_refused, writes_fail, writes, zeroed;

static int64_t get_length(void *opaque)
{
    (void)opaque;
    return length;
}

static int read_disk(void *opaque, int64_t offset, int64_t bytes,
                     const struct iovec *iov, int count, uint32_t flags)
{
    int i;

    (void)opaque;
    (void)flags;
    if (offset % BLOCK || bytes % BLOCK || offset + bytes > length)
        return -EINVAL;
    for (i = 0; i < count; i++) {
        memcpy(iov[i].iov_base, disk + offset, iov[i].iov_len);
        offset += (int64_t)iov[i].iov_len;
    }
    return 0;
}

static int write_disk(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int count, uint32_t flags)
{
    int i;

    (void)opaque;
    (void)flags;
    __atomic_add_fetch(&writes, 1, __ATOMIC_RELAXED);
    if (offset % BLOCK || bytes % BLOCK || offset + bytes > length)
        return -EINVAL;
    for (i = 0; i < count; i++) {
        memcpy(disk + offset, iov[i].iov_base, iov[i].iov_len);
        offset += (int64_t)iov[i].iov_len;
    }
    return writes_fail ? -EIO : 0;
}

static int zero_disk(void *opaque, int64_t offset, int64_t bytes,
                     uint32_t flags)
{
    (void)opaque;
    (void)flags;
    __atomic_add_fetch(&zeroed, 1, __ATOMIC_RELAXED);
    if (zeroes_refused)
        return -ENOTSUP;
    if (offset % BLOCK || bytes % BLOCK || offset + bytes > length)
        return -EINVAL;
    memset(disk + offset, 0, (size_t)bytes);
    return 0;
}

static int set_length(void *opaque, int64_t to)
{
    (void)opaque;
    if (to % BLOCK || to > ROOM)
        return -EINVAL;
    memset(disk + to, 0, (size_t)(ROOM - to));
    length = to;
    return 0;
}

static blkalign_handle *open_disk(uint32_t flags)
{
    blkalign_driver driver;
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_handle *handle = NULL;

    memset(&driver, 0, sizeof driver);
    driver.size = sizeof driver;
    driver.request_alignment = BLOCK;
    driver.getlength = get_length;
    driver.preadv = read_disk;
    driver.pwritev = write_disk;
    driver.pwrite_zeroes = zero_disk;
    driver.truncate = set_length;
    options.flags = BLKALIGN_O_RDWR | flags;
    memset(disk, 'd', sizeof disk);
    length = 4 * BLOCK;
    zeroes_refused = writes_fail = writes = zeroed = 0;
    if (blkalign_open_driver(&driver, NULL, &options, &handle))
        bail("open: %s", blkalign_errmsg());
    return handle;
}

static int all_are(const uint8_t *at, size_t bytes, int value)
{
    while (bytes--)
        if (*at++ != value)
            return 0;
    return 1;
}

static void lengths(void)
{
    blkalign_handle *handle = open_disk(BLKALIGN_O_RESIZE);
    uint8_t buffer[2 * BLOCK];

    is_int(blkalign_truncate(handle, 700), 0, "truncate into a block");
    is_int(blkalign_getlength(handle), 700, "the length is exact");
    is_int(length, 2 * BLOCK, "the storage has whole blocks");
    ok(all_are(disk + 700, 324, 0), "what lies behind the end is zero");
    memset(buffer, 'x', sizeof buffer);
    is_int(blkalign_pread(handle, 600, 1000, buffer, 0), 0,
           "a read past the end");
    ok(all_are(buffer, 100, 'd') && all_are(buffer + 100, 900, 0) &&
           buffer[1000] == 'x',
       "gives what is there, and zeros");
    memset(buffer, 'w', sizeof buffer);
    is_int(blkalign_pwrite(handle, 1100, 10, buffer, 0), 0,
           "a write past the end");
    is_int(blkalign_getlength(handle), 1110, "extends the object");
    ok(all_are(disk + 700, 400, 0) && all_are(disk + 1100, 10, 'w') &&
           all_are(disk + 1110, 3 * BLOCK - 1110, 0),
       "and leaves zeros in between and behind");
    writes_fail = 1;
    is_int(blkalign_pwrite(handle, 3000, 10, buffer, 0), -EIO,
           "one that fails");
    is_int(blkalign_getlength(handle), 1110, "leaves the length");
    is_int(length, 3 * BLOCK, "that of the storage, too");
    writes_fail = 0;
    is_int(blkalign_pwrite_zeroes(handle, 2000, 2000, 0), 0,
           "zeros past the end");
    is_int(blkalign_getlength(handle), 4000, "extend the object");
    ok(all_are(disk + 1110, 8 * BLOCK - 1110, 0), "by zeros");
    blkalign_close(handle);
}

static void zeros(void)
{
    blkalign_handle *handle = open_disk(0);

    is_int(blkalign_pwrite_zeroes(handle, 100, 1500, 0), 0, "zeros");
    ok(all_are(disk, 100, 'd') && all_are(disk + 100, 1500, 0) &&
           all_are(disk + 1600, 448, 'd'),
       "are where they should be, and nowhere else");
    is_int(zeroed, 1, "the storage was asked for whole blocks");
    is_int(writes, 2, "and the edges were written");
    zeroes_refused = 1;
    writes = 0;
    memset(disk, 'd', sizeof disk);
    is_int(blkalign_pwrite_zeroes(handle, 100, 1500,
                                  BLKALIGN_REQ_NO_FALLBACK),
           -ENOTSUP, "without a fallback zeros are refused");
    ok(writes == 0 && all_are(disk, ROOM, 'd'), "with nothing written");
    is_int(blkalign_pwrite_zeroes(handle, 100, 1500, 0), 0,
           "else they are written");
    ok(all_are(disk + 100, 1500, 0), "all of them");
    is_int(blkalign_pdiscard(handle, 0, 2048), 0,
           "a discard that nobody can do succeeds");
    is_int(blkalign_pwrite_zeroes(handle, 2000, 100, 0), -EIO,
           "zeros past the end are an error");
    blkalign_close(handle);
}

int main(void)
{
    lengths();
    zeros();
    return done_testing();
}
