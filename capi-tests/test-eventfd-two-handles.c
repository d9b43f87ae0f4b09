/*
 * Two handles of one disk in the event loop of one thread: a request of one
 * that waits for a request of the other does not wait for the look that comes
 * some milliseconds later, though the thread has polled both handles before.
 */
#include "common_event.h"
#include "common_run.h"
#include "tap.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 40
/* The look comes after 4 ms. */
#define QUICK_NS 3000000

static uint8_t buf[512];

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int main(void)
{
    blkalign_open_options options;
    struct answer first, second;
    struct event_bed event;
    blkalign_handle *other;
    int64_t best = INT64_MAX, begin;
    int i, both = 0;

    run_begin(60);
    if (getenv("BLKALIGN_TEST_VALGRIND"))
        return skip("no io_uring under valgrind", "two handles"),
               done_testing();
    event_begin(&event, EVENT_RING);
    options = event_options(&event);
    other = bed_open_again(&event.bed, event.handle, &options);
    for (i = 0; i < ROUNDS; i++) {
        aio_write(event.handle, 0, buf, sizeof(buf), 0, &first);
        aio_write(other, 512, buf, sizeof(buf), 0, &second);
        begin = now_ns();
        both += blkalign_poll(other, 8, -1) == 1;
        if (now_ns() - begin < best)
            best = now_ns() - begin;
        both += blkalign_poll(event.handle, 8, -1) == 1;
    }
    is_int(both, 2 * ROUNDS, "each poll gives the one result there is");
    ok(best < QUICK_NS, "the quickest took %lld us", (long long)best / 1000);
    blkalign_close(other);
    blkalign_close(event.handle);
    bed_remove(&event.bed);
    return done_testing();
}
