/*
 * blkalign-nbd and clients that break the rules, or strain them: each gets an
 * error or is hung up on, the disk keeps its bytes, and others are served.
 * The server is a child of this program. TAP, for prove(1).
 *
 * Divisions: the server, a client, handshakes, requests, floods, ends.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "protocol.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    DISK_BYTES = 64 << 20, REPLY_MS = 10000,
    HANDSHAKE_S = 10            /* of the server */
};

static char folder[64], socket_path[80], disk_path[80];
static pid_t server, owner;
static unsigned char data[DISK_BYTES];

/* ---- the server ---- */

static void end_server(int number)
{
    if (server > 0) {
        kill(server, number);
        waitpid(server, NULL, 0);
    }
    server = 0;
}

static void clean_up(void)
{
    if (getpid() != owner)
        return;
    end_server(SIGKILL);
    unlink(socket_path);
    unlink(disk_path);
    rmdir(folder);
}

static int try_connect(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, socket_path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void start_server(const char *option)
{
    const char *program = getenv("BLKALIGN_NBD_SERVER");
    int tries, fd = -1;

    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        program = program ? program : "build/tools/blkalign-nbd";
        execl(program, program, "--socket", socket_path, "--file", disk_path,
              option, (char *)NULL);
        _exit(1);
    }
    for (tries = 0; tries < 1000 && (fd = try_connect()) < 0; tries++)
        usleep(10000);
    if (fd < 0)
        bail("the server does not start");
    close(fd);
}

static void open_stage(void)
{
    size_t i;
    int fd;

    alarm(300);
    signal(SIGPIPE, SIG_IGN);
    strcpy(folder, "/tmp/blkalign-nbd-XXXXXX");
    if (!mkdtemp(folder))
        bail("mkdtemp: %s", strerror(errno));
    snprintf(socket_path, sizeof socket_path, "%s/socket", folder);
    snprintf(disk_path, sizeof disk_path, "%s/disk", folder);
    owner = getpid();
    atexit(clean_up);
    for (i = 0; i < DISK_BYTES; i++)
        data[i] = (unsigned char)(i / 512 * 7);
    fd = open(disk_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, DISK_BYTES) != DISK_BYTES)
        bail("%s: %s", disk_path, strerror(errno));
    close(fd);
}

/* Without the library: through the page cache, which the server's O_DIRECT
 * keeps true. */
static bool disk_is_as_in_data(void)
{
    static unsigned char found[1 << 20];
    int fd = open(disk_path, O_RDONLY | O_CLOEXEC);
    size_t at;
    bool same = fd >= 0;

    for (at = 0; same && at < DISK_BYTES; at += sizeof found)
        same = pread(fd, found, sizeof found, (off_t)at) == sizeof found &&
               memcmp(found, data + at, sizeof found) == 0;
    close(fd);
    return same;
}

/* ---- a client ---- */

static bool put(int fd, const void *bytes, size_t count)
{
    return send(fd, bytes, count, MSG_NOSIGNAL) == (ssize_t)count;
}

static bool get(int fd, void *bytes, size_t count)
{
    struct pollfd one = { .fd = fd, .events = POLLIN };
    unsigned char *to = bytes;
    ssize_t got;

    for (; count > 0; to += got, count -= (size_t)got) {
        if (poll(&one, 1, REPLY_MS) <= 0)
            return false;
        got = recv(fd, to, count, 0);
        if (got <= 0)
            return false;
    }
    return true;
}

/* Whether the server hangs up, whatever it says before. */
static bool hangs_up(int fd, int ms)
{
    struct pollfd one = { .fd = fd, .events = POLLIN };
    char said[4096];

    while (poll(&one, 1, ms) > 0)
        if (recv(fd, said, sizeof said, 0) <= 0)
            return true;
    return false;
}

static void put_option(int fd, uint64_t magic, uint32_t option,
                       const void *bytes, uint32_t count)
{
    unsigned char head[16], *to = head;

    to = put_number(to, magic, 8);
    to = put_number(to, option, 4);
    put_number(to, count, 4);
    put(fd, head, sizeof head);
    if (bytes)
        put(fd, bytes, count);
}

/* Type of the reply to an option; its data, if any, are thrown away. */
static uint32_t option_reply(int fd)
{
    unsigned char head[20], rest[4096];
    uint32_t count;

    if (!get(fd, head, sizeof head) ||
        get_number(head, 8) != NBD_OPTION_REPLY_MAGIC)
        return 0;
    count = (uint32_t)get_number(head + 16, 4);
    if (count > sizeof rest || !get(fd, rest, count))
        return 0;
    return (uint32_t)get_number(head + 12, 4);
}

static int greeted(uint32_t flags)
{
    unsigned char words[18];
    int fd = try_connect();

    if (fd < 0 || !get(fd, words, sizeof words) ||
        get_number(words, 8) != NBD_MAGIC)
        bail("no greeting");
    put_number(words, flags, 4);
    put(fd, words, 4);
    return fd;
}

static int connected(void)
{
    static const unsigned char no_name[6];
    int fd = greeted(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    uint32_t type;

    put_option(fd, NBD_OPTION_MAGIC, NBD_OPT_GO, no_name, sizeof no_name);
    while ((type = option_reply(fd)) == NBD_REP_INFO)
        continue;
    if (type != NBD_REP_ACK)
        bail("no transmission: %#x", (unsigned)type);
    return fd;
}

static void make_request(unsigned char *to, unsigned flags, unsigned type,
                         uint64_t cookie, uint64_t offset, uint32_t bytes)
{
    to = put_number(to, NBD_REQUEST_MAGIC, 4);
    to = put_number(to, flags, 2);
    to = put_number(to, type, 2);
    to = put_number(to, cookie, 8);
    to = put_number(to, offset, 8);
    put_number(to, bytes, 4);
}

static void request(int fd, unsigned flags, unsigned type, uint64_t cookie,
                    uint64_t offset, uint32_t bytes)
{
    unsigned char head[NBD_REQUEST_BYTES];

    make_request(head, flags, type, cookie, offset, bytes);
    put(fd, head, sizeof head);
}

/* Error of the next reply, without data; -1: there is none. */
static int reply(int fd, uint64_t *cookie)
{
    unsigned char head[NBD_REPLY_BYTES];

    if (!get(fd, head, sizeof head) ||
        get_number(head, 4) != NBD_SIMPLE_REPLY_MAGIC)
        return -1;
    *cookie = get_number(head + 8, 8);
    return (int)get_number(head + 4, 4);
}

static int reply_to(int fd, uint64_t cookie)
{
    uint64_t got;
    int error = reply(fd, &got);

    return error >= 0 && got != cookie ? -2 : error;
}

static bool reads_right(int fd, uint64_t offset, uint32_t bytes)
{
    static unsigned char found[1 << 20];

    request(fd, 0, NBD_CMD_READ, 1234, offset, bytes);
    return reply_to(fd, 1234) == 0 && get(fd, found, bytes) &&
           memcmp(found, data + offset, bytes) == 0;
}

static bool serves(void)
{
    int fd = connected();
    bool right = reads_right(fd, 77, 10000);

    close(fd);
    return right;
}

/* ---- handshakes ---- */

static void unknown_flags(void)
{
    int fd = greeted(NBD_FLAG_FIXED_NEWSTYLE | 1u << 7);

    ok(hangs_up(fd, REPLY_MS), "unknown flags of a client: hung up on");
    close(fd);
}

static void wrong_magic(void)
{
    int fd = greeted(NBD_FLAG_FIXED_NEWSTYLE);

    put_option(fd, 42, NBD_OPT_GO, "", 0);
    ok(hangs_up(fd, REPLY_MS), "an option without its magic: hung up on");
    close(fd);
}

static void option_refused(uint32_t option, const void *bytes, uint32_t count,
                           uint32_t type, const char *what)
{
    int fd = greeted(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);

    put_option(fd, NBD_OPTION_MAGIC, option, bytes, count);
    is_int(option_reply(fd), type, "%s is refused", what);
    put_option(fd, NBD_OPTION_MAGIC, NBD_OPT_LIST, "", 0);
    is_int(option_reply(fd), NBD_REP_SERVER, "... and the next is answered");
    close(fd);
}

static void options_that_are_wrong(void)
{
    static const char too_long[1 << 20];

    option_refused(99, "", 0, NBD_REP_ERR_UNSUP, "an unknown option");
    option_refused(NBD_OPT_GO, too_long, sizeof too_long,
                   NBD_REP_ERR_TOO_BIG, "an option of 1 MiB");
    option_refused(NBD_OPT_GO, "\0\0\0", 3, NBD_REP_ERR_INVALID,
                   "an option that is too short");
    option_refused(NBD_OPT_INFO, "\xff\xff\xff\xffnm\0\0", 8,
                   NBD_REP_ERR_INVALID, "a name longer than its option");
    option_refused(NBD_OPT_INFO, "\0\0\0\0\0\5\0\3", 8, NBD_REP_ERR_INVALID,
                   "more wishes than there are");
    option_refused(NBD_OPT_GO, "\0\0\0\1x\0\0", 7, NBD_REP_ERR_UNKNOWN,
                   "a name that is not ours");
    option_refused(NBD_OPT_LIST, "x", 1, NBD_REP_ERR_INVALID,
                   "a list of something");
}

static void options_without_end(void)
{
    int fd = greeted(NBD_FLAG_FIXED_NEWSTYLE), i;

    for (i = 0; i < 100; i++)
        put_option(fd, NBD_OPTION_MAGIC, 99, "", 0);
    ok(hangs_up(fd, REPLY_MS), "options without end: hung up on");
    close(fd);
}

static void oldest_option(void)
{
    unsigned char answer[10 + 124];
    int fd = greeted(0);

    put_option(fd, NBD_OPTION_MAGIC, NBD_OPT_EXPORT_NAME, "", 0);
    ok(get(fd, answer, sizeof answer) && reads_right(fd, 0, 512),
       "a client that knows NBD_OPT_EXPORT_NAME alone is served");
    is_int((int64_t)get_number(answer, 8), DISK_BYTES, "... of the length");
    close(fd);
    fd = greeted(0);
    put_option(fd, NBD_OPTION_MAGIC, NBD_OPT_EXPORT_NAME, "nobody", 6);
    ok(hangs_up(fd, REPLY_MS), "with another name: hung up on");
    close(fd);
}

/* ---- requests ---- */

static void requests_that_are_wrong(void)
{
    static const struct {
        unsigned flags, type;
        uint64_t offset;
        uint32_t bytes;
        int error;
        const char *name;
    } wrong[] = {
        { 0, 99, 0, 512, NBD_EINVAL, "an unknown command" },
        { 1u << 9, NBD_CMD_READ, 0, 512, NBD_EINVAL, "an unknown flag" },
        { 0, NBD_CMD_READ, DISK_BYTES, 1, NBD_EINVAL, "a read at the end" },
        { 0, NBD_CMD_READ, DISK_BYTES - 1, 2, NBD_EINVAL, "past the end" },
        { 0, NBD_CMD_READ, UINT64_MAX, 512, NBD_EINVAL, "at 2^64 - 1" },
        { 0, NBD_CMD_READ, UINT64_MAX - 511, 512, NBD_EINVAL,
          "up to 2^64" },
        { 0, NBD_CMD_READ, 0, (32 << 20) + 1, NBD_EOVERFLOW,
          "a read of more than 32 MiB" },
        { 0, NBD_CMD_READ, 0, UINT32_MAX, NBD_EINVAL, "a read of 4 GiB" },
        { 0, NBD_CMD_TRIM, DISK_BYTES - 512, 1024, NBD_ENOSPC,
          "a discard past the end" },
        { 0, NBD_CMD_WRITE_ZEROES, UINT64_C(1) << 63, 512, NBD_ENOSPC,
          "zeros at 2^63" },
        { 0, NBD_CMD_FLUSH, 512, 512, NBD_EINVAL, "a flush of a range" },
        { 0, NBD_CMD_WRITE, DISK_BYTES - 511, 512, NBD_ENOSPC,
          "a write past the end" },
        { 1u << 9, NBD_CMD_WRITE, 0, 512, NBD_EINVAL,
          "a write with an unknown flag" },
        { 0, NBD_CMD_WRITE, 0, 40 << 20, NBD_EOVERFLOW,
          "a write of 40 MiB" },
    };
    static char zeros[40 << 20];
    int fd = connected();
    size_t i;

    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        request(fd, wrong[i].flags, wrong[i].type, i, wrong[i].offset,
                wrong[i].bytes);
        if (wrong[i].type == NBD_CMD_WRITE)
            put(fd, zeros, wrong[i].bytes);
        is_int(reply_to(fd, i), wrong[i].error, "%s: the error fits",
               wrong[i].name);
    }
    ok(reads_right(fd, 0, 1 << 20), "after all that the client is served");
    close(fd);
    ok(disk_is_as_in_data(), "and no byte of the disk has changed");
}

static void wrong_request_magic(void)
{
    unsigned char head[NBD_REQUEST_BYTES] = { 0 };
    int fd = connected();

    put(fd, head, sizeof head);
    ok(hangs_up(fd, REPLY_MS), "a request without its magic: hung up on");
    close(fd);
}

static void nothing_at_all(void)
{
    static const unsigned types[] = {
        NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES
    };
    int fd = connected();
    unsigned i;

    for (i = 0; i < 4; i++) {
        request(fd, 0, types[i], i, DISK_BYTES, 0);
        is_int(reply_to(fd, i), 0, "command %u of no bytes does nothing",
               types[i]);
    }
    close(fd);
}

static void in_pieces(void)
{
    unsigned char whole[NBD_REQUEST_BYTES + 600];
    int fd = connected();
    size_t i;

    memset(data + 5000, 'p', 600);
    make_request(whole, NBD_CMD_FLAG_FUA, NBD_CMD_WRITE, 9, 5000, 600);
    memcpy(whole + NBD_REQUEST_BYTES, data + 5000, 600);
    for (i = 0; i < sizeof whole; i++) {
        put(fd, whole + i, 1);
        if (i % 16 == 0)
            usleep(100);
    }
    is_int(reply_to(fd, 9), 0, "a write that comes byte by byte");
    ok(reads_right(fd, 4096, 4096), "... is done as it should be");
    close(fd);
}

static void half_a_write(void)
{
    static char half[50000];
    int fd = connected();

    memset(half, 'h', sizeof half);
    request(fd, 0, NBD_CMD_WRITE, 1, 20000, 100000);
    put(fd, half, sizeof half);
    close(fd);
    usleep(100000);
    ok(disk_is_as_in_data(), "a write of which half has come does nothing");
}

static void zeros_and_discards(void)
{
    int fd = connected();

    memset(data + 100001, 0, 30000);
    request(fd, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE,
            NBD_CMD_WRITE_ZEROES, 1, 100001, 30000);
    is_int(reply_to(fd, 1), 0, "zeros, FUA");
    ok(reads_right(fd, 90000, 50000), "are zeros, and nothing else is");
    request(fd, NBD_CMD_FLAG_FUA, NBD_CMD_TRIM, 2, 1 << 20, 1 << 20);
    is_int(reply_to(fd, 2), 0, "a discard, FUA");
    ok(reads_right(fd, (1 << 20) - 4096, 4096) &&
       reads_right(fd, 2 << 20, 4096), "its neighbours are as they were");
    request(fd, 0, NBD_CMD_WRITE, 3, 1 << 20, 1 << 20);
    put(fd, data + (1 << 20), 1 << 20);
    is_int(reply_to(fd, 3), 0, "a write of 1 MiB");
    request(fd, 0, NBD_CMD_FLUSH, 4, 0, 0);
    is_int(reply_to(fd, 4), 0, "a flush");
    close(fd);
    ok(disk_is_as_in_data(), "every byte of the disk is what it should be");
}

/* ---- floods ---- */

enum { COUNT = 2000 };
static unsigned char whole[COUNT][NBD_REQUEST_BYTES + 512];

static void *send_whole(void *fd)
{
    put(*(int *)fd, whole, sizeof whole);
    return NULL;
}

/* More requests than the server takes at once, of which eight share a block.
 * A thread sends: the server takes no more while nobody reads its replies. */
static void many_at_once(void)
{
    static unsigned answered[COUNT];
    int fd = connected(), good = 0;
    pthread_t sender;
    size_t at = 8 << 20;
    uint64_t cookie;
    unsigned i;

    for (i = 0; i < COUNT; i++) {
        memset(data + at + i * 512, (int)(i % 251), 512);
        make_request(whole[i], 0, NBD_CMD_WRITE, i, at + i * 512, 512);
        memcpy(whole[i] + NBD_REQUEST_BYTES, data + at + i * 512, 512);
    }
    pthread_create(&sender, NULL, send_whole, &fd);
    for (i = 0; i < COUNT; i++)
        if (reply(fd, &cookie) == 0 && cookie < COUNT)
            good += answered[cookie]++ == 0;
    pthread_join(sender, NULL);
    is_int(good, COUNT, "2000 writes at once have one reply each");
    close(fd);
    ok(disk_is_as_in_data(), "none loses anything of another");
}

static long resident_kib(void)
{
    char path[64], line[256];
    long kib = -1;
    FILE *from;

    snprintf(path, sizeof path, "/proc/%d/status", (int)server);
    from = fopen(path, "r");
    while (from && fgets(line, sizeof line, from))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (from)
        fclose(from);
    return kib;
}

/* Asks for MiBs until the server and the socket take no more of that. */
static unsigned ask_for_all(int fd)
{
    unsigned char head[NBD_REQUEST_BYTES];
    unsigned count = 0, tries;

    for (tries = 0; tries < 10;) {
        make_request(head, 0, NBD_CMD_READ, count, count % 64 << 20, 1 << 20);
        if (send(fd, head, sizeof head, MSG_DONTWAIT) == sizeof head) {
            count++;
        } else {
            usleep(30000);
            tries++;
        }
    }
    return count;
}

static void greedy(void)
{
    int fd = connected(), right = 0;
    long before = resident_kib(), after;
    static unsigned char found[1 << 20];
    unsigned asked = ask_for_all(fd), i;
    uint64_t cookie;

    after = resident_kib();
    ok(before > 0 && after - before < 80 << 10, "who takes no replies costs "
       "the server no more than 80 MiB: %ld KiB", after - before);
    ok(serves(), "others are served meanwhile");
    for (i = 0; i < asked; i++)
        right += reply(fd, &cookie) == 0 && cookie < asked &&
                 get(fd, found, sizeof found) &&
                 memcmp(found, data + (cookie % 64 << 20),
                        sizeof found) == 0;
    is_int(right, asked, "and all that it takes in the end is right");
    close(fd);
    ok(serves(), "others are served when it has gone");
}

static void noise(void)
{
    unsigned seed = 1, i, j;
    char bytes[300];
    int fd;

    for (i = 0; i < 200; i++) {
        for (j = 0; j < sizeof bytes; j++)
            bytes[j] = (char)((seed = seed * 1103515245 + 12345) >> 16);
        fd = i % 2 ? connected() : greeted(NBD_FLAG_FIXED_NEWSTYLE);
        put(fd, bytes, sizeof bytes);
        close(fd);
    }
    ok(serves() && disk_is_as_in_data(), "200 clients that make noise: the "
       "disk is as it was, and others are served");
}

/* ---- ends ---- */

/* Replies that come before the server hangs up. */
static int replies_before_end(int fd)
{
    static unsigned char found[4096];
    uint64_t cookie;
    int count = 0;

    while (reply(fd, &cookie) == 0 && get(fd, found, sizeof found))
        count++;
    return count;
}

static void goodbyes(void)
{
    int fd = connected(), i;

    for (i = 0; i < 100; i++)
        request(fd, 0, NBD_CMD_READ, 1, (uint64_t)i * 4096, 4096);
    request(fd, 0, NBD_CMD_DISC, 0, 0, 0);
    is_int(replies_before_end(fd), 100,
           "what was asked for before NBD_CMD_DISC is answered");
    close(fd);
    fd = connected();
    for (i = 0; i < 100; i++)
        request(fd, 0, NBD_CMD_READ, 1, (uint64_t)i * 4096, 4096);
    shutdown(fd, SHUT_WR);
    is_int(replies_before_end(fd), 100,
           "and what was asked for before the end of the stream");
    close(fd);
}

static void end_with_clients(void)
{
    int idle = connected(), shy = try_connect(), status = -1, i;
    int greedy_ones[2], parting;

    /* These take no replies; one of them will not ask for more either. */
    for (i = 0; i < 2; i++) {
        greedy_ones[i] = connected();
        (void)ask_for_all(greedy_ones[i]);
    }
    parting = shutdown(greedy_ones[1], SHUT_WR);
    kill(server, SIGTERM);
    for (i = 0; i < 490 && waitpid(server, &status, WNOHANG) == 0; i++)
        usleep(10000);
    ok(parting == 0 && i < 490 && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0,
       "SIGTERM ends the server, though clients are there");
    ok(hangs_up(idle, REPLY_MS) && hangs_up(shy, REPLY_MS),
       "... and hangs up on them");
    close(idle);
    close(shy);
    close(greedy_ones[0]);
    close(greedy_ones[1]);
    server = 0;
}

static void read_only(void)
{
    int fd;

    start_server("--read-only");
    fd = connected();
    request(fd, 0, NBD_CMD_WRITE, 1, 0, 512);
    put(fd, data + 4096, 512);
    is_int(reply_to(fd, 1), NBD_EPERM, "read-only: a write is refused");
    request(fd, 0, NBD_CMD_WRITE_ZEROES, 2, 0, 512);
    is_int(reply_to(fd, 2), NBD_EPERM, "and zeros");
    request(fd, 0, NBD_CMD_TRIM, 3, 0, 512);
    is_int(reply_to(fd, 3), NBD_EPERM, "and a discard");
    request(fd, 0, NBD_CMD_FLUSH, 4, 0, 0);
    is_int(reply_to(fd, 4), 0, "a flush is not");
    ok(reads_right(fd, 0, 4096), "and a read is served");
    close(fd);
    end_server(SIGTERM);
    ok(disk_is_as_in_data(), "no byte has changed");
}

int main(void)
{
    int silent;
    time_t since;

    open_stage();
    start_server(NULL);
    silent = try_connect();
    since = time(NULL);
    unknown_flags();
    wrong_magic();
    options_that_are_wrong();
    options_without_end();
    oldest_option();
    requests_that_are_wrong();
    wrong_request_magic();
    nothing_at_all();
    in_pieces();
    half_a_write();
    zeros_and_discards();
    many_at_once();
    greedy();
    noise();
    goodbyes();
    ok(hangs_up(silent, (HANDSHAKE_S + 10) * 1000) &&
       time(NULL) - since >= HANDSHAKE_S - 1,
       "a client that says nothing is hung up on after 10 seconds");
    close(silent);
    end_with_clients();
    read_only();
    return done_testing();
}
