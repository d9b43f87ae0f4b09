/*
 * Many small writes whose right result is known without anybody's memory of
 * them: for a guest that is killed, or whose disk is.
 *
 *     load fill DISK              every sector as it is before the first write
 *     load run DISK ROUNDS        seven threads write; says what is safe
 *     load verify DISK ROUNDS     after a run that got to its end
 *     load check DISK [CONSOLE]   after one that did not, as told there
 *
 * Thread t writes sectors t, t + 8, t + 16 and so on, one each round, and
 * flushes now and then; so all eight sectors of a block are written at once
 * but one, which is never written. What a sector holds follows from its
 * number and the round; which sector a round writes, from thread and round.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512
#define SECTORS 4096
#define IN_BLOCK 8
#define THREADS 7
#define FLUSH_EVERY 8
/* Rounds that a thread may be ahead of what the console had of it. */
#define AHEAD 4096

struct thread {
    pthread_t id;
    int fd;
    unsigned number;
    unsigned rounds;
    int error;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdU;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53U;
    return x ^ x >> 33;
}

/* Round 0 is what was there before. */
static void contents(unsigned sector, unsigned round, uint64_t *words)
{
    uint64_t seed = (uint64_t)sector << 32 | round;
    unsigned i;

    words[0] = seed;
    for (i = 1; i < SECTOR / sizeof(*words); i++)
        words[i] = mix(seed * 64 + i);
}

static unsigned written_by(unsigned thread, unsigned round)
{
    uint64_t dice = mix((uint64_t)thread << 32 | round);

    /* Every other round in a few blocks that all threads use. */
    dice %= round % 2 ? SECTORS / IN_BLOCK : 4;
    return (unsigned)dice * IN_BLOCK + thread;
}

static int fill(int fd)
{
    uint64_t *all = malloc((size_t)SECTOR * SECTORS);
    unsigned i;
    int ret = 1;

    if (all == NULL)
        return 1;
    for (i = 0; i < SECTORS; i++)
        contents(i, 0, all + (size_t)i * SECTOR / sizeof(*all));
    if (pwrite(fd, all, (size_t)SECTOR * SECTORS, 0) == SECTOR * SECTORS)
        ret = fsync(fd) < 0;
    free(all);
    return ret;
}

static void *run_thread(void *opaque)
{
    struct thread *thread = opaque;
    unsigned round, sector;
    uint64_t *words;

    if (posix_memalign((void **)&words, SECTOR, SECTOR) != 0)
        abort();
    for (round = 1; round <= thread->rounds && !thread->error; round++) {
        sector = written_by(thread->number, round);
        contents(sector, round, words);
        if (pwrite(thread->fd, words, SECTOR, (off_t)sector * SECTOR) !=
            SECTOR)
            thread->error = errno;
        if (round % FLUSH_EVERY != 0 && round != thread->rounds)
            continue;
        if (fdatasync(thread->fd) < 0)
            thread->error = errno;
        else if (!thread->error)
            printf("FLUSHED %u %u\n", thread->number, round);
    }
    free(words);
    return NULL;
}

static int run(int fd, unsigned rounds)
{
    struct thread threads[THREADS];
    unsigned i;
    int ret = 0;

    for (i = 0; i < THREADS; i++) {
        threads[i].fd = fd;
        threads[i].number = i;
        threads[i].rounds = rounds;
        threads[i].error = 0;
        if (pthread_create(&threads[i].id, NULL, run_thread, &threads[i]))
            abort();
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        if (threads[i].error) {
            printf("thread %u: %s\n", i, strerror(threads[i].error));
            ret = 1;
        }
    }
    return ret;
}

/* What the console of the guest says is safe, by thread. */
static int read_console(const char *path, unsigned *flushed)
{
    FILE *file = fopen(path, "r");
    char line[256];
    unsigned thread, round;

    if (file == NULL)
        return -1;
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "FLUSHED %u %u", &thread, &round) == 2 &&
            thread < THREADS && round > flushed[thread])
            flushed[thread] = round;
    fclose(file);
    return 0;
}

/* Whether `words` is what a sector may hold: what the last round that is
 * safe left there, or what one after it may have. */
static bool may_be(unsigned sector, const uint64_t *words, unsigned flushed,
                   unsigned ahead)
{
    uint64_t right[SECTOR / sizeof(uint64_t)];
    unsigned thread = sector % IN_BLOCK, round, last = 0;
    unsigned found = (unsigned)words[0];

    for (round = 1; thread < THREADS && round <= flushed; round++)
        if (written_by(thread, round) == sector)
            last = round;
    contents(sector, found, right);
    if (memcmp(words, right, SECTOR) != 0)
        return false;
    if (found == last)
        return true;
    return thread < THREADS && found > flushed && found <= flushed + ahead &&
           written_by(thread, found) == sector;
}

static int check(int fd, const unsigned *flushed, unsigned ahead)
{
    uint64_t words[SECTOR / sizeof(uint64_t)];
    unsigned sector, thread, wrong = 0, newer = 0;

    for (sector = 0; sector < SECTORS; sector++) {
        thread = sector % IN_BLOCK;
        if (pread(fd, words, SECTOR, (off_t)sector * SECTOR) != SECTOR) {
            printf("sector %u cannot be read: %s\n", sector, strerror(errno));
            return 1;
        }
        if (!may_be(sector, words, thread < THREADS ? flushed[thread] : 0,
                    ahead) && wrong++ < 10)
            printf("sector %u holds sector %" PRIu64 " of round %" PRIu64
                   "; safe is round %u\n", sector, words[0] >> 32,
                   words[0] & 0xffffffff,
                   thread < THREADS ? flushed[thread] : 0);
        newer += thread < THREADS && (unsigned)words[0] > flushed[thread];
    }
    printf("%u sectors wrong, %u newer than what was safe\n", wrong, newer);
    return wrong != 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    bool running = strcmp(what, "run") == 0;
    unsigned flushed[THREADS] = { 0 }, rounds, i;
    int fd;

    setvbuf(stdout, NULL, _IOLBF, 0);
    fd = argc > 2 ? open(argv[2], O_RDWR | (running ? O_DIRECT : 0)) : -1;
    if (fd < 0) {
        fprintf(stderr, "usage: load fill|run|verify|check DISK [...]\n");
        return 2;
    }
    rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    if (running)
        return run(fd, rounds);
    if (strcmp(what, "fill") == 0)
        return fill(fd);
    if (strcmp(what, "verify") == 0) {
        for (i = 0; i < THREADS; i++)
            flushed[i] = rounds;
        return check(fd, flushed, 0);
    }
    if (argc > 3 && read_console(argv[3], flushed) < 0)
        return 2;
    return check(fd, flushed, AHEAD);
}
