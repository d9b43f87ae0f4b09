/* Names of system calls, sets of them, and the page that lists them. */
#ifndef COMMON_CALLS_H
#define COMMON_CALLS_H

#include <stdint.h>
#include <stdio.h>

#define CALLS_MAX 512           /* numbers of system calls are below */

/* Who makes calls, as the page has its columns. */
enum calls_who {
    CALLS_OPENS,        /* a thread of the program that opens and closes */
    CALLS_ASKS,         /* one that submits, polls or waits */
    CALLS_WORKS,        /* a thread of the pool */
    CALLS_TIMER,        /* the thread of throttles */
    CALLS_STARTS,       /* a thread of the library before its hook */
    CALLS_WHO
};

/* Which engines made a call, as bits; CALLS_MAY: it depends on chance. */
enum { CALLS_THREADS = 1, CALLS_RING = 2, CALLS_MAY = 4 };

struct calls {
    uint8_t made[CALLS_WHO][CALLS_MAX];
};

/* The name of a system call, or NULL for one that this test does not know. */
const char *calls_name(unsigned number);
/* Its number; -1 for a name that this machine does not have. */
int calls_number(const char *name);

enum calls_chance { CALLS_SURE, CALLS_SOMETIMES, CALLS_ANYWHERE };
enum calls_chance calls_chance(unsigned number);

/* The table between the page's marks; returns -1 if there is none. */
int calls_read(const char *path, struct calls *calls);
void calls_print(FILE *to, const struct calls *calls);
/* Puts the table in the place of the page's. */
int calls_write(const char *path, const struct calls *calls);

#endif
