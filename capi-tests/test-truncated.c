/*
 * A file or disk that another program has made shorter without notice: a
 * request behind the new end fails at once, and the log says why.
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
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define BYTES (8 * BLOCK)
#define END 10000

static uint8_t *buffer;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int errors;
static char last_error[300];

static void hear(void *opaque, int level, const char *message)
{
    (void)opaque;
    pthread_mutex_lock(&lock);
    if (level == BLKALIGN_LOG_ERROR) {
        errors++;
        snprintf(last_error, sizeof last_error, "%s", message);
    }
    pthread_mutex_unlock(&lock);
}

/* The message that names the new end comes once, after few I/Os. */
static void told(blkalign_handle *handle, const blkalign_stats *before,
                 int64_t end, const char *words)
{
    blkalign_stats after = stats_of(handle);
    char number[32];

    snprintf(number, sizeof number, "ends at %lld", (long long)end);
    pthread_mutex_lock(&lock);
    ok(errors > 0, "%s: an error in the log", words);
    ok(strstr(last_error, number) != NULL, "%s: %s", words, last_error);
    errors = 0;
    pthread_mutex_unlock(&lock);
    ok(after.storage_reads - before->storage_reads <= 2 &&
           after.storage_writes == before->storage_writes,
       "%s: %d reads", words,
       (int)(after.storage_reads - before->storage_reads));
    is_int(after.probe_repairs - before->probe_repairs, 0,
           "%s: and no look for alignments", words);
}

static void fails(blkalign_handle *handle, int64_t offset, int64_t bytes,
                  int64_t end, const char *words)
{
    blkalign_stats before = stats_of(handle);
    struct answer answer;

    memset(&answer, 0, sizeof answer);
    is_int(blkalign_pread(handle, offset, bytes, buffer, 0), -EIO, "%s: read",
           words);
    told(handle, &before, end, words);
    before = stats_of(handle);
    answer.handle = handle;
    aio_read(handle, offset, buffer, (size_t)bytes, &answer);
    is_int(answer_wait(&answer), -EIO, "%s: asynchronously", words);
    told(handle, &before, end, words);
}

static void a_file(struct bed *bed)
{
    blkalign_open_options options =
        mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT);
    blkalign_handle *handle = NULL;
    blkalign_stats before;
    struct stat status;
    char words[100];

    snprintf(words, sizeof words, "%s, %s", bed->name, mode_words());
    if (blkalign_open(bed->path, &options, &handle))
        bail("%s: %s", bed->path, blkalign_errmsg());
    if (truncate(bed->path, END))
        bail("truncate: %s", strerror(errno));
    errors = 0;
    fails(handle, 4 * BLOCK, BLOCK, END, words);
    fails(handle, 4 * BLOCK + 100, 1000, END, words);
    fails(handle, 2 * BLOCK, BLOCK, END, words);
    fails(handle, 2 * BLOCK, 3 * BLOCK, END, words);
    before = stats_of(handle);
    is_int(blkalign_pwrite(handle, 5 * BLOCK + 7, 100, buffer, 0), -EIO,
           "%s: a part of a block that is gone", words);
    told(handle, &before, END, words);
    is_int(stat(bed->path, &status) || status.st_size != END, 0,
           "%s: and the file is as long as it was", words);
    is_int(blkalign_pread(handle, 0, 2 * BLOCK, buffer, 0), 0,
           "%s: what is there is read", words);
    is_int(blkalign_refresh_length(handle), END, "%s: now it is known",
           words);
    is_int(blkalign_pread(handle, 0, END, buffer, 0), 0,
           "%s: and is read to its end", words);
    is_int(errors, 0, "%s: no error", words);
    blkalign_close(handle);
    if (truncate(bed->path, 0) || truncate(bed->path, BYTES))
        bail("truncate: %s", strerror(errno));
}

static void a_disk(void)
{
    blkalign_handle *handle;
    struct bed bed;

    if (bed_make(&bed, BED_LOOP, BYTES)) {
        skip(bed.why_not, "a disk");
        return;
    }
    handle = bed_open(&bed, NULL);
    bed_resize_disk(&bed, 2 * BLOCK);
    errors = 0;
    fails(handle, 4 * BLOCK, BLOCK, 2 * BLOCK, bed.name);
    fails(handle, 2 * BLOCK + 5, 7, 2 * BLOCK, bed.name);
    blkalign_close(handle);
    bed_remove(&bed);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_XFS, BED_EXT4, BED_FILE };
    struct bed bed;
    int mode, kind;

    run_begin(100);
    buffer = aligned_memory(BYTES);
    blkalign_set_log(hear, NULL, BLKALIGN_LOG_ERROR);
    for (mode = 0; mode < MODES; mode++) {
        for (kind = 0; kind < 3; kind++) {
            if (bed_make(&bed, kinds[kind], BYTES)) {
                skip(bed.why_not, "%s", bed.name);
                continue;
            }
            a_file(&bed);
            bed_remove(&bed);
        }
        a_disk();
        mode_next();
    }
    blkalign_set_log(NULL, NULL, 0);
    return done_testing();
}
