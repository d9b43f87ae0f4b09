/*
 * --verify: is every byte what it should be?
 *
 * A write puts a stamp in each byte. The stamp follows from the position of
 * the byte and the seed of the run, so it does not matter which of several
 * writes came last. Before the run the region that the run touches is read by
 * ordinary means, not through the library. A byte that a request returns must
 * be the byte from before, or a stamp where the run writes. After the run the
 * whole region is read again: bytes that were written must be stamps, their
 * neighbours must be unchanged.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The region is held in memory, with a bit for each byte. */
#define REGION_BYTES_MAX (INT64_C(2) << 30)

enum { PIECE_BYTES = 1 << 20 };

struct content {
    int64_t start, end;         /* the region */
    uint64_t seed;
    unsigned char *before;
    unsigned char *written;     /* a bit for each byte; NULL: read-only run */
    unsigned char *piece;
    int fd;                     /* or, if negative, ... */
    struct nbd_reader *reader;
};

/* The stamps of 8 bytes at once; the lowest byte is the first. */
static uint64_t stamps_of(const struct content *content, int64_t word)
{
    uint64_t x = content->seed + (uint64_t)word * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static unsigned char stamp_of(const struct content *content, int64_t offset)
{
    return (unsigned char)(stamps_of(content, offset >> 3) >>
                           (offset & 7) * 8);
}

static bool is_written(const struct content *content, int64_t offset)
{
    int64_t bit = offset - content->start;

    return content->written &&
           (content->written[bit >> 3] & 1 << (bit & 7)) != 0;
}

void content_stamp(const struct content *content, unsigned char *to,
                   int64_t offset, int64_t bytes)
{
    int64_t at = offset, end = offset + bytes;

    while (at < end) {
        uint64_t stamps = stamps_of(content, at >> 3) >> (at & 7) * 8;

        do {
            *to++ = (unsigned char)stamps;
            stamps >>= 8;
            at++;
        } while (at < end && at & 7);
    }
}

int64_t content_damage(const struct content *content,
                       const unsigned char *got, int64_t offset,
                       int64_t bytes)
{
    const unsigned char *before = content->before + (offset - content->start);
    int64_t i;

    if (memcmp(got, before, (size_t)bytes) == 0)
        return -1;
    for (i = 0; i < bytes; i++) {
        if (got[i] != before[i] &&
            !(is_written(content, offset + i) &&
              got[i] == stamp_of(content, offset + i)))
            return offset + i;
    }
    return -1;
}

/* Replays all requests of the run. */
static void replay(struct run *run, void (*visit)(struct content *content,
                                                  struct aim aim,
                                                  int64_t bytes))
{
    unsigned i;

    for (i = 0; i < run->settings->threads; i++) {
        struct aims aims = run->submitters[i].aims;
        int64_t left = run->submitters[i].unsent;

        for (; left > 0; left--)
            visit(run->content, aims_next(&aims),
                  run->settings->request_bytes);
    }
}

static void widen(struct content *content, struct aim aim, int64_t bytes)
{
    if (aim.offset < content->start)
        content->start = aim.offset;
    if (aim.offset + bytes > content->end)
        content->end = aim.offset + bytes;
}

static void mark(struct content *content, struct aim aim, int64_t bytes)
{
    int64_t bit = aim.offset - content->start, end = bit + bytes;

    if (aim.read)
        return;
    while (bit < end) {
        if ((bit & 7) == 0 && end - bit >= 8) {
            content->written[bit >> 3] = 0xff;
            bit += 8;
        } else {
            content->written[bit >> 3] |= (unsigned char)(1 << (bit & 7));
            bit++;
        }
    }
}

/* Reads by ordinary means, not through the library, which is under test. */
static bool read_all(const struct run *run, unsigned char *to, int64_t offset,
                     int64_t bytes)
{
    if (run->content->reader)
        return nbd_reader_read(run->content->reader, to, offset, bytes);
    while (bytes > 0) {
        ssize_t got = pread(run->content->fd, to, (size_t)bytes, offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            complain("%s: reading %lld bytes at %lld to verify: %s",
                     run->settings->path, (long long)bytes, (long long)offset,
                     got < 0 ? strerror(errno) : "the file ended");
            return false;
        }
        to += got;
        offset += got;
        bytes -= got;
    }
    return true;
}

static bool make_room(struct run *run)
{
    struct content *content = run->content;
    int64_t bytes = content->end - content->start;

    if (bytes > REGION_BYTES_MAX) {
        complain("--verify keeps in memory what it compares, at most %lld "
                 "bytes; these requests spread over %lld",
                 (long long)REGION_BYTES_MAX, (long long)bytes);
        return false;
    }
    content->before = malloc((size_t)bytes);
    content->piece = malloc(PIECE_BYTES);
    if (run->settings->read_percent < 100)
        content->written = calloc((size_t)bytes / 8 + 1, 1);
    if (!content->before || !content->piece ||
        (run->settings->read_percent < 100 && !content->written)) {
        complain("not enough memory to verify %lld bytes", (long long)bytes);
        return false;
    }
    return true;
}

bool content_open(struct run *run)
{
    struct content *content = calloc(1, sizeof *content);

    if (!content) {
        complain("not enough memory to verify");
        return false;
    }
    run->content = content;
    content->seed = run->settings->seed;
    content->start = INT64_MAX;
    content->fd = -1;
    if (is_rbd_place(run->settings->path)) {
        complain("%s: --verify does not read images of Ceph",
                 run->settings->path);
        return false;
    }
    if (is_nbd_uri(run->settings->path))
        content->reader = nbd_reader_open(run->settings->path);
    else
        content->fd = open(run->settings->path, O_RDONLY | O_CLOEXEC);
    if (is_nbd_uri(run->settings->path) && !content->reader)
        return false;
    if (!content->reader && content->fd < 0) {
        complain("%s: cannot open to verify: %s", run->settings->path,
                 strerror(errno));
        return false;
    }
    replay(run, widen);
    if (!make_room(run))
        return false;
    if (content->written)
        replay(run, mark);
    posix_fadvise(content->fd, 0, 0, POSIX_FADV_DONTNEED);
    return read_all(run, content->before, content->start,
                    content->end - content->start);
}

bool content_check(struct run *run)
{
    struct content *content = run->content;
    int64_t at = content->start, damaged = 0, first = -1;

    posix_fadvise(content->fd, 0, 0, POSIX_FADV_DONTNEED);
    while (at < content->end) {
        int64_t bytes = content->end - at, i;

        if (bytes > PIECE_BYTES)
            bytes = PIECE_BYTES;
        if (!read_all(run, content->piece, at, bytes))
            return false;
        for (i = 0; i < bytes; i++, at++) {
            unsigned char wanted = is_written(content, at) ?
                stamp_of(content, at) : content->before[at - content->start];

            if (content->piece[i] == wanted)
                continue;
            if (damaged++ == 0)
                first = at;
        }
    }
    if (damaged)
        complain("%s: damage: %lld bytes are wrong, the first at %lld, "
                 "where the run %s", run->settings->path, (long long)damaged,
                 (long long)first, is_written(content, first) ?
                 "wrote" : "did not write");
    return damaged == 0;
}

void content_close(struct content *content)
{
    if (!content)
        return;
    if (content->fd >= 0)
        close(content->fd);
    nbd_reader_close(content->reader);
    free(content->before);
    free(content->written);
    free(content->piece);
    free(content);
}
