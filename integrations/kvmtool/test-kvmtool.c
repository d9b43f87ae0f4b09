/*
 * blkalign.c as kvmtool uses it, on a file of this machine. TAP.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "kvm/disk-image.h"

#include <linux/err.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static int number, failures;
static long results[8];         /* of the requests, by their param */
static int inside, at_once;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void ok(bool good, const char *name)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++number, name);
    failures += !good;
}

struct disk_image *disk_image__new(int fd, u64 size,
                                   struct disk_image_operations *ops,
                                   int mmap)
{
    struct disk_image *disk = calloc(1, sizeof(*disk));

    (void)mmap;
    disk->fd = fd;
    disk->size = size;
    disk->ops = ops;
    return disk;
}

static void callback(void *param, long len)
{
    pthread_mutex_lock(&lock);
    at_once += inside++ > 0;
    pthread_mutex_unlock(&lock);
    *(long *)param = len;
    pthread_mutex_lock(&lock);
    inside--;
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    static char path[] = "/tmp/test-kvmtool-XXXXXX";
    static char sectors[8][512], block[4096];
    struct disk_image *disk;
    struct iovec iov;
    int i, fd = mkstemp(path);
    bool good = true;

    if (fd < 0 || ftruncate(fd, 1 << 20) < 0)
        return 1;
    close(fd);
    disk = blkalign_image__probe("/nonexistent/x", false, false);
    ok(PTR_ERR(disk) == -ENOENT, "no such file");
    disk = blkalign_image__probe(path, false, false);
    ok(!IS_ERR_OR_NULL(disk) && disk->size == 1 << 20 && disk->async,
       "a file is taken");
    disk->disk_req_cb = callback;
    for (i = 0; i < 8; i++) {
        memset(sectors[i], 'a' + i, 512);
        iov.iov_base = sectors[i];
        iov.iov_len = 512;
        disk->ops->write(disk, (u64)(8 + i), &iov, 1, &results[i]);
    }
    disk->ops->wait(disk);
    for (i = 0; i < 8; i++)
        good = good && results[i] == 512;
    ok(good, "eight sectors of one block are written at once");
    iov.iov_base = block;
    iov.iov_len = sizeof(block);
    disk->ops->read(disk, 8, &iov, 1, &results[0]);
    disk->ops->wait(disk);
    ok(results[0] == 4096 && memcmp(block, sectors, 4096) == 0,
       "and are there");
    ok(at_once == 0, "callbacks came one at a time");
    disk->ops->read(disk, UINT64_MAX, &iov, 1, &results[0]);
    disk->ops->read(disk, 2048, &iov, 1, &results[1]);
    ok(results[0] == -EINVAL && results[1] == -EIO,
       "what is out of range fails through the callback");
    ok(disk->ops->flush(disk) == 0, "flush");
    ok(disk->ops->close(disk) == 0, "close");
    unlink(path);
    printf("1..%d\n", number);
    return failures != 0;
}
