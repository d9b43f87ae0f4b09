/*
 * The NBD driver when connections are lost: what is repeated, what fails,
 * and that a flush does not lie. TAP, for prove(1).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "test-server.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTORS = 512, SECTOR = 512, ROUNDS = 30 };

/* Bytes that outlive the server. */
#define ON_FILE "--filter=blocksize-policy file disk blocksize-minimum=4096 " \
                "blocksize-error-policy=error"

static char block[BLOCK] = "a block";

static void fresh_disk(const char *bytes)
{
    if (shell("rm -f '%s' && truncate -s %s '%s'", in_stage("disk"), bytes,
              in_stage("disk")))
        bail("no disk");
}

static void done(void *opaque, int result)
{
    __atomic_store_n((int *)opaque, result, __ATOMIC_SEQ_CST);
}

/* Started; `result` becomes 0 or -errno. */
static void start_write(blkalign_handle *disk, int64_t offset, int *result)
{
    static struct iovec iov = { block, BLOCK };

    *result = 1;
    if (blkalign_aio_pwritev(disk, offset, &iov, 1, 0, done, result) < 0)
        bail("a write was not taken: %s", blkalign_errmsg());
}

/* ---- a load during which the server dies ---- */

struct load {
    blkalign_handle *disk;
    uint32_t flags;
    unsigned char *model;
    int failure;
    int stop;                           /* atomic */
    long writes;
};

/* Sectors at random, again and again; eight of them share a block. */
static void *run_load(void *opaque)
{
    struct load *load = opaque;
    unsigned char sector[64][SECTOR];
    struct iovec iov[64];
    unsigned seed = 3;
    int i, at;

    while (!__atomic_load_n(&load->stop, __ATOMIC_SEQ_CST) &&
           !load->failure) {
        int results[64];

        for (i = 0; i < 64; i++) {
            at = i * 8 + rand_r(&seed) % 8;
            memset(sector[i], rand_r(&seed), SECTOR);
            memcpy(load->model + at * SECTOR, sector[i], SECTOR);
            iov[i].iov_base = sector[i];
            iov[i].iov_len = SECTOR;
            results[i] = 1;
            blkalign_aio_pwritev(load->disk, at * SECTOR, &iov[i], 1,
                                 load->flags, done, &results[i]);
        }
        blkalign_drain(load->disk);
        for (i = 0; i < 64; i++)
            if (results[i])
                load->failure = results[i];
        load->writes += 64;
    }
    return NULL;
}

static void load_survives(uint32_t flags, int flush_result)
{
    static unsigned char model[SECTORS * SECTOR], got[SECTORS * SECTOR];
    blkalign_nbd_options nbd = with_reconnect(30);
    struct load load = { .flags = flags, .model = model };
    pthread_t thread;
    const char *many = getenv("BLKALIGN_TEST_KILLS");
    int kills, kills_all = many ? atoi(many) : 3;
    FILE *file;

    memset(model, 0, sizeof model);
    fresh_disk("8M");
    server_start(ON_FILE);
    load.disk = open_rw(&nbd);
    pthread_create(&thread, NULL, run_load, &load);
    for (kills = 0; kills < kills_all; kills++) {
        usleep(100000 + 1000 * (unsigned)(kills * 7 % 50));
        server_kill();
        usleep(50000);
        server_start(ON_FILE);
        wait_for(&told.again, kills + 1);
    }
    usleep(100000);
    __atomic_store_n(&load.stop, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    is_int(load.failure, 0, "no request fails when the server dies and comes "
           "back, %ld of them", load.writes);
    is_int(told.lost, kills_all, "it was lost %d times", kills_all);
    is_int(blkalign_pread(load.disk, 0, sizeof got, got, 0), 0, "a read");
    ok(memcmp(got, model, sizeof got) == 0, "brings what was written");
    is_int(blkalign_flush(load.disk), flush_result,
           flush_result ? "the flush fails: writes that were not flushed may "
                          "be lost"
                        : "the flush succeeds: each write was durable");
    blkalign_close(load.disk);
    server_stop();
    file = fopen(in_stage("disk"), "r");
    ok(file && fread(got, 1, sizeof got, file) == sizeof got &&
       memcmp(got, model, sizeof got) == 0, "and so it is in the file");
    if (file)
        fclose(file);
}

/* ---- what a flush may say ---- */

static void die_and_return(void)
{
    int before = told.again;

    server_kill();
    server_start(ON_FILE);
    wait_for(&told.again, before + 1);
}

static void flushes_are_honest(void)
{
    blkalign_nbd_options nbd = with_reconnect(30);
    blkalign_handle *disk;

    fresh_disk("8M");
    server_start(ON_FILE);
    disk = open_rw(&nbd);
    die_and_return();
    is_int(blkalign_flush(disk), 0, "nothing written, nothing lost");
    is_int(blkalign_pwrite(disk, 512, 512, block, 0), 0, "a write");
    is_int(blkalign_flush(disk), 0, "flushed");
    die_and_return();
    is_int(blkalign_flush(disk), 0, "what was flushed is not lost");
    is_int(blkalign_pwrite(disk, 0, 512, block, BLKALIGN_REQ_FUA), 0,
           "a write with FUA");
    die_and_return();
    is_int(blkalign_flush(disk), 0, "what had FUA is not lost");
    is_int(blkalign_pwrite_zeroes(disk, 0, BLOCK, 0), 0, "zeros");
    die_and_return();
    is_int(blkalign_flush(disk), -EIO, "zeros may be lost");
    is_int(blkalign_pwrite(disk, 0, 512, block, 0), 0, "writes go on");
    is_int(blkalign_flush(disk), -EIO, "flushes fail from then on");
    blkalign_close(disk);
    disk = open_rw(&nbd);
    is_int(blkalign_flush(disk), 0, "opened anew, it starts anew");
    blkalign_close(disk);
    server_stop();
}

/* A flush that is under way while the connection is lost. */
static void flush_under_way(bool written)
{
    blkalign_nbd_options nbd = with_reconnect(30);
    blkalign_handle *disk;
    int result = 1;

    fresh_disk("8M");
    server_start(ON_FILE);
    disk = open_rw(&nbd);
    if (written)
        is_int(blkalign_pwrite(disk, 0, 512, block, 0), 0, "a write");
    server_freeze();
    blkalign_aio_flush(disk, done, &result);
    usleep(100000);
    server_kill();
    server_start(ON_FILE);
    blkalign_drain(disk);
    is_int(result, written ? -EIO : 0, written
           ? "a flush under way fails with the connection"
           : "if nothing was written, it is repeated");
    blkalign_close(disk);
    server_stop();
}

/* ---- giving up ---- */

static void gives_up(uint32_t patience, double least, double most)
{
    blkalign_nbd_options nbd = with_reconnect(patience);
    blkalign_handle *disk;
    int under_way;
    double started;

    fresh_disk("8M");
    server_start("--filter=delay " ON_FILE " delay-write=60");
    disk = open_rw(&nbd);
    start_write(disk, 0, &under_way);
    usleep(100000);
    started = seconds();
    server_kill();
    blkalign_drain(disk);
    is_int(under_way, -EIO, "a write under way fails when patience ends");
    started = seconds() - started;
    ok(started >= least && started <= most, "after %.1f s", started);
    is_int(blkalign_pwrite(disk, 0, BLOCK, block, 0), -ESHUTDOWN,
           "a write that comes then fails unsent");
    server_start(ON_FILE);
    wait_for(&told.again, 1);
    is_int(told.given_up, 1, "giving up was told");
    is_int(blkalign_pwrite(disk, 0, BLOCK, block, 0), 0,
           "the server is back, and all works again");
    is_int(blkalign_flush(disk), 0, "nothing had been acknowledged, so a "
           "flush succeeds");
    blkalign_close(disk);
    server_stop();
}

static void another_export_returns(void)
{
    blkalign_nbd_options nbd = with_reconnect(1);
    blkalign_handle *disk;

    fresh_disk("8M");
    server_start(ON_FILE);
    disk = open_rw(&nbd);
    server_kill();
    fresh_disk("4M");
    server_start(ON_FILE);
    is_int(blkalign_pwrite(disk, 0, BLOCK, block, 0), -ESHUTDOWN,
           "an export of another length is not the one that was lost");
    blkalign_close(disk);
    server_kill();
    fresh_disk("8M");
    server_start(ON_FILE);
    memset(&told, 0, sizeof told);
    disk = open_rw(&nbd);
    server_kill();
    server_start("-r " ON_FILE);
    is_int(blkalign_pwrite(disk, 0, BLOCK, block, 0), -ESHUTDOWN,
           "nor is one that is read-only now");
    blkalign_close(disk);
    server_stop();
}

static void silence_counts_as_loss(void)
{
    blkalign_nbd_options nbd = with_reconnect(30);
    blkalign_handle *disk;
    int result;

    fresh_disk("8M");
    server_start("--filter=delay " ON_FILE " delay-write=60");
    nbd.stall_s = 1;
    disk = open_rw(&nbd);
    start_write(disk, 0, &result);
    wait_for(&told.lost, 1);
    ok(1, "no answer for a second is a lost connection");
    server_kill();
    server_start(ON_FILE);
    blkalign_drain(disk);
    is_int(result, 0, "the write is repeated");
    blkalign_close(disk);
    server_stop();
}

static void close_while_down(void)
{
    blkalign_nbd_options nbd = with_reconnect(2);
    blkalign_handle *disk;
    double started = seconds();
    int result;

    fresh_disk("8M");
    server_start(ON_FILE);
    disk = open_rw(&nbd);
    server_kill();
    wait_for(&told.lost, 1);
    start_write(disk, 0, &result);
    is_int(blkalign_close(disk), 0, "a handle is closed without its server");
    is_int(result, -ESHUTDOWN, "its last write was ended before");
    ok(seconds() - started < 20, "in %.1f s", seconds() - started);
}

int main(void)
{
    stage_open();
    load_survives(0, -EIO);
    load_survives(BLKALIGN_REQ_FUA, 0);
    flushes_are_honest();
    flush_under_way(true);
    flush_under_way(false);
    gives_up(1, 0.8, 10);
    gives_up(BLKALIGN_NBD_NEVER, 0, 10);
    another_export_returns();
    silence_counts_as_loss();
    close_while_down();
    return done_testing();
}
