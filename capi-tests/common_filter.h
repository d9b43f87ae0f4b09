/* Filters of system calls (seccomp) for tests. */
#ifndef COMMON_FILTER_H
#define COMMON_FILTER_H

/* From here on new threads and processes are refused: with -1 this thread is
 * killed with the process, with an errno the call fails. `all`: for all
 * threads of the process, else for this one and those that it starts. Returns
 * 0, or -1 where there is no seccomp. */
int filter_threads(int error, int all);

/* Runs `tried` in a child with a time limit, and reports its exit status as
 * one result: 0 is good, 77 a skip. */
void filter_child(int (*tried)(int), int argument, const char *words);

#endif
