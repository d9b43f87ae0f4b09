/*
 * bhyve's block_if.c as a device model uses it, on a file here. TAP.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "block_if.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK (1 << 20)
#define MANY 64

static char path[] = "/tmp/test-blockif-XXXXXX";
static int number, failures;

static void ok(bool good, const char *name)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++number, name);
    failures += !good;
}

/* What callbacks have said; guarded by `lock`. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static int calls, inside, at_once, last_error;

static void callback(struct blockif_req *br, int err)
{
    pthread_mutex_lock(&lock);
    at_once += inside++ > 0;
    pthread_mutex_unlock(&lock);
    if (br->br_param != NULL)
        *(int *)br->br_param = err;
    pthread_mutex_lock(&lock);
    inside--;
    calls++;
    last_error = err;
    pthread_cond_broadcast(&told);
    pthread_mutex_unlock(&lock);
}

static void wait_for(int count)
{
    pthread_mutex_lock(&lock);
    while (calls < count)
        pthread_cond_wait(&told, &lock);
    pthread_mutex_unlock(&lock);
}

static struct blockif_req *request(off_t offset, void *memory, size_t bytes)
{
    struct blockif_req *br = calloc(1, sizeof(*br));

    br->br_offset = offset;
    br->br_callback = callback;
    br->br_iov[0].iov_base = memory;
    br->br_iov[0].iov_len = bytes;
    br->br_iovcnt = memory != NULL;
    return br;
}

typedef int (*operation)(struct blockif_ctxt *, struct blockif_req *);

/* Runs one to its end: what it returned, or what its callback was told. */
static int run(struct blockif_ctxt *bc, operation op, struct blockif_req *br)
{
    int before = calls, ret = op(bc, br);

    if (ret != 0)
        return ret;
    wait_for(before + 1);
    return last_error;
}

static struct blockif_ctxt *open_with(const char *words)
{
    char options[256];

    snprintf(options, sizeof(options), "%s%s", path, words);
    return blockif_open(options, "test");
}

static void options(void)
{
    static const char *const wrong[] = {
        ",what", ",sectorsize=513", ",sectorsize=4096/512", ",range=1",
        ",range=0/9999999", ",sectorsize=", ",range=1/2x",
    };
    struct blockif_ctxt *bc;
    int size, offset;
    size_t i;

    fclose(stderr);             /* the words of what is refused */
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ok(open_with(wrong[i]) == NULL, wrong[i] + 1);
    ok(blockif_open("", "test") == NULL, "no path");
    ok(blockif_open("/nonexistent/x", "test") == NULL, "no such file");
    bc = open_with(",ro,sectorsize=512/4096");
    ok(bc != NULL && blockif_is_ro(bc) && !blockif_candelete(bc), "read-only");
    blockif_psectsz(bc, &size, &offset);
    ok(blockif_sectsz(bc) == 512 && size == 4096 && offset == 0,
       "sector sizes as asked");
    ok(blockif_size(bc) == DISK && blockif_queuesz(bc) > 1, "size and queue");
    ok(blockif_close(bc) == 0, "close");
}

static void geometry(struct blockif_ctxt *bc)
{
    uint16_t cylinders;
    uint8_t heads, sectors;

    blockif_chs(bc, &cylinders, &heads, &sectors);
    ok(heads >= 4 && sectors >= 17 &&
       (uint64_t)cylinders * heads * sectors <= DISK / 512,
       "a geometry that fits");
}

static void reads_and_writes(struct blockif_ctxt *bc)
{
    char out[3000], in[3000];
    struct blockif_req *br = request(1234, out, sizeof(out));
    int before;

    memset(out, 'w', sizeof(out));
    ok(run(bc, blockif_write, br) == 0 && br->br_resid == 0, "a write");
    free(br);
    br = request(1234, in, 1000);
    br->br_iov[1].iov_base = in + 1000;
    br->br_iov[1].iov_len = 2000;
    br->br_iovcnt = 2;
    ok(run(bc, blockif_read, br) == 0 && br->br_resid == 0 &&
       memcmp(in, out, sizeof(in)) == 0, "a read of two elements");
    br->br_offset = DISK - 1;
    ok(run(bc, blockif_read, br) == EIO, "past the end");
    br->br_iovcnt = BLOCKIF_IOV_MAX + 1;
    ok(run(bc, blockif_read, br) == EINVAL, "too many elements");
    br->br_iovcnt = 2;
    before = calls;
    ok(blockif_read(bc, br) == 0, "bhyve asserts that a request is taken");
    wait_for(before + 1);
    ok(last_error == EIO, "what is wrong with it the callback is told");
    free(br);
    br = request(0, NULL, 0);
    ok(run(bc, blockif_flush, br) == 0, "a flush");
    br->br_offset = 8192;
    br->br_resid = 65536;
    ok(run(bc, blockif_delete, br) == 0 && br->br_resid == 0, "a delete");
    free(br);
}

/* The sectors of one block, at once, again and again. */
static void one_block(struct blockif_ctxt *bc)
{
    static char sectors[8][512], block[4096];
    struct blockif_req *br[8];
    int round, i, before, lost = 0;

    for (round = 0; round < 50; round++) {
        before = calls;
        for (i = 0; i < 8; i++) {
            memset(sectors[i], 'a' + (round + i) % 26, 512);
            br[i] = request(4096 + i * 512, sectors[i], 512);
            lost += blockif_write(bc, br[i]) != 0;
        }
        wait_for(before + 8);
        for (i = 0; i < 8; i++)
            free(br[i]);
        br[0] = request(4096, block, 4096);
        lost += run(bc, blockif_read, br[0]) != 0;
        lost += memcmp(block, sectors, 4096) != 0;
        free(br[0]);
    }
    ok(lost == 0, "eight writes to the sectors of one block lose nothing");
    ok(at_once == 0, "callbacks came one at a time");
}

/* Each is taken back, or calls back; never both, never neither. */
static void cancels(struct blockif_ctxt *bc)
{
    static char memory[MANY][512];
    static int result[MANY];
    struct blockif_req *br[MANY];
    int before, i, round, taken, back = 0, busy = 0, late = 0, wrong = 0;

    for (round = 0; round < 50; round++) {
        before = calls;
        taken = 0;
        for (i = 0; i < MANY; i++) {
            result[i] = -1;
            br[i] = request(4096 + i % 8 * 512, memory[i], 512);
            br[i]->br_param = &result[i];
            wrong += blockif_write(bc, br[i]) != 0;
        }
        for (i = MANY - 1; i >= 0; i -= 3) {
            switch (blockif_cancel(bc, br[i])) {
            case 0:
                taken++;
                break;
            case EBUSY:
                busy++;
                break;
            case EINVAL:
                late++;
                break;
            default:
                wrong++;
            }
        }
        wait_for(before + MANY - taken);
        for (i = 0; i < MANY; i++)
            wrong += result[i] > 0;
        back += taken;
        wrong += blockif_cancel(bc, br[0]) != EINVAL;
        for (i = 0; i < MANY; i++)
            free(br[i]);
    }
    printf("# %d taken back, %d busy, %d too late\n", back, busy, late);
    ok(wrong == 0, "each request is taken back or calls back, once");
    ok(back > 0, "some were taken back");
}

static void windows(void)
{
    struct blockif_ctxt *low = open_with(",range=0/7");
    struct blockif_ctxt *high = open_with(",range=7/9");
    static char a[7 * 512], b[9 * 512], all[16 * 512];
    struct blockif_req *br;
    struct blockif_ctxt *bc;
    bool good;

    memset(a, 'A', sizeof(a));
    memset(b, 'B', sizeof(b));
    ok(blockif_size(low) == 7 * 512 && blockif_size(high) == 9 * 512,
       "ranges have their sizes");
    br = request(0, a, sizeof(a));
    good = run(low, blockif_write, br) == 0;
    br->br_iov[0].iov_base = b;
    br->br_iov[0].iov_len = sizeof(b);
    good = good && run(high, blockif_write, br) == 0;
    br->br_offset = 1;
    good = good && run(high, blockif_write, br) == EIO;
    ok(blockif_close(low) == 0 && blockif_close(high) == 0, "close both");
    bc = open_with(",ro");
    br->br_offset = 0;
    br->br_iov[0].iov_base = all;
    br->br_iov[0].iov_len = sizeof(all);
    good = good && run(bc, blockif_read, br) == 0;
    ok(good && memcmp(all, a, sizeof(a)) == 0 &&
       memcmp(all + sizeof(a), b, sizeof(b)) == 0,
       "ranges that share a block keep to themselves");
    ok(run(bc, blockif_write, br) == EPERM, "no write to a read-only disk");
    ok(run(bc, blockif_delete, br) == EROFS, "nor a delete");
    blockif_close(bc);
    free(br);
}

int main(void)
{
    struct blockif_ctxt *bc;
    int fd = mkstemp(path);

    if (fd < 0 || ftruncate(fd, DISK) < 0)
        return 1;
    close(fd);
    options();
    bc = open_with("");
    ok(bc != NULL && !blockif_is_ro(bc) && blockif_candelete(bc), "writable");
    geometry(bc);
    reads_and_writes(bc);
    one_block(bc);
    cancels(bc);
    ok(blockif_get_wce(bc) == 1, "the write cache is on");
    blockif_set_wce(bc, 0);
    ok(blockif_get_wce(bc) == 0, "and off");
    ok(blockif_close(bc) == 0, "close");
    windows();
    unlink(path);
    printf("1..%d\n", number);
    return failures != 0;
}
