/* Asynchronous requests: see common_aio.h. */
#include "common_aio.h"

#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

/* Guards every struct answer; one lock suffices for tests. */
static pthread_mutex_t answers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answers_came = PTHREAD_COND_INITIALIZER;

void answer_done(void *opaque, int ret)
{
    struct answer *answer = opaque;

    tap_get_on();
    pthread_mutex_lock(&answers_lock);
    answer->calls++;
    answer->ret = ret;
    answer->thread = pthread_self();
    pthread_cond_broadcast(&answers_came);
    pthread_mutex_unlock(&answers_lock);
}

int answer_calls(struct answer *answer)
{
    int calls;

    pthread_mutex_lock(&answers_lock);
    calls = answer->calls;
    pthread_mutex_unlock(&answers_lock);
    return calls;
}

/* If several threads poll one handle, one thread may run the callback that
 * another thread waits for; hence the short slices. Returns 0 if the handle
 * has another completion mode. */
static int polled(struct answer *answer, int ms)
{
    int64_t end = now_ms() + ms;

    if (!answer->handle)
        return 0;
    while (!answer_calls(answer) && now_ms() <= end) {
        int ran = blkalign_poll(answer->handle, 64, ms ? 1 : 0);

        if (ran == -EINVAL)
            return 0;
        if (ran < 0)
            bail("poll: %d %s", ran, blkalign_errmsg());
    }
    return 1;
}

int answer_came(struct answer *answer, int ms)
{
    struct timespec until;
    int came, waited = 0;

    if (!answer_calls(answer) && polled(answer, ms))
        return answer_calls(answer) != 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&answers_lock);
    while (!answer->calls && !waited)
        waited = pthread_cond_clockwait(&answers_came, &answers_lock,
                                        CLOCK_MONOTONIC, &until);
    came = answer->calls != 0;
    pthread_mutex_unlock(&answers_lock);
    return came;
}

int answer_wait(struct answer *answer)
{
    /* Long enough for a disk that other programs keep busy. */
    if (!answer_came(answer, 40000 * (int)run_slowness()))
        return INT_MIN;
    return answer->ret;
}

static void submitted(struct answer *answer, int64_t id)
{
    answer->id = id;
    if (id == 0)
        bail("a request id is 0");
    if (id < 0)
        answer_done(answer, (int)id);
}

void aio_write(blkalign_handle *handle, int64_t offset, const void *buf,
               size_t bytes, uint32_t flags, struct answer *answer)
{
    struct iovec element = { (void *)buf, bytes };

    memset(answer, 0, sizeof(*answer));
    answer->handle = handle;
    submitted(answer, blkalign_aio_pwritev(handle, offset, &element, 1,
                                           flags, answer_done, answer));
}

void aio_read(blkalign_handle *handle, int64_t offset, void *buf,
              size_t bytes, struct answer *answer)
{
    struct iovec element = { buf, bytes };

    memset(answer, 0, sizeof(*answer));
    answer->handle = handle;
    submitted(answer, blkalign_aio_preadv(handle, offset, &element, 1, 0,
                                          answer_done, answer));
}

void aio_flush(blkalign_handle *handle, struct answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    answer->handle = handle;
    submitted(answer, blkalign_aio_flush(handle, answer_done, answer));
}

void aio_zeroes(blkalign_handle *handle, int64_t offset, int64_t bytes,
                uint32_t flags, struct answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    answer->handle = handle;
    submitted(answer,
              blkalign_aio_pwrite_zeroes(handle, offset, bytes, flags,
                                         answer_done, answer));
}

void aio_discard(blkalign_handle *handle, int64_t offset, int64_t bytes,
                 struct answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    answer->handle = handle;
    submitted(answer, blkalign_aio_pdiscard(handle, offset, bytes,
                                            answer_done, answer));
}

void aio_any(blkalign_handle *handle, blkalign_request *request, void *buf,
             struct answer *answer)
{
    struct iovec element = { buf, (size_t)request->bytes };

    memset(answer, 0, sizeof(*answer));
    answer->handle = handle;
    if (request->op <= BLKALIGN_OP_WRITE) {
        request->iov = &element;
        request->iovcnt = 1;
    }
    request->cb = answer_done;
    request->opaque = answer;
    submitted(answer, blkalign_aio_submit(handle, request));
    request->iov = NULL;
}

blkalign_open_options options_of(uint32_t flags, uint32_t completion)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    options.flags = flags;
    options.completion = completion;
    return options;
}

blkalign_limits limits_of(blkalign_handle *handle)
{
    blkalign_limits limits;

    memset(&limits, 0, sizeof(limits));
    limits.size = sizeof(limits);
    if (blkalign_get_limits(handle, &limits))
        bail("get_limits: %s", blkalign_errmsg());
    return limits;
}

blkalign_stats stats_of(blkalign_handle *handle)
{
    blkalign_stats stats;

    memset(&stats, 0, sizeof(stats));
    stats.size = sizeof(stats);
    if (blkalign_get_stats(handle, &stats))
        bail("get_stats: %s", blkalign_errmsg());
    return stats;
}

blkalign_request request_of(uint32_t op)
{
    blkalign_request request;

    memset(&request, 0, sizeof(request));
    request.size = sizeof(request);
    request.op = op;
    return request;
}

blkalign_request request_at(uint32_t op, int64_t offset, int64_t bytes,
                            uint32_t flags)
{
    blkalign_request request = request_of(op);

    request.offset = offset;
    request.bytes = bytes;
    request.flags = flags;
    return request;
}
