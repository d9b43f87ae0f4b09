/*
 * An object whose storage hangs, in whatever operation and however often,
 * stops no other object. Callbacks that do not return do not stop those of
 * another handle, and a frozen file system stops no other disk.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISK_BYTES INT64_C(4194304)
#define HUNG 200
#define DEPTH 256
/* Time limit for what has to come back on a busy machine. */
#define PATIENCE_MS 10000

/* While the gate is shut no I/O passes. */
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static int gate_shut, gate_waiting;

static void gate(int shut)
{
    pthread_mutex_lock(&gate_lock);
    gate_shut = shut;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate_lock);
}

static int gate_pass(void)
{
    pthread_mutex_lock(&gate_lock);
    gate_waiting++;
    while (gate_shut)
        pthread_cond_wait(&gate_moved, &gate_lock);
    gate_waiting--;
    pthread_mutex_unlock(&gate_lock);
    return 0;
}

static int gate_count(void)
{
    int count;

    pthread_mutex_lock(&gate_lock);
    count = gate_waiting;
    pthread_mutex_unlock(&gate_lock);
    return count;
}

static int64_t hung_length(void *opaque)
{
    (void)opaque;
    return DISK_BYTES;
}

static int hung_io(void *opaque, int64_t offset, int64_t bytes,
                   const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)opaque;
    (void)offset;
    (void)bytes;
    (void)iov;
    (void)iovcnt;
    (void)flags;
    return gate_pass();
}

static int hung_flush(void *opaque)
{
    (void)opaque;
    return gate_pass();
}

static int hung_discard(void *opaque, int64_t offset, int64_t bytes)
{
    (void)opaque;
    (void)offset;
    (void)bytes;
    return gate_pass();
}

static int hung_zeroes(void *opaque, int64_t offset, int64_t bytes,
                       uint32_t flags)
{
    (void)opaque;
    (void)offset;
    (void)bytes;
    (void)flags;
    return gate_pass();
}

static blkalign_handle *hung_open(uint32_t completion)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP, completion);
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_handle *handle = NULL;

    options.queue_depth = DEPTH;
    driver.request_alignment = 4096;
    driver.getlength = hung_length;
    driver.preadv = hung_io;
    driver.pwritev = hung_io;
    driver.flush = hung_flush;
    driver.pdiscard = hung_discard;
    driver.pwrite_zeroes = hung_zeroes;
    is_int(blkalign_open_driver(&driver, NULL, &options, &handle), 0,
           "an object is opened");
    return handle;
}

/* HUNG requests of this kind, all at different places. */
static void hang(blkalign_handle *handle, uint32_t op, void *buf,
                 struct answer *answers)
{
    blkalign_request request;
    int i;

    for (i = 0; i < HUNG; i++) {
        request = request_of(op);
        if (op != BLKALIGN_OP_FLUSH) {
            request.offset = 4096 * i;
            request.bytes = 4096;
        }
        aio_any(handle, &request, buf, &answers[i]);
    }
    for (i = 0; i < PATIENCE_MS && gate_count() < 8; i++)
        sleep_ms(1);
    /* Waits until no further I/O begins. */
    sleep_ms(50);
}

/* Every operation that another object may be asked for. */
static void others_work(struct bed *bed, const char *words)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    static const struct answer none;
    struct answer answers[6];
    uint8_t *buf = aligned_memory(8192);
    blkalign_handle *handle;
    int i, good = 1;

    handle = bed_open(bed, &options);
    for (i = 0; i < 6; i++) {
        answers[i] = none;
        answers[i].handle = handle;
    }
    aio_read(handle, 0, buf, 4096, &answers[0]);
    good &= answer_came(&answers[0], PATIENCE_MS);
    aio_write(handle, 512, buf + 1, 700, 0, &answers[1]);
    good &= answer_came(&answers[1], PATIENCE_MS);
    aio_zeroes(handle, 8192, 8192, 0, &answers[2]);
    good &= answer_came(&answers[2], PATIENCE_MS);
    aio_discard(handle, 8192, 8192, &answers[3]);
    good &= answer_came(&answers[3], PATIENCE_MS);
    aio_flush(handle, &answers[4]);
    good &= answer_came(&answers[4], PATIENCE_MS);
    aio_write(handle, 16384, buf, 4096, BLKALIGN_REQ_FUA, &answers[5]);
    good &= answer_came(&answers[5], PATIENCE_MS);
    ok(good, "%s, %s: %s is done", words, mode_words(), bed->name);
    for (i = 0; i < 6; i++)
        good &= answers[i].ret == 0;
    ok(good, "and did not fail");
    if (!good)
        gate(0);
    is_int(blkalign_close(handle), 0, "its handle closes");
    free(buf);
}

static void storage_hangs(struct bed *beds, int count, uint32_t op,
                          const char *words)
{
    static struct answer answers[HUNG];
    static const struct answer none;
    void *buf = aligned_memory(4096);
    blkalign_handle *handle;
    int i, mode, failed = 0;

    gate(1);
    handle = hung_open(BLKALIGN_COMPLETION_SERIAL);
    for (i = 0; i < HUNG; i++)
        answers[i] = none;
    hang(handle, op, buf, answers);
    diag("%d of %d %s hang", gate_count(), HUNG, words);
    for (mode = 0; mode < MODES; mode++, mode_next())
        for (i = 0; i < count; i++)
            if (gate_shut)
                others_work(&beds[i], words);
    gate(0);
    for (i = 0; i < HUNG; i++)
        failed += answer_wait(&answers[i]) != 0;
    is_int(failed, 0, "what hung came back");
    is_int(blkalign_close(handle), 0, "and its handle closes");
    free(buf);
}

static void hung_callback(void *opaque, int ret)
{
    gate_pass();
    answer_done(opaque, ret);
}

/* Callbacks of one handle do not return; those of other handles run. */
static void callbacks_hang(struct bed *bed, uint32_t completion)
{
    static struct answer answers[HUNG];
    static const struct answer none;
    blkalign_handle *handle;
    struct iovec iov;
    int i, mode, failed = 0;

    iov.iov_base = aligned_memory(4096);
    iov.iov_len = 4096;
    handle = hung_open(completion);
    gate(1);
    for (i = 0; i < HUNG; i++) {
        answers[i] = none;
        blkalign_aio_preadv(handle, 0, &iov, 0, 0, hung_callback,
                            &answers[i]);
    }
    sleep_ms(200);
    diag("%d callbacks hang", gate_count());
    for (mode = 0; mode < MODES; mode++, mode_next())
        if (gate_shut)
            others_work(bed, "callbacks hang");
    gate(0);
    for (i = 0; i < HUNG; i++)
        failed += answer_wait(&answers[i]) != 0;
    is_int(failed, 0, "what hung came back");
    is_int(blkalign_close(handle), 0, "and its handle closes");
    free(iov.iov_base);
}

/* The process that thaws a file system: it outlives this program, however this
 * program ends. It waits until the other end of a pipe is closed, or for a
 * signal, since a process whose threads hang in the file system dies without
 * closing anything. */
static pid_t guardian;

static void wake_up(int number)
{
    (void)number;
}

static void guard(int fd, int end)
{
    struct sigaction action = { 0 };
    char byte;

    action.sa_handler = wake_up;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    setsid();
    alarm(60 * run_slowness());
    while (read(end, &byte, 1) > 0)
        ;
    ioctl(fd, FITHAW, 0);
    _exit(0);
}

static void thaw(int end)
{
    close(end);
    if (guardian > 0)
        waitpid(guardian, NULL, 0);
}

/* Freezes the file system of `dir`; returns that end of the pipe, or -1 if the
 * file system cannot be frozen. */
static int freeze(const char *dir)
{
    int ends[2], fd = open(dir, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || pipe(ends))
        bail("%s cannot be opened", dir);
    guardian = fork();
    if (guardian == 0) {
        close(ends[1]);
        guard(fd, ends[0]);
    }
    close(ends[0]);
    if (guardian < 0 || ioctl(fd, FIFREEZE, 0)) {
        thaw(ends[1]);
        ends[1] = -1;
    }
    close(fd);
    return ends[1];
}

/* The case for one file system in the present mode; `disk` is another object.
 * */
static void file_system_freezes(struct bed *frozen, struct bed *disk)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    static struct answer answers[HUNG];
    static const struct answer none;
    uint8_t *buf = aligned_memory(8192);
    blkalign_handle *handle;
    int i, end, failed = 0;

    /* Before there are threads, since it forks. */
    end = freeze(frozen->dir);
    if (end < 0) {
        skip("it can't be frozen", "%s", frozen->name);
        free(buf);
        return;
    }
    options.queue_depth = DEPTH;
    handle = bed_open(frozen, &options);
    for (i = 0; i < HUNG; i++) {
        answers[i] = none;
        answers[i].handle = handle;
        if (i % 4 == 0)
            aio_zeroes(handle, 8192 * i, 4096, 0, &answers[i]);
        else
            aio_write(handle, 8192 * i, buf + i % 2, 4096, 0, &answers[i]);
    }
    sleep_ms(100);
    others_work(disk, frozen->name);
    thaw(end);
    for (i = 0; i < HUNG; i++)
        failed += answer_wait(&answers[i]) != 0;
    is_int(failed, 0, "what was frozen came back");
    is_int(blkalign_close(handle), 0, "and its handle closes");
    free(buf);
}

static void file_systems_freeze(struct bed *disks, int count)
{
    static const enum bed_kind kinds[] = { BED_EXT4, BED_XFS };
    struct bed frozen;
    int i, disk, mode;

    for (i = 0; i < 2; i++) {
        if (bed_make(&frozen, kinds[i], DISK_BYTES)) {
            skip(frozen.why_not, "%s", frozen.name);
            continue;
        }
        for (mode = 0; mode < MODES; mode++, mode_next())
            for (disk = 0; disk < count; disk++)
                file_system_freezes(&frozen, &disks[disk]);
        bed_remove(&frozen);
    }
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_FILE, BED_SIM_SYNC,
                                           BED_ZRAM };
    struct bed beds[3];
    int i, count = 0;

    run_begin(240);
    mode_first(0);
    for (i = 0; i < 3; i++)
        if (bed_make(&beds[count], kinds[i], DISK_BYTES) == 0)
            count++;
        else
            skip(beds[count].why_not, "%s", beds[count].name);
    storage_hangs(beds, count, BLKALIGN_OP_READ, "reads");
    storage_hangs(beds, count, BLKALIGN_OP_WRITE, "writes");
    storage_hangs(beds, count, BLKALIGN_OP_WRITE_ZEROES, "zero writes");
    storage_hangs(beds, count, BLKALIGN_OP_DISCARD, "discards");
    storage_hangs(beds, count, BLKALIGN_OP_FLUSH, "flushes");
    callbacks_hang(&beds[0], BLKALIGN_COMPLETION_CONCURRENT);
    callbacks_hang(&beds[0], BLKALIGN_COMPLETION_SERIAL);
    file_systems_freeze(beds, count);
    for (i = 0; i < count; i++)
        bed_remove(&beds[i]);
    return done_testing();
}
