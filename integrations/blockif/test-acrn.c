/*
 * ACRN's block_if.c as a device model uses it, on a file of this machine. TAP.
 * What it shares with bhyve's is tested by test-bhyve.c.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "block_if.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK (1 << 20)
#define QUEUES 8

static char path[] = "/tmp/test-acrn-XXXXXX";
static int number, failures;
static struct iothreads_info no_threads;

static void ok(bool good, const char *name)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++number, name);
    failures += !good;
}

/* What callbacks have said; guarded by `lock`. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static int calls, last_error;

static void callback(struct blockif_req *req, int err)
{
    pthread_mutex_lock(&lock);
    if (req->param != NULL)
        *(int *)req->param = err;
    calls++;
    last_error = err;
    pthread_cond_broadcast(&told);
    pthread_mutex_unlock(&lock);
}

static int wait_for(int count)
{
    int error;

    pthread_mutex_lock(&lock);
    while (calls < count)
        pthread_cond_wait(&told, &lock);
    error = last_error;
    pthread_mutex_unlock(&lock);
    return error;
}

static void set(struct blockif_req *req, off_t offset, void *memory,
                size_t bytes)
{
    memset(req, 0, sizeof(*req));
    req->offset = offset;
    req->callback = callback;
    req->iov[0].iov_base = memory;
    req->iov[0].iov_len = bytes;
    req->iovcnt = memory != NULL;
    req->resid = (ssize_t)bytes;
}

typedef int (*operation)(struct blockif_ctxt *, struct blockif_req *);

/* What its callback was told; -1 if it was not taken. */
static int run(struct blockif_ctxt *bc, operation op, struct blockif_req *req)
{
    int before = calls;

    return op(bc, req) != 0 ? -1 : wait_for(before + 1);
}

static struct blockif_ctxt *open_with(const char *words, int queues,
                                      struct iothreads_info *threads)
{
    char options[256];

    snprintf(options, sizeof(options), "%s%s", path, words);
    return blockif_open(options, "test", queues, threads);
}

static void options(void)
{
    static const char *const wrong[] = {
        ",what", ",aio=posix", ",discard=1:2", ",discard=1:257:1",
        ",discard=-1:1:1", ",lock", ",sectorsize=4096/512",
    };
    struct blockif_ctxt *bc;
    size_t i;

    fclose(stderr);             /* the words of what is refused */
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ok(open_with(wrong[i], 1, NULL) == NULL, wrong[i] + 1);
    bc = open_with("", 1, NULL);
    ok(bc != NULL && !blockif_get_wce(bc), "each write is durable by default");
    ok(!blockif_candiscard(bc), "nothing is discarded by default");
    blockif_set_wce(bc, 1);
    ok(blockif_get_wce(bc) == 1 && blockif_flush_all(bc) == 0,
       "the write cache, and a flush of it");
    ok(blockif_close(bc) == 0, "close");
    bc = open_with(",writeback,discard=64:4:8,aio=threads,no_bst_block", 1,
                   NULL);
    ok(bc != NULL && blockif_get_wce(bc) && blockif_candiscard(bc) &&
       blockif_max_discard_sectors(bc) == 64 &&
       blockif_max_discard_seg(bc) == 4 &&
       blockif_discard_sector_alignment(bc) == 8, "what was asked for");
    blockif_close(bc);
    bc = open_with(",sectorsize=4096,range=1/2", 1, NULL);
    ok(bc != NULL && blockif_size(bc) == 8192,
       "a range counts in the guest's sectors");
    blockif_close(bc);
}

/* The sectors of one block, one in each queue, at once, again and again. */
static void one_block(void)
{
    static struct blockif_req reqs[QUEUES], whole;
    static char sectors[QUEUES][512], block[4096];
    struct blockif_ctxt *bc = open_with(",writeback", QUEUES, &no_threads);
    int round, i, before, lost = 0;

    for (round = 0; round < 50; round++) {
        before = calls;
        for (i = 0; i < QUEUES; i++) {
            memset(sectors[i], 'a' + (round + i) % 26, 512);
            set(&reqs[i], 4096 + i * 512, sectors[i], 512);
            reqs[i].qidx = i;
            lost += blockif_write(bc, &reqs[i]) != 0;
        }
        wait_for(before + QUEUES);
        set(&whole, 4096, block, 4096);
        lost += run(bc, blockif_read, &whole) != 0;
        lost += memcmp(block, sectors, 4096) != 0;
    }
    ok(lost == 0, "eight queues write the sectors of one block");
    whole.qidx = QUEUES;
    ok(blockif_read(bc, &whole) == ENOENT &&
       blockif_cancel(bc, &whole) == EINVAL, "a queue that is not there");
    whole.qidx = 3;
    whole.offset = DISK;
    ok(run(bc, blockif_read, &whole) == EIO,
       "what can't work is told to the callback");
    ok(run(bc, blockif_discard, &whole) == EOPNOTSUPP, "discard is off");
    ok(blockif_close(bc) == 0, "close");
}

struct range {
    uint64_t sector;
    uint32_t sectors, flags;
};

/* Which of the disk's blocks are zeros, as bits, the first is the highest. */
static unsigned zeros(void)
{
    static const char nothing[4096];
    char block[4096];
    unsigned bits = 0;
    int i, fd = open(path, O_RDONLY);

    for (i = 0; i < 8; i++) {
        if (pread(fd, block, sizeof(block), i * 4096) != sizeof(block))
            abort();
        bits = bits << 1 | (memcmp(block, nothing, sizeof(block)) == 0);
    }
    close(fd);
    return bits;
}

static void fill(struct blockif_ctxt *bc)
{
    static struct blockif_req req;
    static char data[32768];

    memset(data, 'x', sizeof(data));
    set(&req, 0, data, sizeof(data));
    if (run(bc, blockif_write, &req) != 0)
        abort();
}

static void discards(void)
{
    static const struct range wrong[] = {
        { 0, 0, 0 }, { 0, 65, 0 }, { 4, 8, 0 }, { DISK / 512, 8, 0 },
        { UINT64_MAX - 7, 8, 0 }, { DISK / 512 - 8, 16, 0 },
    };
    static struct blockif_req req;
    struct range ranges[5] = { { 8, 8, 0 }, { 24, 16, 0 } };
    struct blockif_ctxt *bc = open_with(",discard=64:4:8", 2, &no_threads);
    bool good = true;
    size_t i;

    fill(bc);
    set(&req, 0, ranges, 2 * sizeof(ranges[0]));
    ok(run(bc, blockif_discard, &req) == 0 && req.resid == 0 &&
       zeros() == 0x58, "virtio-blk's ranges are discarded");
    fill(bc);
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ranges[1] = wrong[i];
        set(&req, 0, ranges, 2 * sizeof(ranges[0]));
        good = good && run(bc, blockif_discard, &req) == EINVAL;
    }
    set(&req, 0, ranges, sizeof(ranges));
    good = good && run(bc, blockif_discard, &req) == EINVAL;
    ok(good && zeros() == 0, "if one of them is wrong, none is");
    set(&req, 0, ranges, 0);
    ok(run(bc, blockif_discard, &req) == 0, "no range at all");
    blockif_close(bc);

    bc = open_with(",discard", 1, NULL);
    fill(bc);
    set(&req, 4096, ranges, 4096);      /* iov: of a request before */
    ok(run(bc, blockif_discard, &req) == 0 && zeros() == 0x40,
       "AHCI's range is in offset and resid, whatever is in iov");
    blockif_close(bc);
    bc = open_with(",ro,discard", 1, NULL);
    ok(!blockif_candiscard(bc) && run(bc, blockif_discard, &req) == EROFS,
       "no discard on a read-only disk");
    blockif_close(bc);
}

/* Each is taken back, or calls back; never both, never neither. */
static void cancels(void)
{
    enum { MANY = 64 };
    static struct blockif_req reqs[MANY];
    static char memory[MANY][512];
    static int result[MANY];
    struct blockif_ctxt *bc = open_with(",writeback", 2, &no_threads);
    int i, round, before, taken, back = 0, wrong = 0;

    for (round = 0; round < 20; round++) {
        before = calls;
        taken = 0;
        for (i = 0; i < MANY; i++) {
            result[i] = -1;
            set(&reqs[i], 4096 + i % 8 * 512, memory[i], 512);
            reqs[i].qidx = i % 2;
            reqs[i].param = &result[i];
            wrong += blockif_write(bc, &reqs[i]) != 0;
        }
        for (i = MANY - 1; i >= 0; i -= 3) {
            int ret = blockif_cancel(bc, &reqs[i]);

            taken += ret == 0;
            wrong += ret != 0 && ret != EBUSY && ret != EINVAL;
        }
        wait_for(before + MANY - taken);
        for (i = 0; i < MANY; i++)
            wrong += result[i] > 0;
        back += taken;
    }
    ok(wrong == 0, "each request is taken back or calls back, once");
    ok(back > 0, "some were taken back");
    ok(blockif_close(bc) == 0, "close");
}

int main(void)
{
    int fd = mkstemp(path);

    if (fd < 0 || ftruncate(fd, DISK) < 0)
        return 1;
    close(fd);
    options();
    one_block();
    discards();
    cancels();
    unlink(path);
    printf("1..%d\n", number);
    return failures != 0;
}
