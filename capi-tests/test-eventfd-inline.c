/*
 * Storage without RWF_NOWAIT (zram): a small batch of a thread that polled
 * without a time limit is held back until that thread polls again. Whatever
 * the program does instead, the batch must be carried out.
 */
#include "common_event.h"
#include "common_run.h"
#include "tap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
enum { TRIES = 20, NEVER_HELD = 77 };

enum next {
    POLL_WITHOUT_END, POLL_WITHOUT_WAITING, EVENTFD, DRAIN, CLOSE,
    OTHER_THREAD, SYNCHRONOUS, OTHER_HANDLE, OTHER_CALLBACK, NEXT_KINDS
};

static const char *const words[NEXT_KINDS] = {
    "poll without end", "poll without waiting", "wait for the eventfd",
    "drain", "close", "another thread polls", "a synchronous write",
    "a synchronous write of another handle", "a write of another handle"
};

static void *poll_for_two(void *handle)
{
    collect(handle, 8, -1, 2);
    return NULL;
}

/* 0, or the number of the expectation that failed. */
static int go_on(struct bed *bed, blkalign_handle **handle, enum next next)
{
    static uint8_t buf[BLOCK];
    blkalign_open_options serial =
        options_of(0, BLKALIGN_COMPLETION_SERIAL);
    blkalign_handle *other = NULL;
    struct answer answer;
    pthread_t thread;
    int ret = 0;

    memset(buf, 3, sizeof(buf));
    if (next == OTHER_HANDLE || next == OTHER_CALLBACK)
        other = bed_open_again(bed, *handle, &serial);
    switch (next) {
    case POLL_WITHOUT_END:
        ret = collect(*handle, 8, -1, 2) != 2;
        break;
    case POLL_WITHOUT_WAITING:
        ret = collect(*handle, 8, 0, 2) != 2;
        break;
    case EVENTFD:
        ret = !readable(blkalign_get_event_fd(*handle), 2000) ||
            collect(*handle, 8, 0, 2) != 2;
        break;
    case OTHER_THREAD:
        pthread_create(&thread, NULL, poll_for_two, *handle);
        pthread_join(thread, NULL);
        break;
    case SYNCHRONOUS:
        ret = blkalign_pwrite(*handle, 2 * BLOCK - 512, 512, buf, 0) != 0;
        break;
    case OTHER_HANDLE:
        ret = blkalign_pwrite(other, 2 * BLOCK - 512, 512, buf, 0) != 0;
        break;
    case OTHER_CALLBACK:
        aio_write(other, 2 * BLOCK - 512, buf, 512, 0, &answer);
        ret = answer_wait(&answer);
        break;
    default:
        break;
    }
    if (other)
        ret = ret ? ret : blkalign_close(other) != 0;
    if (next == CLOSE) {
        ret = blkalign_close(*handle) != 0;
        *handle = NULL;
    } else {
        ret = ret ? ret : blkalign_drain(*handle) != 0;
    }
    return ret;
}

/* Submits two blocks; returns whether they are held back. */
static int submit_two(struct bed *bed, blkalign_handle *handle,
                      const uint8_t *buf, struct answer *answers)
{
    uint8_t *seen = aligned_memory(2 * BLOCK);
    int held;

    aio_read(handle, 0, seen, 512, answers);
    if (blkalign_poll(handle, 1, -1) != 1)
        return 0;
    blkalign_plug(handle);
    aio_write(handle, 0, buf, BLOCK, 0, answers);
    aio_write(handle, BLOCK, buf + BLOCK, BLOCK, 0, answers + 1);
    blkalign_unplug(handle);
    sleep_ms(20);
    bed_peek(bed, 0, seen, 2 * BLOCK);
    held = seen[0] == 0 && seen[BLOCK] == 0;
    free(seen);
    return held;
}

/* In a child, since a handle whose library waits for ever cannot be closed. */
static int tried(enum next next)
{
    blkalign_open_options options =
        options_of(0, BLKALIGN_COMPLETION_EVENTFD);
    uint8_t *buf = aligned_memory(2 * BLOCK);
    uint8_t *seen = aligned_memory(2 * BLOCK);
    struct answer answers[2];
    struct bed bed;
    blkalign_handle *handle;
    int ret = 0, held;

    alarm(20 * run_slowness());
    memset(buf, 2, 2 * BLOCK);
    if (bed_make(&bed, BED_ZRAM, 64 * BLOCK))
        return NEVER_HELD;
    handle = bed_open(&bed, &options);
    held = submit_two(&bed, handle, buf, answers);
    ret = go_on(&bed, &handle, next);
    if (answer_calls(answers) != 1 || answer_calls(answers + 1) != 1)
        ret = 10;
    bed_peek(&bed, 0, seen, 2 * BLOCK);
    if (seen[0] != 2 || seen[2 * BLOCK - 513] != 2)
        ret = 11;
    if (next >= SYNCHRONOUS && seen[2 * BLOCK - 1] != 3)
        ret = 12;
    if (handle && blkalign_close(handle))
        ret = 13;
    bed_remove(&bed);
    return ret == 0 && !held ? NEVER_HELD : ret;
}

int main(void)
{
    int next, try, status, ret;
    struct bed bed;
    pid_t pid;

    run_begin(200);
    if (bed_make(&bed, BED_ZRAM, 64 * BLOCK))
        skip_all("%s", bed.why_not);
    bed_remove(&bed);
    for (next = 0; next < NEXT_KINDS; next++) {
        ret = NEVER_HELD;
        /* On a machine that is busy at the wrong moment they are not held
         * back. */
        for (try = 0; try < TRIES && ret == NEVER_HELD; try++) {
            pid = fork();
            if (pid == 0)
                _exit(tried((enum next)next));
            waitpid(pid, &status, 0);
            ret = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
        if (ret == NEVER_HELD)
            skip("not held back here: no io_uring?", "%s", words[next]);
        else
            is_int(ret, 0, "held back: %s", words[next]);
    }
    return done_testing();
}
