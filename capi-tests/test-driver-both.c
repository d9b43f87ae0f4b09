/*
 * A driver with both forms of its functions: a synchronous call uses the
 * synchronous one on its own thread, an asynchronous request the other. A
 * driver with one form gets that for both.
 */
#include "common_aio.h"
#include "common_run.h"
#include "tap.h"

#include <pthread.h>
#include <string.h>

enum { DISK_BYTES = 65536, BLOCK = 4096 };

struct disk {
    uint8_t bytes[DISK_BYTES];
    int waited, started;        /* calls of either form */
    int elsewhere;              /* `waited` on other threads */
    pthread_t caller;
};

static int64_t length(void *opaque)
{
    (void)opaque;
    return DISK_BYTES;
}

static void move(struct disk *disk, int64_t offset, const struct iovec *iov,
                 int iovcnt, int reads)
{
    uint8_t *at = disk->bytes + offset;
    int i;

    for (i = 0; i < iovcnt; at += iov[i++].iov_len) {
        if (reads)
            memcpy(iov[i].iov_base, at, iov[i].iov_len);
        else
            memcpy(at, iov[i].iov_base, iov[i].iov_len);
    }
}

static void count_wait(struct disk *disk)
{
    __atomic_add_fetch(&disk->waited, 1, __ATOMIC_SEQ_CST);
    if (!pthread_equal(disk->caller, pthread_self()))
        __atomic_add_fetch(&disk->elsewhere, 1, __ATOMIC_SEQ_CST);
}

static int count_start(struct disk *disk, blkalign_driver_done_fn done,
                       void *token)
{
    __atomic_add_fetch(&disk->started, 1, __ATOMIC_SEQ_CST);
    done(token, 0);
    return 0;
}

static int read_now(void *opaque, int64_t offset, int64_t bytes,
                    const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)bytes;
    (void)flags;
    count_wait(opaque);
    move(opaque, offset, iov, iovcnt, 1);
    return 0;
}

static int write_now(void *opaque, int64_t offset, int64_t bytes,
                     const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)bytes;
    (void)flags;
    count_wait(opaque);
    move(opaque, offset, iov, iovcnt, 0);
    return 0;
}

static int flush_now(void *opaque)
{
    count_wait(opaque);
    return 0;
}

static int read_later(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags,
                      blkalign_driver_done_fn done, void *token)
{
    (void)bytes;
    (void)flags;
    move(opaque, offset, iov, iovcnt, 1);
    return count_start(opaque, done, token);
}

static int write_later(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags,
                       blkalign_driver_done_fn done, void *token)
{
    (void)bytes;
    (void)flags;
    move(opaque, offset, iov, iovcnt, 0);
    return count_start(opaque, done, token);
}

static int flush_later(void *opaque, blkalign_driver_done_fn done,
                       void *token)
{
    return count_start(opaque, done, token);
}

static blkalign_handle *open_disk(struct disk *disk, int synchronous,
                                  int asynchronous)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_handle *handle;

    memset(disk, 'd', sizeof *disk);
    disk->waited = disk->started = disk->elsewhere = 0;
    disk->caller = pthread_self();
    driver.request_alignment = BLOCK;
    driver.getlength = length;
    if (synchronous) {
        driver.preadv = read_now;
        driver.pwritev = write_now;
        driver.flush = flush_now;
    }
    if (asynchronous) {
        driver.aio_preadv = read_later;
        driver.aio_pwritev = write_later;
        driver.aio_flush = flush_later;
    }
    if (blkalign_open_driver(&driver, disk, &options, &handle) < 0)
        bail("%s", blkalign_errmsg());
    return handle;
}

/* A whole block; a part of one, which reads first; a flush. */
static void call(blkalign_handle *handle)
{
    static uint8_t block[BLOCK], all[DISK_BYTES], want[DISK_BYTES];

    memset(block, 'b', sizeof block);
    memset(want, 'd', sizeof want);
    memset(want + BLOCK, 'b', BLOCK);
    memset(want + 3 * BLOCK + 512, 'b', 512);
    is_int(blkalign_pwrite(handle, BLOCK, BLOCK, block, 0), 0, "a block");
    is_int(blkalign_pwrite(handle, 3 * BLOCK + 512, 512, block, 0), 0,
           "512 bytes");
    is_int(blkalign_flush(handle), 0, "a flush");
    ok(blkalign_pread(handle, 0, DISK_BYTES, all, 0) == 0 &&
       memcmp(all, want, sizeof all) == 0, "every byte is right");
}

static void submit(blkalign_handle *handle)
{
    static uint8_t block[BLOCK];
    struct answer write = { 0 }, read = { 0 }, flush = { 0 };

    aio_write(handle, 512, block, 512, 0, &write);
    is_int(answer_wait(&write), 0, "512 bytes, asynchronous");
    aio_read(handle, 0, block, BLOCK, &read);
    is_int(answer_wait(&read), 0, "a read, asynchronous");
    aio_flush(handle, &flush);
    is_int(answer_wait(&flush), 0, "a flush, asynchronous");
}

static struct disk disk;

int main(void)
{
    blkalign_handle *handle;

    run_begin(60);
    handle = open_disk(&disk, 1, 1);
    call(handle);
    is_int(disk.started, 0, "synchronous calls start nothing");
    is_int(disk.waited, 5, "they wait, five times");
    is_int(disk.elsewhere, 0, "on their own thread");
    disk.waited = 0;
    submit(handle);
    is_int(disk.waited, 0, "asynchronous requests do not wait");
    is_int(disk.started, 4, "they are started");
    blkalign_close(handle);

    handle = open_disk(&disk, 0, 1);
    call(handle);
    is_int(disk.started, 5, "with one form, calls use that");
    blkalign_close(handle);
    handle = open_disk(&disk, 1, 0);
    submit(handle);
    is_int(disk.waited, 4, "and so do requests");
    blkalign_close(handle);
    return done_testing();
}
