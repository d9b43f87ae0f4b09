/*
 * Storage that took 512 bytes and from some day on takes only 4096: requests
 * go on, nothing is lost, and the repair is counted. Storage that refuses
 * everything is not asked for ever.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512
#define WANTED 4096
#define DISK_BYTES (128 * WANTED)
#define WRITERS 4
#define WRITES 250
/* A refused I/O, and the most I/Os that finding new alignments may take. */
#define CALLS_MAX 200

static uint8_t *model;

struct stage {
    struct sim *sim;
    blkalign_handle *handle, *second;
};

static void begin(struct stage *stage, enum sim_mode mode, uint32_t flags)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);
    struct sim_options disk = sim_disk_4k(DISK_BYTES, mode);
    int ret;

    disk.request_alignment = SECTOR;
    disk.latency_us_max = 50;
    stage->sim = sim_new(&disk);
    pattern_fill(model, 1, 0, DISK_BYTES);
    memcpy(sim_bytes(stage->sim), model, DISK_BYTES);
    stage->handle = sim_open(stage->sim, &options);
    ret = blkalign_dup(stage->handle, &options, &stage->second);
    if (ret)
        bail("dup: %d %s", ret, blkalign_errmsg());
}

static void end(struct stage *stage, const char *words)
{
    is_int(blkalign_close(stage->second), 0, "%s: close", words);
    is_int(blkalign_close(stage->handle), 0, "%s: close", words);
    ok(!memcmp(sim_bytes(stage->sim), model, DISK_BYTES),
       "%s: every byte is right", words);
    ok(!*sim_violation(stage->sim), "%s: nothing to refuse %s", words,
       sim_violation(stage->sim));
    sim_free(stage->sim);
}

static int write_model(blkalign_handle *handle, int64_t offset,
                       int64_t bytes, uint64_t seed)
{
    pattern_fill(model + offset, seed, offset, (size_t)bytes);
    return blkalign_pwrite(handle, offset, bytes, model + offset, 0);
}

static int64_t repairs(struct stage *stage)
{
    return (int64_t)(stats_of(stage->handle).probe_repairs +
                     stats_of(stage->second).probe_repairs);
}

static void one_by_one(enum sim_mode mode, int by_read)
{
    const char *words = by_read ? "noticed by a read" : "noticed by a write";
    uint8_t got[3 * SECTOR];
    struct stage stage;
    uint64_t refused;

    begin(&stage, mode, 0);
    is_int(limits_of(stage.handle).request_alignment, SECTOR,
           "%s: 512 at first", words);
    is_int(write_model(stage.handle, SECTOR, SECTOR, 2), 0,
           "%s: a sector is written", words);
    is_int(repairs(&stage), 0, "%s: nothing to repair", words);
    sim_demand(stage.sim, WANTED);
    if (by_read) {
        is_int(blkalign_pread(stage.handle, SECTOR, sizeof(got), got, 0), 0,
               "%s: read", words);
        ok(!memcmp(got, model + SECTOR, sizeof(got)), "%s: right", words);
    } else {
        is_int(write_model(stage.handle, 3 * SECTOR, SECTOR, 3), 0,
               "%s: written", words);
    }
    ok(repairs(&stage) > 0, "%s: it is counted", words);
    ok(limits_of(stage.handle).request_alignment >= WANTED,
       "%s: the limits tell", words);
    refused = sim_counts(stage.sim).refused;
    ok(refused > 0 && refused < CALLS_MAX, "%s: %llu were refused", words,
       (unsigned long long)refused);
    is_int(write_model(stage.handle, 5 * SECTOR, SECTOR, 4), 0,
           "%s: the next write", words);
    is_int(blkalign_pread(stage.handle, 7, sizeof(got), got, 0), 0,
           "%s: the next read", words);
    ok(!memcmp(got, model + 7, sizeof(got)), "%s: right", words);
    is_int((int64_t)sim_counts(stage.sim).refused, (int64_t)refused,
           "%s: nothing is refused any more", words);
    is_int(write_model(stage.second, 9 * WANTED + 3, 700, 5), 0,
           "%s: the other handle goes on, too", words);
    is_int(write_model(stage.handle, 9 * WANTED + 803, 700, 6), 0,
           "%s: in one block with it", words);
    is_int((int64_t)stats_of(stage.handle).errors, 0, "%s: no errors",
           words);
    end(&stage, words);
}

struct writer {
    struct stage *stage;
    int number, errors;
    pthread_t thread;
};

/* Each thread writes every fourth sector, so that threads share the new
 * blocks. */
static void *work(void *opaque)
{
    struct writer *writer = opaque;
    struct answer answers[8];
    blkalign_handle *handle = writer->number % 2 ? writer->stage->second
                                                 : writer->stage->handle;
    int i, j;

    for (i = 0; i < WRITES / 8; i++) {
        for (j = 0; j < 8; j++) {
            int64_t sector = (i * 8 + j) * WRITERS + writer->number;
            int64_t offset = sector * SECTOR % DISK_BYTES;

            pattern_fill(model + offset, (uint64_t)i + 20, offset, SECTOR);
            aio_write(handle, offset, model + offset, SECTOR, 0,
                      &answers[j]);
        }
        for (j = 0; j < 8; j++) {
            int ret = answer_wait(&answers[j]);

            if (!answer_calls(&answers[j]))
                bail("no callback in ten seconds");
            if (ret && writer->errors++ == 0)
                diag("writer %d: %s", writer->number, strerror(-ret));
        }
        if (i == 10 && writer->number == 0)
            sim_demand(writer->stage->sim, 1024);
        if (i == 20 && writer->number == 1)
            sim_demand(writer->stage->sim, WANTED);
    }
    return NULL;
}

static void many_in_flight(enum sim_mode mode, uint32_t flags)
{
    const char *words = "many in flight at the change";
    struct writer writers[WRITERS];
    struct stage stage;
    uint8_t *got = aligned_memory(DISK_BYTES);
    int i, errors = 0;

    begin(&stage, mode, flags);
    for (i = 0; i < WRITERS; i++) {
        writers[i].stage = &stage;
        writers[i].number = i;
        writers[i].errors = 0;
        pthread_create(&writers[i].thread, NULL, work, &writers[i]);
    }
    for (i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        errors += writers[i].errors;
    }
    is_int(errors, 0, "%s, %s: no errors", words, mode_words());
    ok(repairs(&stage) >= 1, "%s: counted", words);
    is_int(blkalign_pread(stage.second, 0, DISK_BYTES, got, 0), 0,
           "%s: read all", words);
    ok(!memcmp(got, model, DISK_BYTES), "%s: right", words);
    end(&stage, words);
    free(got);
}

/* The disk fails each I/O with EINVAL, whatever its size. */
static void refuses_everything(enum sim_mode mode, enum sim_op op)
{
    const char *words = op == SIM_READ ? "reads are refused"
                                       : "writes are refused";
    struct stage stage;
    struct answer answer;
    uint8_t got[SECTOR];
    uint64_t calls;
    int i, ret, wrong = 0;

    begin(&stage, mode, 0);
    sim_fail_range(stage.sim, op, 0, DISK_BYTES, EINVAL);
    calls = sim_counts(stage.sim).ios[SIM_READ] +
            sim_counts(stage.sim).ios[SIM_WRITE];
    for (i = 0; i < 10; i++) {
        ret = op == SIM_READ
                  ? blkalign_pread(stage.handle, i * SECTOR, SECTOR, got, 0)
                  : blkalign_pwrite(stage.handle, i * SECTOR, SECTOR,
                                    model, 0);
        wrong += ret != -EINVAL;
    }
    is_int(wrong, 0, "%s: each fails with -EINVAL", words);
    aio_read(stage.second, 0, got, SECTOR, &answer);
    ret = answer_wait(&answer);
    is_int(ret, op == SIM_READ ? -EINVAL : 0, "%s: aio read", words);
    calls = sim_counts(stage.sim).ios[SIM_READ] +
            sim_counts(stage.sim).ios[SIM_WRITE] - calls;
    ok(calls < 11 * CALLS_MAX, "%s: in %llu calls", words,
       (unsigned long long)calls);
    sim_fail_range(stage.sim, op, 0, 0, 0);
    is_int(write_model(stage.handle, 0, SECTOR, 9), 0,
           "%s: once it is not, all is well", words);
    end(&stage, words);
}

/* Other errors have nothing to do with alignment. */
static void other_errors(enum sim_mode mode)
{
    const char *words = "ENOSPC";
    struct stage stage;

    begin(&stage, mode, 0);
    sim_fail_nth(stage.sim, SIM_WRITE, 1, ENOSPC);
    is_int(blkalign_pwrite(stage.handle, 0, SECTOR, model, 0), -ENOSPC,
           "%s: comes through", words);
    is_int((int64_t)sim_counts(stage.sim).ios[SIM_WRITE], 1,
           "%s: at once", words);
    is_int(repairs(&stage), 0, "%s: repairs nothing", words);
    end(&stage, words);
}

int main(void)
{
    int round;

    run_begin(60);
    model = aligned_memory(DISK_BYTES);
    for (round = 0; round < MODES; round++) {
        enum sim_mode mode = (enum sim_mode)(round % 3);

        diag("driver %d, %s", mode, mode_words());
        one_by_one(mode, 0);
        one_by_one(mode, 1);
        many_in_flight(mode, round < 3 ? 0 : BLKALIGN_O_NO_MERGE);
        refuses_everything(mode, SIM_READ);
        refuses_everything(mode, SIM_WRITE);
        other_errors(mode);
        mode_next();
    }
    free(model);
    return done_testing();
}
