/* What /proc tells about this process: its threads and descriptors. */
#ifndef COMMON_PROC_H
#define COMMON_PROC_H

#include <stdint.h>

struct proc_thread {
    int id;
    char name[32];
    uint64_t blocked;           /* signals, bit n-1 for signal n */
};

int proc_descriptors(void);
/* Open descriptors from 3 on that an exec would pass on. */
int proc_inheritable(void);
/* Lists at most `max` threads; returns how many threads there are. */
int proc_threads(struct proc_thread *threads, int max);
/* Waits up to `seconds` until this thread sleeps and keeps sleeping, except
 * for short breaks; returns whether that happened. */
int proc_asleep(int id, int seconds);
/* Waits up to `seconds` until there are no more than this many; returns the
 * last number. */
int proc_threads_settle(int threads, int seconds);

#endif
