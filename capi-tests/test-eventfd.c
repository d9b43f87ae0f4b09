/*
 * EVENTFD mode: callbacks run only inside poll, drain and close; the
 * descriptor is readable whenever a callback is due; synchronous calls work
 * without a thread that polls.
 */
#include "common_event.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BLOCK 4096
#define COUNT 40

static uint8_t *buf;
static struct answer answers[COUNT];

static void submit(struct event_bed *event, int count)
{
    int i;

    for (i = 0; i < count; i++)
        if (i % 2)
            aio_read(event->handle, i * 700, buf + i * 512, 512,
                     &answers[i]);
        else
            aio_write(event->handle, i * 700, buf + i * 512, 512, 0,
                      &answers[i]);
}

static int came(int count)
{
    int i, calls = 0;

    for (i = 0; i < count; i++)
        calls += answer_calls(&answers[i]);
    return calls;
}

static int on_this_thread(int count)
{
    int i, here = 0;

    for (i = 0; i < count; i++)
        here += pthread_equal(answers[i].thread, pthread_self()) &&
                answers[i].ret == 0;
    return here;
}

static void the_descriptor(struct event_bed *event)
{
    struct epoll_event what;
    int again, epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    again = blkalign_get_event_fd(event->handle);
    is_int(again, event->fd, "%s: the descriptor stays the same",
           event->words);
    ok(fcntl(event->fd, F_GETFD) & FD_CLOEXEC, "%s: it is close-on-exec",
       event->words);
    memset(&what, 0, sizeof(what));
    what.events = EPOLLIN;
    is_int(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event->fd, &what), 0,
           "%s: epoll takes it", event->words);
    submit(event, 1);
    is_int(epoll_wait(epoll_fd, &what, 1, 10000), 1,
           "%s: epoll says when something is due", event->words);
    sleep_ms(20);
    is_int(came(1), 0, "%s: nothing ran before poll", event->words);
    is_int(collect(event->handle, 16, 0, 1), 1, "%s: poll runs it",
           event->words);
    is_int(came(1), 1, "%s: once", event->words);
    close(epoll_fd);
}

/* poll obeys max; the other callbacks stay due and the descriptor readable. */
static void max_is_kept_to(struct event_bed *event)
{
    int done = 0, lost = 0, before;

    submit(event, COUNT);
    while (done < COUNT && lost == 0) {
        lost += !readable(event->fd, 10000);
        before = came(COUNT);
        done += collect(event->handle, 3, 0, 1);
        lost += came(COUNT) - before > 3;
    }
    is_int(lost, 0, "%s: at most 3 a poll, and readable until the last",
           event->words);
    is_int(came(COUNT), COUNT, "%s: each once", event->words);
    is_int(on_this_thread(COUNT), COUNT, "%s: on the polling thread",
           event->words);
    is_int(blkalign_poll(event->handle, 100, 0), 0, "%s: none is left",
           event->words);
    while (readable(event->fd, 0) && lost++ < 100)
        blkalign_poll(event->handle, 1, 0);
    ok(lost < 100, "%s: and it does not stay readable", event->words);
}

static void timeouts(struct event_bed *event)
{
    int64_t start = now_ms();

    is_int(blkalign_poll(event->handle, 1, 0), 0, "%s: timeout 0",
           event->words);
    ok(now_ms() - start < 100, "%s: does not wait", event->words);
    start = now_ms();
    is_int(blkalign_poll(event->handle, 1, 120), 0, "%s: timeout 120",
           event->words);
    ok(now_ms() - start >= 119 && now_ms() - start < 2000,
       "%s: waits that long (%d ms)", event->words,
       (int)(now_ms() - start));
    submit(event, 1);
    is_int(blkalign_poll(event->handle, 1, -1), 1, "%s: timeout -1",
           event->words);
    submit(event, 1);
    is_int(blkalign_poll(event->handle, INT_MAX, INT_MAX), 1,
           "%s: the largest timeout", event->words);
    submit(event, 1);
    start = now_ms();
    is_int(blkalign_poll(event->handle, 1, INT_MIN), 1,
           "%s: any negative one", event->words);
    ok(now_ms() - start < 2000, "%s: none waits for its end", event->words);
}

static void what_is_refused(struct event_bed *event)
{
    uint32_t mode;

    is_int(blkalign_poll(event->handle, 0, 0), -EINVAL, "max 0");
    is_int(blkalign_poll(event->handle, -1, 0), -EINVAL, "max -1");
    is_int(blkalign_poll(event->handle, INT_MIN, -1), -EINVAL, "least max");
    is_int(blkalign_poll(NULL, 1, 0), -EINVAL, "poll of NULL");
    is_int(blkalign_get_event_fd(NULL), -EINVAL, "get_event_fd of NULL");
    blkalign_plug(NULL);
    blkalign_unplug(NULL);
    for (mode = 0; mode < BLKALIGN_COMPLETION_EVENTFD; mode++) {
        blkalign_open_options options = event_options(event);
        blkalign_handle *other;

        options.completion = mode;
        other = bed_open_again(&event->bed, event->handle, &options);
        is_int(blkalign_poll(other, 1, -1), -EINVAL, "poll in mode %u",
               mode);
        ok(blkalign_errmsg()[0] != 0, "in words: %s", blkalign_errmsg());
        is_int(blkalign_get_event_fd(other), -EINVAL,
               "get_event_fd in mode %u", mode);
        blkalign_close(other);
    }
}

static struct event_bed *inside;
static struct answer next_answers[3];

static void refused_inside(void *opaque, int ret)
{
    is_int(blkalign_poll(inside->handle, 1, 0), -EDEADLK, "inside: poll");
    is_int(blkalign_drain(inside->handle), -EDEADLK, "inside: drain");
    is_int(blkalign_close(inside->handle), -EDEADLK, "inside: close");
    is_int(blkalign_pread(inside->handle, 0, 1, buf, 0), -EDEADLK,
           "inside: pread");
    is_int(blkalign_get_event_fd(inside->handle), inside->fd,
           "inside: get_event_fd is fine");
    aio_write(inside->handle, 9, buf, 9, 0, &next_answers[0]);
    blkalign_plug(inside->handle);
    aio_write(inside->handle, 99, buf, 9, 0, &next_answers[1]);
    blkalign_unplug(inside->handle);
    aio_read(inside->handle, 9, buf + 100, 9, &next_answers[2]);
    is_int(answer_calls(&next_answers[2]), 0, "inside: nothing runs");
    answer_done(opaque, ret);
}

static void inside_a_callback(struct event_bed *event)
{
    struct iovec element = { buf, 100 };
    struct answer answer;
    int i;

    inside = event;
    memset(&answer, 0, sizeof(answer));
    ok(blkalign_aio_preadv(event->handle, 5, &element, 1, 0, refused_inside,
                           &answer) > 0, "%s: submit", event->words);
    is_int(collect(event->handle, 1, -1, 1), 1, "%s: polled", event->words);
    is_int(collect(event->handle, 9, -1, 3), 3,
           "%s: what it submitted goes on", event->words);
    for (i = 0; i < 3; i++)
        is_int(answer_calls(&next_answers[i]), 1, "once");
}

/* No thread polls: callbacks wait, synchronous calls do not. */
static void synchronous_calls(struct event_bed *event)
{
    blkalign_open_options options = event_options(event);
    blkalign_handle *second =
        bed_open_again(&event->bed, event->handle, &options);
    uint8_t *got = aligned_memory(BLOCK), *want = aligned_memory(BLOCK);
    struct answer others[4];
    int i;

    pattern_fill(want, 9, 0, BLOCK);
    for (i = 0; i < 4; i++) {
        aio_write(event->handle, i * 1024, want + i * 1024, 512, 0,
                  &answers[i]);
        aio_write(second, i * 1024 + 512, want + i * 1024 + 512, 300, 0,
                  &others[i]);
    }
    is_int(blkalign_pwrite(event->handle, 812, 212, want + 812, 0), 0,
           "%s: pwrite behind unpolled writes", event->words);
    is_int(blkalign_pwrite(second, 1836, 212, want + 1836, 0), 0,
           "%s: by the other handle", event->words);
    is_int(blkalign_pwrite(second, 2860, 212, want + 2860, 0), 0,
           "%s: once more", event->words);
    is_int(blkalign_pwrite(event->handle, 3884, 212, want + 3884, 0), 0,
           "%s: and by the first", event->words);
    is_int(blkalign_pread(event->handle, 0, BLOCK, got, 0), 0,
           "%s: pread", event->words);
    is_int(pattern_differs(got, 9, 0, BLOCK), -1, "%s: sees all of them",
           event->words);
    is_int(blkalign_flush(second), 0, "%s: flush", event->words);
    is_int(came(4), 0, "%s: no callback ran", event->words);
    ok(readable(event->fd, 10000), "%s: but they are due", event->words);
    is_int(blkalign_drain(event->handle), 0, "%s: drain", event->words);
    is_int(came(4), 4, "%s: runs them", event->words);
    is_int(on_this_thread(4), 4, "%s: on its thread", event->words);
    is_int(blkalign_close(second), 0, "%s: close", event->words);
    for (i = 0; i < 4; i++)
        is_int(answer_calls(&others[i]) &&
               pthread_equal(others[i].thread, pthread_self()), 1,
               "%s: runs callback %d on its thread", event->words, i);
    free(got);
    free(want);
}

static void close_runs_them(struct event_bed *event)
{
    blkalign_open_options options = event_options(event);
    struct event_bed second = *event;

    second.handle = bed_open_again(&event->bed, event->handle, &options);
    submit(&second, COUNT);
    is_int(blkalign_close(second.handle), 0, "%s: close", event->words);
    is_int(came(COUNT), COUNT, "%s: with forty in flight runs all",
           event->words);
    is_int(on_this_thread(COUNT), COUNT, "%s: on its thread",
           event->words);
}

int main(void)
{
    struct event_bed event;
    int kind;

    run_begin(60);
    buf = aligned_memory(COUNT * 512);
    for (kind = 0; kind < EVENT_KINDS; kind++) {
        event_begin(&event, (enum event_kind)kind);
        the_descriptor(&event);
        max_is_kept_to(&event);
        timeouts(&event);
        what_is_refused(&event);
        inside_a_callback(&event);
        synchronous_calls(&event);
        close_runs_them(&event);
        event_end(&event);
    }
    free(buf);
    return done_testing();
}
