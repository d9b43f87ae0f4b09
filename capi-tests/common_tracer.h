/* Watches a child's system calls by ptrace(2). */
#ifndef COMMON_TRACER_H
#define COMMON_TRACER_H

#include "common_calls.h"

/* Runs `body` in a child and notes the calls of its threads, by the marks of
 * common_everything.h. Returns the child's exit status, -1 if it was killed,
 * or -2 where tracing is not allowed. */
int tracer_run(int (*body)(void), struct calls *calls);

#endif
