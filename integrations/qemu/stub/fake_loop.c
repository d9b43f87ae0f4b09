/*
 * Coroutines on ucontext, event loops on poll(2), deferred sections.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/thread-pool.h"
#include "qemu/defer-call.h"

#include "fake.h"

#include <poll.h>
#include <ucontext.h>

#define STACK (64 * 1024)
#define HANDLERS_MAX 4
#define DEFERRED_MAX 8

struct Coroutine {
    ucontext_t here, caller;
    AioContext *ctx;
    void (*entry)(void *opaque);
    void *opaque;
    char *stack;
    bool over;
    bool scheduled;
    Coroutine *next;
};

struct handler {
    int fd;
    IOHandler *read;
    AioPollFn *poll;
    IOHandler *poll_ready;
    void *opaque;
};

struct AioContext {
    struct handler handlers[HANDLERS_MAX];
    int handler_count;
    Coroutine *first, **end;    /* that are scheduled */
};

static Coroutine *running;
static int coroutines, wakes;
static int defer_depth, deferred_count;
static struct {
    void (*function)(void *);
    void *opaque;
} deferred[DEFERRED_MAX];

/* ---- coroutines --------------------------------------------------------- */

static void trampoline(void)
{
    Coroutine *co = running;

    co->entry(co->opaque);
    co->over = true;
    swapcontext(&co->here, &co->caller);
}

static void enter(Coroutine *co)
{
    Coroutine *before = running;

    running = co;
    swapcontext(&co->caller, &co->here);
    running = before;
    if (co->over) {
        free(co->stack);
        free(co);
        coroutines--;
    }
}

void fake_coroutine_start(AioContext *ctx, void (*entry)(void *opaque),
                          void *opaque)
{
    Coroutine *co = calloc(1, sizeof(*co));

    co->ctx = ctx;
    co->entry = entry;
    co->opaque = opaque;
    co->stack = malloc(STACK);
    getcontext(&co->here);
    co->here.uc_stack.ss_sp = co->stack;
    co->here.uc_stack.ss_size = STACK;
    makecontext(&co->here, trampoline, 0);
    coroutines++;
    enter(co);
}

int fake_coroutines(void)
{
    return coroutines;
}

int fake_wakes(void)
{
    return wakes;
}

Coroutine *qemu_coroutine_self(void)
{
    fake_insist(running != NULL, "outside of a coroutine");
    return running;
}

AioContext *qemu_coroutine_get_aio_context(Coroutine *co)
{
    return co->ctx;
}

void qemu_coroutine_yield(void)
{
    fake_insist(running != NULL, "a yield outside of a coroutine");
    swapcontext(&running->here, &running->caller);
}

void aio_co_schedule(AioContext *ctx, Coroutine *co)
{
    fake_insist(!co->scheduled, "a coroutine was scheduled twice");
    co->scheduled = true;
    co->next = NULL;
    *ctx->end = co;
    ctx->end = &co->next;
}

int thread_pool_submit_co(ThreadPoolFunc *function, void *arg)
{
    qemu_coroutine_self();
    return function(arg);
}

/* ---- event loops -------------------------------------------------------- */

AioContext *fake_context_new(void)
{
    AioContext *ctx = calloc(1, sizeof(*ctx));

    ctx->end = &ctx->first;
    return ctx;
}

void fake_context_free(AioContext *ctx)
{
    free(ctx);
}

int fake_context_handlers(const AioContext *ctx)
{
    return ctx->handler_count;
}

void aio_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read,
                        IOHandler *io_write, AioPollFn *io_poll,
                        IOHandler *io_poll_ready, void *opaque)
{
    struct handler handler;
    int i;

    fake_insist(io_write == NULL, "nothing is ever written to an eventfd");
    for (i = 0; i < ctx->handler_count; i++)
        if (ctx->handlers[i].fd == fd)
            ctx->handlers[i] = ctx->handlers[--ctx->handler_count];
    if (io_read == NULL)
        return;
    handler.fd = fd;
    handler.read = io_read;
    handler.poll = io_poll;
    handler.poll_ready = io_poll_ready;
    handler.opaque = opaque;
    fake_insist(ctx->handler_count < HANDLERS_MAX, "too many handlers");
    ctx->handlers[ctx->handler_count++] = handler;
}

static bool run_scheduled(AioContext *ctx)
{
    Coroutine *co = ctx->first, *next;

    ctx->first = NULL;
    ctx->end = &ctx->first;
    for (; co != NULL; co = next) {
        next = co->next;
        co->scheduled = false;
        wakes++;
        enter(co);
    }
    return ctx->first != NULL;
}

bool fake_aio_poll(AioContext *ctx, bool busy)
{
    struct pollfd fds[HANDLERS_MAX];
    int i, count = ctx->handler_count;
    bool any = ctx->first != NULL;

    for (i = 0; i < count; i++) {
        fds[i].fd = ctx->handlers[i].fd;
        fds[i].events = POLLIN;
        if (busy && ctx->handlers[i].poll(ctx->handlers[i].opaque)) {
            ctx->handlers[i].poll_ready(ctx->handlers[i].opaque);
            any = true;
        }
    }
    any = any || ctx->first != NULL;
    i = poll(fds, (nfds_t)count, any || busy ? 0 : 10000);
    if (i > 0)
        for (i = 0; i < count; i++)
            if (fds[i].revents & POLLIN)
                ctx->handlers[i].read(ctx->handlers[i].opaque);
    run_scheduled(ctx);
    return any || busy || i > 0;
}

void defer_call_begin(void)
{
    defer_depth++;
}

void defer_call(void (*function)(void *), void *opaque)
{
    int i;

    if (defer_depth == 0) {
        function(opaque);
        return;
    }
    for (i = 0; i < deferred_count; i++)
        if (deferred[i].function == function && deferred[i].opaque == opaque)
            return;
    fake_insist(deferred_count < DEFERRED_MAX, "too much is deferred");
    deferred[deferred_count].function = function;
    deferred[deferred_count++].opaque = opaque;
}

void defer_call_end(void)
{
    int i;

    if (--defer_depth > 0)
        return;
    for (i = 0; i < deferred_count; i++)
        deferred[i].function(deferred[i].opaque);
    deferred_count = 0;
}
