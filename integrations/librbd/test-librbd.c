/*
 * The RBD driver on a cluster of Ceph: names, bytes, locks, snapshots,
 * lengths, and what a cluster does to its clients. TAP; librbd.t starts the
 * cluster, and gives the process of its OSD as the argument.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "blkalign-rbd.h"
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 4096, DISK_BYTES = 8 << 20 };

static unsigned char model[DISK_BYTES], got[DISK_BYTES];
static char last_words[BLKALIGN_RBD_WORDS];
static pid_t osd;

/* ---- helpers ---- */

static int shell(const char *format, ...) TAP_FORMAT(1);

static int shell(const char *format, ...)
{
    char line[1024], all[1100];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    snprintf(all, sizeof all, "(%s) >shell.log 2>&1", line);
    return system(all);
}

static int try_open(const char *place, uint32_t alignment, uint32_t flags,
                    blkalign_handle **out)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    options.flags = flags;
    options.request_alignment = alignment;
    return blkalign_rbd_open(place, &options, last_words, out);
}

/* `alignment` 0: bytes go as they are. */
static blkalign_handle *open_rw(const char *place, uint32_t alignment)
{
    blkalign_handle *disk = NULL;

    if (try_open(place, alignment, BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT |
                 BLKALIGN_O_UNMAP, &disk) < 0)
        bail("cannot open: %s", last_words);
    return disk;
}

static uint32_t alignment_of(blkalign_handle *disk)
{
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;

    blkalign_get_limits(disk, &limits);
    return limits.request_alignment;
}

static void create(const char *image, const char *more)
{
    if (shell("rbd create %s rbd/%s", more, image) != 0)
        bail("rbd create %s", image);
}

/* Is the model what another client reads? */
static bool same_elsewhere(const char *image)
{
    FILE *copy = fopen("model", "w");

    if (!copy || fwrite(model, 1, sizeof model, copy) != sizeof model ||
        fclose(copy))
        bail("cannot write the model");
    return shell("rbd export --no-progress rbd/%s - | cmp - model",
                 image) == 0;
}

static void done(void *opaque, int result)
{
    if (result < 0)
        __atomic_store_n((int *)opaque, result, __ATOMIC_RELAXED);
}

/* ---- names ---- */

static void wrong_names_are_told(void)
{
    static const struct {
        const char *place, *words;
        int result;
    } wrong[] = {
        { "nbd://there", "does not begin with rbd:", -EINVAL },
        { "rbd:", "is not rbd:POOL/IMAGE", -EINVAL },
        { "rbd:pool", "is not rbd:POOL/IMAGE", -EINVAL },
        { "rbd:/image", "is not rbd:POOL/IMAGE", -EINVAL },
        { "rbd:pool/", "is not rbd:POOL/IMAGE", -EINVAL },
        { "rbd:pool/space/", "is not rbd:POOL/IMAGE", -EINVAL },
        { "rbd:po\\/ol", "is not rbd:POOL/IMAGE", -EINVAL },
        { "rbd:pool/image@", "an empty snapshot", -EINVAL },
        { "rbd:pool/image:id", "not NAME=VALUE", -EINVAL },
        { "rbd:pool/image:=x", "not NAME=VALUE", -EINVAL },
        { "rbd:pool/image:id:a=b", "not NAME=VALUE", -EINVAL },
        { "rbd:rbd/names:no_such_option=1", "no_such_option=1", -EINVAL },
        { "rbd:rbd/names:conf=/no/such", "/no/such", -ENOENT },
        { "rbd:none/names", "cannot open the pool", -ENOENT },
        { "rbd:rbd/none", "cannot open the image", -ENOENT },
        { "rbd:rbd/space/names", "cannot open the image", -ENOENT },
        { "rbd:rbd/names@none", "cannot open the image", -ENOENT },
    };
    blkalign_open_options odd = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_handle *disk = NULL;
    size_t i;

    create("names", "--size 1");
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        is_int(try_open(wrong[i].place, 0, 0, &disk), wrong[i].result,
               "%s is refused", wrong[i].place);
        ok(strstr(last_words, wrong[i].words) != NULL, "in words: %s",
           last_words);
    }
    odd.size = 2;
    is_int(blkalign_rbd_open("rbd:rbd/names", &odd, NULL, &disk), -EINVAL,
           "so are options without a size");
    is_int(blkalign_rbd_open("rbd:rbd/names", NULL, NULL, NULL), -EINVAL,
           "and no place for the handle");
    is_int(try_open("rbd:rbd/na\\mes:id=admin:rbd_cache=false", 0, 0, &disk),
           0, "a name with a backslash and settings is an image");
    is_int(blkalign_getlength(disk), 1 << 20, "with its length");
    is_int(alignment_of(disk), 1, "and takes any bytes");
    blkalign_close(disk);
}

/* ---- bytes ---- */

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

static void bytes_arrive(uint32_t alignment)
{
    struct iovec pieces[3];
    blkalign_handle *disk;

    memset(model, 0, sizeof model);
    shell("rbd rm --no-progress rbd/bytes");
    create("bytes", "--size 8 --object-size 64K");
    disk = open_rw("rbd:rbd/bytes", alignment);
    is_int(alignment_of(disk), alignment ? alignment : 1,
           "the alignment is the one that is asked for");
    is_int(write_at_random(disk, 20), 0, "writes of any size");
    is_int(blkalign_flush(disk), 0, "a flush succeeds");
    ok(same_elsewhere("bytes"), "another client reads what was written");

    pieces[0].iov_base = memset(model + 100000, 'a', 4096);
    pieces[0].iov_len = 4096;
    pieces[1].iov_base = memset(model + 104096, 'b', 100);
    pieces[1].iov_len = 100;
    pieces[2].iov_base = memset(model + 104196, 'c', 300000);
    pieces[2].iov_len = 300000;
    is_int(blkalign_pwritev(disk, 100000, pieces, 3, BLKALIGN_REQ_FUA), 0,
           "a vector of odd pieces is written");
    is_int(blkalign_pwrite_zeroes(disk, 700001, 200000, BLKALIGN_REQ_FUA), 0,
           "zeros with edges inside blocks are written");
    memset(model + 700001, 0, 200000);
    is_int(blkalign_pwrite_zeroes(disk, 1000001, 200000,
                                  BLKALIGN_REQ_MAY_UNMAP), 0,
           "and some that may unmap");
    memset(model + 1000001, 0, 200000);
    pieces[0].iov_base = got;
    pieces[0].iov_len = 8192;
    pieces[1].iov_base = got + 8192;
    pieces[1].iov_len = DISK_BYTES - 8192 - 1;
    pieces[2].iov_base = got + DISK_BYTES - 1;
    pieces[2].iov_len = 1;
    is_int(blkalign_preadv(disk, 0, pieces, 3, 0), 0,
           "all of it is read at once");
    ok(memcmp(got, model, sizeof model) == 0, "and it is right");
    ok(same_elsewhere("bytes"), "so it is for another client");
    is_int(blkalign_pdiscard(disk, 2 << 20, 4 << 20), 0, "a discard");
    is_int(blkalign_pread(disk, 3 << 20, 1, got, 0), 0, "reads as something");
    is_int(blkalign_close(disk), 0, "close");
}

static int first_byte_elsewhere(const char *image)
{
    int byte = -1;
    FILE *file;

    shell("rm -f copy && rbd export --no-progress rbd/%s copy", image);
    file = fopen("copy", "r");
    if (file) {
        byte = getc(file);
        fclose(file);
    }
    return byte;
}

static void fua_passes_the_cache(void)
{
    blkalign_handle *disk;

    create("fua", "--size 1");
    if (try_open("rbd:rbd/fua:rbd_cache=true:rbd_cache_policy=writeback:"
                 "rbd_cache_writethrough_until_flush=false:"
                 "rbd_cache_max_dirty_age=1000", 0, BLKALIGN_O_RDWR,
                 &disk) < 0)
        bail("%s", last_words);
    is_int(blkalign_pwrite(disk, 0, 1, "a", 0), 0, "a write");
    is_int(first_byte_elsewhere("fua"), 0, "stays in librbd's cache");
    is_int(blkalign_flush(disk), 0, "a flush");
    is_int(first_byte_elsewhere("fua"), 'a', "takes it to the cluster");
    is_int(blkalign_pwrite(disk, 0, 1, "b", BLKALIGN_REQ_FUA), 0,
           "FUA takes its write");
    is_int(first_byte_elsewhere("fua"), 'b', "to the cluster, too");
    blkalign_close(disk);
    disk = open_rw("rbd:rbd/fua", 0);
    is_int(blkalign_pwrite(disk, 0, 1, "c", 0), 0, "with direct I/O");
    is_int(first_byte_elsewhere("fua"), 'c', "there is no cache");
    blkalign_close(disk);
}

/* ---- other clients ---- */

static void a_writer_of_blocks_is_alone(void)
{
    blkalign_handle *disk, *other = NULL;

    create("lock", "--size 8");
    disk = open_rw("rbd:rbd/lock", BLOCK);
    is_int(try_open("rbd:rbd/lock", BLOCK, BLKALIGN_O_RDWR, &other), -EAGAIN,
           "a second writer of blocks is refused");
    ok(strstr(last_words, "exclusive lock") != NULL, "in words: %s",
       last_words);
    is_int(try_open("rbd:rbd/lock", 0, BLKALIGN_O_RDWR | BLKALIGN_O_LOCK,
                    &other), -EAGAIN, "and one that asks for the lock");
    ok(shell("timeout 30 rbd bench --io-type write --io-size 4K --io-total "
             "4K rbd/lock") != 0, "librbd's own client cannot write");
    is_int(try_open("rbd:rbd/lock", BLOCK, 0, &other), 0,
           "a reader may come");
    blkalign_close(other);
    blkalign_close(disk);
    is_int(try_open("rbd:rbd/lock", 0, BLKALIGN_O_RDWR | BLKALIGN_O_LOCK,
                    &disk), 0, "when the first is gone another one may");
    is_int(blkalign_pwrite(disk, 5, 1, "x", 0), 0, "and writes");
    blkalign_close(disk);
    create("unlockable", "--size 8 --image-feature layering");
    is_int(try_open("rbd:rbd/unlockable", BLOCK, BLKALIGN_O_RDWR, &disk),
           -ENOTSUP, "an image that has no lock is not written in blocks");
    disk = open_rw("rbd:rbd/unlockable", 0);
    ok(disk != NULL, "but as it comes");
    blkalign_close(disk);
}

/* Two clients, each with every second byte of the same blocks. */
static void clients_share_a_block(void)
{
    enum { ROUNDS = 300 };
    blkalign_handle *clients[2];
    struct iovec iov = { model, 1 };
    int failure = 0, round, wrong = 0;

    create("shared", "--size 8");
    memset(model, 'x', sizeof model);
    clients[0] = open_rw("rbd:rbd/shared", 0);
    clients[1] = open_rw("rbd:rbd/shared", 0);
    for (round = 0; round < 2 * ROUNDS; round++)
        blkalign_aio_pwritev(clients[round % 2], round, &iov, 1, 0, done,
                             &failure);
    blkalign_drain(clients[0]);
    blkalign_drain(clients[1]);
    is_int(failure, 0, "two clients write to the same block");
    is_int(blkalign_pread(clients[0], 0, 2 * ROUNDS, got, 0), 0, "a look");
    for (round = 0; round < 2 * ROUNDS; round++)
        wrong += got[round] != 'x';
    is_int(wrong, 0, "no byte is lost");
    blkalign_close(clients[0]);
    blkalign_close(clients[1]);
}

static void snapshots_are_read(void)
{
    blkalign_handle *disk;

    create("snap", "--size 8");
    disk = open_rw("rbd:rbd/snap", 0);
    blkalign_pwrite(disk, 5, 3, "old", 0);
    blkalign_flush(disk);
    is_int(shell("rbd snap create rbd/snap@s"), 0,
           "a snapshot is made while the image is open");
    is_int(blkalign_pwrite(disk, 5, 3, "new", 0), 0, "the image is changed");
    blkalign_close(disk);
    is_int(try_open("rbd:rbd/snap@s", 0, BLKALIGN_O_RDWR, &disk), -EROFS,
           "a snapshot is not written to");
    is_int(try_open("rbd:rbd/snap@s", 0, 0, &disk), 0, "it is read");
    blkalign_pread(disk, 5, 3, got, 0);
    ok(memcmp(got, "old", 3) == 0, "and has the old bytes");
    blkalign_close(disk);
}

/* ---- lengths ---- */

static void lengths_change(void)
{
    blkalign_handle *disk;

    create("length", "--size 1");
    if (try_open("rbd:rbd/length", 0, BLKALIGN_O_RDWR | BLKALIGN_O_RESIZE,
                 &disk) < 0)
        bail("%s", last_words);
    is_int(blkalign_pwrite(disk, (1 << 20) - 1, 3, "end", 0), 0,
           "a write past the end");
    ok(blkalign_getlength(disk) >= (1 << 20) + 2, "makes it longer");
    is_int(blkalign_pread(disk, (1 << 20) + 1, 3, got, 0), 0, "its end");
    ok(memcmp(got, "d\0", 2) == 0, "is read back, with zeros behind");
    blkalign_close(disk);

    create("odd", "--size 1");
    is_int(shell("rbd resize --no-progress --size 1049600B rbd/odd"), 0,
           "an image of 1 MiB and 1024 bytes");
    is_int(try_open("rbd:rbd/odd", BLOCK, BLKALIGN_O_RDWR, &disk), -EINVAL,
           "is not made of blocks of 4096");
    disk = open_rw("rbd:rbd/odd", 1024);
    is_int(blkalign_pwrite(disk, 1049599, 1, "z", 0), 0,
           "but of 1024: a write reaches its end");
    is_int(shell("rbd resize --no-progress --size 2 rbd/odd"), 0,
           "another client makes it longer");
    is_int(blkalign_refresh_length(disk), 2 << 20, "which is noticed");
    is_int(blkalign_pread(disk, 1049599, 1, got, 0), 0, "a byte");
    is_int(got[0], 'z', "that was there is still");
    blkalign_close(disk);
}

/* ---- the cluster ---- */

static void counted(void *opaque, int result)
{
    __atomic_store_n((int *)opaque, result, __ATOMIC_RELEASE);
}

static void a_cluster_that_stands_still_is_waited_for(void)
{
    struct iovec iov = { "x", 1 };
    blkalign_handle *disk;
    int result = 1;

    create("still", "--size 8");
    disk = open_rw("rbd:rbd/still", 0);
    kill(osd, SIGSTOP);
    blkalign_aio_pwritev(disk, 7, &iov, 1, 0, counted, &result);
    usleep(500000);
    is_int(__atomic_load_n(&result, __ATOMIC_ACQUIRE), 1,
           "a write waits for an OSD that stands still");
    kill(osd, SIGCONT);
    blkalign_drain(disk);
    is_int(result, 0, "and succeeds when the OSD goes on");
    blkalign_close(disk);
}

static void a_blocklisted_client_writes_no_more(void)
{
    blkalign_handle *disk;
    int result;

    create("fenced", "--size 8");
    disk = open_rw("rbd:rbd/fenced", 0);
    is_int(blkalign_pwrite(disk, 5, 1, "x", 0), 0, "a write");
    is_int(shell("ceph osd blocklist add $(rbd status rbd/fenced | "
                 "sed -n 's/.*watcher=\\([^ ]*\\).*/\\1/p')"), 0,
           "the client is put on the blocklist");
    /* The OSD may hear of it later than the monitor. */
    for (result = 0, errno = 0; result == 0 && errno < 100; errno++) {
        result = blkalign_pwrite(disk, 6, 1, "y", 0);
        usleep(100000);
    }
    is_int(result, -ESHUTDOWN, "its writes fail");
    is_int(blkalign_pread(disk, 5, 1, got, 0), -ESHUTDOWN, "and its reads");
    blkalign_close(disk);
    shell("ceph osd blocklist clear");
    disk = open_rw("rbd:rbd/fenced", 0);
    is_int(blkalign_pread(disk, 5, 1, got, 0), 0, "the next client reads");
    is_int(got[0], 'x', "what was written");
    blkalign_close(disk);
}

int main(int argc, char **argv)
{
    osd = argc == 2 ? (pid_t)atoi(argv[1]) : 0;
    if (osd <= 1 || !getenv("CEPH_CONF"))
        skip_all("librbd.t runs this with a cluster of Ceph");
    wrong_names_are_told();
    bytes_arrive(0);
    bytes_arrive(BLOCK);
    fua_passes_the_cache();
    a_writer_of_blocks_is_alone();
    clients_share_a_block();
    snapshots_are_read();
    lengths_change();
    a_cluster_that_stands_still_is_waited_for();
    a_blocklisted_client_writes_no_more();
    return done_testing();
}
