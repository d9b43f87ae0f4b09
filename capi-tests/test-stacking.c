/*
 * A driver whose functions use another handle of the library: two disks,
 * reached through handles, appear as one disk to a third handle.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define HALF_BYTES INT64_C(131072)
#define STRIPE 1000             /* no block of the disks below */

/* Stripes of 1000 bytes alternate between the two disks, so that one aligned
 * I/O becomes many unaligned ones. */
struct pair {
    blkalign_handle *halves[2];
    int closes;
};

static int each_stripe(struct pair *pair, int write, int64_t offset,
                       const struct iovec *iov, int iovcnt, uint32_t flags)
{
    int i, ret;

    for (i = 0; i < iovcnt; i++) {
        uint8_t *at = iov[i].iov_base;
        int64_t left = (int64_t)iov[i].iov_len;

        while (left) {
            int64_t stripe = offset / STRIPE, within = offset % STRIPE;
            int64_t bytes = STRIPE - within;
            int64_t below = stripe / 2 * STRIPE + within;
            blkalign_handle *half = pair->halves[stripe % 2];

            if (bytes > left)
                bytes = left;
            ret = write ? blkalign_pwrite(half, below, bytes, at, flags)
                        : blkalign_pread(half, below, bytes, at, 0);
            if (ret)
                return ret;
            at += bytes;
            offset += bytes;
            left -= bytes;
        }
    }
    return 0;
}

static int64_t pair_getlength(void *opaque)
{
    (void)opaque;
    return 2 * HALF_BYTES / (2 * STRIPE) * (2 * STRIPE) / BLOCK * BLOCK;
}

static int pair_preadv(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)bytes;
    (void)flags;
    return each_stripe(opaque, 0, offset, iov, iovcnt, 0);
}

static int pair_pwritev(void *opaque, int64_t offset, int64_t bytes,
                        const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)bytes;
    return each_stripe(opaque, 1, offset, iov, iovcnt, flags);
}

static int pair_flush(void *opaque)
{
    struct pair *pair = opaque;
    int first = blkalign_flush(pair->halves[0]);
    int second = blkalign_flush(pair->halves[1]);

    return first ? first : second;
}

static void pair_close(void *opaque)
{
    struct pair *pair = opaque;

    pair->closes++;
}

static blkalign_handle *open_pair(struct pair *pair, uint32_t completion)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, completion);
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_handle *handle = NULL;
    int ret;

    options.workers = 4;
    driver.name = "pair";
    driver.request_alignment = BLOCK;
    driver.getlength = pair_getlength;
    driver.preadv = pair_preadv;
    driver.pwritev = pair_pwritev;
    driver.flush = pair_flush;
    driver.close = pair_close;
    ret = blkalign_open_driver(&driver, pair, &options, &handle);
    if (ret)
        bail("open_driver: %d %s", ret, blkalign_errmsg());
    return handle;
}

static void load(blkalign_handle *handle, int64_t bytes)
{
    uint8_t *model = aligned_memory((size_t)bytes);
    uint8_t *got = aligned_memory((size_t)bytes);
    struct answer answers[16];
    uint64_t state = 5;
    int round, i, wrong = 0;

    for (round = 0; round < 40; round++) {
        for (i = 0; i < 16; i++) {
            int64_t slot = bytes / 16;
            int64_t at = i * slot + (int64_t)random_below(&state, 3000);
            size_t length = 1 + random_below(&state, 6000);

            pattern_fill(model + at, random_next(&state), 0, length);
            aio_write(handle, at, model + at, length, 0, &answers[i]);
        }
        for (i = 0; i < 16; i++)
            wrong += answer_wait(&answers[i]) != 0;
    }
    is_int(wrong, 0, "640 writes through two floors");
    is_int(blkalign_flush(handle), 0, "flush through two floors");
    is_int(blkalign_pread(handle, 0, bytes, got, 0), 0, "read back");
    ok(!memcmp(model, got, (size_t)bytes), "every byte is right");
    is_int(blkalign_pread(handle, 777, bytes - 1777, got, 0), 0,
           "read off the block");
    ok(!memcmp(model + 777, got, (size_t)bytes - 1777), "also right");
    free(model);
    free(got);
}

static void run(enum sim_mode mode, uint32_t completion, const char *words)
{
    struct sim_options disk = sim_disk_4k(HALF_BYTES, mode);
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, completion);
    struct pair pair = { { NULL, NULL }, 0 };
    blkalign_handle *handle;
    struct sim *sims[2];
    int i;

    diag("%s", words);
    disk.latency_us_max = 20;
    for (i = 0; i < 2; i++) {
        sims[i] = sim_new(&disk);
        pair.halves[i] = sim_open(sims[i], &options);
    }
    handle = open_pair(&pair, completion);
    load(handle, pair_getlength(NULL));
    is_int(blkalign_close(handle), 0, "close of the upper floor");
    is_int(pair.closes, 1, "its driver is closed once");
    for (i = 0; i < 2; i++) {
        is_int(blkalign_close(pair.halves[i]), 0, "close below");
        ok(sim_counts(sims[i]).ios[SIM_FLUSH] > 0, "flush arrived below");
        ok(!sim_counts(sims[i]).violations, "nothing to refuse below %s",
           sim_violation(sims[i]));
        sim_free(sims[i]);
    }
}

int main(void)
{
    run_begin(90);
    run(SIM_SYNC, BLKALIGN_COMPLETION_SERIAL, "synchronous disks below");
    run(SIM_ASYNC, BLKALIGN_COMPLETION_CONCURRENT,
        "asynchronous disks below");
    return done_testing();
}
