/*
 * What direct I/O on a file or disk really needs, found by hand: reads and
 * writes at many offsets, from many addresses, with many lengths of elements,
 * each byte of the region compared after each. Uses no code of the library,
 * nor what the kernel says of alignment.
 *
 *     trial PATH BYTES [MEMORY SEGMENT]
 *
 * BYTES, a multiple of 128 KiB, from the path's start are overwritten. With
 * MEMORY and SEGMENT nothing is tried with less than these: on storage that
 * lies of its needs, less can destroy the kernel.
 *
 * Prints a line `true: request R memory M segment S`: the least power of two
 * of each with which, and with all greater ones, every trial was right (0:
 * with none of them); and before it a line `wrong: ...` for each value with
 * which I/O said that it had succeeded and had not. Exit status 1: cannot be
 * tried, and why.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    UNIT_MAX = 65536,           /* the greatest request that is looked for */
    REGION = 2 * UNIT_MAX,      /* one trial's I/O lies in such a part */
    FENCE = 4096                /* before and behind memory read into */
};

/* What became of trials with one value. */
enum verdict { RIGHT, REFUSED, WRONG };

struct shape {
    size_t request;             /* offset and length are multiples of it */
    size_t address;             /* memory begins that far after a page */
    size_t element;             /* the first two elements; 0: one element */
};

static int file;
static off_t region_count;
static unsigned char *memory, *model;
static uint64_t seed = 1;

static void leave(const char *format, ...)
{
    va_list words;

    va_start(words, format);
    fputs("trial: ", stdout);
    vprintf(format, words);
    putchar('\n');
    va_end(words);
    exit(1);
}

/* No byte is like that of a neighbour block, and none of them zero: a write
 * to another place, and one of zeros, show. */
static void fill(unsigned char *bytes, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        bytes[i] = (unsigned char)(seed >> 56) | 1;
    }
}

static void *pages(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        leave("no memory");
    return at;
}

/* I/O that every storage takes: whole, from a page's start. */
static void whole(bool write, unsigned char *at, off_t offset)
{
    ssize_t done = write ? pwrite(file, at, REGION, offset)
                         : pread(file, at, REGION, offset);

    if (done != REGION)
        leave("%s of %d bytes at %lld: %s", write ? "write" : "read", REGION,
              (long long)offset, done < 0 ? strerror(errno) : "short");
}

/* The vector of a shape: [E][E][rest], or one element. */
static int elements(const struct shape *shape, unsigned char *at,
                    size_t bytes, struct iovec *vector)
{
    int i, count = shape->element ? 3 : 1;

    for (i = 0; i < count; i++) {
        vector[i].iov_base = at;
        vector[i].iov_len = i == count - 1 ? bytes : shape->element;
        at += vector[i].iov_len;
        bytes -= vector[i].iov_len;
    }
    return count;
}

/* The guards around memory that was read into hold what they held. */
static bool guards_stand(const unsigned char *from, size_t bytes)
{
    size_t i;

    for (i = 0; i < FENCE / 2; i++) {
        if (from[-1 - (long)i] != 0xee || from[bytes + i] != 0xee)
            return false;
    }
    return true;
}

static enum verdict try_read(const struct shape *shape, off_t at,
                             size_t inside, size_t bytes)
{
    unsigned char *from = memory + FENCE + shape->address;
    struct iovec vector[3];
    int count = elements(shape, from, bytes, vector);
    ssize_t done;

    memset(memory, 0xee, REGION + 3 * FENCE);
    done = preadv(file, vector, count, at + (off_t)inside);
    if (done < 0)
        return REFUSED;
    if (done != (ssize_t)bytes || memcmp(from, model + inside, bytes) != 0 ||
        !guards_stand(from, bytes))
        return WRONG;
    return RIGHT;
}

/* After a refusal, too, all must be as it was. */
static enum verdict try_write(const struct shape *shape, off_t at,
                              size_t inside, size_t bytes)
{
    unsigned char *from = memory + FENCE + shape->address;
    struct iovec vector[3];
    int count = elements(shape, from, bytes, vector);
    enum verdict verdict = RIGHT;
    ssize_t done;

    fill(from, bytes);
    done = pwritev(file, vector, count, at + (off_t)inside);
    if (done < 0)
        verdict = REFUSED;
    else if (done != (ssize_t)bytes)
        verdict = WRONG;
    else
        memcpy(model + inside, from, bytes);
    whole(false, memory, at);
    if (memcmp(memory, model, REGION) != 0) {
        verdict = WRONG;
        memcpy(model, memory, REGION);
    }
    return verdict;
}

static enum verdict worse(enum verdict a, enum verdict b)
{
    return a > b ? a : b;
}

/* Several places and lengths of one shape; stops at the first refusal. */
static enum verdict try_shape(const struct shape *shape)
{
    size_t unit = shape->request, lengths[4], inside;
    size_t least = shape->element ? 2 * shape->element + 1 : 1;
    enum verdict verdict = RIGHT;
    int i;

    lengths[0] = unit;
    lengths[1] = 2 * unit;
    lengths[2] = unit < PAGE ? 8 * PAGE - unit : unit;
    lengths[3] = unit < 32768 ? 32768 : unit;
    for (i = 0; i < 4 && verdict == RIGHT; i++) {
        size_t bytes = lengths[i];
        off_t at = (off_t)(seed >> 40) % region_count * REGION;

        while (bytes < least)
            bytes += unit;
        whole(false, model, at);
        for (inside = 0; inside <= 3 * unit && verdict == RIGHT;
             inside += unit) {
            if (inside + bytes > REGION)
                break;
            verdict = worse(verdict, try_read(shape, at, inside, bytes));
            verdict = worse(verdict, try_write(shape, at, inside, bytes));
        }
    }
    return verdict;
}

/* Whether all is right with a shape; `name` and `value` say what is tried. */
static bool holds(const char *name, size_t value, const struct shape *shape)
{
    enum verdict verdict = try_shape(shape);

    if (verdict == WRONG)
        printf("wrong: %s %zu succeeds and is not done\n", name, value);
    fflush(stdout);
    return verdict == RIGHT;
}

/* Offsets and lengths that are multiples of it. 0: of nothing. */
static size_t least_request(void)
{
    size_t value, found = 0;

    for (value = UNIT_MAX; value; value /= 2) {
        struct shape shape = { value, 0, 0 };

        if (!holds("request", value, &shape))
            break;
        found = value;
    }
    return found;
}

/* An address that is a multiple of it and of nothing greater. */
static size_t least_memory(size_t request, size_t from)
{
    size_t value, found = PAGE;

    for (value = PAGE / 2; value && value >= from; value /= 2) {
        struct shape shape = { request, value, 0 };

        if (!holds("memory", value, &shape))
            break;
        found = value;
    }
    return found;
}

/* Elements that begin at multiples of their length, and no worse than memory
 * may be. */
static size_t least_segment(size_t request, size_t from)
{
    size_t value, found = request > PAGE ? request : PAGE;

    for (value = PAGE; value && value >= from; value /= 2) {
        struct shape shape = { request, 0, value };

        if (!holds("segment", value, &shape))
            break;
        found = value;
    }
    return found;
}

/* All of the region that is used gets data first: holes tell nothing. */
static void prepare(const char *path, const char *bytes)
{
    off_t at;

    file = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (file < 0)
        leave("no O_DIRECT: %s", strerror(errno));
    region_count = strtoll(bytes, NULL, 10) / REGION;
    if (region_count < 1)
        leave("too small");
    memory = pages(REGION + 3 * FENCE);
    model = pages(REGION);
    for (at = 0; at < region_count; at++) {
        fill(memory, REGION);
        whole(true, memory, at * REGION);
    }
}

int main(int argc, char **argv)
{
    size_t request, memory_least, segment_from;
    size_t memory_from = argc == 5 ? strtoul(argv[3], NULL, 10) : 1;

    if (argc != 3 && argc != 5)
        leave("PATH BYTES [MEMORY SEGMENT]");
    prepare(argv[1], argv[2]);
    request = least_request();
    if (!request)
        leave("not even %d bytes at a time", UNIT_MAX);
    memory_least = least_memory(request, memory_from);
    segment_from = argc == 5 ? strtoul(argv[4], NULL, 10) : 1;
    if (segment_from < memory_least)
        segment_from = memory_least;
    printf("true: request %zu memory %zu segment %zu\n", request,
           memory_least, least_segment(request, segment_from));
    return 0;
}
