/*
 * Before-write notifiers: every change is announced before anything of it is
 * written, rounded out to the unit, and waits for the answer; reads do not.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_notifier.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (1 << 20)
#define UNIT 65536
#define COME_MS 20000
#define QUIET_MS 50

struct stage {
    struct bed bed;
    blkalign_handle *handle, *other;
    struct notifier notifier;
    uint8_t *buf, *back;
};

static void stage_begin(struct stage *stage, uint32_t flags, int64_t window,
                        int holds, uint32_t unit)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);
    int ring = options.engine == BLKALIGN_ENGINE_IO_URING;
    int file = ring || (flags & BLKALIGN_O_RESIZE);

    memset(stage, 0, sizeof(*stage));
    bed_make(&stage->bed, file ? BED_FILE : BED_SIM_ZEROES, BYTES);
    options.window_offset = window;
    stage->handle = bed_open(&stage->bed, &options);
    options.window_offset = 0;
    stage->other = bed_open_again(&stage->bed, stage->handle, &options);
    diag("%s", mode_words());
    stage->buf = aligned_memory(UNIT);
    stage->back = aligned_memory(UNIT);
    pattern_fill(stage->buf, 7, 0, UNIT);
    stage->notifier.holds = holds;
    notifier_add(&stage->notifier, stage->other, unit);
}

static void stage_end(struct stage *stage)
{
    notifier_remove(&stage->notifier);
    is_int(blkalign_close(stage->handle), 0, "closed");
    is_int(blkalign_close(stage->other), 0, "closed");
    bed_remove(&stage->bed);
    free(stage->buf);
    free(stage->back);
}

static int is_zero(struct stage *stage, int64_t offset, size_t bytes)
{
    size_t at;

    is_int(blkalign_pread(stage->other, offset, bytes, stage->back, 0), 0,
           "a read beside it");
    for (at = 0; at < bytes && stage->back[at] == 0; at++) {
    }
    return at == bytes;
}

static void a_write_waits_and_reads_pass(void)
{
    struct answer first, second, third;
    struct stage stage;

    stage_begin(&stage, 0, 0, 1, UNIT);
    aio_write(stage.handle, 512, stage.buf, 512, 0, &first);
    ok(notifier_told(&stage.notifier, 1, COME_MS), "it is announced");
    ok(notifier_was(&stage.notifier, 0, BLKALIGN_OP_WRITE, 0, UNIT),
       "rounded out to the unit");
    ok(is_zero(&stage, 0, UNIT), "which has the old bytes");
    aio_write(stage.other, 8192, stage.buf, 4096, 0, &second);
    aio_write(stage.handle, 3 * UNIT, stage.buf, 4096, 0, &third);
    ok(notifier_told(&stage.notifier, 2, COME_MS), "the next is announced");
    ok(notifier_was(&stage.notifier, 1, BLKALIGN_OP_WRITE, 3 * UNIT, UNIT),
       "of another unit");
    sleep_ms(QUIET_MS);
    is_int(notifier_count(&stage.notifier), 2, "not the one of the same");
    ok(!answer_came(&first, 0), "all wait");
    notifier_answer(&stage.notifier, 0, 0);
    is_int(answer_wait(&first), 0, "with the answer it goes on");
    ok(notifier_told(&stage.notifier, 3, COME_MS), "and so does the other");
    ok(notifier_was(&stage.notifier, 2, BLKALIGN_OP_WRITE, 0, UNIT),
       "of the same unit");
    ok(!answer_came(&second, QUIET_MS), "which waits now");
    notifier_answer(&stage.notifier, 2, 0);
    notifier_answer(&stage.notifier, 1, 0);
    is_int(answer_wait(&second), 0, "written");
    is_int(answer_wait(&third), 0, "written");
    is_int(blkalign_pread(stage.other, 512, 512, stage.back, 0), 0, "read");
    is_int(pattern_differs(stage.back, 7, 0, 512), -1, "what was written");
    stage_end(&stage);
}

static void an_error_writes_nothing(void)
{
    struct answer answer;
    struct stage stage;

    stage_begin(&stage, 0, 0, 1, UNIT);
    aio_write(stage.handle, 512, stage.buf, 512, 0, &answer);
    ok(notifier_told(&stage.notifier, 1, COME_MS), "it is announced");
    notifier_answer(&stage.notifier, 0, -ENOSPC);
    is_int(answer_wait(&answer), -ENOSPC, "it fails with the errno");
    notifier_answer(&stage.notifier, 0, 0);
    ok(is_zero(&stage, 0, 4096), "nothing is written");
    notifier_let_pass(&stage.notifier, -EDQUOT);
    is_int(blkalign_pwrite(stage.handle, 0, 4096, stage.buf, 0), -EDQUOT,
           "as a blocking call");
    stage.notifier.by_return = 1;
    notifier_let_pass(&stage.notifier, -EPERM);
    is_int(blkalign_pwrite(stage.handle, 100, 5000, stage.buf, 0), -EPERM,
           "and where the function returns it");
    notifier_let_pass(&stage.notifier, 5);
    is_int(blkalign_pwrite(stage.handle, 0, 512, stage.buf, 0), -EIO,
           "a positive number is EIO");
    ok(is_zero(&stage, 0, UNIT), "nothing is written");
    stage.notifier.by_return = 0;
    notifier_let_pass(&stage.notifier, 0);
    is_int(blkalign_pwrite(stage.handle, 0, 512, stage.buf, 0), 0, "0 is 0");
    stage_end(&stage);
}

static void every_kind_is_announced(void)
{
    struct notifier *notifier;
    struct stage stage;
    blkalign_handle *h;

    stage_begin(&stage, BLKALIGN_O_UNMAP, 0, 0, 4096);
    notifier = &stage.notifier;
    h = stage.handle;
    is_int(blkalign_pwrite(h, 1000, 8000, stage.buf, 0), 0, "a write");
    ok(notifier_was(notifier, 0, BLKALIGN_OP_WRITE, 0, 12288), "announced");
    is_int(blkalign_pwrite_zeroes(h, 5000, 100, 0), 0, "a zero write");
    ok(notifier_was(notifier, 1, BLKALIGN_OP_WRITE_ZEROES, 4096, 4096),
       "announced");
    is_int(blkalign_pdiscard(h, 8192, 4096), 0, "a discard");
    ok(notifier_was(notifier, 2, BLKALIGN_OP_DISCARD, 8192, 4096),
       "announced");
    is_int(blkalign_pwrite(h, 0, 0, NULL, 0), 0, "a write of nothing");
    is_int(blkalign_pread(h, 0, 4096, stage.back, 0), 0, "a read");
    is_int(blkalign_flush(h), 0, "a flush");
    is_int(notifier_count(notifier), 3, "these change nothing");
    stage_end(&stage);
}

static void changes_of_the_length_are_announced(void)
{
    struct notifier *notifier;
    struct answer answer;
    struct stage stage;
    blkalign_handle *h;

    stage_begin(&stage, BLKALIGN_O_RESIZE, 0, 0, UNIT);
    notifier = &stage.notifier;
    h = stage.handle;
    is_int(blkalign_pwrite(h, BYTES + 100, 100, stage.buf, 0), 0, "longer");
    ok(notifier_was(notifier, 0, BLKALIGN_OP_WRITE, BYTES, 200),
       "announced up to its end");
    is_int(blkalign_truncate(h, BYTES - 100), 0, "shorter");
    ok(notifier_was(notifier, 1, BLKALIGN_OP_TRUNCATE, BYTES - UNIT,
                    UNIT + 200), "announced: what goes");
    is_int(blkalign_truncate(h, BYTES + 5), 0, "longer");
    ok(notifier_was(notifier, 2, BLKALIGN_OP_TRUNCATE, BYTES - UNIT,
                    UNIT + 5), "announced: what comes");
    is_int(blkalign_truncate(h, BYTES + 5), 0, "the same length");
    is_int(notifier_count(notifier), 3, "changes nothing");
    stage.notifier.holds = 1;
    aio_write(h, BYTES + 1000, stage.buf, 100, 0, &answer);
    ok(notifier_told(notifier, 4, COME_MS), "longer once more");
    is_int(blkalign_pread(stage.other, BYTES, 4, stage.back, 0), 0,
           "a read at the end passes");
    is_int(blkalign_getlength(h), BYTES + 5, "it is as long as before");
    notifier_answer(notifier, 3, -EIO);
    is_int(answer_wait(&answer), -EIO, "refused");
    is_int(blkalign_getlength(h), BYTES + 5, "it is as long as before");
    notifier_let_pass(notifier, -EIO);
    is_int(blkalign_truncate(h, 0), -EIO, "a truncate is refused");
    is_int(blkalign_getlength(h), BYTES + 5, "it is as long as before");
    stage_end(&stage);
}

static void windows_count_from_the_start_of_the_object(void)
{
    struct stage stage;

    stage_begin(&stage, 0, 12345, 0, 512);
    is_int(blkalign_pwrite(stage.handle, 0, 10, stage.buf, 0), 0, "written");
    ok(notifier_was(&stage.notifier, 0, BLKALIGN_OP_WRITE, 12288, 512),
       "announced where it is");
    is_int(blkalign_pwrite(stage.other, BYTES - 5, 5, stage.buf, 0), 0,
           "by the other handle, at the end");
    ok(notifier_was(&stage.notifier, 1, BLKALIGN_OP_WRITE, BYTES - 512, 512),
       "announced");
    stage_end(&stage);
    stage_begin(&stage, 0, 0, 0, 1 << 30);
    is_int(blkalign_pwrite(stage.handle, 9, 9, stage.buf, 0), 0, "written");
    ok(notifier_was(&stage.notifier, 0, BLKALIGN_OP_WRITE, 0, BYTES),
       "no more than the object");
    stage_end(&stage);
}

static void cancels(void)
{
    struct answer asked, waits;
    struct stage stage;

    stage_begin(&stage, 0, 0, 1, UNIT);
    aio_write(stage.handle, 0, stage.buf, 512, 0, &asked);
    ok(notifier_told(&stage.notifier, 1, COME_MS), "one is announced");
    aio_write(stage.handle, 8192, stage.buf, 512, 0, &waits);
    is_int(blkalign_aio_cancel(stage.handle, asked.id), -EBUSY,
           "it is busy");
    is_int(blkalign_aio_cancel(stage.handle, waits.id), 0,
           "one that waits for its turn is not");
    is_int(answer_wait(&waits), -ECANCELED, "it is cancelled");
    is_int(blkalign_cancel_all(stage.handle), 0, "no other can be");
    notifier_answer(&stage.notifier, 0, 0);
    is_int(answer_wait(&asked), 0, "it is written");
    is_int(notifier_count(&stage.notifier), 1, "the other was not announced");
    stage_end(&stage);
}

static void batches_stay_batches(void)
{
    struct answer answers[8];
    struct stage stage;
    int n;

    stage_begin(&stage, 0, 0, 0, UNIT);
    blkalign_plug(stage.handle);
    for (n = 0; n < 8; n++) {
        aio_write(stage.handle, 4096 + 512 * n, stage.buf + 512 * n, 512, 0,
                  &answers[n]);
    }
    blkalign_unplug(stage.handle);
    for (n = 0; n < 8; n++) {
        is_int(answer_wait(&answers[n]), 0, "written");
    }
    is_int((int64_t)stats_of(stage.handle).storage_writes, 1, "by one I/O");
    is_int((int64_t)stats_of(stage.handle).storage_reads, 0,
           "and nothing was read before");
    is_int(notifier_count(&stage.notifier), 1, "one call told of all");
    stage_end(&stage);
}

static void two_are_told_in_order(void)
{
    struct notifier second;
    struct answer answer;
    struct stage stage;

    stage_begin(&stage, 0, 0, 1, UNIT);
    memset(&second, 0, sizeof(second));
    second.holds = 1;
    notifier_add(&second, stage.handle, 512);
    aio_write(stage.handle, 600, stage.buf, 10, 0, &answer);
    ok(notifier_told(&stage.notifier, 1, COME_MS), "the first is told");
    is_int(notifier_count(&second), 0, "the second is not");
    notifier_answer(&stage.notifier, 0, 0);
    ok(notifier_told(&second, 1, COME_MS), "now it is");
    ok(notifier_was(&second, 0, BLKALIGN_OP_WRITE, 512, 512), "in its unit");
    ok(!answer_came(&answer, QUIET_MS), "the write waits for both");
    notifier_answer(&second, 0, 0);
    is_int(answer_wait(&answer), 0, "written");
    notifier_remove(&second);
    stage_end(&stage);
}

static void all_cases(void)
{
    a_write_waits_and_reads_pass();
    an_error_writes_nothing();
    every_kind_is_announced();
    changes_of_the_length_are_announced();
    windows_count_from_the_start_of_the_object();
    cancels();
    batches_stay_batches();
    two_are_told_in_order();
}

int main(void)
{
    int n;

    run_begin(60);
    for (n = 0; n < 6; n++) {
        mode_first((unsigned)n);
        all_cases();
    }
    return done_testing();
}
