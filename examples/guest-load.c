/* guest-load PATH COPY: eight CPUs of a guest, each with a queue of its own,
 * write and read 512-byte sectors of PATH. COPY begins with the same bytes and
 * gets the same writes.        SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _XOPEN_SOURCE 700
#include <blkalign.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include "care.h"
#include "show.h"

enum { CPUS = 8, SECTOR = 512, BATCH = 8 * SECTOR, ROUNDS = 1500 };
static blkalign_handle *disk, *queues[CPUS];
static char *copy;

/* A call that fails returns -errno, and blkalign_errmsg() describes it. */
static void check(int64_t ret)
{
    if (ret < 0)
        stop(blkalign_errmsg());
}

/* The library calls this on a thread of its own, once for each request. */
static void done(void *opaque, int ret)
{
    (void)opaque;                       /* a hypervisor would pass ret on */
    check(ret);
}

static void submit(blkalign_handle *queue, char *memory, int64_t at, int dice)
{
    struct iovec iov = { memory, SECTOR };

    if (dice & 1) {
        memcpy(copy + at, memset(memory, dice >> 1, SECTOR), SECTOR);
        check(blkalign_aio_pwritev(queue, at, &iov, 1, 0, done, NULL));
    } else {
        check(blkalign_aio_preadv(queue, at, &iov, 1, 0, done, NULL));
    }
}

/* Eight neighbouring sectors at once; two CPUs share a block of 4096. */
static void *run_cpu(void *opaque)
{
    blkalign_handle **queue = opaque;
    int number = (int)(queue - queues), round, i;
    int64_t places = blkalign_getlength(*queue) / (CPUS * BATCH) - 1;
    char *memory = blkalign_memalign(*queue, BATCH);
    unsigned seed = (unsigned)number;

    check(memory == NULL ? -1 : 0);
    for (round = 1; round <= ROUNDS; round++) {
        int64_t place = round % 2 ? 0 : rand_r(&seed) % places;
        int64_t at = (place * CPUS + number) * BATCH + BATCH / 2;

        for (i = 0; i < BATCH; i += SECTOR)
            submit(*queue, memory + i, at + i, rand_r(&seed));
        check(blkalign_drain(*queue));  /* every callback has returned */
        if (memcmp(memory, copy + at, BATCH) != 0)
            stop("PATH and COPY differ");
        show_progress(number, round, ROUNDS);
    }
    blkalign_free(memory);
    return NULL;
}

int main(int argc, char **argv)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    pthread_t threads[CPUS];
    int64_t end;
    int i, fd;

    if (argc != 3)
        stop("usage: guest-load PATH COPY");
    take_care(argv[1]);
    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT;
    check(blkalign_open(argv[1], &options, &disk));
    end = blkalign_getlength(disk);
    fd = open(argv[2], O_RDWR);
    copy = mmap(NULL, (size_t)end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (copy == MAP_FAILED || posix_fallocate(fd, 0, end) != 0 ||
        end < 2 * CPUS * BATCH)
        stop("COPY cannot be written, or PATH is too short");
    check(blkalign_pwrite(disk, end - 7, 7, "the end", 0));
    memcpy(copy + end - 7, "the end", 7);
    for (i = 0; i < CPUS; i++) {
        check(blkalign_dup(disk, &options, &queues[i]));
        if (pthread_create(&threads[i], NULL, run_cpu, &queues[i]) != 0)
            stop("no thread for a CPU");
    }
    for (i = 0; i < CPUS; i++)
        pthread_join(threads[i], NULL);
    check(blkalign_flush(disk));        /* what all queues wrote */
    show_stats(queues, CPUS);
    for (i = 0; i < CPUS; i++)
        check(blkalign_close(queues[i]));
    return blkalign_close(disk);
}
