/*
 * File systems whose blocks are larger than a page, and that ask for even
 * longer I/O (st_blksize is a preference). The odd end of a file goes through
 * the page cache, which works in whole blocks of the file system: direct
 * writes keep out of that block, and nothing fails or is lost.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define WRITERS 8
#define PIECE 512
#define END_BYTES 80000         /* before the end: where writers write */
#define ODD 41003               /* how far the end is into 64 KiB */
#define LOAD_MS 600

struct scene {
    blkalign_handle *handle;
    uint8_t *want;              /* what the file must hold */
    int64_t length;
    int64_t end_ms;
    int errors;
};

struct actor {
    struct scene *scene;
    int number;
    uint64_t random;
    pthread_t thread;
};

/* The pieces have odd offsets, so that some cross the edge of a block of any
 * size. */
static int64_t piece_offset(const struct scene *scene, int64_t piece)
{
    return scene->length - (piece + 1) * PIECE;
}

/* A writer has every eighth piece, including the last of the file. */
static void *writer_thread(void *opaque)
{
    struct actor *writer = opaque;
    struct scene *scene = writer->scene;
    int64_t pieces = END_BYTES / PIECE / WRITERS;
    struct answer answer;

    while (now_ms() < scene->end_ms) {
        int64_t piece = (int64_t)random_below(&writer->random,
                                              (uint64_t)pieces);
        int64_t at = piece_offset(scene, piece * WRITERS + writer->number);
        uint64_t seed = random_next(&writer->random);

        pattern_fill(scene->want + at, seed, at, PIECE);
        aio_write(scene->handle, at, scene->want + at, PIECE, 0, &answer);
        if (answer_wait(&answer))
            __atomic_add_fetch(&scene->errors, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void run_writers(struct scene *scene, uint64_t seed)
{
    struct actor writers[WRITERS];
    int i;

    scene->end_ms = now_ms() + LOAD_MS;
    for (i = 0; i < WRITERS; i++) {
        writers[i].scene = scene;
        writers[i].number = i;
        writers[i].random = seed + (uint64_t)i;
        pthread_create(&writers[i].thread, NULL, writer_thread,
                       &writers[i]);
    }
    for (i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
}

static void say_sizes(const struct bed *bed)
{
    struct statfs system;
    struct stat file;

    if (stat(bed->path, &file) == 0 && statfs(bed->path, &system) == 0)
        diag("%s: st_blksize %ld, blocks of %ld", bed->name,
             (long)file.st_blksize, (long)system.f_bsize);
}

static int64_t differences(const struct bed *bed, const struct scene *scene)
{
    uint8_t *got = aligned_memory((size_t)scene->length);
    int fd = open(bed->path, O_RDONLY | O_CLOEXEC);
    int64_t at, found = 0;

    if (pread(fd, got, (size_t)scene->length, 0) != scene->length)
        bail("%s: cannot be read back", bed->name);
    for (at = 0; at < scene->length; at++)
        found += got[at] != scene->want[at];
    close(fd);
    free(got);
    return found;
}

static void odd_end(struct bed *bed, uint64_t seed)
{
    blkalign_open_options options = mode_options(0);
    struct scene scene;
    int64_t whole = bed->bytes / 2 + ODD;
    struct stat file;

    memset(&scene, 0, sizeof(scene));
    scene.length = whole;
    scene.want = aligned_memory((size_t)whole);
    if (truncate(bed->path, whole))
        bail("%s: truncate failed", bed->name);
    scene.handle = bed_open(bed, &options);
    pattern_fill(scene.want, seed, 0, (size_t)whole);
    is_int(blkalign_pwrite(scene.handle, 0, whole, scene.want, 0), 0,
           "%s, %s: one write up to the odd end", bed->name, mode_words());
    run_writers(&scene, seed);
    is_int(scene.errors, 0, "... no small write near the end fails");
    is_int(blkalign_flush(scene.handle), 0, "... nor does a flush");
    is_int(blkalign_close(scene.handle), 0, "... nor close");
    is_int(differences(bed, &scene), 0, "... all bytes are right");
    ok(stat(bed->path, &file) == 0 && file.st_size == whole,
       "... and the length is");
    if (truncate(bed->path, bed->bytes))
        bail("%s: truncate failed", bed->name);
    free(scene.want);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_XFS_16K, BED_XFS_64K,
                                           BED_XFS, BED_EXT4 };
    uint64_t seed;
    size_t i;
    int modes;

    run_begin(170);
    seed = run_seed();
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct bed bed;

        if (bed_make(&bed, kinds[i], 1 << 20)) {
            skip(bed.why_not, "%s: the odd end of a file", bed.name);
            continue;
        }
        say_sizes(&bed);
        for (modes = 0; modes < 2; modes++) {
            odd_end(&bed, seed++);
            mode_next();
        }
        bed_remove(&bed);
    }
    return done_testing();
}
