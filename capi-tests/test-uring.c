/*
 * The io_uring engine in special cases: the shortest queue, submitters that
 * end, many handles, a handle closed with everything in flight, and what the
 * engine reports of itself.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 256
#define DISK_BYTES (BLOCKS * BLOCK)
#define REQUESTS 400
#define HANDLES 64

static struct bed bed;
static uint8_t *model;
static struct answer answers[REQUESTS];

static blkalign_open_options ring_options(uint32_t completion)
{
    blkalign_open_options options = options_of(0, completion);

    options.engine = BLKALIGN_ENGINE_IO_URING;
    options.request_alignment = BLOCK;
    return options;
}

/* Neighbours share blocks; none overlap. */
static void submit(blkalign_handle *handle, int first, int count,
                   uint64_t seed)
{
    int i;

    for (i = first; i < first + count; i++) {
        uint8_t *from = model + i * 2600 + 100;

        pattern_fill(from, seed, i, 2500);
        aio_write(handle, i * 2600 + 100, from, 2500,
                  i % 50 ? 0 : BLKALIGN_REQ_FUA, &answers[i]);
    }
}

static int failures(int count)
{
    int i, failed = 0;

    for (i = 0; i < count; i++)
        failed += answer_wait(&answers[i]) != 0;
    return failed;
}

static int once(int count)
{
    int i, good = 0;

    for (i = 0; i < count; i++)
        good += answer_calls(&answers[i]) == 1 && answers[i].ret == 0;
    return good;
}

static void disk_is_right(const char *words)
{
    uint8_t *got = aligned_memory(DISK_BYTES);

    bed_peek(&bed, 0, got, DISK_BYTES);
    ok(!memcmp(got, model, DISK_BYTES), "%s, %s: every byte is right",
       bed.name, words);
    free(got);
}

static void who_chooses_it(void)
{
    blkalign_open_options options = options_of(0, 0);
    blkalign_handle *handle = bed_open(&bed, &options);

    is_int(limits_of(handle).engine, BLKALIGN_ENGINE_IO_URING,
           "%s: AUTO takes io_uring", bed.name);
    blkalign_close(handle);
    options.engine = BLKALIGN_ENGINE_THREADS;
    handle = bed_open(&bed, &options);
    is_int(limits_of(handle).engine, BLKALIGN_ENGINE_THREADS,
           "%s: THREADS takes threads", bed.name);
    blkalign_close(handle);
}

static void a_queue_of_one(uint32_t completion)
{
    blkalign_open_options options = ring_options(completion);
    blkalign_handle *handle;
    struct answer flush;

    options.queue_depth = 1;
    handle = bed_open(&bed, &options);
    submit(handle, 0, REQUESTS, completion + 10);
    aio_flush(handle, &flush);
    is_int(failures(REQUESTS), 0, "mode %u: %d requests by a queue of one",
           completion, REQUESTS);
    is_int(answer_wait(&flush), 0, "and a flush");
    submit(handle, 0, REQUESTS, completion + 20);
    is_int(blkalign_pread(handle, 1, 5000, model + 1, 0), 0,
           "a synchronous read beside them");
    is_int(blkalign_close(handle), 0, "close with them in flight");
    is_int(once(REQUESTS), REQUESTS, "all called back, once, with 0");
    disk_is_right("queue of one");
}

struct part {
    pthread_t thread;
    blkalign_handle *handle;
    int first, count;
};

static void *submit_part(void *opaque)
{
    struct part *part = opaque;

    submit(part->handle, part->first, part->count, 33);
    return NULL;
}

/* Four threads at a time that have ended when their requests complete. */
static void submitters_that_end(uint32_t completion)
{
    blkalign_open_options options = ring_options(completion);
    blkalign_handle *handle = bed_open(&bed, &options);
    struct part parts[REQUESTS / 10];
    int i, j;

    for (i = 0; i < REQUESTS / 10; i += 4) {
        for (j = i; j < i + 4; j++) {
            parts[j].handle = handle;
            parts[j].first = j * 10;
            parts[j].count = 10;
            pthread_create(&parts[j].thread, NULL, submit_part, &parts[j]);
        }
        for (j = i; j < i + 4; j++)
            pthread_join(parts[j].thread, NULL);
    }
    is_int(failures(REQUESTS), 0, "mode %u: submitters that end at once",
           completion);
    is_int(blkalign_flush(handle), 0, "flush");
    is_int(blkalign_close(handle), 0, "close");
    disk_is_right("submitters that end");
}

/* The child must neither disturb the ring nor wait for it. */
static void fork_with_requests_in_flight(uint32_t completion)
{
    blkalign_open_options options = ring_options(completion);
    blkalign_handle *handle = bed_open(&bed, &options);
    int i, status, children = 0;
    pid_t pid;

    for (i = 0; i < 20; i++) {
        submit(handle, i * 20, 20, 44);
        pid = fork();
        if (pid == 0 && i % 2)
            execlp("sh", "sh", "-c", "exit 7", (char *)NULL);
        if (pid == 0)
            _exit(7);
        waitpid(pid, &status, 0);
        children += WIFEXITED(status) && WEXITSTATUS(status) == 7;
    }
    is_int(children, 20, "mode %u: children end as they should",
           completion);
    is_int(failures(REQUESTS), 0, "and no request was lost");
    is_int(blkalign_close(handle), 0, "close");
    disk_is_right("forks");
}

static void many_handles(void)
{
    int descriptors = proc_descriptors(), threads = proc_threads(NULL, 0);
    blkalign_handle *handles[HANDLES];
    int i, round, failed = 0, most = 0;

    for (round = 0; round < 3; round++) {
        for (i = 0; i < HANDLES; i++) {
            blkalign_open_options options = ring_options((uint32_t)i % 3);

            handles[i] = bed_open(&bed, &options);
            submit(handles[i], i * 6, 6, (uint64_t)round + 55);
        }
        if (round == 1)
            most = proc_descriptors() - descriptors;
        /* Each request waits at most for those before it: polled in that
         * order. */
        failed += failures(HANDLES * 6);
        for (i = 0; i < HANDLES; i++)
            failed += blkalign_close(handles[i]) != 0;
    }
    is_int(failed, 0, "%d handles at once, three times", HANDLES);
    diag("%d descriptors for %d handles", most, HANDLES);
    is_int(proc_descriptors(), descriptors, "leave no descriptor");
    ok(proc_threads_settle(threads, 15) <= threads, "leave no thread");
    disk_is_right("many handles");
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_FILE, BED_LOOP };
    uint32_t mode;
    unsigned i;

    run_begin(120);
    for (i = 0; i < 2; i++) {
        if (bed_make(&bed, kinds[i], DISK_BYTES * 2)) {
            skip(bed.why_not, "%s: io_uring", bed.name);
            continue;
        }
        model = aligned_memory(DISK_BYTES * 2);
        who_chooses_it();
        for (mode = 0; mode < 3; mode++) {
            a_queue_of_one(mode);
            submitters_that_end(mode);
            fork_with_requests_in_flight(mode);
        }
        many_handles();
        free(model);
        bed_remove(&bed);
    }
    return done_testing();
}
