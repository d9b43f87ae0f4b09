/*
 * What surrounds every test program: a watchdog, a janitor, a clock, random
 * numbers and patterns.
 */
#ifndef COMMON_RUN_H
#define COMMON_RUN_H

#include <stddef.h>
#include <stdint.h>

/* First call of main: starts the janitor, and a watchdog that fails the
 * program after `seconds` rather than let it hang.  Must come before any
 * thread starts.  With BLKALIGN_TEST_VALGRIND it is patient, and from here
 * on the kernel refuses io_uring. */
void run_begin(unsigned seconds);

/*
 * The janitor is a shell that outlives the program, however that ends, and
 * then removes what it was told about: last told, first removed.  `what` is
 * "dir", "file" or "zram"; `name` a path without blanks, or zram's number.
 */
void janitor_tell(const char *what, const char *name);

int64_t now_ms(void);
void sleep_ms(int64_t ms);

/* A small generator whose state is the caller's, so that a seed replays. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);

/* BLKALIGN_SEED, else one from the clock; printed, to be set again. */
uint64_t run_seed(void);

/* Byte `at` of pattern `seed`; never 0, so a hole cannot pass for it. */
uint8_t pattern_byte(uint64_t seed, int64_t at);
void pattern_fill(void *buf, uint64_t seed, int64_t at, size_t bytes);
/* Position of the first byte that differs, or -1. */
int64_t pattern_differs(const void *buf, uint64_t seed, int64_t at,
                        size_t bytes);

/* Memory aligned to 4096, zeroed; ends the program when there is none. */
void *aligned_memory(size_t bytes);

#endif
