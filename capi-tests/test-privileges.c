/*
 * A program that gives up its privileges, or its /proc, after the open or
 * before: the handle already has what it needs later. Each case is a child.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 4
#define NOBODY 65534
#define DIRECT (BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT)

static struct bed bed;
static uint8_t *buf;
static uint32_t engine;
static char empty[] = "/tmp/blkalign-empty-XXXXXX";

static void become_nobody(void)
{
    if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
        setresuid(NOBODY, NOBODY, NOBODY) || open(bed.path, O_RDONLY) >= 0)
        _exit(200);
}

/* In a directory that contains nothing, or only the file. */
static void change_root(const char *directory)
{
    if (chroot(directory) || chdir("/") || !access("/proc/self", F_OK))
        _exit(201);
}

static void lose_proc(void)
{
    change_root(empty);
}

static blkalign_open_options options(uint32_t flags)
{
    blkalign_open_options made = options_of(flags, 0);

    made.engine = engine;
    return made;
}

static blkalign_handle *opened(const char *path, uint32_t flags)
{
    blkalign_open_options how = options(flags);
    blkalign_handle *handle = NULL;

    if (blkalign_open(path, &how, &handle))
        handle = NULL;
    return handle;
}

static blkalign_handle *opened_fd(int fd, uint32_t flags)
{
    blkalign_open_options how = options(flags);
    blkalign_handle *handle = NULL;

    if (blkalign_open_fd(fd, &how, &handle))
        handle = NULL;
    return handle;
}

/* Whether bytes can be written and read there, both ways. */
static int moves(blkalign_handle *handle, int64_t offset, size_t bytes)
{
    struct answer answer;

    pattern_fill(buf, 5, offset, bytes);
    if (blkalign_pwrite(handle, offset, (int64_t)bytes, buf, 0))
        return 0;
    memset(buf, 0, bytes);
    if (blkalign_pread(handle, offset, (int64_t)bytes, buf, 0) ||
        pattern_differs(buf, 5, offset, bytes) != -1)
        return 0;
    pattern_fill(buf, 6, offset, bytes);
    aio_write(handle, offset, buf, bytes, 0, &answer);
    if (answer_wait(&answer))
        return 0;
    memset(buf, 0, bytes);
    aio_read(handle, offset, buf, bytes, &answer);
    return !answer_wait(&answer) &&
           pattern_differs(buf, 6, offset, bytes) == -1;
}

/* Exit status: 0, or the number of the first expectation that failed. */
static int ends_anywhere(blkalign_handle *handle, int resize)
{
    if (blkalign_truncate(handle, 5000) ||
        blkalign_getlength(handle) != 5000)
        return 1;
    if (!moves(handle, 4500, 500) || !moves(handle, 10, 4900))
        return 2;
    if (resize && (!moves(handle, 9000, 777) ||
                   blkalign_getlength(handle) != 9777))
        return 3;
    if (blkalign_truncate(handle, 0) || blkalign_truncate(handle, 300) ||
        !moves(handle, 7, 293))
        return 4;
    if (blkalign_truncate(handle, BLOCKS * BLOCK) || !moves(handle, 1, 99))
        return 5;
    return blkalign_flush(handle) ? 6 : 0;
}

static int after_open(int resize, void (*lose)(void))
{
    blkalign_handle *handle =
        opened(bed.path, DIRECT | (resize ? BLKALIGN_O_RESIZE : 0));
    int failed;

    if (!handle)
        return 100;
    lose();
    failed = ends_anywhere(handle, resize);
    return failed ? failed : blkalign_close(handle);
}

static int rights_after_open(void)
{
    return after_open(0, become_nobody);
}

static int rights_after_open_resize(void)
{
    return after_open(1, become_nobody);
}

static int proc_after_open(void)
{
    return after_open(0, lose_proc);
}

static int proc_after_open_resize(void)
{
    return after_open(1, lose_proc);
}

static int dup_after_open(void)
{
    blkalign_open_options how = options(DIRECT);
    blkalign_handle *first = opened(bed.path, DIRECT), *handle = NULL;
    int failed;

    become_nobody();
    if (!first || blkalign_dup(first, &how, &handle))
        return 100;
    failed = ends_anywhere(handle, 0);
    if (failed || limits_of(handle).direct != 1 || blkalign_close(handle))
        return 20 + failed;
    /* The second handle did not ask for O_DIRECT, and follows the first. */
    how.flags = BLKALIGN_O_RDWR;
    handle = NULL;
    if (blkalign_dup(first, &how, &handle) ||
        limits_of(handle).direct != 1)
        return 101;
    failed = ends_anywhere(handle, 0);
    return failed ? 40 + failed
                  : blkalign_close(handle) || blkalign_close(first);
}

/* A handle for reading, and another that makes the length odd. */
static int reader(void)
{
    blkalign_handle *writer = opened(bed.path, DIRECT);
    blkalign_handle *handle = opened(bed.path, BLKALIGN_O_DIRECT);

    if (!writer || !handle)
        return 100;
    become_nobody();
    if (blkalign_truncate(writer, 5000) || !moves(writer, 4000, 1000))
        return 1;
    memset(buf, 0, 1000);
    if (blkalign_pread(handle, 4000, 1000, buf, 0) ||
        pattern_differs(buf, 6, 4000, 1000) != -1)
        return 2;
    return blkalign_close(handle) || blkalign_close(writer);
}

/* A root without /proc: the path leads to the file there, too. */
static int by_path_without_proc(void)
{
    const char *name = strrchr(bed.path, '/');
    blkalign_handle *handle;
    int failed;

    if (truncate(bed.path, 2 * BLOCK + 777))
        return 100;
    change_root(bed.dir);
    handle = opened(name, DIRECT | BLKALIGN_O_RESIZE);
    if (!handle)
        return 101;
    if (!moves(handle, 2 * BLOCK + 7, 770))
        return 102;
    failed = ends_anywhere(handle, 1);
    return failed ? failed : blkalign_close(handle);
}

/* What a handle can do with a descriptor alone. */
static int descriptors(void)
{
    int direct = open(bed.path, O_RDWR | O_DIRECT | O_CLOEXEC);
    int buffered = open(bed.path, O_RDWR | O_CLOEXEC);
    int flags = fcntl(direct, F_GETFL);
    blkalign_handle *handle;
    int failed;

    if (direct < 0 || buffered < 0)
        return 100;
    become_nobody();
    handle = opened_fd(direct, DIRECT);
    if (!handle || limits_of(handle).direct != 1 || !moves(handle, 9, 99))
        return 1;
    /* The handle could not write its last block any more. */
    if (blkalign_truncate(handle, 5000) >= 0 ||
        !strstr(blkalign_errmsg(), "/proc") ||
        blkalign_getlength(handle) != BLOCKS * BLOCK ||
        !moves(handle, BLOCKS * BLOCK - 10, 10))
        return 2;
    if (blkalign_truncate(handle, 2 * BLOCK) || !moves(handle, 9, 99) ||
        blkalign_flush(handle) || blkalign_close(handle))
        return 3;
    /* O_DIRECT though it was not asked for. */
    handle = opened_fd(direct, BLKALIGN_O_RDWR);
    if (!handle || limits_of(handle).direct != 1 || !moves(handle, 9, 99) ||
        blkalign_close(handle))
        return 4;
    if (fcntl(direct, F_GETFL) != flags)
        return 5;
    if (opened_fd(direct, DIRECT | BLKALIGN_O_RESIZE) ||
        !strstr(blkalign_errmsg(), "/proc"))
        return 6;
    if (opened_fd(buffered, DIRECT) || !strstr(blkalign_errmsg(), "/proc"))
        return 7;
    handle = opened_fd(buffered, DIRECT | BLKALIGN_O_BUFFERED_OK);
    if (!handle || limits_of(handle).direct)
        return 8;
    failed = ends_anywhere(handle, 0);
    if (failed || blkalign_close(handle))
        return 20 + failed;
    if (ftruncate(buffered, 5000) || opened_fd(direct, DIRECT) ||
        !strstr(blkalign_errmsg(), "/proc"))
        return 9;
    handle = opened_fd(buffered, DIRECT | BLKALIGN_O_BUFFERED_OK |
                                     BLKALIGN_O_RESIZE);
    if (!handle || !moves(handle, 4900, 100))
        return 10;
    failed = ends_anywhere(handle, 1);
    return failed ? 40 + failed : blkalign_close(handle);
}

static void in_a_child(int (*tried)(void), const char *words)
{
    int status;
    pid_t pid;

    if (truncate(bed.path, BLOCKS * BLOCK))
        bail("truncate: %s", strerror(errno));
    pid = fork();
    if (pid == 0) {
        alarm(60 * run_slowness());
        status = tried();
        if (status)
            printf("# %d: %s\n", status, blkalign_errmsg());
        fflush(stdout);
        _exit(status);
    }
    waitpid(pid, &status, 0);
    is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0,
           "%s: engine %u: %s", bed.name, engine, words);
}

int main(void)
{
    run_begin(240);
    if (geteuid())
        skip_all("only root has rights to give up");
    buf = aligned_memory(4 * BLOCK);
    if (bed_make(&bed, BED_XFS, BLOCKS * BLOCK))
        skip_all("%s", bed.why_not);
    if (chmod(bed.path, 0600) || !mkdtemp(empty))
        bail("%s", strerror(errno));
    janitor_tell("dir", empty);
    for (engine = BLKALIGN_ENGINE_AUTO; engine <= BLKALIGN_ENGINE_THREADS;
         engine++) {
        in_a_child(rights_after_open, "rights given up after open");
        in_a_child(rights_after_open_resize, "the same with RESIZE");
        in_a_child(proc_after_open, "another root after open");
        in_a_child(proc_after_open_resize, "the same with RESIZE");
        in_a_child(dup_after_open, "dup after rights were given up");
        in_a_child(reader, "a reader of what another makes odd");
        in_a_child(by_path_without_proc, "open in a root without /proc");
        in_a_child(descriptors, "descriptors that can't be opened again");
    }
    bed_remove(&bed);
    free(buf);
    return done_testing();
}
