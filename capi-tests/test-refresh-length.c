/*
 * Storage that grows or shrinks while it is open: blkalign_refresh_length()
 * takes the new length over for all handles of the object, and so does opening
 * the object again. Files, loop disks, drivers; windows; and beside requests
 * that change the length.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define ROOM (64 * BLOCK)

static uint8_t *buffer, *model;

static int64_t size_of(const char *path)
{
    struct stat status;

    return stat(path, &status) ? -1 : (int64_t)status.st_size;
}

/* Another process gives the file this length; bytes that are added are
 * `model`. */
static void others_resize(const char *path, int64_t from, int64_t to)
{
    int status, fd;
    pid_t child = fork();

    if (child == 0) {
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || ftruncate(fd, to))
            _exit(1);
        for (; from < to; from++)
            if (pwrite(fd, model + from, 1, from) != 1)
                _exit(2);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status)
        bail("%s: to %lld bytes", path, (long long)to);
}

static blkalign_handle *open_file(const char *path, uint32_t flags,
                                  int64_t window, int64_t bytes)
{
    blkalign_open_options options = mode_options(
        BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK | flags);
    blkalign_handle *handle = NULL;
    int ret;

    options.window_offset = (uint64_t)window;
    options.window_length = (uint64_t)bytes;
    ret = blkalign_open(path, &options, &handle);
    if (ret)
        bail("%s: %d %s", path, ret, blkalign_errmsg());
    return handle;
}

static int reads_model(blkalign_handle *handle, int64_t bytes)
{
    memset(buffer, 0x5a, ROOM);
    return blkalign_pread(handle, 0, bytes, buffer, 0) == 0 &&
           !memcmp(buffer, model, (size_t)bytes);
}

/* All of the object can be read and written, and nothing behind its end. */
static void shows(blkalign_handle *handle, const char *path, int64_t bytes,
                  const char *words)
{
    is_int(blkalign_getlength(handle), bytes, "%s: getlength", words);
    ok(reads_model(handle, bytes), "%s: all of it is read", words);
    is_int(blkalign_pread(handle, bytes - 1, 2, buffer, 0), -EIO,
           "%s: nothing behind it is", words);
    model[bytes - 1] ^= 0x55;
    is_int(blkalign_pwrite(handle, bytes - 1, 1, model + bytes - 1, 0), 0,
           "%s: its last byte is written", words);
    is_int(blkalign_pwrite(handle, bytes, 1, model, 0), -EIO,
           "%s: none behind it is", words);
    ok(reads_model(handle, bytes), "%s: and nothing else changed", words);
    is_int(size_of(path), bytes, "%s: nor the size", words);
}

static void a_file(struct bed *bed)
{
    static const int64_t sizes[] = { 9001, 3 * BLOCK, 5000, 4096, 20001,
                                     100, 8 * BLOCK, 1 };
    blkalign_handle *first, *second;
    char path[200], words[100];
    int64_t bytes = 5000;
    unsigned i;

    snprintf(path, sizeof path, "%s/file", bed->dir);
    close(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    others_resize(path, 0, bytes);
    first = open_file(path, 0, 0, 0);
    second = open_file(path, 0, 0, 0);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        others_resize(path, bytes, sizes[i]);
        snprintf(words, sizeof words, "%s, %s, %lld after %lld", bed->name,
                 mode_words(), (long long)sizes[i], (long long)bytes);
        is_int(blkalign_getlength(first), bytes, "%s: not asked", words);
        bytes = sizes[i];
        is_int(blkalign_refresh_length(first), bytes, "%s: asked", words);
        shows(first, path, bytes, words);
        shows(second, path, bytes, "the other handle");
    }
    is_int(blkalign_refresh_length(first), bytes, "nothing has changed");
    blkalign_close(second);
    blkalign_close(first);
    unlink(path);
}

/* A handle that is opened again sees the present length. */
static void opened_once_more(struct bed *bed)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_handle *first, *second = NULL;
    char path[200];

    snprintf(path, sizeof path, "%s/again", bed->dir);
    close(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    others_resize(path, 0, 5000);
    first = open_file(path, 0, 0, 0);
    others_resize(path, 5000, 9000);
    second = open_file(path, 0, 8000, 1000);
    is_int(blkalign_getlength(second), 1000, "%s: a window that is there now",
           bed->name);
    shows(first, path, 9000, "a fresh open");
    blkalign_close(second);
    second = NULL;
    others_resize(path, 9000, 6000);
    is_int(blkalign_dup(first, &options, &second), 0, "dup: %s",
           blkalign_errmsg());
    shows(first, path, 6000, "dup");
    blkalign_close(second);
    others_resize(path, 6000, 500);
    options.window_offset = 501;
    second = NULL;
    is_int(blkalign_dup(first, &options, &second), -EINVAL,
           "a window that is not there any more");
    ok(!second && blkalign_getlength(first) == 500, "what there is, is known");
    blkalign_close(first);
    unlink(path);
}

static void windows(struct bed *bed)
{
    blkalign_handle *fixed, *open_ended;
    char path[200];

    snprintf(path, sizeof path, "%s/window", bed->dir);
    close(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    others_resize(path, 0, 20000);
    fixed = open_file(path, 0, 5000, 10000);
    open_ended = open_file(path, 0, 5000, 0);
    others_resize(path, 20000, 30000);
    is_int(blkalign_refresh_length(fixed), 10000, "%s: a window's length",
           bed->name);
    is_int(blkalign_getlength(open_ended), 25000, "one to the end follows");
    is_int(blkalign_pread(open_ended, 24990, 10, buffer, 0), 0, "to the end");
    ok(!memcmp(buffer, model + 29990, 10), "with what is there");
    others_resize(path, 30000, 12001);
    is_int(blkalign_refresh_length(open_ended), 7001, "shrinks with it");
    is_int(blkalign_getlength(fixed), 7001, "the other shows what is left");
    is_int(blkalign_pread(fixed, 7000, 1, buffer, 0), 0, "its last byte");
    is_int(blkalign_pread(fixed, 7000, 2, buffer, 0), -EIO, "not one more");
    is_int(blkalign_pwrite(fixed, 7001, 1, buffer, 0), -EIO, "nor written");
    others_resize(path, 12001, 100);
    is_int(blkalign_refresh_length(fixed), 0, "nothing is left");
    is_int(blkalign_pread(fixed, 0, 1, buffer, 0), -EIO, "to be read");
    others_resize(path, 100, 16000);
    is_int(blkalign_refresh_length(fixed), 10000, "all of it is back");
    blkalign_close(open_ended);
    blkalign_close(fixed);
    is_int(size_of(path), 16000, "nobody made it longer");
    unlink(path);
}

struct growing {
    blkalign_handle *handle;
    int stop, failed;
};

static void *refreshes(void *argument)
{
    struct growing *growing = argument;

    while (!__atomic_load_n(&growing->stop, __ATOMIC_RELAXED))
        if (blkalign_refresh_length(growing->handle) < 0)
            growing->failed++;
    return NULL;
}

/* Requests that change the length, and threads that refresh it. */
static void beside_resizes(struct bed *bed)
{
    struct growing growing = { NULL, 0, 0 };
    int64_t length = 0, to;
    int wrong = 0, i;
    pthread_t thread;
    uint64_t random = run_seed();
    char path[200];

    snprintf(path, sizeof path, "%s/grows", bed->dir);
    growing.handle =
        open_file(path, BLKALIGN_O_CREATE | BLKALIGN_O_RESIZE, 0, 0);
    if (pthread_create(&thread, NULL, refreshes, &growing))
        bail("no thread");
    for (i = 0; i < 300; i++) {
        to = 1 + (int64_t)random_below(&random, ROOM - 1);
        if (i % 3 == 0) {
            wrong += blkalign_truncate(growing.handle, to) != 0;
            length = to;
        } else {
            wrong += blkalign_pwrite(growing.handle, to - 1, 1, model + to - 1,
                                     0) != 0;
            length = to > length ? to : length;
        }
        wrong += blkalign_getlength(growing.handle) != length;
        wrong += size_of(path) != length;
    }
    __atomic_store_n(&growing.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    is_int(wrong + growing.failed, 0, "%s, %s: beside changes of the length",
           bed->name, mode_words());
    blkalign_close(growing.handle);
    unlink(path);
}

static void a_disk(void)
{
    blkalign_handle *handle, *other;
    struct bed bed;

    if (bed_make(&bed, BED_LOOP, 16 * BLOCK)) {
        skip(bed.why_not, "a disk that grows");
        return;
    }
    handle = bed_open(&bed, NULL);
    other = bed_open_again(&bed, handle, NULL);
    bed_resize_disk(&bed, 48 * BLOCK);
    is_int(blkalign_getlength(handle), 16 * BLOCK, "a disk has grown");
    is_int(blkalign_pwrite(handle, 16 * BLOCK, 1, model, 0), -EIO,
           "it may not be written there");
    is_int(blkalign_refresh_length(other), 48 * BLOCK, "until one asks");
    is_int(blkalign_getlength(handle), 48 * BLOCK, "for all its handles");
    is_int(blkalign_pwrite(handle, 48 * BLOCK - 300, 300, model, 0), 0,
           "then its last bytes are there");
    is_int(blkalign_pread(other, 48 * BLOCK - 300, 300, buffer, 0), 0,
           "for all of them");
    ok(!memcmp(buffer, model, 300), "and keep what is written");
    bed_resize_disk(&bed, 24 * BLOCK);
    is_int(blkalign_refresh_length(handle), 24 * BLOCK, "it has shrunk");
    is_int(blkalign_pread(other, 24 * BLOCK - 1, 2, buffer, 0), -EIO,
           "nothing lies behind its end");
    is_int(blkalign_pwrite(other, 24 * BLOCK - 1, 1, model, 0), 0,
           "and all before it");
    blkalign_close(other);
    blkalign_close(handle);
    bed_remove(&bed);
}

/*
 * Neither direct I/O nor the page cache can reach a part of a block at the end
 * of a disk: it is not offered.
 */
static char warning[300];

static void hear(void *opaque, int level, const char *message)
{
    (void)opaque;
    if (level == BLKALIGN_LOG_WARNING && strstr(message, "a part of a block"))
        snprintf(warning, sizeof warning, "%s", message);
}

static void whole_blocks_only(blkalign_handle *handle, int64_t bytes,
                              const char *words)
{
    is_int(blkalign_getlength(handle), bytes, "%s: whole blocks", words);
    is_int(blkalign_pread(handle, 0, bytes, buffer, 0), 0, "%s: are read",
           words);
    is_int(blkalign_pwrite(handle, bytes - 9, 9, model, 0), 0,
           "%s: are written", words);
    is_int(blkalign_pwrite(handle, bytes, 1, model, 0), -EIO,
           "%s: the rest is not there", words);
    ok(strstr(warning, "512") != NULL, "%s: and is named: %s", words, warning);
    *warning = 0;
}

static void a_disk_with_a_part_of_a_block(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_handle *handle, *other = NULL;
    struct bed bed;
    int fd;

    if (bed_make(&bed, BED_LOOP, 16 * BLOCK)) {
        skip(bed.why_not, "a disk with a part of a block");
        return;
    }
    blkalign_set_log(hear, NULL, BLKALIGN_LOG_WARNING);
    bed_resize_disk(&bed, 16 * BLOCK + 512);
    handle = bed_open(&bed, NULL);
    whole_blocks_only(handle, 16 * BLOCK, "a disk");
    fd = open(bed.path, O_RDWR | O_CLOEXEC);
    is_int(blkalign_open_fd(fd, &options, &other), 0, "through the cache");
    close(fd);
    whole_blocks_only(other, 16 * BLOCK, "through the cache");
    blkalign_close(other);
    other = NULL;
    options.window_offset = 16 * BLOCK + 1;
    is_int(blkalign_open(bed.path, &options, &other), -EINVAL,
           "a window on the rest");
    bed_resize_disk(&bed, 24 * BLOCK + 512);
    is_int(blkalign_refresh_length(handle), 24 * BLOCK, "it has grown");
    whole_blocks_only(handle, 24 * BLOCK, "grown");
    blkalign_set_log(NULL, NULL, 0);
    blkalign_close(handle);
    bed_remove(&bed);
}

/* A driver whose length others set, and that holds one write. */
static uint8_t memory[ROOM];
static int64_t length;
static blkalign_driver_done_fn held_done;
static void *held_token;

static int64_t get_length(void *opaque)
{
    (void)opaque;
    return __atomic_load_n(&length, __ATOMIC_SEQ_CST);
}

static int read_memory(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int count, uint32_t flags)
{
    int i;

    (void)opaque;
    (void)flags;
    if (offset + bytes > get_length(NULL))
        return -ENXIO;
    for (i = 0; i < count; offset += (int64_t)iov[i++].iov_len)
        memcpy(iov[i].iov_base, memory + offset, iov[i].iov_len);
    return 0;
}

static int write_memory(void *opaque, int64_t offset, int64_t bytes,
                        const struct iovec *iov, int count, uint32_t flags,
                        blkalign_driver_done_fn done, void *token)
{
    int i;

    (void)opaque;
    (void)flags;
    if (offset + bytes > get_length(NULL))
        return -ENXIO;
    for (i = 0; i < count; i++)
        memcpy(memory + offset, iov[i].iov_base, iov[i].iov_len),
            offset += (int64_t)iov[i].iov_len;
    if (offset > BLOCK) {
        done(token, 0);
        return 0;
    }
    held_done = done;
    held_token = token;
    return 0;
}

static int resize_memory(void *opaque, int64_t to)
{
    (void)opaque;
    if (to > ROOM)
        return -EFBIG;
    if (to < length)
        memset(memory + to, 0, (size_t)(length - to));
    length = to;
    return 0;
}

static blkalign_handle *open_memory(uint32_t flags)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);
    blkalign_handle *handle = NULL;
    blkalign_driver driver;

    memset(&driver, 0, sizeof driver);
    driver.size = sizeof driver;
    driver.request_alignment = BLOCK;
    driver.getlength = get_length;
    driver.preadv = read_memory;
    driver.aio_pwritev = write_memory;
    driver.truncate = resize_memory;
    if (blkalign_open_driver(&driver, NULL, &options, &handle))
        bail("open_driver: %s", blkalign_errmsg());
    return handle;
}

static void called_back(void *opaque, int ret)
{
    __atomic_store_n((int *)opaque, ret, __ATOMIC_SEQ_CST);
}

static void a_driver(void)
{
    blkalign_handle *handle, *other = NULL;
    blkalign_open_options coarse = mode_options(BLKALIGN_O_RDWR);
    int answer = 1;

    length = 4 * BLOCK;
    handle = open_memory(0);
    length = 8 * BLOCK;
    is_int(blkalign_refresh_length(handle), 8 * BLOCK, "a driver has grown");
    is_int(blkalign_pwrite(handle, 8 * BLOCK - 7, 7, model, 0), 0,
           "it is written to its end");
    length = 8 * BLOCK + 100;
    is_int(blkalign_refresh_length(handle), -EINVAL, "an odd length");
    ok(strstr(blkalign_errmsg(), "32868") && strstr(blkalign_errmsg(), "4096"),
       "is named: %s", blkalign_errmsg());
    is_int(blkalign_getlength(handle), 8 * BLOCK, "and changes nothing");
    is_int(blkalign_dup(handle, &coarse, &other), -EINVAL, "nor is it dup'ed");
    length = 8 * BLOCK;
    coarse.request_alignment = 2 * BLOCK;
    is_int(blkalign_dup(handle, &coarse, &other), 0, "larger blocks");
    length = 9 * BLOCK;
    is_int(blkalign_refresh_length(handle), -EINVAL,
           "an odd length for another handle");
    ok(*blkalign_errmsg(), "in words: %s", blkalign_errmsg());
    is_int(blkalign_getlength(other), 8 * BLOCK, "changes nothing either");
    length = 2 * BLOCK;
    is_int(blkalign_aio_pwritev(handle, 0, &(struct iovec){ model, BLOCK }, 1,
                                0, called_back, &answer) > 0,
           1, "one write is held");
    while (!held_done)
        sleep_ms(1);
    is_int(blkalign_refresh_length(other), 2 * BLOCK, "a driver has shrunk");
    is_int(blkalign_pread(handle, 2 * BLOCK - 1, 2, buffer, 0), -EIO,
           "and who asks for more does not reach it");
    is_int(answer, 1, "whoever lies before the end is not waited for");
    held_done(held_token, 0);
    held_done = NULL;
    length = -EREMOTEIO;
    is_int(blkalign_refresh_length(other), -EREMOTEIO, "what it says instead");
    is_int(blkalign_getlength(other), 2 * BLOCK, "changes nothing");
    length = 2 * BLOCK;
    blkalign_close(other);
    blkalign_close(handle);
}

/* The object ends inside the driver's last block. */
static void a_driver_with_an_end_inside(void)
{
    blkalign_handle *handle;

    length = 4 * BLOCK;
    handle = open_memory(BLKALIGN_O_RESIZE);
    is_int(blkalign_truncate(handle, 9000), 0, "truncate into a block");
    is_int(length, 3 * BLOCK, "the storage has whole ones");
    is_int(blkalign_refresh_length(handle), 9000, "that is no news");
    length = 5 * BLOCK;
    is_int(blkalign_refresh_length(handle), 5 * BLOCK, "this is");
    is_int(blkalign_pwrite(handle, 6 * BLOCK + 5, 10, model, 0), 0,
           "it grows from there");
    is_int(blkalign_refresh_length(handle), 6 * BLOCK + 15, "exactly");
    blkalign_close(handle);
}

static int inside;

static void asks_inside(void *opaque, int ret)
{
    (void)ret;
    inside = (int)blkalign_refresh_length(opaque);
}

static void refused(void)
{
    blkalign_handle *handle;

    is_int(blkalign_refresh_length(NULL), -EINVAL, "no handle");
    length = 4 * BLOCK;
    handle = open_memory(0);
    is_int(blkalign_aio_flush(handle, asks_inside, handle) > 0, 1, "a flush");
    blkalign_drain(handle);
    is_int(inside, -EDEADLK, "not inside a callback");
    blkalign_close(handle);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_XFS, BED_EXT4, BED_FILE,
                                           BED_TMPFS };
    struct bed bed;
    int mode, kind;

    run_begin(100);
    buffer = aligned_memory(ROOM);
    model = aligned_memory(ROOM);
    pattern_fill(model, 7, 0, ROOM);
    refused();
    for (mode = 0; mode < MODES; mode++) {
        for (kind = 0; kind < 4; kind++) {
            if (bed_make(&bed, kinds[kind], ROOM)) {
                skip(bed.why_not, "%s", bed.name);
                continue;
            }
            a_file(&bed);
            opened_once_more(&bed);
            windows(&bed);
            beside_resizes(&bed);
            bed_remove(&bed);
        }
        a_driver();
        a_driver_with_an_end_inside();
        a_disk();
        a_disk_with_a_part_of_a_block();
        mode_next();
    }
    return done_testing();
}
