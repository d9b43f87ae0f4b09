/* Handles of EVENTFD mode for tests: opening, looking, collecting. */
#ifndef COMMON_EVENT_H
#define COMMON_EVENT_H

#include "common_aio.h"
#include "common_disk.h"

/* The ways to get such a handle: a file, and a driver of each kind. */
enum event_kind {
    EVENT_THREADS, EVENT_RING, EVENT_SYNC, EVENT_ASYNC, EVENT_AT_ONCE,
    EVENT_KINDS
};

struct event_bed {
    struct bed bed;
    enum event_kind kind;
    const char *words;
    blkalign_handle *handle;
    int fd;
};

/* A disk of 64 blocks; ends the program if that fails. */
void event_begin(struct event_bed *event, enum event_kind kind);
/* Closes the handle and removes the disk. */
void event_end(struct event_bed *event);
blkalign_open_options event_options(const struct event_bed *event);

/* Whether the descriptor becomes readable within `ms`. */
int readable(int fd, int ms);
/* Polls with these numbers until `want` callbacks have run or ten seconds are
 * over; returns how many ran. */
int collect(blkalign_handle *handle, int max, int timeout_ms, int want);

#endif
