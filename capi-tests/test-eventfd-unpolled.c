/*
 * Two handles of one disk, on one thread: a call on one handle must not hang
 * because it waits behind a request of the other handle whose result no thread
 * has collected yet.
 */
#include "common_event.h"
#include "common_run.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096

enum wait {
    WAIT_DRAIN, WAIT_CLOSE, WAIT_POLL, WAIT_CALLBACK, WAIT_CALL, WAIT_DEPTH,
    WAIT_ALONE, WAITS
};

static const char *const wait_words[WAITS] = {
    "drain", "close", "poll without end", "the other's own thread",
    "a synchronous call", "one that waits for its turn only",
    "one of the same handle"
};

static uint8_t buf[BLOCK];

/* 0, or the number of the expectation that failed. */
static int wait_for(blkalign_handle *handle, enum wait how,
                    struct answer *answer)
{
    switch (how) {
    case WAIT_DRAIN:
        return blkalign_drain(handle) ? 1 : !answer_calls(answer);
    case WAIT_CLOSE:
        return blkalign_close(handle) ? 2 : !answer_calls(answer);
    case WAIT_POLL:
        return blkalign_poll(handle, 8, -1) == 1 ? 0 : 3;
    case WAIT_CALLBACK:
        return answer_wait(answer) ? 4 : 0;
    case WAIT_DEPTH:
        if (blkalign_pwrite(handle, 8 * BLOCK, 512, buf, 0))
            return 6;
        return answer_calls(answer) ? 7 : 0;
    default:
        if (blkalign_pwrite(handle, 1024, 512, buf, 0))
            return 8;
        return answer_calls(answer) ? 9 : 0;
    }
}

/* In a child, since a handle whose library waits for ever cannot be closed. */
static int tried(enum event_kind kind, enum wait how)
{
    blkalign_open_options options;
    struct answer unpolled, answer;
    struct event_bed event;
    blkalign_handle *other;
    int ret;

    alarm(5);
    event_begin(&event, kind);
    options = event_options(&event);
    if (how == WAIT_CALLBACK)
        options.completion = BLKALIGN_COMPLETION_SERIAL;
    if (how == WAIT_DEPTH)
        options.queue_depth = 1;
    other = bed_open_again(&event.bed, event.handle, &options);
    if (how == WAIT_ALONE) {
        blkalign_close(other);
        other = NULL;
    }
    aio_write(event.handle, 0, buf, 512, 0, &unpolled);
    aio_write(other ? other : event.handle,
              how == WAIT_DEPTH ? 4 * BLOCK : 512, buf, 512, 0, &answer);
    ret = wait_for(other ? other : event.handle, how, &answer);
    if (answer_calls(&unpolled))
        ret = 5;
    if (how != WAIT_CLOSE)
        blkalign_close(other);
    blkalign_close(event.handle);
    bed_remove(&event.bed);
    return ret;
}

int main(void)
{
    static const char *const kinds[] = { "threads", "io_uring",
                                         "synchronous driver",
                                         "asynchronous driver",
                                         "driver that answers at once" };
    int kind, how, status;
    pid_t pid;

    run_begin(150);
    for (kind = 0; kind < EVENT_KINDS; kind++) {
        if (kind == EVENT_RING && getenv("BLKALIGN_TEST_VALGRIND")) {
            skip("no io_uring under valgrind", "%s: behind an unpolled write",
                 kinds[kind]);
            continue;
        }
        for (how = 0; how < WAITS; how++) {
            pid = fork();
            if (pid == 0)
                _exit(tried((enum event_kind)kind, (enum wait)how));
            waitpid(pid, &status, 0);
            is_int(WIFEXITED(status) ? WEXITSTATUS(status)
                                     : -WTERMSIG(status),
                   0, "%s: behind an unpolled write: %s", kinds[kind],
                   wait_words[how]);
        }
    }
    return done_testing();
}
