/*
 * What the pages of blkalign-torture share.
 *
 *     main.c          the order of things
 *     options.c       the command line
 *     adapter.h       what a back end has to be able to do; adapters.c: which
 *                     there are; adapter-*.c: one each
 *     target.c        an opened back end, one request at a time
 *     flight.c        many requests at once, whatever the back end offers
 *     fitted.c        memory that is aligned to just what the storage needs
 *     trial.c         how a case says what it found
 *     report.c        TAP, and a summary in words
 *     cases.c         the list of cases
 *     race.c          concurrent requests to the same blocks
 *     edges.c         what lies beside a request must stay
 *     size.c          large requests, long vectors, the end
 *     fault.c         edges that cannot be read
 *     durable.c       flush, FUA, and what other handles see
 *     torn.c          reads beside writes
 *     model.c         random operations against a copy in memory
 *     broken.c, memory.c      storage for back ends that are wrong
 *
 * Cases know back ends only through target.h's functions below.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef TORTURE_H
#define TORTURE_H

#include "adapter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_BROKEN = 1, EXIT_USAGE = 2, EXIT_CANNOT = 3 };
/* Sizes of memory disks. A memory disk that is the target has an odd length.
 * */
enum { MEMORY_BYTES = 8 << 20, OWN_MEMORY_BYTES = MEMORY_BYTES + 612 };
enum { HANDLES_MAX = 16, DEPTH_MAX = 256, CASES_MAX = 64 };

/* ---- options.c ---- */

struct settings {
    const struct adapter *adapter;
    struct place place;
    const char *only[CASES_MAX];        /* --case; ends with NULL */
    const char *fault_on, *fault_off, *flush_count, *behind;
    const char *second;                 /* of the handles after the first */
    bool destroy_data, force, list;
    uint64_t seed;
    unsigned rounds, seconds, handles, timeout_s;
    uint32_t block, sector;             /* 0: what the target says */
};

/* Returns -1 to go on, or the exit status. */
int parse_options(int argc, char **argv, struct settings *settings);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- target.c, flight.c ---- */

struct flight;

struct target {
    const struct settings *settings;
    const struct adapter *adapter;
    struct place place;
    struct memory_disk *memory; /* what is below, if it is ours; or NULL */
    void *handles[HANDLES_MAX];
    unsigned handle_count;
    struct flight *flight;
    struct facts facts;         /* when it was opened */
    int64_t length;
    uint32_t block;             /* what small requests are smaller than */
    uint32_t sector;            /* a small request; == block: there are none */
    int64_t base;               /* first block that cases play with */
    unsigned fitted_turn;       /* for fitted.c: counts requests */
    char strayed[160];          /* what it has seen beside memory, or "" */
};

/* Returns 0, or -errno and words. `memory` NULL: opens the target itself. */
int target_open(struct target *target, const struct settings *settings,
                struct memory_disk *memory, char why[WHY_BYTES]);
void target_close(struct target *target);
/* Does one request and waits. `data` is NULL for a request without data. */
int target_do(struct target *target, unsigned handle,
              enum operation operation, int64_t offset, int64_t bytes,
              void *data);
int target_write_fua(struct target *target, unsigned handle, int64_t offset,
                     int64_t bytes, void *data);
/* Memory aligned for any target; ends the program if there is none. */
unsigned char *new_buffer(int64_t bytes);

/* Starts a request: `request` and its memory must stay until it is finished.
 * */
int flight_open(struct target *target);
void flight_close(struct target *target);
void flight_start(struct target *target, struct request *request);
/* Waits for a request. One that never comes back ends the program. */
int flight_finish(struct target *target, struct request *request);
/* Waits until one of the requests marked `busy` is done; returns its index. */
unsigned flight_finish_any(struct target *target, struct request *requests,
                           const bool *busy, unsigned count);

/* ---- fitted.c ---- */

/* A request that starts gets memory of ours, or keeps its own. */
void fit(struct target *target, struct request *request);
/* A request that is done gets its own memory back, with what was read. */
void unfit(struct target *target, struct request *request);

/* ---- trial.c ---- */

enum state { STATE_HOLDS, STATE_BROKEN, STATE_SKIPPED, STATE_FACT };

enum { WORDS_BYTES = 1024, NOTES_BYTES = 4096 };

/* One run of one case. */
struct trial {
    const struct test_case *test_case;
    const struct settings *settings;
    struct target *target;
    unsigned handles;           /* that the case is to use */
    uint64_t random;
    double until;               /* --seconds: a clock's reading */
    enum state state;
    char words[WORDS_BYTES];    /* what was found, in one line */
    char notes[NOTES_BYTES];    /* more of it, in lines */
};

struct test_case {
    const char *name, *promise;
    void (*run)(struct trial *trial);
    const void *detail;         /* for `run` */
    unsigned handles;           /* at least so many; 0 is 1 */
    bool faults;                /* wants to reach what is below the target */
};

/* Ends with a NULL name. */
extern const struct test_case cases[];

void trial_start(struct trial *trial, const struct test_case *test_case,
                 const struct settings *settings, struct target *target);
bool trial_goes_on(const struct trial *trial, unsigned round);
/* Sets the outcome of the trial. The first one other than "holds" stays. */
void trial_say(struct trial *trial, enum state state, const char *format,
               ...) __attribute__((format(printf, 3, 4)));
void trial_note(struct trial *trial, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* False: the request failed, and the outcome says so. */
bool trial_accepts(struct trial *trial, int result, enum operation operation,
                   int64_t offset, int64_t bytes);
/* Does a request and waits; result as above. */
bool trial_do(struct trial *trial, unsigned handle, enum operation operation,
              int64_t offset, int64_t bytes, void *data);
uint64_t trial_random(struct trial *trial);
const char *operation_name(enum operation operation);
bool is_absent(int result);

/* The bytes that belong to `id` at these positions; never 0. */
void stamp(unsigned char *to, uint64_t id, int64_t offset, int64_t bytes);
/* Position of the first byte that differs, or -1. */
int64_t difference(const unsigned char *a, const unsigned char *b,
                   int64_t bytes);
bool all_zero(const unsigned char *data, int64_t bytes);
/* Marks the whole blocks of a range that was discarded: until they are written
 * anything may be there, such as what zeros decrypt to. `loose` and `offset`
 * count from the begin of a block. */
void loosen(const struct target *target, unsigned char *loose,
            int64_t offset, int64_t bytes);
double clock_s(void);

/* ---- report.c ---- */

void report_plan(const struct settings *settings, const struct target *target,
                 unsigned count);
void report_case(const struct trial *trial, unsigned number);
/* Returns the exit status. */
int report_summary(const struct settings *settings,
                   const struct trial *trials, unsigned count);

/* ---- the cases' pages ---- */

struct race;
extern const struct race race_lost_update, race_straddle, race_aligned,
    race_zero, race_discard;
void run_race(struct trial *trial);
void run_edges(struct trial *trial);
void run_large(struct trial *trial);
void run_vectors(struct trial *trial);
void run_odd_length(struct trial *trial);
void run_past_end(struct trial *trial);
void run_edge_error(struct trial *trial);
void run_flush(struct trial *trial);
void run_coherent(struct trial *trial);
void run_torn(struct trial *trial);
void run_model(struct trial *trial);

#endif
