/*
 * Many requests at once. A back end with asynchronous functions is polled by
 * the thread that waits; for a blocking back end threads make the calls.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAP_MS = 5 };

struct flight {
    unsigned naps;              /* whose turn it is to be polled */
    /* For a back end that blocks: */
    pthread_mutex_t lock;       /* guards all below */
    pthread_cond_t wanted, done;
    struct request *first, **last;
    bool closing;
    unsigned thread_count;
    pthread_t threads[DEPTH_MAX];
};

static int carry_out(struct target *target, struct request *request)
{
    const struct adapter *adapter = target->adapter;
    void *handle = target->handles[request->handle];

    switch (request->operation) {
    case OP_READ:
        return adapter->pread(handle, request->offset, request->iov,
                              request->iovcnt);
    case OP_WRITE:
        return adapter->pwrite(handle, request->offset, request->iov,
                               request->iovcnt, request->fua);
    case OP_ZERO:
        return adapter->zero(handle, request->offset, request->bytes,
                             request->fua);
    case OP_DISCARD:
        return adapter->discard(handle, request->offset, request->bytes);
    default:
        return adapter->flush(handle);
    }
}

static void *work(void *opaque)
{
    struct target *target = opaque;
    struct flight *flight = target->flight;
    struct request *request;
    int result;

    pthread_mutex_lock(&flight->lock);
    for (;;) {
        while (!flight->first && !flight->closing)
            pthread_cond_wait(&flight->wanted, &flight->lock);
        request = flight->first;
        if (!request)
            break;
        flight->first = request->next;
        if (!flight->first)
            flight->last = &flight->first;
        pthread_mutex_unlock(&flight->lock);
        result = carry_out(target, request);
        pthread_mutex_lock(&flight->lock);
        request_done(request, result);
        pthread_cond_broadcast(&flight->done);
    }
    pthread_mutex_unlock(&flight->lock);
    return NULL;
}

int flight_open(struct target *target)
{
    struct flight *flight = calloc(1, sizeof *flight);
    int result = 0;

    if (!flight)
        return -ENOMEM;
    target->flight = flight;
    pthread_mutex_init(&flight->lock, NULL);
    pthread_cond_init(&flight->wanted, NULL);
    pthread_cond_init(&flight->done, NULL);
    flight->last = &flight->first;
    if (target->adapter->submit)
        return 0;
    while (result == 0 && flight->thread_count < target->place.depth) {
        result = pthread_create(&flight->threads[flight->thread_count], NULL,
                                work, target);
        if (result == 0)
            flight->thread_count++;
    }
    return -result;
}

void flight_close(struct target *target)
{
    struct flight *flight = target->flight;

    pthread_mutex_lock(&flight->lock);
    flight->closing = true;
    pthread_cond_broadcast(&flight->wanted);
    pthread_mutex_unlock(&flight->lock);
    while (flight->thread_count)
        pthread_join(flight->threads[--flight->thread_count], NULL);
    pthread_mutex_destroy(&flight->lock);
    pthread_cond_destroy(&flight->wanted);
    pthread_cond_destroy(&flight->done);
    free(flight);
    target->flight = NULL;
}

void flight_start(struct target *target, struct request *request)
{
    struct flight *flight = target->flight;
    int result;

    fit(target, request);
    request->done = false;
    request->next = NULL;
    if (target->adapter->submit) {
        result = target->adapter->submit(target->handles[request->handle],
                                         request);
        if (result)
            request_done(request, result);
        return;
    }
    pthread_mutex_lock(&flight->lock);
    *flight->last = request;
    flight->last = &request->next;
    pthread_cond_signal(&flight->wanted);
    pthread_mutex_unlock(&flight->lock);
}

/* Waits for a while, or until something happens. */
static void wait_a_little(struct target *target)
{
    struct flight *flight = target->flight;
    struct timespec until;
    unsigned i;
    int result = 0;

    if (!target->adapter->submit) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += NAP_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&flight->done, &flight->lock, &until);
        return;
    }
    /* Takes all that has happened already. If that did not help, waits for one
     * of the handles, each in its turn. */
    flight->naps++;
    for (i = 0; flight->naps % 2 && i < target->handle_count && !result; i++)
        result = target->adapter->poll(target->handles[i], 0);
    if (flight->naps % 2 == 0)
        result = target->adapter->poll(
            target->handles[flight->naps / 2 % target->handle_count],
            target->handle_count == 1 ? NAP_MS : 1);
    if (result) {
        printf("Bail out! the connection is lost: %s\n", strerror(-result));
        fflush(stdout);
        _exit(EXIT_CANNOT);
    }
}

static void give_up(struct target *target, const struct request *request)
{
    printf("Bail out! a %s of %lld bytes at %lld has not come back in %u "
           "s\n", operation_name(request->operation),
           (long long)request->bytes, (long long)request->offset,
           target->settings->timeout_s);
    fflush(stdout);
    /* No exit(): threads of the back end may still use what exit() would
     * destroy. */
    _exit(EXIT_BROKEN);
}

static bool is_done(const struct request *request)
{
    return __atomic_load_n(&request->done, __ATOMIC_ACQUIRE);
}

unsigned flight_finish_any(struct target *target, struct request *requests,
                           const bool *busy, unsigned count)
{
    double began = clock_s();
    unsigned i, oldest = 0;
    bool blocking = !target->adapter->submit;

    if (blocking)
        pthread_mutex_lock(&target->flight->lock);
    target->flight->naps &= ~1u;
    for (;;) {
        for (i = 0; i < count; i++) {
            if (busy[i] && is_done(&requests[i])) {
                if (blocking)
                    pthread_mutex_unlock(&target->flight->lock);
                unfit(target, &requests[i]);
                return i;
            }
            if (busy[i])
                oldest = i;
        }
        if (clock_s() - began > target->settings->timeout_s)
            give_up(target, &requests[oldest]);
        wait_a_little(target);
    }
}

int flight_finish(struct target *target, struct request *request)
{
    bool busy = true;

    flight_finish_any(target, request, &busy, 1);
    return request->result;
}
