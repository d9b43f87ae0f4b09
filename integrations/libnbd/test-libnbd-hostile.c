/*
 * The NBD driver and servers that lie, break off or talk nonsense: an error,
 * and nothing worse. The server is a child of this program. TAP, for
 * prove(1).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "test-server.h"

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum reply {
    GOOD, SILENT, HANG_UP, GARBAGE, HALF, STRANGER, TWICE, ODD_ERROR
};

struct liar {
    const char *name;
    int breaks_off;             /* after so many bytes of ours; 0: never */
    bool nonsense;              /* instead of the first words */
    uint64_t length;
    uint32_t smallest, largest; /* 0: not told */
    enum reply reply;
};

static const struct liar *liar;
static int budget;

/* ---- the server ---- */

static void put(int fd, const void *bytes, size_t count)
{
    if (liar->breaks_off) {
        if ((size_t)budget < count)
            count = (size_t)budget;
        budget -= (int)count;
    }
    if (send(fd, bytes, count, MSG_NOSIGNAL) < 0 ||
        (liar->breaks_off && budget == 0))
        _exit(0);
}

static void put_number(int fd, uint64_t number, size_t bytes)
{
    uint64_t big = htobe64(number);

    put(fd, (char *)&big + 8 - bytes, bytes);
}

static void get(int fd, void *bytes, size_t count)
{
    if (count && recv(fd, bytes, count, MSG_WAITALL) != (ssize_t)count)
        _exit(0);
}

static uint64_t get_number(int fd, size_t bytes)
{
    uint64_t big = 0;

    get(fd, (char *)&big + 8 - bytes, bytes);
    return be64toh(big);
}

static void put_option_reply(int fd, uint32_t option, uint32_t type,
                             uint32_t length)
{
    put_number(fd, UINT64_C(0x3e889045565a9), 8);
    put_number(fd, option, 4);
    put_number(fd, type, 4);
    put_number(fd, length, 4);
}

/* NBD_OPT_GO is all that is understood. */
static bool options_end(int fd)
{
    char data[4096];
    uint32_t option, length;

    get_number(fd, 8);
    option = (uint32_t)get_number(fd, 4);
    length = (uint32_t)get_number(fd, 4);
    if (length > sizeof data)
        _exit(0);
    get(fd, data, length);
    if (option != 7) {
        put_option_reply(fd, option, UINT32_C(0x80000001), 0);
        return false;
    }
    put_option_reply(fd, option, 3, 12);
    put_number(fd, 0, 2);
    put_number(fd, liar->length, 8);
    put_number(fd, 1 | 4 | 8, 2);       /* flags, flush, FUA */
    if (liar->smallest || liar->largest) {
        put_option_reply(fd, option, 3, 14);
        put_number(fd, 3, 2);
        put_number(fd, liar->smallest, 4);
        put_number(fd, liar->smallest > 4096 ? liar->smallest : 4096, 4);
        put_number(fd, liar->largest, 4);
    }
    put_option_reply(fd, option, 1, 0);
    return true;
}

static void put_reply(int fd, uint64_t cookie, uint32_t error)
{
    put_number(fd, liar->reply == GARBAGE ? 0xdeadbeef : 0x67446698, 4);
    put_number(fd, error, 4);
    put_number(fd, cookie, 8);
}

static void answer(int fd)
{
    static char data[1 << 20];
    uint32_t type, length, error;
    uint64_t cookie;

    get_number(fd, 4);
    type = (uint32_t)get_number(fd, 4) & 0xffff;
    cookie = get_number(fd, 8);
    get_number(fd, 8);
    length = (uint32_t)get_number(fd, 4);
    if (type == 2 || liar->reply == HANG_UP || length > sizeof data)
        _exit(0);
    if (type == 1)
        get(fd, data, length);
    if (liar->reply == SILENT)
        return;
    error = liar->reply == ODD_ERROR ? 54321 : 0;
    put_reply(fd, liar->reply == STRANGER ? cookie + 77 : cookie, error);
    if (type == 0 && !error)
        put(fd, data, liar->reply == HALF ? length / 2 : length);
    if (liar->reply == TWICE)
        put_reply(fd, cookie, 0);
    if (liar->reply == HALF)
        _exit(0);
}

static void serve(int fd)
{
    if (liar->nonsense)
        put(fd, "HTTP/1.1 400 Bad Request\r\nServer: no\r\n\r\n", 40);
    put(fd, "NBDMAGICIHAVEOPT", 16);
    put_number(fd, 3, 2);
    get_number(fd, 4);
    while (!options_end(fd))
        ;
    for (;;)
        answer(fd);
}

/* Each connection gets a process, so that breaking off is easy. */
static pid_t start_liar(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;
    pid_t pid;

    snprintf(address.sun_path, sizeof address.sun_path, "%s",
             in_stage("socket"));
    unlink(address.sun_path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 16) < 0)
        bail("no socket: %s", strerror(errno));
    pid = fork();
    if (pid) {
        close(listener);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            budget = liar->breaks_off;
            serve(fd);
        }
        close(fd);
    }
    _exit(0);
}

static void stop_liar(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- what becomes of it ---- */

static void does_not_open(const struct liar *which)
{
    blkalign_handle *disk = NULL;
    pid_t pid;
    int result;

    liar = which;
    pid = start_liar();
    result = try_open(NULL, BLKALIGN_O_RDWR, &disk);
    if (!ok(result < 0 && last_words[0], "does not open: %s: %s",
            which->name, last_words))
        blkalign_close(disk);
    stop_liar(pid);
}

static void requests_fail(const struct liar *which)
{
    blkalign_nbd_options nbd = with_reconnect(BLKALIGN_NBD_NEVER);
    blkalign_handle *disk;
    char bytes[8192] = "";
    pid_t pid;
    int reading, writing, flushing;

    liar = which;
    if (which->reply == SILENT)
        nbd.stall_s = 1;
    pid = start_liar();
    disk = open_rw(&nbd);
    reading = blkalign_pread(disk, 100, sizeof bytes, bytes, 0);
    writing = blkalign_pwrite(disk, 100, sizeof bytes, bytes, 0);
    flushing = blkalign_flush(disk);
    ok(reading < 0 && writing < 0 && flushing < 0,
       "requests fail: %s: %d, %d, %d", which->name, reading, writing,
       flushing);
    blkalign_close(disk);
    stop_liar(pid);
}

static const struct liar unopened[] = {
    { .name = "not a word", .breaks_off = 1, .length = DISK_BYTES },
    { .name = "breaks off in the first words", .breaks_off = 17,
      .length = DISK_BYTES },
    { .name = "breaks off in the options", .breaks_off = 30,
      .length = DISK_BYTES },
    { .name = "breaks off after them", .breaks_off = 60,
      .length = DISK_BYTES },
    { .name = "speaks HTTP", .nonsense = true, .length = DISK_BYTES },
    { .name = "a length below zero", .length = UINT64_MAX - 4095 },
    { .name = "a length that ends in a block", .length = DISK_BYTES + 512,
      .smallest = 4096, .largest = 1 << 20 },
};

static const struct liar unanswered[] = {
    { .name = "hangs up", .length = DISK_BYTES, .reply = HANG_UP },
    { .name = "talks nonsense", .length = DISK_BYTES, .reply = GARBAGE },
    { .name = "is silent", .length = DISK_BYTES, .reply = SILENT },
    { .name = "answers what nobody asked", .length = DISK_BYTES,
      .reply = STRANGER },
    { .name = "an error that does not exist", .length = DISK_BYTES,
      .reply = ODD_ERROR },
};

/* These may do a part of it, or all. */
static void half_an_answer(enum reply reply, const char *name)
{
    blkalign_nbd_options nbd = with_reconnect(BLKALIGN_NBD_NEVER);
    struct liar this_one = { .name = name, .length = DISK_BYTES };
    blkalign_handle *disk;
    char bytes[8192];
    int reading = -EINVAL, i;
    pid_t pid;

    this_one.reply = reply;
    liar = &this_one;
    pid = start_liar();
    disk = open_rw(&nbd);
    for (i = 0; i < 20; i++)
        reading = blkalign_pread(disk, 100, sizeof bytes, bytes, 0);
    ok(reply == TWICE || reading < 0, "%s: %d", name, reading);
    blkalign_close(disk);
    stop_liar(pid);
}

/* Nonsense that can be lived with. */
static void odd_but_good(uint64_t length, uint32_t smallest,
                         uint32_t largest, uint32_t alignment)
{
    struct liar this_one = { .name = "odd", .length = length };
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_handle *disk;
    char bytes[100];
    pid_t pid;

    this_one.smallest = smallest;
    this_one.largest = largest;
    liar = &this_one;
    pid = start_liar();
    disk = open_rw(NULL);
    blkalign_get_limits(disk, &limits);
    is_int(limits.request_alignment, alignment, "alignment of a length of "
           "%lld", (long long)length);
    is_int(blkalign_pread(disk, 0, length < 100 ? 0 : 100, bytes, 0), 0,
           "it is read");
    blkalign_close(disk);
    stop_liar(pid);
}

/* libnbd 1.14 passes over such blocks; another might not. */
static void impossible_blocks(uint32_t smallest, uint32_t largest)
{
    struct liar this_one = { .name = "impossible", .length = DISK_BYTES };
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_handle *disk = NULL;
    pid_t pid;
    int result;

    this_one.smallest = smallest;
    this_one.largest = largest;
    liar = &this_one;
    pid = start_liar();
    result = try_open(NULL, 0, &disk);
    if (result == 0)
        blkalign_get_limits(disk, &limits);
    ok(result < 0 || limits.request_alignment == 512,
       "blocks of %u at least and %u at most are refused, or not believed",
       (unsigned)smallest, (unsigned)largest);
    blkalign_close(disk);
    stop_liar(pid);
}

/* A socket that is left over from a server. */
static void nobody_listens(void)
{
    blkalign_handle *disk = NULL;
    double started = seconds();

    liar = &unanswered[0];
    stop_liar(start_liar());
    ok(try_open(NULL, 0, &disk) < 0 && last_words[0] &&
       seconds() - started < 10, "a socket where nobody listens: %s",
       last_words);
}

int main(void)
{
    size_t i;

    stage_open();
    nobody_listens();
    for (i = 0; i < sizeof unopened / sizeof *unopened; i++)
        does_not_open(&unopened[i]);
    for (i = 0; i < sizeof unanswered / sizeof *unanswered; i++)
        requests_fail(&unanswered[i]);
    half_an_answer(HALF, "breaks off within what is read");
    half_an_answer(TWICE, "answers twice");
    impossible_blocks(3, 1 << 20);
    impossible_blocks(1 << 21, 1 << 25);
    impossible_blocks(8192, 4096);
    impossible_blocks(UINT32_C(1) << 31, UINT32_MAX);
    odd_but_good(0, 0, 0, 512);
    odd_but_good(UINT64_C(1) << 62, 0, 0, 512);
    odd_but_good(DISK_BYTES, 65536, 65536, 65536);
    odd_but_good(12345, 0, 0, 1);
    return done_testing();
}
