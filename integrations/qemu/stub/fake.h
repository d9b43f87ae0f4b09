/* A very small QEMU: enough of one to run a block driver in.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_FAKE_H
#define STUB_FAKE_H

/* Ends the test: a fault of the driver, not of what it was asked to do. */
void fake_insist(bool good, const char *what);

/* What was registered under the name. */
BlockDriver *fake_driver(const char *protocol);

/* Event loops. All of them are driven by the one thread of the test. */
AioContext *fake_context_new(void);
void fake_context_free(AioContext *ctx);
/* Handlers in it. */
int fake_context_handlers(const AioContext *ctx);
/* Runs what is scheduled and readable; waits for something if there is
 * nothing. False if nothing came in ten seconds. `busy`: asks the handlers'
 * io_poll, as QEMU does before it sleeps. */
bool fake_aio_poll(AioContext *ctx, bool busy);

/* Runs `entry` in a coroutine of the context until it yields or ends. */
void fake_coroutine_start(AioContext *ctx, void (*entry)(void *opaque),
                          void *opaque);
/* Coroutines that have not ended. */
int fake_coroutines(void);
/* Times that a coroutine was woken. */
int fake_wakes(void);

#endif
