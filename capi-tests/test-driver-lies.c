/*
 * A driver that returns 0 without filling memory does not disclose bytes of
 * other requests: what it left out is zeros, for the reader and beside a
 * write. And the first length that the driver returns is the one that counts.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DISK_BYTES 65536
#define SECRET 0xee

struct liar {
    uint8_t disk[DISK_BYTES];
    /* Reads move nothing, or only their first element. */
    int lies;
    int late;
    /* The lengths that getlength returns, one after the other. */
    const int64_t *lengths;
    unsigned asked;
};

static int64_t tell_length(void *opaque)
{
    struct liar *liar = opaque;

    return liar->lengths ? liar->lengths[liar->asked++] : DISK_BYTES;
}

static void move(struct liar *liar, int64_t offset, const struct iovec *iov,
                 int iovcnt, int reads)
{
    uint8_t *at = liar->disk + offset;
    int i;

    for (i = 0; i < iovcnt; at += iov[i++].iov_len) {
        if (!reads)
            memcpy(at, iov[i].iov_base, iov[i].iov_len);
        else if (!liar->lies)
            memcpy(iov[i].iov_base, at, iov[i].iov_len);
    }
}

static int read_now(void *opaque, int64_t offset, int64_t bytes,
                    const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)bytes;
    (void)flags;
    move(opaque, offset, iov, iovcnt, 1);
    return 0;
}

static int write_now(void *opaque, int64_t offset, int64_t bytes,
                     const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)bytes;
    (void)flags;
    move(opaque, offset, iov, iovcnt, 0);
    return 0;
}

static int read_later(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags,
                      blkalign_driver_done_fn done, void *token)
{
    (void)bytes;
    (void)flags;
    move(opaque, offset, iov, iovcnt, 1);
    done(token, 0);
    return 0;
}

static blkalign_handle *open_liar(struct liar *liar, uint32_t mem)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_handle *handle = NULL;

    driver.request_alignment = 4096;
    driver.mem_alignment = mem;
    driver.segment_alignment = 4096;
    driver.getlength = tell_length;
    driver.preadv = read_now;
    driver.pwritev = write_now;
    if (liar->late)
        driver.aio_preadv = read_later;
    is_int(blkalign_open_driver(&driver, liar, &options, &handle), 0, "open");
    return handle;
}

/* How many of the bytes come from the secret. */
static int64_t leaked(const uint8_t *bytes, size_t count)
{
    int64_t found = 0;
    size_t i;

    for (i = 0; i < count; i++)
        found += bytes[i] == SECRET;
    return found;
}

/* Leaves the secret in all scratch that is kept: that of edges and of bounces.
 * */
static void fill_scratch(blkalign_handle *handle)
{
    uint8_t *secret = aligned_memory(20000 + 1);

    memset(secret, SECRET, 20001);
    is_int(blkalign_pwrite(handle, 100, 20000, secret + 1, 0), 0,
           "a secret is written");
    is_int(blkalign_pread(handle, 100, 20000, secret + 1, 0), 0,
           "and read");
    free(secret);
}

static void reads(struct liar *liar, blkalign_handle *handle)
{
    uint8_t *buf = aligned_memory(20001);

    fill_scratch(handle);
    liar->lies = 1;
    memset(buf, 0, 20001);
    is_int(blkalign_pread(handle, 512, 700, buf, 0), 0, "a part of a block");
    is_int(leaked(buf, 20001), 0, "it holds nothing of others");
    memset(buf, 0, 20001);
    is_int(blkalign_pread(handle, 0, 16384, buf + 1, 0), 0,
           "whole blocks into memory that is not aligned");
    is_int(leaked(buf, 20001), 0, "they hold nothing of others");
    memset(buf, 0, 20001);
    is_int(blkalign_pread(handle, 4000, 9000, buf, 0), 0, "two edges");
    is_int(leaked(buf, 20001), 0, "they hold nothing of others");
    liar->lies = 0;
    free(buf);
}

/* Several reads of one block, and writes side by side, share one I/O. */
static void batch(struct liar *liar, blkalign_handle *handle, int writes)
{
    static const struct answer none;
    struct answer answers[8];
    uint8_t *buf = aligned_memory(65536);
    struct iovec iov;
    int i;

    memset(buf, 0x11, 65536);
    fill_scratch(handle);
    memset(liar->disk, 0, DISK_BYTES);
    liar->lies = 1;
    blkalign_plug(handle);
    for (i = 0; i < 8; i++) {
        iov.iov_base = buf + 8192 * i;
        iov.iov_len = 512;
        answers[i] = none;
        if (writes)
            blkalign_aio_pwritev(handle, 4096 * (i % 4) + 1024 * (i / 4),
                                 &iov, 1, 0, answer_done, &answers[i]);
        else
            blkalign_aio_preadv(handle, 512 * i, &iov, 1, 0, answer_done,
                                &answers[i]);
    }
    blkalign_unplug(handle);
    for (i = 0; i < 8; i++)
        is_int(answer_wait(&answers[i]), 0, "one of a batch");
    is_int(leaked(buf, 65536), 0, "no reader got anything of others");
    is_int(leaked(liar->disk, DISK_BYTES), 0, "nor did the storage");
    liar->lies = 0;
    free(buf);
}

static void writes(struct liar *liar, blkalign_handle *handle)
{
    uint8_t *buf = aligned_memory(9000);

    memset(buf, 0x11, 9000);
    fill_scratch(handle);
    memset(liar->disk, 0, DISK_BYTES);
    liar->lies = 1;
    is_int(blkalign_pwrite(handle, 512, 700, buf, 0), 0, "a small write");
    is_int(blkalign_pwrite(handle, 12288 + 4000, 9000, buf, 0), 0,
           "a write with two edges");
    is_int(blkalign_pwrite_zeroes(handle, 40000, 9000, 0), 0,
           "zeros with two edges");
    is_int(leaked(liar->disk, DISK_BYTES), 0,
           "nothing of others went to the storage");
    liar->lies = 0;
    free(buf);
}

static void run(uint32_t mem, int late)
{
    struct liar *liar = calloc(1, sizeof(*liar));
    blkalign_handle *handle;

    diag("memory alignment %u, %s", mem, late ? "asynchronous" : "plain");
    liar->late = late;
    handle = open_liar(liar, mem);
    reads(liar, handle);
    writes(liar, handle);
    batch(liar, handle, 0);
    batch(liar, handle, 1);
    is_int(blkalign_close(handle), 0, "close");
    free(liar);
}

/* The first answer is both checked and used. */
static void length(int64_t first, int64_t second, int64_t want)
{
    const int64_t lengths[] = { first, second, second, second };
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    struct liar *liar = calloc(1, sizeof(*liar));
    blkalign_handle *handle = NULL;

    liar->lengths = lengths;
    driver.request_alignment = 4096;
    driver.getlength = tell_length;
    driver.preadv = read_now;
    driver.pwritev = write_now;
    is_int(blkalign_open_driver(&driver, liar, &options, &handle),
           want < 0 ? want : 0, "a driver says %lld, then %lld",
           (long long)first, (long long)second);
    is_int(liar->asked, 1, "it was asked once");
    if (handle)
        is_int(blkalign_getlength(handle), want, "that is its length");
    blkalign_close(handle);
    free(liar);
}

int main(void)
{
    run_begin(60);
    run(1, 0);
    run(512, 0);
    run(4096, 0);
    run(1, 1);
    run(4096, 1);
    length(1000, 4096, -EINVAL);
    length(4097, 4096, -EINVAL);
    length(INT64_MAX, 4096, -EINVAL);
    length(8192, 1000, 8192);
    length(8192, -EIO, 8192);
    length(-ENODEV, 4096, -ENODEV);
    length(INT64_MIN, 4096, -EIO);
    length(-70000, 4096, -EIO);
    return done_testing();
}
