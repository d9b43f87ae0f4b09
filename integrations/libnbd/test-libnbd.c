/*
 * The NBD driver on nbdkit: bytes, limits, flags, errors. TAP, for prove(1).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "test-server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned char model[DISK_BYTES];

/* Is the model what another client reads? */
static bool same_elsewhere(void)
{
    FILE *copy = fopen(in_stage("model"), "w");

    if (!copy || fwrite(model, 1, sizeof model, copy) != sizeof model ||
        fclose(copy))
        bail("cannot write the model");
    return shell("nbdcopy '%s' '%s' && cmp '%s' '%s'", server_uri(),
                 in_stage("copied"), in_stage("copied"),
                 in_stage("model")) == 0;
}

static void done(void *opaque, int result)
{
    if (result < 0)
        __atomic_store_n((int *)opaque, result, __ATOMIC_RELAXED);
}

/* Writes of any size, many at once; those of a round do not overlap. */
static int write_at_random(blkalign_handle *disk, int rounds)
{
    static unsigned char memory[64][20000];
    struct iovec iov[64];
    int failure = 0, round, i;
    unsigned seed = 1;

    for (round = 0; round < rounds; round++) {
        for (i = 0; i < 64; i++) {
            size_t slice = DISK_BYTES / 64;
            size_t bytes = 1 + (size_t)rand_r(&seed) %
                           (i % 2 ? 700 : sizeof memory[0]);
            size_t at = (size_t)i * slice +
                        (size_t)rand_r(&seed) % (slice - bytes);

            /* Neighbours share the block in which their slices meet. */
            if (round % 4 == 0)
                at = (size_t)i * slice + (i % 2 ? 0 : slice - bytes);
            memset(memory[i], rand_r(&seed), bytes);
            memcpy(model + at, memory[i], bytes);
            iov[i].iov_base = memory[i];
            iov[i].iov_len = bytes;
            if (blkalign_aio_pwritev(disk, (int64_t)at, &iov[i], 1,
                                     i % 8 ? 0 : BLKALIGN_REQ_FUA, done,
                                     &failure) < 0)
                return -EINVAL;
        }
        blkalign_drain(disk);
    }
    return failure;
}

static void bytes_arrive(void)
{
    static unsigned char got[DISK_BYTES];
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    struct iovec pieces[3];
    blkalign_handle *disk;

    memset(model, 0, sizeof model);
    server_start("");
    disk = open_rw(NULL);
    blkalign_get_limits(disk, &limits);
    is_int(limits.request_alignment, BLOCK,
           "the server's smallest block is the alignment");
    is_int(blkalign_getlength(disk), DISK_BYTES, "the length is the export's");
    is_int(write_at_random(disk, 40), 0,
           "writes of any size go to a server that refuses them");
    is_int(blkalign_flush(disk), 0, "a flush succeeds");
    ok(same_elsewhere(), "another client reads what was written");

    pieces[0].iov_base = memset(model + 100000, 'a', 4096);
    pieces[0].iov_len = 4096;
    pieces[1].iov_base = memset(model + 104096, 'b', 100);
    pieces[1].iov_len = 100;
    pieces[2].iov_base = memset(model + 104196, 'c', 300000);
    pieces[2].iov_len = 300000;
    is_int(blkalign_pwritev(disk, 100000, pieces, 3, 0), 0,
           "a vector of odd pieces is written");
    is_int(blkalign_pwrite_zeroes(disk, 700001, 200000, 0), 0,
           "zeros with edges inside blocks are written");
    memset(model + 700001, 0, 200000);
    pieces[0].iov_base = got;
    pieces[0].iov_len = 8192;
    pieces[1].iov_base = got + 8192;
    pieces[1].iov_len = DISK_BYTES - 8192 - 1;
    pieces[2].iov_base = got + DISK_BYTES - 1;
    pieces[2].iov_len = 1;
    is_int(blkalign_preadv(disk, 0, pieces, 3, 0), 0,
           "all of it is read at once");
    ok(memcmp(got, model, sizeof model) == 0, "and it is right");
    ok(same_elsewhere(), "so it is for another client");
    is_int(blkalign_close(disk), 0, "close");
    server_stop();
}

static void errors_come_back(void)
{
    blkalign_handle *disk;
    char byte = 'x';

    server_start("--filter=blocksize-policy --filter=error memory 8M "
                 "blocksize-minimum=4096 blocksize-error-policy=error "
                 "error-pread=EIO error-pread-rate=100% error-pread-file=bad "
                 "error-pwrite=ENOSPC error-pwrite-rate=100% "
                 "error-pwrite-file=full error-zero=EPERM "
                 "error-zero-rate=100% error-zero-file=bad");
    disk = open_rw(NULL);
    is_int(blkalign_pwrite(disk, 5, 1, &byte, 0), 0, "a byte is written");
    shell("touch '%s'", in_stage("bad"));
    is_int(blkalign_pwrite(disk, 6, 1, &byte, 0), -EIO,
           "an edge that cannot be read is the write's error");
    is_int(blkalign_pwrite_zeroes(disk, 0, BLOCK, 0), -EPERM,
           "the server's errno of zeros is ours");
    shell("rm '%s'; touch '%s'", in_stage("bad"), in_stage("full"));
    is_int(blkalign_pwrite(disk, 6, 1, &byte, 0), -ENOSPC,
           "the server's errno is ours");
    shell("rm '%s'", in_stage("full"));
    is_int(blkalign_pread(disk, 6, 1, &byte, 0), 0, "afterwards all works");
    is_int(byte, 0, "and nothing was written");
    is_int(blkalign_flush(disk), 0, "nor is a flush a failure");
    blkalign_close(disk);
    server_stop();
}

/* What reaches the server, by nbdkit's log. */
static void flags_arrive(const char *fua_mode, const char *writes,
                         int flushes)
{
    char arguments[512], block[BLOCK] = "a block";
    blkalign_handle *disk;

    snprintf(arguments, sizeof arguments,
             "--filter=blocksize-policy --filter=log --filter=fua memory 8M "
             "blocksize-minimum=4096 logfile=log %s", fua_mode);
    unlink(in_stage("log"));
    server_start(arguments);
    disk = open_rw(NULL);
    is_int(blkalign_pwrite(disk, 0, BLOCK, block, BLKALIGN_REQ_FUA), 0,
           "FUA on a server with: %s", *fua_mode ? fua_mode : "no FUA");
    is_int(lines_with("log", writes), 1, "one write has the flags %s",
           writes);
    is_int(lines_with("log", " Flush id="), flushes, "flushes: %d", flushes);
    is_int(blkalign_pwrite_zeroes(disk, 0, BLOCK, 0), 0, "zeros");
    is_int(lines_with("log", "Zero id=.* trim=0 fua=0 fast=0"), 1,
           "zeros may not become a hole unless asked");
    is_int(blkalign_pwrite_zeroes(disk, 0, BLOCK, BLKALIGN_REQ_MAY_UNMAP), 0,
           "zeros that may unmap");
    is_int(lines_with("log", "Zero id=.* trim=1 fua=0 fast=0"), 1,
           "they may become one if asked");
    is_int(blkalign_pwrite_zeroes(disk, 0, BLOCK, BLKALIGN_REQ_NO_FALLBACK),
           0, "zeros that must be fast");
    is_int(lines_with("log", "Zero id=.* fast=1"), 1,
           "the server is told that they must");
    is_int(blkalign_pdiscard(disk, BLOCK, BLOCK), 0, "a discard");
    is_int(lines_with("log", "Trim id=.* offset=0x1000 count=0x1000"), 1,
           "is a trim to the server");
    blkalign_close(disk);
    server_stop();
}

/* Requests that each take so long overlap. */
static void delays_overlap(const char *mode, int connections)
{
    char arguments[512], pattern[80];
    struct iovec iov = { model, BLOCK };
    blkalign_handle *disk;
    int failure = 0, i;
    double started;

    snprintf(arguments, sizeof arguments,
             "--filter=multi-conn --filter=log --filter=delay memory 8M "
             "multi-conn-mode=%s delay-read=200ms logfile=log", mode);
    unlink(in_stage("log"));
    server_start(arguments);
    disk = open_rw(NULL);
    started = seconds();
    for (i = 0; i < 12; i++)
        blkalign_aio_preadv(disk, i * BLOCK, &iov, 1, 0, done, &failure);
    blkalign_drain(disk);
    is_int(failure, 0, "twelve reads that take 200 ms each succeed");
    ok(seconds() - started < 2.3, "and overlap: %.1f s",
       seconds() - started);
    for (i = 1; i <= 4; i++) {
        snprintf(pattern, sizeof pattern, "connection=%d Read", i);
        ok((lines_with("log", pattern) > 0) == (i <= connections),
           "multi-conn %s: connection %d is %s", mode, i,
           i <= connections ? "used" : "not there");
    }
    blkalign_close(disk);
    server_stop();
}

static void read_only_export(void)
{
    blkalign_handle *disk = NULL;
    char byte = 'x';

    server_start("-r memory 8M");
    is_int(try_open(NULL, BLKALIGN_O_RDWR, &disk), -EROFS,
           "a read-only export is not opened for writing");
    ok(strstr(last_words, "read-only") != NULL, "the words say why: %s",
       last_words);
    is_int(try_open(NULL, 0, &disk), 0, "for reading it is");
    is_int(blkalign_pread(disk, 7, 1, &byte, 0), 0, "a byte is read");
    is_int(blkalign_pwrite(disk, 7, 1, &byte, 0), -EPERM,
           "a write is refused before it is sent");
    blkalign_close(disk);
    server_stop();
}

static void odd_lengths(void)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_handle *disk = NULL;
    char bytes[3] = "xy";

    server_start("memory 10001");
    disk = open_rw(NULL);
    blkalign_get_limits(disk, &limits);
    is_int(limits.request_alignment, 1,
           "an odd length without blocks: bytes are the blocks");
    is_int(blkalign_getlength(disk), 10001, "the length is exact");
    is_int(blkalign_pwrite(disk, 9999, 2, bytes, 0), 0,
           "the last byte is written");
    is_int(blkalign_pwrite(disk, 10000, 2, bytes, 0), -EIO,
           "what passes the end is refused");
    blkalign_close(disk);
    server_start("--filter=blocksize-policy memory 10001 "
                 "blocksize-minimum=4096 blocksize-error-policy=error");
    is_int(try_open(NULL, BLKALIGN_O_RDWR, &disk), -EINVAL,
           "a length that is no multiple of the blocks is refused");
    diag("%s", last_words);
    server_start("--filter=blocksize-policy memory 1M "
                 "blocksize-minimum=512 blocksize-preferred=4096 "
                 "blocksize-maximum=12K blocksize-error-policy=error");
    disk = open_rw(NULL);
    is_int(blkalign_pwrite(disk, 1, 100001, model, 0), 0,
           "no request is larger than the server's largest");
    blkalign_close(disk);
    server_stop();
}

static void options_are_checked(void)
{
    blkalign_nbd_options nbd = BLKALIGN_NBD_OPTIONS_INIT;
    struct { blkalign_nbd_options known; uint64_t more; } longer;
    blkalign_handle *disk = NULL;

    nbd.flags = 0x80;
    is_int(try_open(&nbd, 0, &disk), -EINVAL, "unknown flags");
    nbd.flags = 0;
    nbd.connections = 17;
    is_int(try_open(&nbd, 0, &disk), -EINVAL, "too many connections");
    nbd.connections = 0;
    nbd.size = 3;
    is_int(try_open(&nbd, 0, &disk), -EINVAL, "options without a size");
    nbd.size = sizeof longer;
    longer.known = nbd;
    longer.more = 1;
    is_int(try_open(&longer.known, 0, &disk), -E2BIG,
           "options of a newer version");
    is_int(blkalign_nbd_open(NULL, NULL, NULL, NULL, &disk), -EINVAL,
           "no URI, and no room for words");
    is_int(blkalign_nbd_open("nbd+unix:///?socket=/nonexistent/s", NULL,
                             NULL, last_words, &disk), -ENOENT,
           "no server");
    ok(last_words[0] != '\0', "has words: %s", last_words);
    is_int(blkalign_nbd_open("no-uri", NULL, NULL, last_words, &disk),
           -EINVAL, "no URI at all");
}

int main(void)
{
    blkalign_handle *disk;

    stage_open();
    options_are_checked();
    bytes_arrive();
    errors_come_back();
    flags_arrive("fuamode=native", "Write id=.*fua=1", 0);
    flags_arrive("", "Write id=.*fua=0", 1);
    delays_overlap("auto", 4);
    delays_overlap("disable", 1);
    read_only_export();
    odd_lengths();
    server_start("--filter=exitlast memory 1M");
    disk = open_rw(NULL);
    is_int(blkalign_close(disk), 0, "close");
    ok(server_ended(), "no connection is left then: exitlast ends");
    return done_testing();
}
