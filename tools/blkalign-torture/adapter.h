/*
 * What the suite needs of a back end: a handful of functions. To test a back
 * end of your own, fill in a struct adapter and name it in adapters.c; no
 * other file knows the list.
 *
 * Offsets, lengths and alignments are bytes. A result is 0 (all of a request
 * was done) or -errno (the request failed). -ENOTSUP and -EOPNOTSUPP mean that
 * the back end has no such operation, which is no fault.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ADAPTER_H
#define ADAPTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct memory_disk;
struct fitted;

enum { WHY_BYTES = 512 };

enum operation { OP_READ, OP_WRITE, OP_ZERO, OP_DISCARD, OP_FLUSH };

/* A request under way. */
struct request {
    enum operation operation;
    bool fua;                   /* a write or zeroing that must be durable */
    int64_t offset, bytes;
    struct iovec *iov;          /* of a read or write; add up to `bytes` */
    int iovcnt;                 /* 1, unless the back end has vectors */
    unsigned handle;            /* number of the one that it goes to */

    int result;                 /* once it is done */
    bool done;                  /* atomic: set last, by request_done() */
    struct request *next;       /* in a queue of flight.c */
    struct fitted *fitted;      /* of fitted.c */
    void *adapter_own;          /* for the adapter's own use */
    int64_t adapter_cookie;
};

/* Ends the use of the request; from any thread. */
static inline void request_done(struct request *request, int result)
{
    request->result = result;
    __atomic_store_n(&request->done, true, __ATOMIC_RELEASE);
}

/* What a back end reports of itself. */
struct facts {
    int64_t length;
    uint32_t block;             /* what the storage moves at least; 0: unknown,
                                   then 4096 is taken */
    uint32_t smallest;          /* offsets and lengths must be multiples */
    uint32_t memory;            /* addresses must be multiples; at least 1 */
    uint32_t fits_memory;       /* multiples of it the storage takes as they
                                   are, nothing less; 0: not known */
    uint32_t fits_segment;      /* the same of the length of an element */
    uint32_t largest;           /* one request; 0: no limit known */
    uint32_t untorn;            /* units in which reads are promised to be
                                   atomic; 0: no promise */
    bool vectors;               /* takes any number of elements */
    bool flush, fua, zero, discard;
    bool grows;                 /* a write past the end makes it longer */
    char words[WHY_BYTES];      /* more, for people */
};

/* What is opened. */
struct place {
    const char *target;         /* path or URI; NULL if in memory */
    const char *kind;           /* what came after "NAME:", or NULL */
    const char *options;        /* -o, or NULL; see place_option() */
    struct memory_disk *memory; /* use this instead of the target, or NULL */
    unsigned depth;             /* most requests at once */
};

/* The value of NAME=VALUE among the options, "" for an option NAME without a
 * value, NULL if absent. The value ends at a comma or NUL. */
const char *place_option(const struct place *place, const char *name);
/* True if the value is there and equals `word`. */
bool place_option_is(const struct place *place, const char *name,
                     const char *word);

struct adapter {
    const char *name;
    const char *help;           /* a line or more, for --help */
    const char *option_names;   /* of -o, with a blank around each */
    bool own_memory;            /* always works on a memory disk: no target */
    bool takes_memory;          /* can work on one: see memory.h */

    /* Opens one connection or handle. `first` is NULL for the first one; a
     * further one shall behave like another queue or client of the same
     * storage. On failure returns -errno and puts words into `why`. */
    int (*open)(const struct place *place, void *first, void **handle,
                char why[WHY_BYTES]);
    void (*close)(void *handle);
    /* Fills in all of `facts` with the present values. */
    int (*describe)(void *handle, struct facts *facts);

    /* One request after another, from many threads at once. */
    int (*pread)(void *handle, int64_t offset, struct iovec *iov,
                 int iovcnt);
    int (*pwrite)(void *handle, int64_t offset, struct iovec *iov,
                  int iovcnt, bool fua);
    int (*flush)(void *handle);
    int (*zero)(void *handle, int64_t offset, int64_t bytes, bool fua);
    int (*discard)(void *handle, int64_t offset, int64_t bytes);

    /* Alternatively a back end gives these two, and the suite does not use the
     * five above: many requests are under way from one thread. `submit` starts
     * a request and returns 0 or -errno. `poll` waits for something to happen,
     * at most for the given time; requests end by request_done(). */
    int (*submit)(void *handle, struct request *request);
    int (*poll)(void *handle, int timeout_ms);
};

/* Ends with NULL. */
extern const struct adapter *const adapters[];

#endif
