/*
 * An acquire fence for ThreadSanitizer, which has none and therefore takes the
 * last drop of each Arc for a race. The thread that drops an Arc counts down
 * with release, and executes a fence if that was the last reference:
 *
 *     if (fetch_sub(&count, 1, release) != 1) return;
 *     fence(acquire);     -- orders us behind all who counted down before
 *     free(...);
 *
 * By the rules of C11 the fence acquires what was released at `count`. Here
 * the fence acquires at the place that its thread has counted down last.
 * Nothing else is hidden: a count without fence or without release is still
 * reported as a race. Every reference to the two functions leads here (ld
 * --wrap). Compiled without -fsanitize=thread.
 */
#include <stddef.h>
#include <stdint.h>

uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *at,
                                          uint64_t less, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *at,
                                          uint64_t less, int order);
void __real___tsan_atomic_thread_fence(int order);
void __wrap___tsan_atomic_thread_fence(int order);
/* From the runtime: `at` is only a name, and need not be valid memory any
 * more. */
void __tsan_acquire(void *at);

static __thread void *counted_down;

uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *at,
                                          uint64_t less, int order)
{
    counted_down = (void *)at;
    return __real___tsan_atomic64_fetch_sub(at, less, order);
}

void __wrap___tsan_atomic_thread_fence(int order)
{
    __real___tsan_atomic_thread_fence(order);
    if (order != __ATOMIC_RELAXED && order != __ATOMIC_RELEASE &&
        counted_down)
        __tsan_acquire(counted_down);
    counted_down = NULL;
}
