/*
 * A thread that ends uses the library to its very end: a destructor of the
 * thread's own data, which runs when the library's data of that thread may be
 * gone, writes, reads, waits and closes. All of it works, and nobody else's
 * handle of the object is harmed.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (1 << 20)
#define ODD 777                 /* where the writes go; no block's start */
#define LENGTH 5000

struct last_deeds {
    blkalign_handle *handle;
    uint8_t *buf;
    struct answer answers[4];
    int wrote, read, flushed, drained, failed, closed;
};

static pthread_key_t key;

static void do_last_deeds(void *opaque)
{
    struct last_deeds *deeds = opaque;
    uint8_t back[LENGTH];
    int i;

    deeds->wrote = blkalign_pwrite(deeds->handle, ODD, LENGTH, deeds->buf, 0);
    deeds->read = blkalign_pread(deeds->handle, ODD, LENGTH, back, 0);
    if (deeds->read == 0 && memcmp(back, deeds->buf, LENGTH) != 0)
        deeds->read = -1;
    deeds->flushed = blkalign_flush(deeds->handle);
    blkalign_plug(deeds->handle);
    for (i = 0; i < 4; i++)
        aio_write(deeds->handle, ODD + 20000 + i * LENGTH, deeds->buf, LENGTH,
                  0, &deeds->answers[i]);
    blkalign_unplug(deeds->handle);
    deeds->drained = blkalign_drain(deeds->handle);
    deeds->failed = blkalign_pread(deeds->handle, BYTES, 1, back, 0);
    deeds->closed = blkalign_close(deeds->handle);
}

static void *run_to_the_end(void *opaque)
{
    struct last_deeds *deeds = opaque;

    pthread_setspecific(key, deeds);
    /* The library begins to have data of this thread. */
    if (blkalign_pwrite(deeds->handle, ODD, 100, deeds->buf, 0) ||
        blkalign_pread(deeds->handle, BYTES, 1, deeds->buf, 0) == 0)
        diag("the thread's first calls fail");
    pattern_fill(deeds->buf, 5, 0, LENGTH);
    aio_write(deeds->handle, ODD, deeds->buf, 100, 0, &deeds->answers[0]);
    blkalign_drain(deeds->handle);
    return NULL;
}

static void try_on(enum bed_kind kind)
{
    struct last_deeds deeds;
    blkalign_handle *other;
    pthread_t thread;
    struct bed bed;
    uint8_t back[LENGTH];
    int i, rets = 0;

    if (bed_make(&bed, kind, BYTES)) {
        skip(bed.why_not, "a thread's last deeds, %s", bed.name);
        return;
    }
    memset(&deeds, 0, sizeof(deeds));
    deeds.buf = aligned_memory(8192);
    pattern_fill(deeds.buf, 5, 0, LENGTH);
    deeds.handle = bed_open(&bed, NULL);
    other = bed_open_again(&bed, deeds.handle, NULL);
    if (pthread_create(&thread, NULL, run_to_the_end, &deeds))
        bail("no thread");
    pthread_join(thread, NULL);
    for (i = 0; i < 4; i++)
        rets |= answer_calls(&deeds.answers[i]) < 1 || deeds.answers[i].ret;
    ok(deeds.wrote == 0 && deeds.read == 0 && deeds.flushed == 0 &&
           deeds.drained == 0 && rets == 0,
       "a thread that ends writes, reads and waits (%d %d %d %d %d), %s, %s",
       deeds.wrote, deeds.read, deeds.flushed, deeds.drained, rets, bed.name,
       mode_words());
    ok(deeds.failed == -EIO && deeds.closed == 0,
       "... is told a failure, and closes (%d %d)", deeds.failed,
       deeds.closed);
    is_int(blkalign_pread(other, ODD, LENGTH, back, 0), 0,
           "another handle goes on");
    ok(memcmp(back, deeds.buf, LENGTH) == 0, "... and finds what was written");
    blkalign_close(other);
    free(deeds.buf);
    bed_remove(&bed);
}

int main(void)
{
    static const enum bed_kind kinds[] = {
        BED_LOOP, BED_SIM_SYNC, BED_SIM_ASYNC, BED_SIM_AT_ONCE
    };
    size_t i;
    int mode;

    run_begin(60);
    if (pthread_key_create(&key, do_last_deeds))
        bail("no key");
    mode_first(0);
    for (mode = 0; mode < MODES; mode++, mode_next())
        for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            try_on(kinds[i]);
    return done_testing();
}
