/*
 * blkalign_set_log: which messages come, with what words, on whichever thread;
 * and that a hook is never called again after it was removed.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES 65536
#define KEPT 300

/* What one hook received; the struct itself is the opaque. */
struct heard {
    pthread_mutex_t lock;
    int count, wrong, level_max;
    int levels[KEPT];
    char messages[KEPT][300];
};

static struct heard heard = { PTHREAD_MUTEX_INITIALIZER, 0, 0, 0, { 0 },
                              { "" } };

static void hear(void *opaque, int level, const char *message)
{
    struct heard *all = opaque;
    size_t i;

    pthread_mutex_lock(&all->lock);
    all->wrong += level < BLKALIGN_LOG_ERROR || level > BLKALIGN_LOG_DEBUG;
    for (i = 0; message[i]; i++)
        all->wrong += (unsigned char)message[i] < ' ';
    all->wrong += i == 0;
    if (level > all->level_max)
        all->level_max = level;
    if (all->count < KEPT) {
        all->levels[all->count] = level;
        snprintf(all->messages[all->count], sizeof(all->messages[0]), "%s",
                 message);
        all->count++;
    }
    pthread_mutex_unlock(&all->lock);
}

static void listen_to(int level)
{
    heard.count = heard.level_max = 0;
    is_int(blkalign_set_log(hear, &heard, level), 0, "a hook, level %d",
           level);
}

/* How many messages of that level have both words. */
static int told(int level, const char *word, const char *other)
{
    int i, found = 0;

    pthread_mutex_lock(&heard.lock);
    for (i = 0; i < heard.count; i++)
        found += heard.levels[i] == level &&
                 strstr(heard.messages[i], word) &&
                 strstr(heard.messages[i], other);
    pthread_mutex_unlock(&heard.lock);
    return found;
}

static void show_heard(void)
{
    int i;

    for (i = 0; i < heard.count; i++)
        diag("%d: %s", heard.levels[i], heard.messages[i]);
}

static int open_path(const char *path, blkalign_open_options options)
{
    blkalign_handle *handle = NULL;
    int ret = blkalign_open(path, &options, &handle);

    blkalign_close(handle);
    return ret;
}

static void what_a_hook_may_be(void)
{
    is_int(blkalign_set_log(NULL, NULL, 0), 0, "no hook");
    is_int(blkalign_set_log(hear, &heard, 0), -EINVAL, "level 0");
    ok(strstr(blkalign_errmsg(), "0 is not a log level") != NULL, "%s",
       blkalign_errmsg());
    is_int(blkalign_set_log(hear, &heard, 5), -EINVAL, "level 5");
    is_int(blkalign_set_log(hear, &heard, -1), -EINVAL, "level -1");
    open_path("/missing", options_of(0, 0));
    is_int(heard.count, 0, "a hook that was refused hears nothing");
}

static void opens_and_closes(const struct bed *bed)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_LOCK, 0);
    int level;

    options.request_alignment = 4096;
    options.engine = BLKALIGN_ENGINE_THREADS;
    for (level = BLKALIGN_LOG_ERROR; level <= BLKALIGN_LOG_DEBUG; level++) {
        listen_to(level);
        is_int(open_path(bed->path, options), 0, "open");
        is_int(open_path("/missing/\nname", options), -ENOENT,
               "an open that fails");
        is_int(told(1, "open failed", "/missing/?name"), 1,
               "level %d: of the open that failed", level);
        is_int(told(3, bed->path, "open for reading and writing") &&
                   told(3, "request_alignment 4096 (override)",
                        "engine threads"),
               level >= 3, "level %d: of the open, at level 3", level);
        is_int(told(3, bed->path, "request_alignment 4096 comes from"),
               level >= 3, "level %d: of the override", level);
        is_int(told(3, bed->path, "image locks") == 2, level >= 3,
               "level %d: of the locks, taken and released", level);
        is_int(told(3, bed->path, "closed"), level >= 3,
               "level %d: of the close", level);
        ok(heard.level_max <= level && heard.level_max > 0,
           "level %d: nothing beyond it", level);
    }
    show_heard();
    is_int(open_path(NULL, options), -EINVAL, "an open without a path");
    is_int(told(1, "path is NULL", ""), 1, "is told, too");
    blkalign_set_log(NULL, NULL, BLKALIGN_LOG_ERROR);
    heard.count = 0;
    open_path("/missing", options);
    is_int(heard.count, 0, "without a hook nothing is told");
}

static int fails(void *opaque, int64_t offset, int64_t bytes,
                 const struct iovec *iov, int iovcnt, uint32_t flags)
{
    (void)opaque, (void)offset, (void)bytes, (void)iov, (void)iovcnt;
    (void)flags;
    return -EIO;
}

static int flush_fails(void *opaque)
{
    (void)opaque;
    return -ENOSPC;
}

static void failures_of_storage(void)
{
    struct sim_options disk = sim_disk_4k(BYTES, SIM_SYNC);
    struct sim *sim = sim_new(&disk);
    blkalign_driver driver = sim_driver(sim);
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_handle *handle = NULL;
    char buf[10] = "";
    int i;

    driver.preadv = fails;
    driver.flush = flush_fails;
    if (blkalign_open_driver(&driver, sim, &options, &handle))
        bail("%s", blkalign_errmsg());
    listen_to(BLKALIGN_LOG_ERROR);
    for (i = 0; i < 25; i++)
        blkalign_pwrite(handle, 4096 + 700, 10, buf, 0);
    is_int(told(1, "read of 4096 bytes at offset 4096",
                "Input/output error"), 10,
           "ten failed I/Os are told, as the storage saw them");
    is_int(blkalign_flush(handle), -ENOSPC, "a flush that fails");
    is_int(blkalign_flush(handle), -ENOSPC, "and once more");
    is_int(told(1, "all its flushes fail from now on", ""), 1,
           "that it will go on failing is told once");
    blkalign_close(handle);
    is_int(told(1, "15 more I/Os failed", ""), 1,
           "how many were left out is told in the end");
    blkalign_set_log(NULL, NULL, 0);
    show_heard();
    sim_free(sim);
}

/* An I/O that the library does by another method, or may leave out, is no
 * failure. */
static void what_storage_does_not_know(void)
{
    struct sim_options disk = sim_disk_4k(BYTES, SIM_SYNC);
    struct sim *sim = sim_new(&disk);
    blkalign_driver driver = sim_driver(sim);
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP, 0);
    blkalign_handle *handle = NULL;

    driver.pwrite_zeroes = NULL;
    driver.pdiscard = NULL;
    if (blkalign_open_driver(&driver, sim, &options, &handle))
        bail("%s", blkalign_errmsg());
    listen_to(BLKALIGN_LOG_ERROR);
    is_int(blkalign_pwrite_zeroes(handle, 0, 8192, BLKALIGN_REQ_MAY_UNMAP),
           0, "zeros on a disk that has to be written to");
    is_int(blkalign_pdiscard(handle, 0, 8192), 0,
           "a discard on one that does not know how");
    is_int(heard.count, 0, "are no errors");
    show_heard();
    blkalign_set_log(NULL, NULL, 0);
    blkalign_close(handle);
    sim_free(sim);
}

/* One hook may be called; the other must not. */
struct life {
    int alive, called_dead;
};

static struct life lives[2];
static int over;

static void live(void *opaque, int level, const char *message)
{
    struct life *life = opaque;
    int i;

    (void)level;
    (void)message;
    for (i = 0; i < 3; i++) {
        if (!__atomic_load_n(&life->alive, __ATOMIC_SEQ_CST))
            __atomic_add_fetch(&life->called_dead, 1, __ATOMIC_SEQ_CST);
        /* Long enough that another thread could take the call for finished. */
        usleep(20);
    }
}

static void *keep_failing(void *unused)
{
    blkalign_handle *handle;

    (void)unused;
    while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST))
        blkalign_open("/missing", NULL, &handle);
    return NULL;
}

static void switching_beside_messages(void)
{
    pthread_t threads[3];
    int i, wrong = 0;

    for (i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, keep_failing, NULL);
    for (i = 0; i < 1000; i++) {
        struct life *life = &lives[i % 2];

        __atomic_store_n(&life->alive, 1, __ATOMIC_SEQ_CST);
        wrong += blkalign_set_log(live, life, BLKALIGN_LOG_DEBUG) != 0;
        __atomic_store_n(&lives[(i + 1) % 2].alive, 0, __ATOMIC_SEQ_CST);
    }
    blkalign_set_log(NULL, NULL, 0);
    lives[0].alive = lives[1].alive = 0;
    sleep_ms(10);
    over = 1;
    for (i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    is_int(wrong, 0, "switching hooks while threads open");
    is_int(lives[0].called_dead + lives[1].called_dead, 0,
           "none is called after it was taken away");
}

static void take_away(void *opaque, int level, const char *message)
{
    hear(opaque, level, message);
    blkalign_set_log(NULL, NULL, 0);
    blkalign_version();
}

static void from_inside_the_hook(void)
{
    heard.count = 0;
    blkalign_set_log(take_away, &heard, BLKALIGN_LOG_ERROR);
    open_path("/missing", options_of(0, 0));
    open_path("/missing", options_of(0, 0));
    is_int(heard.count, 1, "a hook may take itself away");
}

int main(void)
{
    struct bed bed;
    struct stat printed;
    FILE *errors = tmpfile();
    int stderr_before = dup(2);

    run_begin(60);
    dup2(fileno(errors), 2);
    what_a_hook_may_be();
    if (bed_make(&bed, BED_FILE, BYTES) == 0) {
        opens_and_closes(&bed);
        bed_remove(&bed);
    } else {
        skip(bed.why_not, "opens and closes");
    }
    failures_of_storage();
    switching_beside_messages();
    from_inside_the_hook();
    what_storage_does_not_know();
    is_int(heard.wrong, 0, "every message is a line of a known level");
    fstat(2, &printed);
    is_int(printed.st_size, 0, "nothing is printed");
    dup2(stderr_before, 2);
    return done_testing();
}
