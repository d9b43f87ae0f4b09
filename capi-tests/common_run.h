/*
 * What every test program needs: a watchdog, a janitor, a clock, random
 * numbers and patterns.
 */
#ifndef COMMON_RUN_H
#define COMMON_RUN_H

#include <stddef.h>
#include <stdint.h>

/* The first call of main. Starts the janitor, and a watchdog that fails the
 * program once nothing has come of it for `seconds`: no result, no remark, no
 * answer to a request. Must come before any thread starts. With
 * BLKALIGN_TEST_VALGRIND the kernel refuses io_uring from here on. */
void run_begin(unsigned seconds);

/* How many times longer than on a usual machine things may take before they
 * count as hanging: BLKALIGN_TEST_SLOW, and ten times that under valgrind. */
unsigned run_slowness(void);

/*
 * The janitor is a shell that outlives the program, however the program ends.
 * Then the janitor removes what it was told about, the last first. `what` is
 * "dir", "file" or "zram"; `name` is a path without blanks, or the number of
 * the zram device.
 */
void janitor_tell(const char *what, const char *name);

int64_t now_ms(void);
void sleep_ms(int64_t ms);

/* A small generator whose state belongs to the caller, so that a seed replays.
 * */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);

/* BLKALIGN_SEED, or a seed from the clock; prints it, so that it can be set
 * again. */
uint64_t run_seed(void);

/* Byte `at` of pattern `seed`. Never 0, so that it differs from a hole. */
uint8_t pattern_byte(uint64_t seed, int64_t at);
void pattern_fill(void *buf, uint64_t seed, int64_t at, size_t bytes);
/* Position of the first byte that differs, or -1. */
int64_t pattern_differs(const void *buf, uint64_t seed, int64_t at,
                        size_t bytes);

/* Memory aligned to 4096, zeroed; ends the program if there is none. */
void *aligned_memory(size_t bytes);

#endif
