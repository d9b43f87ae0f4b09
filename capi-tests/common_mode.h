/*
 * Engine and completion mode for tests that must pass with each pair.
 *
 * A program moves on to the next pair with mode_next() as often as it likes.
 * BLKALIGN_TEST_ENGINE (threads, io_uring) and BLKALIGN_TEST_COMPLETION
 * (serial, concurrent, eventfd) fix one of the two; `make check-matrix` goes
 * through all six pairs.
 */
#ifndef COMMON_MODE_H
#define COMMON_MODE_H

#include <blkalign.h>

#define MODES 6

/* The pair with which a program starts: pair 0 is threads and serial. */
void mode_first(unsigned number);
void mode_next(void);

/* Options with these flags and with the present engine and completion. */
blkalign_open_options mode_options(uint32_t flags);
/* "io_uring, eventfd", for the sentences of tests. */
const char *mode_words(void);

#endif
