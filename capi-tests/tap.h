/*
 * TAP for C tests: numbered results on stdout, remarks behind '#'. Any thread
 * may call any function. The plan comes last, so prove(1) takes a program that
 * ends early for a failure.
 */
#ifndef TAP_H
#define TAP_H

#include <stdint.h>

#define TAP_FORMAT(at) __attribute__((format(printf, at, at + 1)))

/* Prints one result; returns `good`, for "if (!ok(...)) return". */
int ok(int good, const char *sentence, ...) TAP_FORMAT(2);

/* ok() that prints both numbers if they differ. */
int is_int(int64_t got, int64_t want, const char *sentence, ...)
    TAP_FORMAT(3);

/* One result that could not be tested here, and why. */
void skip(const char *reason, const char *sentence, ...) TAP_FORMAT(2);

/* A remark for the reader of the log. */
void diag(const char *remark, ...) TAP_FORMAT(1);

/* The whole program cannot run here: prints why and ends with 0. */
void skip_all(const char *reason, ...)
    TAP_FORMAT(1) __attribute__((noreturn));

/* The program cannot continue: prints why and ends with 255. */
void bail(const char *reason, ...) TAP_FORMAT(1) __attribute__((noreturn));

/* Prints the plan; the value to return from main. */
int done_testing(void);

/* How many results failed so far. */
int tap_failures(void);

/* The last sentence printed, for the watchdog's message. */
const char *tap_last(void);

/* Tells the watchdog that the program gets on; results and remarks do so by
 * themselves. */
void tap_get_on(void);
/* How often it was told; for a signal handler, too. */
unsigned long tap_steps(void);

#endif
