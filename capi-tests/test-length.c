/*
 * A file whose size is no multiple of the alignment is read and written up to
 * its last byte, and at no moment does a request change that size.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t sizes[] = { 0, 1, 511, 513, 4095, 4097, 65537 };

/* BLKALIGN_TEST_SLOW: each write takes many times longer in this test. */
static int slow;

struct file {
    char path[200];
    int64_t bytes;
    blkalign_handle *handle;
    uint8_t *model, *scratch;
};

static int64_t size_of(const char *path)
{
    struct stat status;

    return stat(path, &status) ? -1 : (int64_t)status.st_size;
}

static void make_file(struct file *file, const struct bed *bed,
                      int64_t bytes)
{
    int fd;

    file->bytes = bytes;
    file->model = aligned_memory((size_t)bytes + 8192);
    file->scratch = aligned_memory((size_t)bytes + 8192);
    pattern_fill(file->model, 1, 0, (size_t)bytes);
    snprintf(file->path, sizeof(file->path), "%s/length-%lld", bed->dir,
             (long long)bytes);
    if (!bed->mounted)
        janitor_tell("file", file->path);
    fd = open(file->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, file->model, (size_t)bytes) != bytes ||
        fsync(fd))
        bail("%s: %s", file->path, strerror(errno));
    close(fd);
}

static void open_file(struct file *file)
{
    blkalign_open_options options =
        mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT);
    int ret = blkalign_open(file->path, &options, &file->handle);

    if (ret)
        bail("%s: %d %s", file->path, ret, blkalign_errmsg());
}

/* One write and what an ordinary reader sees after it. */
static int write_is_exact(struct file *file, int64_t offset, int64_t bytes,
                          uint32_t flags, uint64_t seed)
{
    int fd, good;

    pattern_fill(file->scratch, seed, offset, (size_t)bytes);
    memcpy(file->model + offset, file->scratch, (size_t)bytes);
    good = blkalign_pwrite(file->handle, offset, bytes, file->scratch,
                           flags) == 0;
    good = good && size_of(file->path) == file->bytes;
    memset(file->scratch, 0, (size_t)file->bytes);
    fd = open(file->path, O_RDONLY | O_CLOEXEC);
    good = good && pread(fd, file->scratch, (size_t)file->bytes + 4096, 0)
                       == file->bytes;
    good = good && !memcmp(file->scratch, file->model, (size_t)file->bytes);
    close(fd);
    memset(file->scratch, 0, (size_t)file->bytes);
    good = good && blkalign_pread(file->handle, 0, file->bytes,
                                  file->scratch, 0) == 0;
    return good &&
           !memcmp(file->scratch, file->model, (size_t)file->bytes);
}

static void every_kind_of_write(struct file *file, const char *words)
{
    int64_t end = file->bytes, wrong = 0, tried = 0, back, bytes;
    int64_t step = slow ? 12 : 3;
    uint64_t seed = 2;

    for (back = 1; back <= end && back <= 70000; back = back * step + 1)
        for (bytes = 1; bytes <= back; bytes = bytes * 5 + 1) {
            wrong += !write_is_exact(file, end - back, bytes, 0, seed++);
            wrong += !write_is_exact(file, end - bytes, bytes,
                                     seed % 2 ? BLKALIGN_REQ_FUA : 0,
                                     seed);
            tried += 2;
        }
    for (back = 0; back + 1 <= end; back += 4096) {
        bytes = end - back;
        wrong += !write_is_exact(file, back, bytes, 0, seed++);
        tried++;
    }
    is_int(wrong, 0, "%s: %d writes change their bytes and no length",
           words, (int)tried);
}

static void past_its_end(struct file *file, const char *words)
{
    int64_t end = file->bytes, offset, wrong = 0;
    blkalign_handle *h = file->handle;

    memset(file->scratch, 0xcc, (size_t)end + 8192);
    for (offset = end > 5000 ? end - 5000 : 0; offset <= end;
         offset += offset + 700 < end ? 700 : 1 + (end - offset) / 2) {
        int64_t bytes = end - offset + 1;

        wrong += blkalign_pwrite(h, offset, bytes, file->scratch, 0) != -EIO;
        wrong += blkalign_pread(h, offset, bytes, file->scratch, 0) != -EIO;
    }
    wrong += blkalign_pwrite(h, end + 4096, 1, file->scratch, 0) != -EIO;
    is_int(wrong, 0, "%s: one byte too far is EIO", words);
    for (offset = 0; offset < end + 8192; offset++)
        wrong += file->scratch[offset] != 0xcc;
    is_int(wrong, 0, "%s: with nothing read", words);
    is_int(blkalign_pwrite(h, end, 0, NULL, 0), 0, "%s: nothing at the end",
           words);
    is_int(blkalign_pread(h, end + 1, 0, NULL, 0), -EIO,
           "%s: nothing beyond it", words);
    is_int(size_of(file->path), end, "%s: and the length is the same",
           words);
    is_int(blkalign_getlength(h), end, "%s: getlength says so", words);
    is_int(blkalign_pread(h, 0, end, file->scratch, 0), 0, "%s: read",
           words);
    ok(!memcmp(file->scratch, file->model, (size_t)end),
       "%s: with nothing written", words);
}

struct watcher {
    const struct file *file;
    int stop, looks, wrong;
};

static void *watch_size(void *opaque)
{
    struct watcher *watcher = opaque;

    while (!__atomic_load_n(&watcher->stop, __ATOMIC_ACQUIRE)) {
        watcher->wrong += size_of(watcher->file->path) !=
                          watcher->file->bytes;
        watcher->looks++;
        if (slow)
            sleep_ms(1);
    }
    return NULL;
}

/* Sixteen writes at once, in the last blocks and elsewhere, while another
 * thread checks the size all the time. */
static void while_others_write(struct file *file, const char *words)
{
    struct watcher watcher = { file, 0, 0, 0 };
    struct answer answers[16];
    int64_t end = file->bytes, piece = end / 16, wrong = 0;
    pthread_t thread;
    int round, i;

    if (piece == 0)
        return;
    pthread_create(&thread, NULL, watch_size, &watcher);
    for (round = 0; round < 20; round++) {
        int64_t at = round % 2 ? end - 16 * piece : 0;

        pattern_fill(file->model + at, (uint64_t)round + 50, at,
                     (size_t)(16 * piece));
        for (i = 0; i < 16; i++, at += piece)
            aio_write(file->handle, at, file->model + at, (size_t)piece, 0,
                      &answers[i]);
        for (i = 0; i < 16; i++) {
            int ret = answer_wait(&answers[i]);

            if (ret)
                diag("%s: round %d, write %d: %d", words, round, i, ret);
            wrong += ret != 0;
        }
    }
    __atomic_store_n(&watcher.stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    is_int(wrong, 0, "%s: sixteen writes at once", words);
    is_int(watcher.wrong, 0, "%s: the length never moves (%d looks)", words,
           watcher.looks);
    is_int(blkalign_pread(file->handle, 0, end, file->scratch, 0), 0,
           "%s: read back", words);
    ok(!memcmp(file->scratch, file->model, (size_t)end),
       "%s: every byte is right", words);
}

static void run_file(const struct bed *bed, int64_t bytes)
{
    struct file file;
    char words[100];

    snprintf(words, sizeof(words), "%s, %s, %lld bytes", bed->name,
             mode_words(), (long long)bytes);
    make_file(&file, bed, bytes);
    open_file(&file);
    is_int(blkalign_getlength(file.handle), bytes, "%s: opened", words);
    is_int(blkalign_pread(file.handle, 0, bytes, file.scratch, 0), 0,
           "%s: read to its last byte", words);
    is_int(pattern_differs(file.scratch, 1, 0, (size_t)bytes), -1,
           "%s: rightly", words);
    every_kind_of_write(&file, words);
    past_its_end(&file, words);
    while_others_write(&file, words);
    is_int(blkalign_flush(file.handle), 0, "%s: flush", words);
    is_int(blkalign_close(file.handle), 0, "%s: close", words);
    is_int(size_of(file.path), bytes, "%s: close leaves the length", words);
    unlink(file.path);
    free(file.model);
    free(file.scratch);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_XFS, BED_EXT4, BED_FILE };
    struct bed bed;
    unsigned i, j;

    run_begin(120);
    slow = getenv("BLKALIGN_TEST_SLOW") != NULL;
    for (i = 0; i < 3; i++) {
        if (bed_make(&bed, kinds[i], 65536)) {
            skip(bed.why_not, "%s: lengths", bed.name);
            continue;
        }
        for (j = 0; j < MODES * sizeof(sizes) / sizeof(sizes[0]); j++) {
            run_file(&bed, sizes[j / MODES]);
            mode_next();
        }
        bed_remove(&bed);
    }
    return done_testing();
}
