/*
 * pthread_cancel() of a thread inside the library, at random moments, in every
 * call, engine and mode, with a deferred and with an asynchronous cancel type:
 * the process survives, each call takes effect or never began, and the handle
 * keeps working.
 */
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512
#define SECTORS 64
#define BYTES (SECTORS * SECTOR)

enum call {
    PREAD, PWRITE, PREADV, PWRITEV, ZEROES, DISCARD, FLUSH, TRUNCATE,
    DRAIN, DRAIN_TIMEOUT, POLL, AIO, PLUGGED, QUERIES, CANCEL, REGISTER,
    OPEN, CALLS
};

static const char *const call_words[CALLS] = {
    "pread", "pwrite", "preadv", "pwritev", "pwrite_zeroes", "pdiscard",
    "flush", "truncate", "drain", "drain_timeout", "poll", "aio", "plug",
    "queries", "cancel", "register_buf", "open and close"
};

/* What the victim works on. The victim may end between any two instructions,
 * so it allocates nothing. */
struct victim {
    blkalign_handle *handle, *opened;
    const char *path;
    enum call call;
    int asynchronous;
    uint8_t *buf;
    int64_t id;
    uint64_t calls;             /* atomically */
    int wrong;                  /* an errno, or 0 */
};

static void called_back(void *opaque, int ret)
{
    struct victim *victim = opaque;

    if (ret && ret != -ECANCELED)
        __atomic_store_n(&victim->wrong, -ret, __ATOMIC_RELAXED);
}

static int64_t submit_one(struct victim *victim, uint64_t number)
{
    int64_t offset = (int64_t)(number % SECTORS) * SECTOR;
    struct iovec iov;

    iov.iov_base = victim->buf + SECTOR;
    iov.iov_len = SECTOR;
    switch (number % 4) {
    case 0:
        return blkalign_aio_preadv(victim->handle, offset, &iov, 1, 0,
                                   called_back, victim);
    case 1:
        iov.iov_base = victim->buf;
        return blkalign_aio_pwritev(victim->handle, offset, &iov, 1, 0,
                                    called_back, victim);
    case 2:
        return blkalign_aio_flush(victim->handle, called_back, victim);
    default:
        return blkalign_aio_pdiscard(victim->handle, offset, SECTOR,
                                     called_back, victim);
    }
}

static int query(struct victim *victim)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_stats stats = BLKALIGN_STATS_INIT;

    blkalign_errmsg();
    if (blkalign_get_limits(victim->handle, &limits) ||
        blkalign_get_stats(victim->handle, &stats))
        return -EINVAL;
    return blkalign_getlength(victim->handle) == BYTES ? 0 : -EIO;
}

/* Only with a deferred type: otherwise the opened handle would be lost. */
static int open_and_close(struct victim *victim, uint64_t number)
{
    int ret = number & 1
        ? blkalign_open(victim->path, NULL, &victim->opened)
        : blkalign_dup(victim->handle, NULL, &victim->opened);

    if (!ret)
        ret = blkalign_close(victim->opened);
    return ret;
}

static int one_call(struct victim *victim, uint64_t number)
{
    blkalign_handle *handle = victim->handle;
    int64_t at = (int64_t)(number % SECTORS) * SECTOR;
    struct iovec iov[2];
    int64_t id;
    int ret;

    iov[0].iov_base = victim->buf;
    iov[1].iov_base = victim->buf + 100;
    iov[0].iov_len = 100;
    iov[1].iov_len = SECTOR - 100;
    switch (victim->call) {
    case PREAD:
        return blkalign_pread(handle, at, SECTOR, victim->buf + SECTOR, 0);
    case PWRITE:
        return blkalign_pwrite(handle, at, SECTOR, victim->buf, 0);
    case PREADV:
        iov[0].iov_base = victim->buf + SECTOR;
        iov[1].iov_base = victim->buf + SECTOR + 100;
        return blkalign_preadv(handle, at, iov, 2, 0);
    case PWRITEV:
        return blkalign_pwritev(handle, at, iov, 2, 0);
    case ZEROES:
        return blkalign_pwrite_zeroes(handle, at, SECTOR, 0);
    case DISCARD:
        return blkalign_pdiscard(handle, at, SECTOR);
    case FLUSH:
        return blkalign_flush(handle);
    case TRUNCATE:
        return blkalign_truncate(handle, BYTES);
    case DRAIN:
        id = submit_one(victim, number);
        ret = blkalign_drain(handle);
        return id < 0 ? (int)id : ret;
    case DRAIN_TIMEOUT:
        id = submit_one(victim, number);
        ret = blkalign_drain_timeout(handle, (int)(number % 2));
        if (ret == -ETIMEDOUT)
            ret = 0;
        return id < 0 ? (int)id : ret;
    case POLL:
        id = submit_one(victim, number);
        ret = blkalign_poll(handle, 4, 1);
        if (ret == -EINVAL)
            ret = blkalign_drain(handle);
        return id < 0 ? (int)id : ret < 0 ? ret : 0;
    case AIO:
        id = submit_one(victim, number);
        ret = number % 16 ? 0 : blkalign_drain(handle);
        return id < 0 ? (int)id : ret;
    case PLUGGED:
        blkalign_plug(handle);
        id = submit_one(victim, number);
        submit_one(victim, number + 5);
        blkalign_unplug(handle);
        ret = number % 16 ? 0 : blkalign_drain(handle);
        return id < 0 ? (int)id : ret;
    case QUERIES:
        return query(victim);
    case CANCEL:
        id = submit_one(victim, number);
        blkalign_aio_cancel(handle, id);
        ret = blkalign_cancel_all(handle);
        return id < 0 ? (int)id : ret < 0 ? ret : blkalign_drain(handle);
    case REGISTER:
        /* An earlier victim may have left it there. */
        ret = blkalign_register_buf(handle, victim->buf, 2 * SECTOR);
        if (ret && ret != -EEXIST)
            return ret;
        return blkalign_unregister_buf(handle, victim->buf, 2 * SECTOR);
    default:
        return open_and_close(victim, number);
    }
}

static void *work(void *arg)
{
    struct victim *victim = arg;
    uint64_t number;
    int ret;

    pthread_setcanceltype(victim->asynchronous ? PTHREAD_CANCEL_ASYNCHRONOUS
                                               : PTHREAD_CANCEL_DEFERRED,
                          NULL);
    for (number = 0; ; number++) {
        ret = one_call(victim, number);
        if (ret)
            __atomic_store_n(&victim->wrong, -ret, __ATOMIC_RELAXED);
        __atomic_add_fetch(&victim->calls, 1, __ATOMIC_RELAXED);
        pthread_testcancel();
    }
    return NULL;
}

/* Each sector has the bytes of one call, or zeros: none is half written. */
static int torn_sectors(blkalign_handle *handle, uint8_t *all)
{
    int i, torn = 0;

    if (blkalign_pread(handle, 0, BYTES, all, 0))
        return -1;
    for (i = 0; i < SECTORS; i++)
        torn += memcmp(all + i * SECTOR, all + i * SECTOR + 1, SECTOR - 1)
            != 0;
    return torn;
}

static void in_every_call(struct bed *bed, int asynchronous, uint64_t *random)
{
    uint8_t *buf = aligned_memory(2 * SECTOR), *all = aligned_memory(BYTES);
    blkalign_open_options options = mode_options(BLKALIGN_O_UNMAP);
    blkalign_handle *handle = bed_open(bed, &options);
    struct victim victim;
    pthread_t thread;
    void *result;
    int call, i, bad = 0, alive = 0;

    for (call = 0; call < CALLS; call++) {
        if (call == OPEN && asynchronous)
            continue;
        memset(&victim, 0, sizeof(victim));
        victim.handle = handle;
        victim.path = bed->path;
        victim.call = (enum call)call;
        victim.asynchronous = asynchronous;
        victim.buf = buf;
        for (i = 0; i < 12; i++) {
            memset(buf, 'a' + (int)random_below(random, 26), SECTOR);
            pthread_create(&thread, NULL, work, &victim);
            while (random_below(random, 3))
                sleep_ms((int64_t)random_below(random, 3));
            pthread_cancel(thread);
            pthread_join(thread, &result);
            bad += result != PTHREAD_CANCELED;
            bad += blkalign_drain(handle) != 0;
        }
        bad += torn_sectors(handle, all) != 0;
        bad += stats_of(handle).in_flight != 0;
        alive += blkalign_pwrite(handle, 100, 5, "alive", 0) == 0 &&
            blkalign_pread(handle, 100, 5, all, 0) == 0 &&
            !memcmp(all, "alive", 5);
        /* Whole sectors, as above. */
        bad += blkalign_pwrite_zeroes(handle, 0, BYTES, 0) != 0;
        if (victim.wrong)
            diag("%s, %s: errno %d", mode_words(), call_words[call],
                 victim.wrong);
        bad += victim.wrong != 0;
    }
    is_int(bad, 0, "%s, %s: all that was begun is done", mode_words(),
           asynchronous ? "asynchronous" : "deferred");
    is_int(alive, CALLS - asynchronous, "%s: the handle works", mode_words());
    blkalign_unregister_buf(handle, buf, 2 * SECTOR);
    is_int(blkalign_close(handle), 0, "%s: close", mode_words());
    free(buf);
    free(all);
}

/* In a call that hangs at the storage: the cancellation waits for the call. */
struct hung {
    blkalign_handle *handle;
    int asynchronous, returned;
};

static void *write_and_hang(void *arg)
{
    struct hung *hung = arg;

    pthread_setcanceltype(hung->asynchronous ? PTHREAD_CANCEL_ASYNCHRONOUS
                                             : PTHREAD_CANCEL_DEFERRED, NULL);
    blkalign_pwrite(hung->handle, 512, 5, "never", 0);
    hung->returned = 1;
    pthread_testcancel();
    return NULL;
}

static void while_it_hangs(int asynchronous)
{
    struct scene scene;
    struct hung hung;
    struct answer answer;
    pthread_t thread;
    void *result;

    scene_begin(&scene, NULL);
    memset(&hung, 0, sizeof(hung));
    hung.handle = scene.handle;
    hung.asynchronous = asynchronous;
    scene_write(&scene, 0, HELD_BLOCK);
    held_wait(scene.held, 1);
    /* This call waits for the first write. */
    pthread_create(&thread, NULL, write_and_hang, &hung);
    while (stats_of(scene.handle).in_flight < 2)
        sleep_ms(1);
    pthread_cancel(thread);
    aio_read(scene.handle, HELD_BLOCK, scene.want + HELD_BLOCK, 512, &answer);
    ok(held_wait(scene.held, 2), "others go on");
    is_int(blkalign_cancel_all(scene.handle), 1, "the call is taken back");
    pthread_join(thread, &result);
    ok(result == PTHREAD_CANCELED, "its thread ends then");
    is_int(hung.returned, !asynchronous, "at the end of the call");
    held_pass(scene.held);
    is_int(answer_wait(&answer), 0, "the read is done");
    scene_end(&scene, "hung");
}

int main(void)
{
    uint64_t random = run_seed();
    struct bed bed;
    int round;

    run_begin(300);
    if (bed_make(&bed, BED_FILE, BYTES))
        skip_all("no file: %s", bed.why_not);
    for (round = 0; round < MODES; round++) {
        mode_first((unsigned)round);
        in_every_call(&bed, 0, &random);
        in_every_call(&bed, 1, &random);
        while_it_hangs(0);
        mode_first((unsigned)round);
        while_it_hangs(1);
    }
    bed_remove(&bed);
    return done_testing();
}
