/*
 * Which threads work for a request of the NBD driver, and threads that call
 * and submit at once on the same connections. TAP, for prove(1).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "test-server.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BYTES = 4096, THREADS = 4 };

/* ---- which threads ---- */

/* How often all threads but this one have slept so far. */
static long sleeps_of_others(void)
{
    char path[300], line[256];
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");
    long sum = 0, count;
    FILE *status;

    while (tasks && (entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.' ||
            atol(entry->d_name) == syscall(SYS_gettid))
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status",
                 entry->d_name);
        status = fopen(path, "r");
        while (status && fgets(line, sizeof line, status))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1)
                sum += count;
        if (status)
            fclose(status);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static void calls_need_no_thread(void)
{
    enum { CALLS = 1000 };
    static char bytes[BYTES];
    blkalign_handle *disk;
    int result = 0, i;
    long sleeps;

    server_start("memory 8M");
    disk = open_rw(NULL);
    /* The connection's own thread may answer the first. */
    for (i = 0; i < 10; i++)
        result |= blkalign_pread(disk, i * BYTES, BYTES, bytes, 0);
    sleeps = sleeps_of_others();
    for (i = 0; i < CALLS; i++)
        result |= i % 2 ? blkalign_pread(disk, i * BYTES, BYTES, bytes, 0)
                        : blkalign_pwrite(disk, i * BYTES, BYTES, bytes, 0);
    sleeps = sleeps_of_others() - sleeps;
    is_int(result, 0, "%d calls", CALLS);
    ok(sleeps < CALLS / 4, "wake no other thread: it has slept %ld times",
       sleeps);
    blkalign_close(disk);
    server_stop();
}

/* Whoever called last has listened to the socket, and listens no more. */
static void loss_is_noticed(void)
{
    blkalign_nbd_options nbd = with_reconnect(BLKALIGN_NBD_NEVER);
    blkalign_handle *disk;
    char bytes[BYTES];
    int result = 0, i;

    server_start("memory 8M");
    disk = open_rw(&nbd);
    for (i = 0; i < 100; i++)
        result |= blkalign_pread(disk, 0, BYTES, bytes, 0);
    is_int(result, 0, "calls, and then none");
    server_kill();
    wait_for(&told.lost, 1);
    ok(1, "that the server has gone is noticed all the same");
    blkalign_close(disk);
}

/* ---- all at once ---- */

struct caller {
    blkalign_handle *disk;
    unsigned number;
    int result;
};

/* Each has a range of its own. */
static void *call(void *opaque)
{
    struct caller *caller = opaque;
    int64_t at = (int64_t)caller->number << 20;
    unsigned char wrote[3000], found[3000];
    int i;

    for (i = 0; i < 500 && caller->result == 0; i++) {
        memset(wrote, (int)(caller->number * 50 + (unsigned)i % 50),
               sizeof wrote);
        caller->result = blkalign_pwrite(caller->disk, at + i * 777,
                                         sizeof wrote, wrote, 0);
        if (caller->result == 0)
            caller->result = blkalign_pread(caller->disk, at + i * 777,
                                            sizeof found, found, 0);
        if (caller->result == 0 && memcmp(wrote, found, sizeof found) != 0)
            caller->result = -EILSEQ;
        if (caller->result == 0 && i % 50 == 0)
            caller->result = blkalign_flush(caller->disk);
    }
    return NULL;
}

struct flight {
    pthread_mutex_t lock;
    pthread_cond_t landed;
    int in_flight, failed;
};

static void landed(void *opaque, int ret)
{
    struct flight *flight = opaque;

    pthread_mutex_lock(&flight->lock);
    flight->in_flight--;
    flight->failed += ret != 0;
    pthread_cond_signal(&flight->landed);
    pthread_mutex_unlock(&flight->lock);
}

/* Up to `depth` at once; alone it finds the connections asleep each time. */
static int submit_many(blkalign_handle *disk, int depth)
{
    static unsigned char bytes[BYTES];
    struct flight flight = { PTHREAD_MUTEX_INITIALIZER,
                             PTHREAD_COND_INITIALIZER, 0, 0 };
    struct iovec iov = { bytes, sizeof bytes };
    int i;

    for (i = 0; i < 1000; i++) {
        pthread_mutex_lock(&flight.lock);
        while (flight.in_flight >= depth)
            pthread_cond_wait(&flight.landed, &flight.lock);
        flight.in_flight++;
        pthread_mutex_unlock(&flight.lock);
        if (blkalign_aio_pwritev(disk, (5 << 20) + i % 64 * BYTES, &iov, 1, 0,
                                 landed, &flight) < 0)
            landed(&flight, -1);
    }
    blkalign_drain(disk);
    return flight.failed;
}

static void all_at_once(unsigned connections)
{
    blkalign_nbd_options nbd = BLKALIGN_NBD_OPTIONS_INIT;
    struct caller callers[THREADS];
    pthread_t threads[THREADS];
    unsigned i;
    int failed;

    server_start("--filter=multi-conn memory 8M multi-conn-mode=plugin");
    nbd.connections = connections;
    callers[0].disk = open_rw(&nbd);
    for (i = 0; i < THREADS; i++) {
        callers[i].disk = callers[0].disk;
        callers[i].number = i;
        callers[i].result = 0;
        pthread_create(&threads[i], NULL, call, &callers[i]);
    }
    failed = submit_many(callers[0].disk, 1);
    failed += submit_many(callers[0].disk, 8);
    is_int(failed, 0, "requests beside calls, connections: %u", connections);
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        is_int(callers[i].result, 0, "calls of thread %u read what they have "
               "written", i);
    }
    blkalign_close(callers[0].disk);
    server_stop();
}

int main(void)
{
    stage_open();
    calls_need_no_thread();
    loss_is_noticed();
    all_at_once(1);
    all_at_once(4);
    return done_testing();
}
