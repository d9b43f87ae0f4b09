/*
 * BLKALIGN_O_LOCK between processes of this library: which opens succeed, what
 * the words name, what is shared, and when the locks end.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_peer.h"
#include "common_proc.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READER BLKALIGN_O_LOCK
#define WRITER (BLKALIGN_O_LOCK | BLKALIGN_O_RDWR)

static struct bed bed;
static struct peer peers[2];
static int inheritable;          /* descriptors, from outside */

static int open_here(uint32_t flags, blkalign_handle **handle)
{
    blkalign_open_options options = options_of(flags, 0);

    *handle = NULL;
    return blkalign_open(bed.path, &options, handle);
}

static blkalign_handle *opened(uint32_t flags)
{
    blkalign_handle *handle;

    if (open_here(flags, &handle))
        bail("%s: %s", bed.path, blkalign_errmsg());
    return handle;
}

static int peer_try(uint32_t flags)
{
    int ret = peer_open(&peers[0], bed.path, flags);

    if (ret == 0)
        peer_close(&peers[0]);
    return ret;
}

static void locked_is(const char *bytes, const char *sentence)
{
    const char *found = bytes_locked(bed.path);

    if (!ok(strcmp(found, bytes) == 0, "%s: %s", bed.name, sentence))
        diag("locked: %s, not %s", found, bytes);
}

static void words_are(const char *words, const char *expected)
{
    if (!ok(strstr(words, expected) && strstr(words, bed.path),
            "%s: the words name the path and %.8s", bed.name, expected))
        diag("%s", words);
}

static void who_gets_in(void)
{
    blkalign_handle *handle = opened(READER);

    is_int(peer_try(READER), 0, "%s: reader beside reader", bed.name);
    is_int(peer_try(WRITER), -EAGAIN, "%s: no writer beside reader",
           bed.name);
    words_are(peers[0].words,
              "byte 201: another process does not share writing");
    is_int(peer_try(BLKALIGN_O_RDWR), 0,
           "%s: who takes no part is not kept out", bed.name);
    blkalign_close(handle);
    handle = opened(WRITER);
    is_int(peer_try(READER), -EAGAIN, "%s: no reader beside writer",
           bed.name);
    words_are(peers[0].words,
              "byte 101: another process uses the file for writing");
    is_int(peer_try(WRITER), -EAGAIN, "%s: no writer beside writer",
           bed.name);
    words_are(peers[0].words, "byte 101: another process uses");
    is_int(blkalign_pwrite(handle, 513, 5, "12345", 0), 0,
           "%s: who has the lock writes", bed.name);
    blkalign_close(handle);
    is_int(peer_try(WRITER), 0, "%s: after the close all is free", bed.name);
    handle = opened(BLKALIGN_O_RDWR);
    locked_is("", "without the flag nothing is locked");
    is_int(peer_try(WRITER), 0, "%s: and nobody kept out", bed.name);
    blkalign_close(handle);
}

static void handles_share(void)
{
    blkalign_open_options reads = options_of(READER, 0);
    blkalign_open_options plain = options_of(0, 0);
    blkalign_handle *writer = opened(WRITER), *second = NULL, *bare = NULL;
    int before = proc_descriptors(), fd, fds;

    is_int(blkalign_dup(writer, &plain, &bare), 0, "%s: dup without",
           bed.name);
    fds = proc_descriptors();
    fd = open(bed.path, O_RDWR | O_CLOEXEC);
    is_int(blkalign_open_fd(fd, &reads, &second), 0,
           "%s: a second handle, by descriptor, shares the lock", bed.name);
    close(fd);
    is_int(proc_descriptors() - fds, fds - before,
           "%s: and takes no descriptor for it", bed.name);
    is_int(proc_inheritable(), inheritable,
           "%s: nothing is passed on by exec", bed.name);
    blkalign_close(writer);
    locked_is("100 201 203", "the reader that is left keeps what it needs");
    is_int(peer_try(WRITER), -EAGAIN, "%s: no writer beside it", bed.name);
    is_int(blkalign_dup(second, &reads, &writer), 0, "%s: dup with it",
           bed.name);
    blkalign_close(second);
    locked_is("100 201 203", "the lock goes on to the duplicate");
    blkalign_close(writer);
    locked_is("", "handles without the flag hold nothing");
    blkalign_close(bare);
}

static void upgrade(void)
{
    blkalign_handle *reader = opened(READER), *writer;

    is_int(peer_open(&peers[0], bed.path, READER), 0, "%s: two readers",
           bed.name);
    is_int(open_here(WRITER, &writer), -EAGAIN,
           "%s: a writer of ours is refused", bed.name);
    words_are(blkalign_errmsg(), "byte 201: another");
    locked_is("100 201 203", "the readers keep what they had");
    peer_close(&peers[0]);
    is_int(open_here(WRITER, &writer), 0, "%s: alone it may", bed.name);
    locked_is("100 101 201 203", "and has the lock of a writer");
    is_int(peer_try(READER), -EAGAIN, "%s: which is one", bed.name);
    blkalign_close(reader);
    locked_is("100 101 201 203", "also after the reader has gone");
    blkalign_close(writer);
    locked_is("", "nothing is left");
}

/* It may be that neither open succeeds, but never that both do. */
static void two_at_once(void)
{
    int round, both = 0, one = 0, first, second;

    for (round = 0; round < 100; round++) {
        peer_open_begin(&peers[0], bed.path, WRITER);
        peer_open_begin(&peers[1], bed.path, round % 2 ? WRITER : READER);
        first = peer_answer(&peers[0]);
        second = peer_answer(&peers[1]);
        both += !first && !second;
        one += !first != !second;
        if (first == 0)
            peer_close(&peers[0]);
        if (second == 0)
            peer_close(&peers[1]);
    }
    is_int(both, 0, "%s: two that come at once never both get in", bed.name);
    diag("one got in %d times, none %d times", one, 100 - both - one);
    locked_is("", "and nothing is left");
}

static void ends_of_processes(void)
{
    blkalign_handle *handle = opened(WRITER);
    pid_t pid = fork();
    int tries;

    if (pid == 0) {
        pause();
        _exit(0);
    }
    blkalign_close(handle);
    locked_is("", "a close gives back what a child of fork holds, too");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    is_int(peer_open(&peers[1], bed.path, WRITER), 0, "%s: another writes",
           bed.name);
    is_int(open_here(WRITER, &handle), -EAGAIN, "%s: we are kept out",
           bed.name);
    peer_kill(&peers[1]);
    /* Linux may take a moment to end the ring of the killed process, which
     * keeps the file open. */
    for (tries = 0; tries < 1000 && *bytes_locked(bed.path); tries++)
        usleep(10000);
    locked_is("", "whoever is killed gives everything back");
}

/* From here on fcntl(F_OFD_SETLK) fails with this error. */
static int refuse_locks(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fcntl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_OFD_SETLK, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 6, filter };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   SECCOMP_FILTER_FLAG_TSYNC, &program);
}

/* In a child; exit status: 0, or the number of the first expectation that
 * failed. */
static int with_locks_refused(int error, int expected, const char *words)
{
    blkalign_handle *handle = NULL;
    int fds = proc_descriptors();

    if (refuse_locks(error))
        return 77;
    if (open_here(WRITER, &handle) != -expected || handle)
        return 1;
    if (!strstr(blkalign_errmsg(), words))
        return 2;
    if (proc_descriptors() != fds)
        return 3;
    if (open_here(BLKALIGN_O_RDWR, &handle))
        return 4;
    return blkalign_close(handle) ? 5 : 0;
}

static void no_locks(int error, int expected, const char *words)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(with_locks_refused(error, expected, words));
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip("no seccomp here", "fcntl fails with %s", strerror(error));
    else
        is_int(status >> 8, 0, "fcntl fails with %s: %s", strerror(error),
               words);
}

static void not_for_drivers(void)
{
    struct sim_options disk = sim_disk_4k(65536, SIM_SYNC);
    blkalign_open_options options = options_of(WRITER, 0);
    struct sim *sim = sim_new(&disk);
    blkalign_driver driver = sim_driver(sim);
    blkalign_handle *handle = NULL, *second = NULL;

    is_int(blkalign_open_driver(&driver, sim, &options, &handle), -EINVAL,
           "a driver has no locks");
    ok(strstr(blkalign_errmsg(), "BLKALIGN_O_LOCK") != NULL, "%s",
       blkalign_errmsg());
    options.flags = BLKALIGN_O_RDWR;
    is_int(blkalign_open_driver(&driver, sim, &options, &handle), 0,
           "without the flag it opens");
    options.flags = WRITER;
    is_int(blkalign_dup(handle, &options, &second), -EINVAL,
           "nor has its duplicate");
    blkalign_close(handle);
    sim_free(sim);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_XFS, BED_LOOP, BED_FILE };
    unsigned i;
    int fds;

    run_begin(100);
    inheritable = proc_inheritable();
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (bed_make(&bed, kinds[i], 65536)) {
            skip(bed.why_not, "%s: image locks", bed.name);
            continue;
        }
        /* Children that see the bed's mounts, and never inherit our handles.
         * */
        peer_start(&peers[0]);
        peer_start(&peers[1]);
        fds = proc_descriptors();
        who_gets_in();
        handles_share();
        upgrade();
        two_at_once();
        is_int(proc_descriptors(), fds, "%s: no descriptor is left",
               bed.name);
        ends_of_processes();
        peer_kill(&peers[0]);
        if (kinds[i] != BED_FILE)
            bed_remove(&bed);
    }
    if (!bed.why_not[0]) {
        no_locks(ENOLCK, ENOLCK, "byte 100: the system or the file server");
        no_locks(EINVAL, ENOTSUP, "open file description locks (OFD)");
        bed_remove(&bed);
    }
    not_for_drivers();
    return done_testing();
}
