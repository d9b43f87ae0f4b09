/* Asynchronous requests for tests: submit, wait, count. */
#ifndef COMMON_AIO_H
#define COMMON_AIO_H

#include <blkalign.h>
#include <pthread.h>
#include <stdint.h>

/* What a callback received, and what the submitting call returned. */
struct answer {
    int calls;                  /* how often the callback ran */
    int ret;                    /* of the latest */
    pthread_t thread;           /* that it ran on */
    int64_t id;                 /* what the submitting call returned */
    blkalign_handle *handle;    /* to poll while waiting; NULL: just wait */
};

/* The callback for a struct answer. */
void answer_done(void *opaque, int ret);
/* Waits up to `ms` for a callback and polls the handle meanwhile; returns
 * whether a callback came. Without EVENTFD mode it only waits. */
int answer_came(struct answer *answer, int ms);
/* Waits forty seconds; returns the callback's ret, or INT_MIN if none came. */
int answer_wait(struct answer *answer);
int answer_calls(struct answer *answer);

/* Requests with one element. A submission that fails counts as a callback that
 * has come with that error. */
void aio_write(blkalign_handle *handle, int64_t offset, const void *buf,
               size_t bytes, uint32_t flags, struct answer *answer);
void aio_read(blkalign_handle *handle, int64_t offset, void *buf,
              size_t bytes, struct answer *answer);
void aio_flush(blkalign_handle *handle, struct answer *answer);
void aio_zeroes(blkalign_handle *handle, int64_t offset, int64_t bytes,
                uint32_t flags, struct answer *answer);
void aio_discard(blkalign_handle *handle, int64_t offset, int64_t bytes,
                 struct answer *answer);
/* Any other request: fills in callback, opaque and, for a read or write of
 * `buf`, the vector. */
void aio_any(blkalign_handle *handle, blkalign_request *request, void *buf,
             struct answer *answer);

/* Options with these flags and this completion mode, the rest default. */
blkalign_open_options options_of(uint32_t flags, uint32_t completion);
blkalign_limits limits_of(blkalign_handle *handle);
blkalign_stats stats_of(blkalign_handle *handle);
/* A request whose fields are all zero but size and op. */
blkalign_request request_of(uint32_t op);
/* The same with a range and flags. */
blkalign_request request_at(uint32_t op, int64_t offset, int64_t bytes,
                            uint32_t flags);

#endif
