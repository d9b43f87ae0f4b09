/*
 * A 4096-byte unit of a guest is atomic on storage of 512-byte blocks: readers
 * that race with writers see all of a write or nothing of it. First the test
 * shows that the storage tears without the promise; where it does not, nothing
 * is proven and the rest is skipped.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_scene.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 4096
#define SECTOR 512
#define UNITS 4
#define WRITERS 2
#define READERS 2
#define DISK_BYTES (64 * UNIT)

struct race {
    struct bed *bed;
    blkalign_handle *handles[2];
    uint32_t guest_block;       /* in each request; 0 = the handle's */
    int two_handles;
    int64_t end_ms;
    int stop_at_torn;
    int torn, errors;           /* atomics */
    uint64_t reads;
};

struct racer {
    struct race *race;
    int number;
    uint64_t random;
    pthread_t thread;
};

/* The same stamp in each sector of a unit. */
static void stamp(uint8_t *units, int count, uint64_t value)
{
    int at;

    for (at = 0; at < count * UNIT; at += SECTOR)
        memcpy(units + at, &value, sizeof(value));
}

static int is_torn(const uint8_t *unit)
{
    int at;

    for (at = SECTOR; at < UNIT; at += SECTOR)
        if (memcmp(unit, unit + at, sizeof(uint64_t)))
            return 1;
    return 0;
}

static int transfer(struct racer *racer, uint32_t op, int64_t offset,
                    int64_t bytes, void *buf)
{
    struct race *race = racer->race;
    blkalign_request request = request_at(op, offset, bytes, 0);
    blkalign_handle *handle =
        race->handles[race->two_handles ? racer->number % 2 : 0];
    struct answer answer;
    int ret;

    if (!race->guest_block && random_below(&racer->random, 2))
        return op == BLKALIGN_OP_READ
                   ? blkalign_pread(handle, offset, bytes, buf, 0)
                   : blkalign_pwrite(handle, offset, bytes, buf, 0);
    request.guest_block_size = race->guest_block;
    aio_any(handle, &request, buf, &answer);
    ret = answer_wait(&answer);
    if (!answer_calls(&answer))
        bail("no callback in ten seconds");
    return ret;
}

static void *racer_thread(void *opaque)
{
    struct racer *racer = opaque;
    struct race *race = racer->race;
    uint8_t *units = aligned_memory(UNITS * UNIT);
    int first, count, i, writes = racer->number < WRITERS;

    while (now_ms() < race->end_ms &&
           !(race->stop_at_torn &&
             __atomic_load_n(&race->torn, __ATOMIC_RELAXED))) {
        first = (int)random_below(&racer->random, UNITS);
        count = 1 + (int)random_below(&racer->random,
                                      (uint64_t)(UNITS - first));
        if (writes)
            stamp(units, count, random_next(&racer->random));
        if (transfer(racer, writes ? BLKALIGN_OP_WRITE : BLKALIGN_OP_READ,
                     (int64_t)first * UNIT, (int64_t)count * UNIT, units))
            __atomic_add_fetch(&race->errors, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&race->reads, !writes, __ATOMIC_RELAXED);
        for (i = 0; !writes && i < count; i++)
            if (is_torn(units + i * UNIT))
                __atomic_add_fetch(&race->torn, 1, __ATOMIC_RELAXED);
    }
    free(units);
    return NULL;
}

static void run_race(struct race *race, uint32_t of_handle, int ms)
{
    blkalign_open_options options = mode_options(0);
    struct racer racers[WRITERS + READERS];
    uint8_t *units = aligned_memory(UNITS * UNIT);
    int i;

    options.guest_block_size = of_handle;
    stamp(units, UNITS, 1);
    bed_poke(race->bed, 0, units, UNITS * UNIT);
    free(units);
    race->handles[0] = bed_open(race->bed, &options);
    race->handles[1] = bed_open_again(race->bed, race->handles[0],
                                      &options);
    race->end_ms = now_ms() + ms;
    for (i = 0; i < WRITERS + READERS; i++) {
        racers[i].race = race;
        racers[i].number = i;
        racers[i].random = (uint64_t)i * 77 + 1;
        pthread_create(&racers[i].thread, NULL, racer_thread, &racers[i]);
    }
    for (i = 0; i < WRITERS + READERS; i++)
        pthread_join(racers[i].thread, NULL);
    blkalign_close(race->handles[1]);
    blkalign_close(race->handles[0]);
}

static struct race race_of(struct bed *bed)
{
    struct race race;

    memset(&race, 0, sizeof(race));
    race.bed = bed;
    race.two_handles = 1;
    return race;
}

static void races(struct bed *bed, int must_tear)
{
    struct race race = race_of(bed);
    int i;

    race.stop_at_torn = 1;
    run_race(&race, 0, must_tear ? 3000 : 400);
    if (must_tear)
        ok(race.torn > 0, "%s, %s: without the promise reads are torn",
           bed->name, mode_words());
    else if (!race.torn)
        diag("%s: nothing torn in %llu reads without the promise",
             bed->name, (unsigned long long)race.reads);
    for (i = 0; i < MODES; i++) {
        race = race_of(bed);
        race.guest_block = i % 2 ? 0 : UNIT;
        run_race(&race, i % 2 ? UNIT : 0, 150);
        is_int(race.torn, 0, "%s, %s: none of %llu reads is torn; the %s "
               "promise", bed->name, mode_words(),
               (unsigned long long)race.reads,
               i % 2 ? "handles'" : "requests'");
        is_int(race.errors, 0, "%s: no errors", bed->name);
        mode_next();
    }
}

/* Which request waits: `waits` for two whole-sector requests in one unit. */
static void pair(uint32_t first_op, uint32_t first_unit, uint32_t second_op,
                 uint32_t second_unit, int waits, const char *words)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    static uint8_t buf[2][UNIT];
    blkalign_request request;
    struct answer answers[2];
    struct held *held = held_new(8);
    blkalign_handle *handle, *second;

    held_align(held, SECTOR);
    handle = held_open(held, &options);
    is_int(blkalign_dup(handle, &options, &second), 0, "%s", words);
    request = request_at(first_op, 0, SECTOR, 0);
    request.guest_block_size = first_unit;
    aio_any(handle, &request, buf[0], &answers[0]);
    held_wait(held, 1);
    /* Another sector: for the storage itself they do not conflict. */
    request = request_at(second_op, 3 * SECTOR, 2 * SECTOR, 0);
    request.guest_block_size = second_unit;
    aio_any(second, &request, buf[1], &answers[1]);
    is_int(held_quiet(held, SCENE_QUIET_MS), waits ? 1 : 2, "%s: %s", words,
           waits ? "waits" : "does not wait");
    held_pass(held);
    is_int(answer_wait(&answers[0]), 0, "%s: first", words);
    is_int(answer_wait(&answers[1]), 0, "%s: second", words);
    blkalign_close(second);
    blkalign_close(handle);
    held_free(held);
}

static void who_waits(void)
{
    const uint32_t r = BLKALIGN_OP_READ, w = BLKALIGN_OP_WRITE;

    pair(w, UNIT, r, UNIT, 1, "a read after a write of one unit");
    pair(r, UNIT, w, UNIT, 1, "a write after a read of one unit");
    pair(w, UNIT, w, UNIT, 1, "a write after a write of one unit");
    pair(r, UNIT, r, UNIT, 0, "two reads of one unit");
    pair(w, UNIT, r, 0, 0, "a read without the promise");
    pair(r, UNIT, w, 0, 0, "a write without the promise");
    pair(w, 0, r, UNIT, 0, "a read, after a write without it");
    pair(w, SECTOR, r, SECTOR, 0, "units of a sector");
    pair(w, 1024, r, 1024, 0, "units of two sectors");
    pair(w, 2 * UNIT, r, SECTOR, 1, "a long unit, a short one inside");
    pair(w, SECTOR, r, 2 * UNIT, 1, "a short one inside a long unit");
}

static void arguments(void)
{
    static const uint32_t bad[] = { 3, 513, 4097, 0x80000000u, 2u << 20 };
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    struct sim_options disk = sim_disk_4k(DISK_BYTES, SIM_SYNC);
    struct sim *sim = sim_new(&disk);
    blkalign_handle *handle = sim_open(sim, &options), *other = NULL;
    blkalign_request request;
    struct answer answer;
    static uint8_t buf[UNIT];
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        request = request_at(BLKALIGN_OP_READ, 0, UNIT, 0);
        request.guest_block_size = bad[i];
        aio_any(handle, &request, buf, &answer);
        is_int(answer.ret, -EINVAL, "a unit of %u", bad[i]);
        options.guest_block_size = bad[i];
        is_int(blkalign_dup(handle, &options, &other), -EINVAL,
               "a handle's unit of %u", bad[i]);
    }
    request = request_at(BLKALIGN_OP_READ, 0, UNIT, 0);
    request.guest_block_size = 1 << 20;
    aio_any(handle, &request, buf, &answer);
    is_int(answer_wait(&answer), 0, "a unit of 1 MiB");
    blkalign_close(handle);
    sim_free(sim);
}

/* Moves one sector at a time, with other requests in between. */
static void simulated(enum sim_mode mode)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, mode);
    struct bed bed;

    memset(&bed, 0, sizeof(bed));
    bed.name = "simulated disk of sectors";
    bed.bytes = DISK_BYTES;
    disk.request_alignment = SECTOR;
    disk.torn_bytes = SECTOR;
    bed.sim = sim_new(&disk);
    races(&bed, 1);
    ok(!*sim_violation(bed.sim), "nothing to refuse %s",
       sim_violation(bed.sim));
    sim_free(bed.sim);
}

int main(void)
{
    struct bed bed;
    int i;

    run_begin(100);
    for (i = 0; i < 3; i++) {
        who_waits();
        mode_next();
    }
    arguments();
    simulated(SIM_SYNC);
    simulated(SIM_ASYNC);
    if (bed_make(&bed, BED_LOOP_512, DISK_BYTES)) {
        skip(bed.why_not, "%s: torn reads", bed.name);
    } else {
        races(&bed, 0);
        bed_remove(&bed);
    }
    return done_testing();
}
