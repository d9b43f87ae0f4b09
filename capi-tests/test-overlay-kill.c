/*
 * Processes that fill an overlay while they write to it are killed, one after
 * the other. Each begins with a look at what its predecessors have left: what
 * they had flushed is there, and what was found once stays. The last one fills
 * the overlay to the end, which is an ordinary image then.
 *
 * Each sector says whose it is: its number and a stamp, over and over. Stamp 0
 * is the backing object's. A thread writes only sectors of its own, with
 * stamps that grow.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECTOR 512
#define WORDS (SECTOR / 8)
#define SECTORS 32768
#define WRITERS 3
#define RUN_MAX 12
#define ROUNDS 7
#define CLUSTER 16384
#define CLUSTER_SECTORS (CLUSTER / SECTOR)
#define READ_US 300

/* Shared by all processes. What may be found in a sector: `floor`, or any
 * stamp from `since` to `latest`. */
struct ledger {
    uint64_t floor[SECTORS], since[SECTORS], latest[SECTORS];
    uint64_t next_stamp;
    uint64_t writes, flushes, there;
    int looked;                 /* rounds that have looked */
    int wrong;
    char words[200];
};

static struct ledger *ledger;
static char directory[] = "/tmp/blkalign-kill-XXXXXX";
static char base_path[64], top_path[64];

/* The backing object: a file that takes its time, and hangs behind a frontier
 * that moves on with each round. */
static int base_fd = -1;
static int64_t frontier = SECTORS;      /* atomic: a sector */

static void wrong(const char *what, int64_t sector, uint64_t found)
{
    if (!ledger->wrong)
        snprintf(ledger->words, sizeof(ledger->words),
                 "%s: sector %lld has stamp %llu; floor %llu, since %llu, "
                 "latest %llu", what, (long long)sector,
                 (unsigned long long)found,
                 (unsigned long long)ledger->floor[sector],
                 (unsigned long long)ledger->since[sector],
                 (unsigned long long)ledger->latest[sector]);
    ledger->wrong = 1;
}

static void stamp(uint64_t *words, int64_t sector, uint64_t value)
{
    int i;

    for (i = 0; i < WORDS; i++)
        words[i] = i % 2 ? value : (uint64_t)sector;
}

/* The stamp of a sector, or UINT64_MAX: it is of no one. */
static uint64_t stamp_of(const uint64_t *words, int64_t sector)
{
    int i;

    for (i = 0; i < WORDS; i++)
        if (words[i] != (i % 2 ? words[1] : (uint64_t)sector))
            return UINT64_MAX;
    return words[1];
}

static void check(const uint64_t *words, int64_t sector, const char *when)
{
    uint64_t found = stamp_of(words, sector);
    int may = found == ledger->floor[sector] ||
              (found >= ledger->since[sector] &&
               found <= ledger->latest[sector]);

    if (!may)
        wrong(when, sector, found);
    ledger->floor[sector] = found;
    ledger->since[sector] = ledger->latest[sector] + 1;
}

struct writer {
    blkalign_handle *handle;
    int number;
    uint64_t random;
    pthread_t thread;
};

/* What of its sectors this thread has written since its last flush. */
struct unflushed {
    int64_t sector[64];
    uint64_t stamp[64];
    int count;
};

static void flush(struct writer *writer, struct unflushed *unflushed)
{
    int i;

    if (blkalign_flush(writer->handle))
        wrong("flush fails", 0, 0);
    for (i = 0; i < unflushed->count; i++) {
        ledger->floor[unflushed->sector[i]] = unflushed->stamp[i];
        ledger->since[unflushed->sector[i]] = unflushed->stamp[i];
    }
    unflushed->count = 0;
    __atomic_add_fetch(&ledger->flushes, 1, __ATOMIC_RELAXED);
}

/* The first sector of a cluster that belongs to this thread. */
static int64_t own_place(struct writer *writer)
{
    int64_t clusters = __atomic_load_n(&frontier, __ATOMIC_RELAXED) /
                       (CLUSTER_SECTORS * WRITERS);
    int64_t turn = (int64_t)random_below(&writer->random, (uint64_t)clusters);

    return (turn * WRITERS + writer->number) * CLUSTER_SECTORS;
}

static void write_some(struct writer *writer, struct unflushed *unflushed)
{
    static __thread uint64_t data[RUN_MAX * WORDS];
    int64_t count = 1 + (int64_t)random_below(&writer->random, RUN_MAX);
    int64_t first = own_place(writer) +
                    (int64_t)random_below(&writer->random,
                                          (uint64_t)(CLUSTER_SECTORS -
                                                     count));
    uint64_t value = __atomic_add_fetch(&ledger->next_stamp, 1,
                                        __ATOMIC_RELAXED);
    int64_t i;

    for (i = 0; i < count; i++) {
        stamp(data + i * WORDS, first + i, value);
        ledger->latest[first + i] = value;
    }
    if (blkalign_pwrite(writer->handle, first * SECTOR, count * SECTOR, data,
                        0))
        wrong("write fails", first, 0);
    for (i = 0; i < count; i++) {
        unflushed->sector[unflushed->count] = first + i;
        unflushed->stamp[unflushed->count++] = value;
    }
    __atomic_add_fetch(&ledger->writes, 1, __ATOMIC_RELAXED);
}

/* Until the process is killed. */
static void *write_on(void *opaque)
{
    struct writer *writer = opaque;
    struct unflushed unflushed;
    uint64_t data[WORDS];

    unflushed.count = 0;
    for (;;) {
        write_some(writer, &unflushed);
        if (unflushed.count > 20)
            flush(writer, &unflushed);
        /* Copies on read, in some rounds. */
        if (blkalign_pread(writer->handle,
                           own_place(writer) * SECTOR, SECTOR, data, 0))
            wrong("read fails", 0, 0);
    }
    return NULL;
}

static blkalign_handle *open_top(blkalign_handle *backing, uint32_t flags)
{
    blkalign_open_options options =
        mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT |
                     BLKALIGN_O_BUFFERED_OK | BLKALIGN_O_LOCK);
    blkalign_overlay_options overlay = BLKALIGN_OVERLAY_OPTIONS_INIT;
    int64_t end = now_ms() + 10000 * run_slowness();
    blkalign_handle *handle;
    int ret;

    overlay.flags = flags;
    /* The kernel may still be busy with I/O of the one before. */
    while ((ret = blkalign_open_overlay(top_path, backing, &options, &overlay,
                                        &handle)) == -EAGAIN &&
           now_ms() < end)
        sleep_ms(5);
    if (ret) {
        snprintf(ledger->words, sizeof(ledger->words), "open: %s",
                 blkalign_errmsg());
        ledger->wrong = 1;
        _exit(1);
    }
    return handle;
}

static int64_t base_length(void *opaque)
{
    (void)opaque;
    return SECTORS * SECTOR;
}

static int base_read(void *opaque, int64_t offset, int64_t bytes,
                     const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)opaque, (void)flags;
    do
        usleep(READ_US);
    while (offset >= __atomic_load_n(&frontier, __ATOMIC_RELAXED) * SECTOR);
    return preadv(base_fd, iov, iovcnt, offset) == bytes ? 0 : -EIO;
}

static blkalign_handle *open_base(void)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_handle *handle;

    driver.max_transfer = CLUSTER;
    driver.getlength = base_length;
    driver.preadv = base_read;
    base_fd = open(base_path, O_RDONLY | O_CLOEXEC);
    if (base_fd < 0 || blkalign_open_driver(&driver, NULL, NULL, &handle))
        _exit(2);
    return handle;
}

static void look(blkalign_handle *handle, const char *when)
{
    static uint64_t all[SECTORS * WORDS];
    int64_t at, run = 0;

    if (blkalign_pread(handle, 0, sizeof(all), all, 0))
        wrong("read fails", 0, 0);
    for (at = 0; at < SECTORS; at++)
        check(all + at * WORDS, at, when);
    ledger->there = 0;
    for (at = 0; at < SECTORS * SECTOR; at += run)
        if (blkalign_overlay_status(handle, at, SECTORS * SECTOR - at,
                                    &run) == 1)
            ledger->there += (uint64_t)run;
}

/* When the last one that looked did so. */
static int is_full(void)
{
    return ledger->there == SECTORS * SECTOR;
}

/* What a process does until it is killed. */
static void live(int round, uint64_t seed)
{
    struct writer writers[WRITERS];
    blkalign_handle *base = open_base(), *handle = open_top(base, 0);
    static struct answer filled;
    int i;

    look(handle, "after a kill");
    __atomic_store_n(&frontier, (round + 1) * (SECTORS / (ROUNDS + 1)),
                     __ATOMIC_RELAXED);
    if (round % 2 && !is_full()) {
        /* Not before the look, which reads all. */
        if (blkalign_close(handle))
            wrong("close fails", 0, 0);
        handle = open_top(base, BLKALIGN_OVERLAY_COPY_ON_READ);
    }
    if (blkalign_overlay_fill(handle, answer_done, &filled) < 0)
        wrong("fill fails", 0, 0);
    for (i = 0; i < WRITERS; i++) {
        writers[i].handle = handle;
        writers[i].number = i;
        writers[i].random = seed + (uint64_t)(round * WRITERS + i);
        pthread_create(&writers[i].thread, NULL, write_on, &writers[i]);
    }
    __atomic_store_n(&ledger->looked, round + 1, __ATOMIC_RELAXED);
    for (;;)
        pause();
}

/* Lets a process live for a while, and kills it. */
static void run_and_kill(int round, uint64_t seed, int64_t ms)
{
    int64_t end = now_ms() + 20000 * run_slowness();
    int status = 0;
    pid_t child = fork();

    if (!child)
        live(round, seed);
    while (__atomic_load_n(&ledger->looked, __ATOMIC_RELAXED) <= round &&
           now_ms() < end)
        sleep_ms(2);
    sleep_ms(ms);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    ok(WIFSIGNALED(status) && ledger->looked > round && !ledger->wrong,
       "%s, killed after %llu writes, %llu flushes; %llu KiB were there %s",
       mode_words(), (unsigned long long)ledger->writes,
       (unsigned long long)ledger->flushes,
       (unsigned long long)ledger->there / 1024, ledger->words);
}

/* The last one fills it to the end. */
static void end(void)
{
    blkalign_handle *base = open_base(), *handle = open_top(base, 0);
    struct answer filled;

    memset(&filled, 0, sizeof(filled));
    filled.handle = handle;
    look(handle, "at the end");
    if (blkalign_overlay_fill(handle, answer_done, &filled) < 0 ||
        answer_wait(&filled))
        wrong("the last fill fails", 0, 0);
    if (blkalign_close(handle) || blkalign_close(base))
        wrong("close fails", 0, 0);
}

static void make_files(void)
{
    static uint64_t all[SECTORS * WORDS];
    blkalign_overlay_options overlay = BLKALIGN_OVERLAY_OPTIONS_INIT;
    int64_t at;
    FILE *base;

    if (!mkdtemp(directory))
        bail("mkdtemp: %s", strerror(errno));
    janitor_tell("dir", directory);
    snprintf(base_path, sizeof(base_path), "%s/base", directory);
    snprintf(top_path, sizeof(top_path), "%s/top", directory);
    for (at = 0; at < SECTORS; at++)
        stamp(all + at * WORDS, at, 0);
    base = fopen(base_path, "wb");
    if (!base || fwrite(all, sizeof(all), 1, base) != 1 || fclose(base))
        bail("%s: %s", base_path, strerror(errno));
    overlay.cluster_size = CLUSTER;
    if (blkalign_overlay_create(top_path, sizeof(all), &overlay))
        bail("create: %s", blkalign_errmsg());
}

static void check_image(void)
{
    static uint64_t all[SECTORS * WORDS];
    FILE *top = fopen(top_path, "rb");
    char map[80];
    int64_t at;

    if (!top || fread(all, sizeof(all), 1, top) != 1)
        bail("%s: %s", top_path, strerror(errno));
    fclose(top);
    for (at = 0; at < SECTORS; at++)
        check(all + at * WORDS, at, "in the image");
    snprintf(map, sizeof(map), "%s.map", top_path);
    is_int(access(map, F_OK), -1, "the map is gone");
}

int main(void)
{
    uint64_t seed, random;
    int round, status = 0;
    pid_t child;

    run_begin(100);
    seed = random = run_seed();
    ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ledger == MAP_FAILED)
        bail("mmap: %s", strerror(errno));
    make_files();
    for (round = 0; round < ROUNDS && !ledger->wrong && !is_full();
         round++) {
        run_and_kill(round, seed, 30 + (int64_t)random_below(&random, 100));
        mode_next();
    }
    ok(ledger->flushes > 0 && ledger->there > 0,
       "something was flushed, and something was copied");
    ok(round >= 4, "processes were killed in between, %d times", round);
    child = fork();
    if (!child) {
        end();
        _exit(0);
    }
    waitpid(child, &status, 0);
    ok(!status && !ledger->wrong, "the last one fills it to the end %s",
       ledger->words);
    check_image();
    ok(!ledger->wrong, "it is an ordinary image %s", ledger->words);
    return done_testing();
}
