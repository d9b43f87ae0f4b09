/*
 * The torn-read promise over a driver that splits every request into sectors
 * and does them in any order. Writers stamp a part of a 4096-byte unit, whole
 * sectors or not; a reader sees all of a stamp or nothing of it. First it is
 * shown that the driver tears without the promise.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"
#include "common_split.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define UNIT 4096
#define UNITS 2
#define WRITERS 2
#define READERS 2
#define DISK_BYTES (16 * UNIT)

/* The part of each unit that writers stamp. */
struct part {
    const char *name;
    int from, to;
};

static const struct part PARTS[] = {
    { "whole units", 0, UNIT },
    { "some sectors", 1024, 3584 },
    { "no whole sectors", 700, 3300 },
};

struct race {
    const struct part *part;
    blkalign_handle *handles[2];
    uint32_t guest_block;       /* in each request; 0 = the handle's */
    int64_t end_ms;
    int stop_at_torn;
    int torn, strays, errors;   /* atomics */
    uint64_t reads;             /* atomic */
};

struct racer {
    struct race *race;
    int number;
    uint64_t random;
    pthread_t thread;
};

static int transfer(struct racer *racer, uint32_t op, int64_t offset,
                    int64_t bytes, void *buf)
{
    struct race *race = racer->race;
    blkalign_request request = request_at(op, offset, bytes, 0);
    struct answer answer;
    int ret;

    request.guest_block_size = race->guest_block;
    aio_any(race->handles[racer->number % 2], &request, buf, &answer);
    ret = answer_wait(&answer);
    if (!answer_calls(&answer))
        bail("no callback");
    return ret;
}

static void count(int *counter, int by)
{
    __atomic_add_fetch(counter, by, __ATOMIC_RELAXED);
}

/* Outside the part nobody ever wrote: 0xff. */
static void look_at(struct race *race, const uint8_t *unit)
{
    const struct part *part = race->part;
    int at;

    for (at = 0; at < UNIT; at++) {
        if (at < part->from || at >= part->to) {
            if (unit[at] != 0xff) {
                count(&race->strays, 1);
                return;
            }
        } else if (unit[at] != unit[part->from]) {
            count(&race->torn, 1);
            return;
        }
    }
}

static void *racer_thread(void *opaque)
{
    struct racer *racer = opaque;
    struct race *race = racer->race;
    const struct part *part = race->part;
    uint8_t *memory = aligned_memory(UNITS * UNIT);
    int64_t unit;
    int i, writes = racer->number < WRITERS;

    while (now_ms() < race->end_ms &&
           !(race->stop_at_torn &&
             __atomic_load_n(&race->torn, __ATOMIC_RELAXED))) {
        unit = (int64_t)random_below(&racer->random, UNITS);
        if (writes) {
            memset(memory, 1 + (int)random_below(&racer->random, 250), UNIT);
            if (transfer(racer, BLKALIGN_OP_WRITE, unit * UNIT + part->from,
                         part->to - part->from, memory))
                count(&race->errors, 1);
            continue;
        }
        if (transfer(racer, BLKALIGN_OP_READ, 0, UNITS * UNIT, memory))
            count(&race->errors, 1);
        __atomic_add_fetch(&race->reads, 1, __ATOMIC_RELAXED);
        for (i = 0; i < UNITS; i++)
            look_at(race, memory + i * UNIT);
    }
    free(memory);
    return NULL;
}

/* Returns the number of overtakings. */
static uint64_t run_race(struct race *race, uint32_t of_handle, int ms,
                         uint64_t seed)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    struct split *split = split_new(DISK_BYTES, 3, seed);
    blkalign_driver driver = split_driver();
    struct racer racers[WRITERS + READERS];
    uint64_t overtakings;
    int i;

    memset(split_bytes(split), 0xff, DISK_BYTES);
    options.guest_block_size = of_handle;
    if (blkalign_open_driver(&driver, split, &options, &race->handles[0]) ||
        blkalign_dup(race->handles[0], &options, &race->handles[1]))
        bail("cannot open the driver: %s", blkalign_errmsg());
    race->end_ms = now_ms() + ms;
    for (i = 0; i < WRITERS + READERS; i++) {
        racers[i].race = race;
        racers[i].number = i;
        racers[i].random = seed + (uint64_t)i * 77;
        pthread_create(&racers[i].thread, NULL, racer_thread, &racers[i]);
    }
    for (i = 0; i < WRITERS + READERS; i++)
        pthread_join(racers[i].thread, NULL);
    blkalign_close(race->handles[1]);
    blkalign_close(race->handles[0]);
    overtakings = split_overtakings(split);
    split_free(split);
    return overtakings;
}

static void races(const struct part *part, uint64_t seed)
{
    struct race race;
    uint64_t overtakings;
    int i;

    memset(&race, 0, sizeof(race));
    race.part = part;
    race.stop_at_torn = 1;
    run_race(&race, 0, 3000, seed);
    ok(race.torn > 0, "%s, %s: without the promise reads are torn",
       part->name, mode_words());
    for (i = 0; i < MODES; i++) {
        memset(&race, 0, sizeof(race));
        race.part = part;
        race.guest_block = i % 2 ? 0 : UNIT;
        overtakings = run_race(&race, i % 2 ? UNIT : 0, 80, seed + 1);
        is_int(race.torn, 0, "%s, %s: none of %llu reads is torn; the %s "
               "promise", part->name, mode_words(),
               (unsigned long long)race.reads,
               i % 2 ? "handles'" : "requests'");
        is_int(race.strays, 0, "%s: nothing beside it changes", part->name);
        is_int(race.errors, 0, "%s: no errors", part->name);
        ok(race.reads > 0 && overtakings > 0,
           "%s: %llu sectors overtook others", part->name,
           (unsigned long long)overtakings);
        mode_next();
    }
}

int main(void)
{
    uint64_t seed;
    size_t i;

    run_begin(60);
    seed = run_seed();
    for (i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]); i++)
        races(&PARTS[i], seed + i);
    return done_testing();
}
