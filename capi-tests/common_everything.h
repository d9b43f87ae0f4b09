/*
 * All kinds of calls of the library in one go, for tests of what system calls
 * they make. The thread says what it is about by a system call that does
 * nothing, which a tracer sees: everything_mark().
 */
#ifndef COMMON_EVERYTHING_H
#define COMMON_EVERYTHING_H

#include "common_disk.h"

enum everything_mark {
    MARK_QUIET,         /* what follows is the test's own business */
    MARK_OPENS,         /* opens, closes, and changes what a handle is */
    MARK_ASKS,          /* requests, waiting and not, and questions */
    MARK_LIBRARY,       /* this is a thread of the library */
    MARK_ENGINE,        /* + BLKALIGN_ENGINE_*: which engine works now */
    MARKS = MARK_ENGINE + 4
};

/* What the marker's first argument is counted from. */
#define MARK_BASE 0x626c6b00

void everything_mark(unsigned mark);

/* The hook of threads that does nothing but to mark them. */
void everything_hook(void *unused);

/* Opens the bed in the present mode, does everything with it, and closes.
 * Returns how much went wrong. */
int everything_on(struct bed *bed, uint32_t flags);

/* Requests, questions and operations only, on the bed's open handle. */
int everything_asked(blkalign_handle *handle, struct bed *bed);

#endif
