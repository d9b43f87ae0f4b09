/*
 * The yardstick for callbacks on threads: a bare io_uring loop with a waiting
 * thread, by system calls alone, without a library.
 *
 * One thread submits. Another thread sleeps in io_uring_enter until a request
 * has completed. It notes the time, where a library would call back, and wakes
 * the first thread by a futex, once for all completions that it found. With
 * --refill callback the waiting thread submits the next requests itself, by
 * the same system call that waits, and the first thread only starts it: no
 * loop has less to do.
 *
 * The program prints one JSON object, whose members mean the same as those of
 * blkalign-bench. Divisions: usage, the ring, slots, the two threads, main.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "measure.h"

#include <care.h>
#include <text.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, DEPTH_MAX = 4096 };

/* ---- usage ---- */

static const char usage_line[] =
    "Usage: yardstick [-w] [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP]\n"
    "                 [--refill thread|callback] [--latency]\n"
    "                 [--pattern BYTE] [--force] FILE\n";

struct settings {
    const char *path;
    int64_t count, request_bytes, step_bytes;
    unsigned depth;
    unsigned char pattern;
    bool write, refill_callback, latency, force;
};

static void fail(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

static void fail(const char *format, ...)
{
    char words[4096];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    fputs("yardstick: ", stderr);
    put_text(stderr, words);
    putc('\n', stderr);
    _exit(EXIT_FAILED);
}

static int64_t number(int64_t least, int64_t most)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(optarg, &end, 0);
    if (errno || end == optarg || *end || value < least || value > most) {
        fprintf(stderr, "yardstick: '%s' is not from %lld to %lld\n%s",
                optarg, (long long)least, (long long)most, usage_line);
        exit(EXIT_USAGE);
    }
    return value;
}

static bool take_option(int option, struct settings *settings)
{
    switch (option) {
    case 'c':
        settings->count = number(1, INT64_MAX / 2);
        return true;
    case 'd':
        settings->depth = (unsigned)number(1, DEPTH_MAX);
        return true;
    case 's':
        settings->request_bytes = number(512, 1 << 24);
        return true;
    case 'S':
        settings->step_bytes = number(0, INT64_MAX / 2);
        return true;
    case 'w':
        return settings->write = true;
    case 'l':
        return settings->latency = true;
    case 'F':
        return settings->force = true;
    case 'p':
        settings->pattern = (unsigned char)number(0, UCHAR_MAX);
        return true;
    case 'r':
        settings->refill_callback = strcmp(optarg, "callback") == 0;
        return settings->refill_callback || strcmp(optarg, "thread") == 0;
    default:
        return false;
    }
}

static void parse_options(int argc, char **argv, struct settings *settings)
{
    static const struct option long_options[] = {
        { "refill", required_argument, NULL, 'r' },
        { "pattern", required_argument, NULL, 'p' },
        { "latency", no_argument, NULL, 'l' },
        { "force", no_argument, NULL, 'F' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "c:d:s:S:w", long_options,
                                 NULL)) != -1) {
        if (!take_option(option, settings)) {
            fputs(usage_line, stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind != argc - 1) {
        fputs(usage_line, stderr);
        exit(EXIT_USAGE);
    }
    settings->path = argv[optind];
    if (!settings->step_bytes)
        settings->step_bytes = settings->request_bytes;
}

/* ---- the ring ---- */

struct ring {
    int fd;
    unsigned *sq_tail, *sq_array, sq_mask;
    unsigned *cq_head, *cq_tail, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static void *map_of(int fd, size_t bytes, off_t what)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, fd, what);

    if (memory == MAP_FAILED)
        fail("mmap of the ring: %s", strerror(errno));
    return memory;
}

static unsigned *word_at(void *memory, unsigned offset)
{
    return (unsigned *)(void *)((char *)memory + offset);
}

static void ring_open(struct ring *ring, unsigned depth)
{
    struct io_uring_params params;
    size_t sq_bytes, cq_bytes;
    char *sq, *cq;

    memset(&params, 0, sizeof params);
    ring->fd = (int)syscall(SYS_io_uring_setup, depth, &params);
    if (ring->fd < 0)
        fail("io_uring_setup: %s", strerror(errno));
    sq_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    cq_bytes = params.cq_off.cqes +
               params.cq_entries * sizeof(struct io_uring_cqe);
    sq = map_of(ring->fd, sq_bytes, IORING_OFF_SQ_RING);
    cq = map_of(ring->fd, cq_bytes, IORING_OFF_CQ_RING);
    ring->sqes = map_of(ring->fd, params.sq_entries *
                        sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    ring->sq_tail = word_at(sq, params.sq_off.tail);
    ring->sq_mask = *word_at(sq, params.sq_off.ring_mask);
    ring->sq_array = word_at(sq, params.sq_off.array);
    ring->cq_head = word_at(cq, params.cq_off.head);
    ring->cq_tail = word_at(cq, params.cq_off.tail);
    ring->cq_mask = *word_at(cq, params.cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)(void *)(cq + params.cq_off.cqes);
}

static void ring_enter(const struct ring *ring, unsigned submit, bool wait)
{
    long taken;

    do {
        taken = syscall(SYS_io_uring_enter, ring->fd, submit, wait ? 1 : 0,
                        wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
        if (taken > 0)
            submit -= (unsigned)taken;
        /* A call that is interrupted after it has submitted does not wait.
         * That does no harm: a thread that finds no completion calls again. */
        if (taken < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
            fail("io_uring_enter: %s", strerror(errno));
    } while (submit);
}

/* ---- slots ---- */

struct bench {
    const struct settings *settings;
    struct ring ring;
    int file;
    unsigned char *memory;
    int64_t offset, last;       /* of the next request; of the last possible */
    int64_t unsent;             /* of the thread that submits */
    int64_t left;               /* of the waiting thread */
    uint64_t *started_ns;       /* of each slot */
    struct latency latency;
    /* Slots that the waiting thread gives back, never more than the depth.
     * The submitting thread sleeps on `given`. */
    unsigned *back;
    unsigned given, taken;
    unsigned asleep;
    uint64_t begin_ns, end_ns;
};

/* Enters a request into the ring, without submitting it. */
static void prepare(struct bench *bench, unsigned slot)
{
    const struct settings *settings = bench->settings;
    struct ring *ring = &bench->ring;
    unsigned tail = *ring->sq_tail, place = tail & ring->sq_mask;
    struct io_uring_sqe *sqe = &ring->sqes[place];
    unsigned char *memory = bench->memory +
                            slot * (size_t)settings->request_bytes;

    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = settings->write ? IORING_OP_WRITE : IORING_OP_READ;
    sqe->fd = bench->file;
    sqe->addr = (uint64_t)(uintptr_t)memory;
    sqe->len = (unsigned)settings->request_bytes;
    sqe->off = (uint64_t)bench->offset;
    sqe->user_data = slot;
    ring->sq_array[place] = place;
    bench->offset += settings->step_bytes;
    if (bench->offset > bench->last)
        bench->offset = 0;
    bench->unsent--;
    if (settings->latency)
        bench->started_ns[slot] = clock_ns();
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

/* Takes up to `most` completed requests into `slots`. */
static unsigned reap(struct bench *bench, unsigned *slots, unsigned most)
{
    struct ring *ring = &bench->ring;
    unsigned head = *ring->cq_head, found = 0;
    unsigned tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    uint64_t now = bench->settings->latency && head != tail ? clock_ns() : 0;

    for (; head != tail && found < most; head++) {
        const struct io_uring_cqe *cqe = &ring->cqes[head & ring->cq_mask];

        if (cqe->res != bench->settings->request_bytes)
            fail("%s: %s", bench->settings->path, cqe->res < 0 ?
                 strerror(-cqe->res) : "a request came back short");
        slots[found] = (unsigned)cqe->user_data;
        if (now)
            latency_add(&bench->latency,
                        now - bench->started_ns[slots[found]]);
        found++;
    }
    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
    bench->left -= found;
    return found;
}

/* ---- the two threads ---- */

static void futex(unsigned *word, int operation, unsigned value)
{
    syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL,
            NULL, 0);
}

static void give_back(struct bench *bench, const unsigned *slots,
                      unsigned found)
{
    unsigned given = bench->given, i;

    for (i = 0; i < found; i++, given++)
        bench->back[given % bench->settings->depth] = slots[i];
    __atomic_store_n(&bench->given, given, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&bench->asleep, __ATOMIC_SEQ_CST))
        futex(&bench->given, FUTEX_WAKE, 1);
}

static void *wait_loop(void *opaque)
{
    struct bench *bench = opaque;
    unsigned slots[DEPTH_MAX], found, i;

    while (bench->left > 0) {
        found = reap(bench, slots, DEPTH_MAX);
        if (found && !bench->settings->refill_callback)
            give_back(bench, slots, found);
        if (!bench->settings->refill_callback) {
            if (!found)
                ring_enter(&bench->ring, 0, true);
            continue;
        }
        for (i = 0; i < found && bench->unsent > 0; i++)
            prepare(bench, slots[i]);
        if (bench->left > 0)
            ring_enter(&bench->ring, found ? i : 0, true);
    }
    bench->end_ns = clock_ns();
    return NULL;
}

/* Sleeps until slots are back, and submits with them. */
static void submit_loop(struct bench *bench)
{
    unsigned depth = bench->settings->depth, given, sent;

    while (bench->unsent > 0) {
        given = __atomic_load_n(&bench->given, __ATOMIC_ACQUIRE);
        while (given == bench->taken) {
            __atomic_store_n(&bench->asleep, 1, __ATOMIC_SEQ_CST);
            given = __atomic_load_n(&bench->given, __ATOMIC_SEQ_CST);
            if (given == bench->taken)
                futex(&bench->given, FUTEX_WAIT, given);
            __atomic_store_n(&bench->asleep, 0, __ATOMIC_RELAXED);
            given = __atomic_load_n(&bench->given, __ATOMIC_ACQUIRE);
        }
        for (sent = 0; bench->taken != given && bench->unsent > 0; sent++)
            prepare(bench, bench->back[bench->taken++ % depth]);
        ring_enter(&bench->ring, sent, false);
    }
}

/* ---- main ---- */

static void bench_open(struct bench *bench)
{
    const struct settings *settings = bench->settings;
    size_t bytes = (size_t)settings->request_bytes * settings->depth;
    void *memory = NULL;
    char why[96];
    int64_t length;

    if (settings->write && !settings->force &&
        care_in_use(settings->path, why, sizeof why))
        fail("%s %s: --force writes anyway", settings->path, why);
    bench->file = open(settings->path, O_DIRECT | O_CLOEXEC |
                       (settings->write ? O_RDWR : O_RDONLY));
    if (bench->file < 0)
        fail("%s: %s", settings->path, strerror(errno));
    length = lseek(bench->file, 0, SEEK_END);
    if (length < settings->request_bytes)
        fail("%s: shorter than a request", settings->path);
    bench->last = length - settings->request_bytes;
    bench->unsent = bench->left = settings->count;
    bench->back = calloc(settings->depth, sizeof *bench->back);
    bench->started_ns = calloc(settings->depth, sizeof *bench->started_ns);
    if (posix_memalign(&memory, 4096, bytes) || !bench->back ||
        !bench->started_ns)
        fail("not enough memory");
    bench->memory = memory;
    memset(memory, settings->pattern, bytes);
    ring_open(&bench->ring, settings->depth);
}

static void report(const struct bench *bench, const struct processor *used)
{
    const struct settings *settings = bench->settings;
    double seconds = (double)(bench->end_ns - bench->begin_ns) / 1e9;

    puts("{");
    json_path(settings->path, "  ");
    printf(",\n  \"count\": %lld", (long long)settings->count);
    printf(",\n  \"depth\": %u", settings->depth);
    printf(",\n  \"request_bytes\": %lld", (long long)settings->request_bytes);
    printf(",\n  \"step_bytes\": %lld", (long long)settings->step_bytes);
    printf(",\n  \"read_percent\": %d", settings->write ? 0 : 100);
    printf(",\n  \"refill\": \"%s\"",
           settings->refill_callback ? "callback" : "thread");
    printf(",\n  \"seconds\": %.6f", seconds);
    printf(",\n  \"requests_per_second\": %.1f",
           (double)settings->count / seconds);
    processor_json(used, (double)settings->count);
    if (settings->latency)
        latency_json(&bench->latency);
    puts("\n}");
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .count = 75000, .depth = 1, .request_bytes = 4096,
    };
    static struct bench bench;
    struct processor before, after;
    pthread_t waiting;
    unsigned first, i;

    care_descriptors();
    parse_options(argc, argv, &settings);
    bench.settings = &settings;
    bench_open(&bench);
    first = settings.depth;
    if ((int64_t)first > settings.count)
        first = (unsigned)settings.count;
    before = processor_now();
    bench.begin_ns = clock_ns();
    for (i = 0; i < first; i++)
        prepare(&bench, i);
    ring_enter(&bench.ring, first, false);
    if (pthread_create(&waiting, NULL, wait_loop, &bench))
        fail("cannot start a thread");
    if (!settings.refill_callback)
        submit_loop(&bench);
    pthread_join(waiting, NULL);
    after = processor_now();
    after.user -= before.user;
    after.system -= before.system;
    report(&bench, &after);
    return fflush(stdout) || ferror(stdout) ? EXIT_FAILED : 0;
}
