/*
 * Zeros and discards of huge ranges: on a sparse file they take few calls, and
 * those that take many calls can be stopped.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
/* The largest offset that there is. */
#define MOST INT64_C(0x7fffffffc0000000)

static void a_sparse_file(struct bed *bed, int64_t most)
{
    blkalign_open_options options = mode_options(
        BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK |
        BLKALIGN_O_RESIZE | BLKALIGN_O_CREATE | BLKALIGN_O_UNMAP);
    blkalign_handle *handle = NULL;
    uint8_t byte = 7, got = 1;
    struct stat status;
    char path[200], words[100];
    int64_t began;

    snprintf(words, sizeof words, "%s, %s", bed->name, mode_words());
    snprintf(path, sizeof path, "%s/sparse", bed->dir);
    if (blkalign_open(path, &options, &handle))
        bail("%s: %s", path, blkalign_errmsg());
    began = now_ms();
    is_int(blkalign_pwrite(handle, 3, 1, &byte, 0), 0, "%s: a byte", words);
    is_int(blkalign_pwrite_zeroes(handle, 1, most - 1, BLKALIGN_REQ_MAY_UNMAP),
           0, "%s: grows by zeros", words);
    is_int(blkalign_getlength(handle), most, "%s: to the end of it", words);
    is_int(blkalign_pread(handle, 3, 1, &got, 0), 0, "%s: a read", words);
    is_int(got, 0, "%s: of zeros", words);
    is_int(blkalign_pwrite(handle, most - 9000, 1, &byte, 0), 0,
           "%s: a byte far out", words);
    is_int(blkalign_pdiscard(handle, BLOCK, most - BLOCK), 0,
           "%s: all of it is discarded", words);
    is_int(blkalign_pread(handle, most - 9000, 1, &got, 0), 0, "%s: a read",
           words);
    is_int(got, 0, "%s: the byte is gone", words);
    ok(now_ms() - began < 20000, "%s: %d ms", words,
       (int)(now_ms() - began));
    ok(stat(path, &status) == 0 && status.st_blocks * 512 < 1 << 20,
       "%s: it takes no room", words);
    blkalign_close(handle);
    unlink(path);
}

/* A driver that gets one piece after another, and takes its time for each. */
static int asked, held, mode_zeroes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static int64_t huge_length(void *opaque)
{
    (void)opaque;
    return MOST;
}

static int hold(void)
{
    pthread_mutex_lock(&lock);
    asked++;
    pthread_cond_broadcast(&changed);
    while (held)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return 0;
}

static int huge_discard(void *opaque, int64_t offset, int64_t bytes)
{
    (void)opaque;
    (void)offset;
    (void)bytes;
    return hold();
}

static int huge_zeroes(void *opaque, int64_t offset, int64_t bytes,
                       uint32_t flags)
{
    (void)flags;
    return huge_discard(opaque, offset, bytes);
}

static int huge_io(void *opaque, int64_t offset, int64_t bytes,
                   const struct iovec *iov, int count, uint32_t flags)
{
    (void)opaque;
    (void)offset;
    (void)bytes;
    (void)iov;
    (void)count;
    (void)flags;
    return 0;
}

static void hold_on(int on)
{
    pthread_mutex_lock(&lock);
    held = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void stopped(void)
{
    blkalign_open_options options =
        mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP);
    const char *words = mode_zeroes ? "zeros" : "a discard";
    blkalign_handle *handle = NULL;
    blkalign_driver driver;
    struct answer answer;
    int before;

    memset(&driver, 0, sizeof driver);
    driver.size = sizeof driver;
    driver.request_alignment = BLOCK;
    driver.getlength = huge_length;
    driver.preadv = driver.pwritev = huge_io;
    driver.pdiscard = huge_discard;
    driver.pwrite_zeroes = huge_zeroes;
    if (blkalign_open_driver(&driver, NULL, &options, &handle))
        bail("open_driver: %s", blkalign_errmsg());
    memset(&answer, 0, sizeof answer);
    answer.handle = handle;
    asked = 0;
    hold_on(1);
    if (mode_zeroes)
        aio_zeroes(handle, 0, MOST, 0, &answer);
    else
        aio_discard(handle, 0, MOST, &answer);
    pthread_mutex_lock(&lock);
    while (!asked)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    is_int(blkalign_aio_cancel(handle, answer.id), -EBUSY,
           "%s, %s: is at the storage", words, mode_words());
    sleep_ms(20);
    before = asked;
    hold_on(0);
    is_int(answer_wait(&answer), -ECANCELED, "%s: and goes no further", words);
    ok(asked <= before + 8, "%s: %d calls", words, asked);
    is_int(blkalign_drain(handle), 0, "%s: nothing is left", words);
    blkalign_close(handle);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_XFS, BED_EXT4, BED_BTRFS,
                                           BED_TMPFS };
    struct bed bed;
    int mode, kind;

    run_begin(100);
    for (mode = 0; mode < MODES; mode++) {
        for (mode_zeroes = 0; mode_zeroes < 2; mode_zeroes++)
            stopped();
        mode_next();
    }
    for (kind = 0; kind < 4; kind++) {
        if (bed_make(&bed, kinds[kind], 16 * BLOCK)) {
            skip(bed.why_not, "%s", bed.name);
            continue;
        }
        for (mode = 0; mode < 2; mode++) {
            a_sparse_file(&bed, kinds[kind] == BED_EXT4 ? INT64_C(1) << 43
                                                        : INT64_C(1) << 62);
            mode_next();
        }
        bed_remove(&bed);
    }
    return done_testing();
}
