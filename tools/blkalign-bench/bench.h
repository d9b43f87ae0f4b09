/*
 * What the pages of blkalign-bench share.
 *
 *     main.c       the order of things
 *     options.c    the command line
 *     aims.c       which request comes next
 *     submitter.c  the measured loop, asynchronous
 *     inbox.c      how completed requests come back to their submitter
 *     taking.c     the same for --poll all: go on with what one's poll finds
 *     refilling.c  the same for --refill callback: callbacks submit
 *     blocking.c   the measured loop, one blocking call after the other
 *     content.c    --verify: is every byte what it should be?
 *     nbd.c        an NBD URI in a file's place
 *     rbd.c        an image of Ceph in a file's place
 *     measure.c    how long requests took, and processor time
 *     report.c     what is printed
 *
 * The measured loops allocate nothing, and ask no clock unless --latency.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef BENCH_H
#define BENCH_H

#include "measure.h"

#include <blkalign.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* ---- options.c ---- */

enum order { ORDER_SEQ, ORDER_RANDOM, ORDER_SAME, ORDER_ZIPF,
             ORDER_SECTORS };

/* Which threads poll a handle with eventfd. */
enum poll { POLL_FIRST, POLL_ALL };

/* Which thread submits the next request. UNSAID: no option has set it. */
enum refill { REFILL_UNSAID, REFILL_CALLBACK, REFILL_THREAD };

/* Beyond BLKALIGN_COMPLETION_*: blocking calls, no completions at all. */
enum { COMPLETION_SYNC = 100 };

struct settings {
    const char *path;
    int64_t count;
    int64_t request_bytes;
    int64_t step_bytes;
    int64_t start_offset;
    int64_t flush_interval;     /* requests; 0: none */
    int64_t throttle;           /* requests a second; 0: no throttle */
    int64_t notifier;           /* its unit; 0: no notifier */
    uint64_t seed;
    uint32_t open_flags;        /* BLKALIGN_O_* */
    uint32_t request_flags;     /* BLKALIGN_REQ_* */
    uint32_t engine;            /* BLKALIGN_ENGINE_* */
    uint32_t completion;        /* BLKALIGN_COMPLETION_* or _SYNC */
    uint32_t alignment;         /* 0: probed */
    unsigned depth;             /* of all submitters together */
    unsigned batch;             /* requests; 0: what has completed */
    unsigned threads;
    unsigned handles;
    unsigned iovecs;            /* elements of a request */
    unsigned read_percent;
    enum order order;
    enum poll poll;
    enum refill refill;
    unsigned char pattern;
    bool drain_on_flush, verify, latency, json, quiet, force;
};

/* Returns -1 to go on, or the exit status. */
int parse_options(int argc, char **argv, struct settings *settings);
const char *order_word(enum order order);
const char *poll_word(enum poll poll);
const char *refill_word(enum refill refill);
const char *completion_word(uint32_t completion);
const char *engine_word(uint32_t engine);

/* ---- aims.c ---- */

/* A submitter's sequence of requests. A copy repeats it. */
struct aims {
    enum order order;
    uint64_t random;
    uint64_t read_below;        /* of 2^32: smaller draws are reads */
    bool mixed;
    int64_t offset;             /* ORDER_SEQ: of the next request */
    int64_t start, step, stride, length, last;
    /* ORDER_SECTORS: number of the next sector, of the first one of this
     * submitter, from one to the next, of all in the block; bytes of each. */
    unsigned sector, first_sector, sector_stride, sectors;
    int64_t sector_bytes;
    uint64_t positions, scatter;
};

struct aim {
    int64_t offset;
    bool read;
};

void aims_init(struct aims *aims, const struct settings *settings,
               int64_t length, unsigned submitter);
struct aim aims_next(struct aims *aims);

/* ---- content.c ---- */

struct content;
struct run;

/* Before the run. False: it failed and printed why. */
bool content_open(struct run *run);
void content_stamp(const struct content *content, unsigned char *to,
                   int64_t offset, int64_t bytes);
/* Returns -1 if the bytes that were read are right, else the wrong position.
 * */
int64_t content_damage(const struct content *content,
                       const unsigned char *got, int64_t offset,
                       int64_t bytes);
/* After the run: checks the whole region. False: damage, and it printed that.
 * */
bool content_check(struct run *run);
void content_close(struct content *content);

/* ---- nbd.c ---- */

struct nbd_reader;

bool is_nbd_uri(const char *path);
/* False: it failed and printed why; also if built without libnbd. */
bool nbd_open(const char *uri, const blkalign_open_options *options,
              blkalign_handle **handle);
/* A connection that the library does not know of. NULL or false: it failed and
 * printed why. */
struct nbd_reader *nbd_reader_open(const char *uri);
bool nbd_reader_read(struct nbd_reader *reader, unsigned char *to,
                     int64_t offset, int64_t bytes);
void nbd_reader_close(struct nbd_reader *reader);

/* ---- rbd.c ---- */

bool is_rbd_place(const char *path);
/* As nbd_open(). */
bool rbd_place_open(const char *place, const blkalign_open_options *options,
                    blkalign_handle **handle);

/* ---- submitter.c, inbox.c, taking.c, refilling.c, blocking.c ---- */

struct submitter;

struct slot {
    struct iovec *iov;          /* settings->iovecs elements */
    struct submitter *owner;
    blkalign_handle *handle;
    struct slot *next;          /* in a list of completed or free ones */
    int64_t offset;
    bool read;
    uint64_t started_ns, ended_ns;      /* --latency only */
};

struct submitter {
    struct run *run;
    blkalign_handle *handle;    /* the only one, or the first of several */
    blkalign_completion_fn read_or_write_done;
    struct aims aims;
    pthread_t thread;
    unsigned number, slot_count;
    /* The submitter that polls for its handle; and whether for others, too. */
    bool polls, shared;

    unsigned char *memory;      /* of all requests */
    struct iovec *iovecs;       /* of all slots */
    struct slot *slots, *free;
    struct slot flush;
    unsigned free_count, in_flight;
    int64_t unsent, until_flush;
    bool flushing;

    /* --refill callback: this lock guards the members from `free` to here,
     * `aims`, `done`, `latency` and `over`. No thread takes another lock while
     * it holds this one. */
    pthread_mutex_t lock;
    bool over;

    struct slot *inbox;         /* atomic unless only this thread polls */
    struct slot asleep;         /* in the inbox: wake me up */
    sem_t wake;
    struct submitter *next_sleeper; /* of those that one poll wakes */

    int64_t done;               /* atomic, for the progress line */
    uint64_t started_ns, ended_ns;
    struct latency *latency;    /* NULL: not asked for */
};

struct run {
    const struct settings *settings;
    int64_t length;
    blkalign_handle **handles;
    blkalign_notifier *notifier; /* NULL: not asked for */
    struct submitter *submitters;
    struct content *content;    /* NULL: not asked for */
    pthread_barrier_t start;
    struct processor processor; /* at the start; then what the run used */
    unsigned finished;          /* atomic: submitters */
    int64_t left;               /* atomic: requests, for --poll all */
    pthread_mutex_t sequence_lock; /* of submitter 0's, for --poll all */
    bool stop;                  /* atomic: something failed */
    pthread_mutex_t failure_lock;
    char failure[1024];         /* the first; under failure_lock */
};

bool submitter_open(struct run *run, unsigned number);
void submitter_close(struct submitter *submitter);
void *submitter_run(void *submitter);

void inbox_choose(struct submitter *submitter);
/* Waits for completed requests. Returns a list of at least one, or NULL if
 * nothing is left to wait for, or if the wait is to be repeated. */
struct slot *inbox_wait(struct submitter *submitter);

void blocking_loop(struct submitter *submitter);

/* --poll all */
void taking_choose(struct submitter *submitter);
void taking_loop(struct submitter *submitter);

/* --refill callback */
void refilling_choose(struct submitter *submitter);
void refilling_loop(struct submitter *submitter);

/* Gives the slot the next request of the sequence. */
void slot_draw(struct slot *slot, struct aims *aims);
/* To be called just before the slot is submitted: writes the stamps and notes
 * the time. */
void slot_prepare(struct slot *slot);
/* Does both. */
void slot_aim(struct slot *slot, struct aims *aims);
/* Submits the first free slots as one batch. */
void submit_aimed(struct submitter *submitter, unsigned requests);
/* Submits the slots of a list as one batch. Returns how many it submitted, and
 * leaves the others in `list`; if any are left, the run has failed. */
unsigned submit_list(struct slot **list, unsigned requests);
/* The number of free slots that may be submitted now, as one batch. */
unsigned submitter_may_send(const struct submitter *submitter);
/* Submits a flush for which no thread waits until the end: --no-drain. */
int64_t submit_flush_aside(struct submitter *submitter);
/* Called in the callback of a slot. */
void slot_settle(struct slot *slot, int ret);
/* Checks the bytes of a completed slot and counts its latency: the two
 * functions after this one. */
void slot_check(struct slot *slot);
/* A completed slot is free again; false: it was the flush. */
bool slot_take_back(struct slot *slot);
void slot_check_content(struct slot *slot);
void slot_count_latency(struct slot *slot);
bool run_is_stopped(const struct run *run);
/* Keeps the first failure, which main prints, and stops the run. */
void run_fail(struct run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void run_fail_request(struct submitter *submitter, const char *what,
                      int64_t offset, int result);

/* ---- report.c ---- */

void report_start(const struct settings *settings);
void report_progress(const struct run *run, double seconds);
void report_progress_end(void);
void report(const struct run *run, const blkalign_stats *stats,
            const blkalign_limits *limits);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
