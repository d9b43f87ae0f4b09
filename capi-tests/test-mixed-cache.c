/*
 * Handles with and without O_DIRECT on one object. They all go one way, and so
 * nothing is lost: while readers fill the page cache, writers of both kinds
 * change their own sectors. No completed write is undone, and every read sees
 * what was complete before the read was submitted.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512
#define WRITERS 8
#define READERS 2
#define BLOCKS 512
#define SECTORS (BLOCKS * WRITERS)
#define DISK_BYTES (SECTORS * SECTOR)
#define READ_BYTES_MAX 65536
#define LOAD_MS 500

#define DIRECT BLKALIGN_O_DIRECT
#define BUFFERED 0
#define EITHER (BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK)

struct scene {
    struct bed *bed;
    blkalign_handle *handles[2];    /* of even writers; of odd, and readers */
    uint32_t *complete;             /* the last version of each sector */
    int synchronous;
    int keeps_cache;                /* the outsider does */
    int64_t end_ms;
    int errors, stale;
};

struct actor {
    struct scene *scene;
    int number;
    uint64_t random;
    pthread_t thread;
};

/* A sector contains its number, and how often it was written. */
static uint64_t stamp(int64_t sector, uint32_t version)
{
    return (uint64_t)sector << 32 | version;
}

static void stamp_fill(uint64_t *buf, int64_t sector, uint32_t version)
{
    size_t i;

    for (i = 0; i < SECTOR / sizeof(*buf); i++)
        buf[i] = stamp(sector, version);
}

static void count(int *counter, int by)
{
    __atomic_add_fetch(counter, by, __ATOMIC_RELAXED);
}

static void write_once(struct actor *writer, uint64_t *buf)
{
    struct scene *scene = writer->scene;
    int64_t block = (int64_t)random_below(&writer->random, BLOCKS);
    int64_t sector = block * WRITERS + writer->number;
    uint32_t version = scene->complete[sector] + 1;
    blkalign_handle *handle = scene->handles[writer->number % 2];
    struct answer answer;
    int ret;

    stamp_fill(buf, sector, version);
    if (scene->synchronous) {
        ret = blkalign_pwrite(handle, sector * SECTOR, SECTOR, buf, 0);
    } else {
        aio_write(handle, sector * SECTOR, buf, SECTOR, 0, &answer);
        ret = answer_wait(&answer);
    }
    count(&scene->errors, ret != 0);
    __atomic_store_n(&scene->complete[sector], version, __ATOMIC_RELEASE);
}

static void *writer_thread(void *opaque)
{
    struct actor *writer = opaque;
    uint64_t *buf = aligned_memory(SECTOR);

    while (now_ms() < writer->scene->end_ms)
        write_once(writer, buf);
    free(buf);
    return NULL;
}

/* How many of these sectors have wrong content, or an older version. */
static int older(const uint64_t *got, int64_t first, int64_t sectors,
                 const uint32_t *least)
{
    int64_t i;
    int found = 0;

    for (i = 0; i < sectors; i++) {
        uint64_t word = got[i * (SECTOR / (int64_t)sizeof(*got))];

        found += word < stamp(first + i, least[i]) ||
                 word >> 32 != (uint64_t)(first + i);
    }
    return found;
}

static void read_once(struct actor *reader, uint64_t *buf)
{
    struct scene *scene = reader->scene;
    uint32_t least[READ_BYTES_MAX / SECTOR];
    int64_t sectors, first, i;

    sectors = 1 + (int64_t)random_below(&reader->random,
                                        READ_BYTES_MAX / SECTOR);
    first = (int64_t)random_below(&reader->random,
                                  (uint64_t)(SECTORS - sectors + 1));
    for (i = 0; i < sectors; i++)
        least[i] = __atomic_load_n(&scene->complete[first + i],
                                   __ATOMIC_ACQUIRE);
    if (blkalign_pread(scene->handles[1], first * SECTOR, sectors * SECTOR,
                       buf, 0))
        count(&scene->errors, 1);
    else
        count(&scene->stale, older(buf, first, sectors, least));
}

static void *reader_thread(void *opaque)
{
    struct actor *reader = opaque;
    uint64_t *buf = aligned_memory(READ_BYTES_MAX);

    while (now_ms() < reader->scene->end_ms)
        read_once(reader, buf);
    free(buf);
    return NULL;
}

/* Another program, such as a backup: it reads from front to back through the
 * page cache, which fills the cache with large pieces. */
static void *outsider_thread(void *opaque)
{
    struct scene *scene = ((struct actor *)opaque)->scene;
    uint64_t *buf = aligned_memory(READ_BYTES_MAX);
    int fd = open(scene->bed->path, O_RDONLY | O_CLOEXEC);

    while (now_ms() < scene->end_ms) {
        if (read(fd, buf, READ_BYTES_MAX) > 0)
            continue;
        lseek(fd, 0, SEEK_SET);
        if (scene->keeps_cache)
            continue;
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        sleep_ms(3);
    }
    close(fd);
    free(buf);
    return NULL;
}

static void run_actors(struct scene *scene, uint64_t seed)
{
    struct actor actors[WRITERS + READERS + 1];
    int i, all = WRITERS + READERS + 1;

    scene->end_ms = now_ms() + LOAD_MS;
    for (i = 0; i < all; i++) {
        actors[i].scene = scene;
        actors[i].number = i;
        actors[i].random = seed + (uint64_t)i;
        pthread_create(&actors[i].thread, NULL,
                       i < WRITERS ? writer_thread
                                   : i + 1 < all ? reader_thread
                                                 : outsider_thread,
                       &actors[i]);
    }
    for (i = 0; i < all; i++)
        pthread_join(actors[i].thread, NULL);
}

static void scene_make(struct scene *scene, struct bed *bed)
{
    uint64_t *bytes = aligned_memory(DISK_BYTES);
    int64_t i;

    memset(scene, 0, sizeof(*scene));
    scene->bed = bed;
    scene->complete = aligned_memory(SECTORS * sizeof(*scene->complete));
    for (i = 0; i < SECTORS; i++)
        stamp_fill(bytes + i * (SECTOR / 8), i, 0);
    bed_poke(bed, 0, bytes, DISK_BYTES);
    free(bytes);
}

static int sectors_lost(const struct scene *scene)
{
    uint64_t *got = aligned_memory(DISK_BYTES);
    int lost;

    bed_peek(scene->bed, 0, got, DISK_BYTES);
    lost = older(got, 0, SECTORS, scene->complete);
    free(got);
    return lost;
}

static blkalign_open_options now_options(uint32_t flags)
{
    return mode_options(BLKALIGN_O_RDWR | flags);
}

static blkalign_handle *open_so(struct bed *bed, uint32_t flags)
{
    blkalign_open_options options = now_options(flags);
    blkalign_handle *handle = NULL;

    if (blkalign_open(bed->path, &options, &handle))
        bail("%s: %s", bed->name, blkalign_errmsg());
    return handle;
}

static void load(struct bed *bed, uint32_t first, uint32_t second,
                 int synchronous, uint64_t seed)
{
    struct scene scene;

    scene_make(&scene, bed);
    scene.synchronous = synchronous;
    scene.handles[first == BUFFERED] = open_so(bed, first);
    scene.handles[first != BUFFERED] = open_so(bed, second);
    run_actors(&scene, seed);
    blkalign_close(scene.handles[0]);
    blkalign_close(scene.handles[1]);
    is_int(scene.errors, 0, "%s, %s, %s, %s: no error", bed->name,
           mode_words(), synchronous ? "synchronous" : "asynchronous",
           first == BUFFERED ? "page cache" : "direct");
    is_int(scene.stale, 0, "... no read brings old bytes");
    is_int(sectors_lost(&scene), 0, "... no write is lost");
    free(scene.complete);
}

/* 1: with O_DIRECT, 0: without, or -errno. */
static int way_of(int ret, blkalign_handle **handle)
{
    int direct;

    if (ret)
        return ret;
    direct = (int)limits_of(*handle).direct;
    blkalign_close(*handle);
    return direct;
}

/* Opens with `flags` beside `first`: by path, by descriptor, by dup. */
static void expect_way(struct bed *bed, blkalign_handle *first,
                       uint32_t flags, int want, const char *words)
{
    blkalign_open_options options = now_options(flags);
    blkalign_handle *handle = NULL;
    int fd = open(bed->path, O_RDWR | O_CLOEXEC);

    is_int(way_of(blkalign_open(bed->path, &options, &handle), &handle),
           want, "%s: %s, open", bed->name, words);
    if (want < 0)
        ok(strstr(blkalign_errmsg(), "page cache") != NULL,
           "... in words: %s", blkalign_errmsg());
    is_int(way_of(blkalign_open_fd(fd, &options, &handle), &handle), want,
           "... open_fd");
    is_int(way_of(blkalign_dup(first, &options, &handle), &handle), want,
           "... dup");
    close(fd);
}

static void one_way(struct bed *bed)
{
    blkalign_handle *first = open_so(bed, DIRECT);

    expect_way(bed, first, BUFFERED, 1, "no flag goes along with O_DIRECT");
    expect_way(bed, first, EITHER, 1, "BUFFERED_OK does, too");
    blkalign_close(first);
    first = open_so(bed, BUFFERED);
    is_int(limits_of(first).direct, 0, "%s: alone it is as asked for",
           bed->name);
    expect_way(bed, first, EITHER, 0, "BUFFERED_OK goes along without");
    expect_way(bed, first, DIRECT, -EBUSY, "O_DIRECT is refused");
    blkalign_close(first);
    first = open_so(bed, DIRECT);
    is_int(limits_of(first).direct, 1, "%s: until the other is closed",
           bed->name);
    blkalign_close(first);
}

/* Another program reads the disk while direct handles write, and keeps the
 * disk open. A later handle does not read the stale pages of the page cache.
 * */
static void old_pages(struct bed *bed, uint64_t seed)
{
    int fd = open(bed->path, O_RDONLY | O_CLOEXEC);
    uint64_t *got = aligned_memory(DISK_BYTES);
    struct scene scene;
    blkalign_handle *later;
    int ret;

    scene_make(&scene, bed);
    scene.keeps_cache = 1;
    scene.handles[0] = scene.handles[1] = open_so(bed, DIRECT);
    run_actors(&scene, seed);
    blkalign_close(scene.handles[0]);
    later = open_so(bed, BUFFERED);
    ret = blkalign_pread(later, 0, DISK_BYTES, got, 0);
    is_int(ret, 0, "%s, %s: a handle through the page cache reads it all",
           bed->name, mode_words());
    is_int(older(got, 0, SECTORS, scene.complete), 0,
           "... and nothing that is older than the direct writes before");
    blkalign_close(later);
    free(scene.complete);
    free(got);
    close(fd);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_LOOP, BED_LOOP_512, BED_ZRAM,
                                           BED_XFS, BED_EXT4, BED_BTRFS,
                                           BED_FILE };
    uint64_t seed;
    size_t i;

    run_begin(170);
    seed = run_seed();
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct bed bed;

        if (bed_make(&bed, kinds[i], DISK_BYTES)) {
            skip(bed.why_not, "%s: handles go one way", bed.name);
            continue;
        }
        one_way(&bed);
        load(&bed, DIRECT, BUFFERED, 0, seed++);
        mode_next();
        load(&bed, DIRECT, BUFFERED, 0, seed++);
        load(&bed, DIRECT, BUFFERED, 1, seed++);
        load(&bed, BUFFERED, EITHER, 0, seed++);
        if (!bed_is_file(&bed))
            old_pages(&bed, seed++);
        mode_next();
        bed_remove(&bed);
    }
    return done_testing();
}
