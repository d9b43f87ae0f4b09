/*
 * blkalign.c as kvmtool uses it, on a file and a disk of this machine. TAP.
 * Compiled twice: kvmtool is another one where it has libaio (CONFIG_HAS_AIO).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "kvm/disk-image.h"

#include <linux/err.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

static int number, failures;
static long results[8];         /* of the requests, by their param */
static int inside, at_once;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void ok(bool good, const char *name)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++number, name);
    failures += !good;
}

/* ---- kvmtool's disk/aio.c and disk/core.c, where they start and end ---- */

#ifdef CONFIG_HAS_AIO
static void *aio_thread(void *opaque)
{
    struct disk_image *disk = opaque;
    uint64_t value;

    while (read(disk->evt, &value, sizeof(value)) > 0)
        ;
    return NULL;
}

static void aio_setup(struct disk_image *disk)
{
    if (!disk->ops->async)
        return;
    disk->evt = eventfd(0, 0);
    if (pthread_create(&disk->thread, NULL, aio_thread, disk) != 0)
        abort();
    disk->async = true;
}

static void aio_destroy(struct disk_image *disk)
{
    if (!disk->async)
        return;
    pthread_cancel(disk->thread);
    pthread_join(disk->thread, NULL);
    close(disk->evt);
}
#else
static void aio_setup(struct disk_image *disk)
{
    (void)disk;
}

static void aio_destroy(struct disk_image *disk)
{
    (void)disk;
}
#endif

struct disk_image *disk_image__new(int fd, u64 size,
                                   struct disk_image_operations *ops,
                                   int mmap)
{
    struct disk_image *disk = calloc(1, sizeof(*disk));

    (void)mmap;
    disk->fd = fd;
    disk->size = size;
    disk->ops = ops;
    aio_setup(disk);
    return disk;
}

static int disk_image__close(struct disk_image *disk)
{
    aio_destroy(disk);
    return disk->ops->close(disk);
}

/* ---- the test ---- */

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

/* Somebody else has the disk for himself, as who mounts it does. */
static void test_held(const char *device)
{
    int held = open(device, O_RDONLY | O_EXCL);
    struct disk_image *disk = blkalign_image__probe(device, false, true);

    ok(held >= 0 && PTR_ERR(disk) == -EBUSY, "a disk in use is not taken");
    disk = blkalign_image__probe(device, true, true);
    ok(!IS_ERR_OR_NULL(disk) && disk->readonly, "but to be read");
    if (!IS_ERR_OR_NULL(disk))
        disk_image__close(disk);
    close(held);
    disk = blkalign_image__probe(device, false, true);
    ok(!IS_ERR_OR_NULL(disk), "one that nobody uses is taken");
    if (IS_ERR_OR_NULL(disk))
        return;
    held = open(device, O_RDONLY | O_EXCL);
    ok(held < 0 && errno == EBUSY, "and nobody else can have it meanwhile");
    ok(disk_image__close(disk) == 0, "it is closed");
}

static void test_device(const char *path)
{
    char command[256], device[64] = "";
    FILE *pipe;
    int keeper;

    snprintf(command, sizeof(command),
             "PATH=$PATH:/usr/sbin:/sbin; losetup --show -f %s 2>/dev/null",
             path);
    pipe = popen(command, "r");
    if (pipe == NULL || fgets(device, sizeof(device), pipe) == NULL)
        device[0] = '\0';
    if (pipe != NULL)
        pclose(pipe);
    device[strcspn(device, "\n")] = '\0';
    if (device[0] == '\0') {
        printf("ok %d - a disk in use # SKIP no loop device here\n", ++number);
        return;
    }
    /* Detached now it goes with its last descriptor, however this ends. */
    keeper = open(device, O_RDONLY);
    snprintf(command, sizeof(command),
             "PATH=$PATH:/usr/sbin:/sbin; losetup -d %s", device);
    ok(system(command) == 0, "a loop device");
    test_held(device);
    close(keeper);
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
    ok(disk_image__close(disk) == 0, "close");
    test_device(path);
    unlink(path);
    printf("1..%d\n", number);
    return failures != 0;
}
