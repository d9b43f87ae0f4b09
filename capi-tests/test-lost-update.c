/*
 * Eight writers at once, each with its own piece of one block: no piece is
 * lost and nothing beside them changes. Each round has its own blocks, so that
 * one check behind the library's back at the end covers all rounds.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 300
#define WRITERS 8
#define PIECE 512
#define BLOCK 4096
#define ROUND_BYTES (4 * BLOCK)
#define DISK_BYTES (ROUNDS * ROUND_BYTES)

struct variant {
    const char *words;
    int threads;            /* synchronous calls on threads, else aio */
    int two_handles;        /* odd writers use another handle */
    int shift;              /* moves the pieces off their sectors */
    int aligned;            /* aligned writers in between */
};

static const struct variant variants[] = {
    { "eight requests at once", 0, 0, 0, 0 },
    { "eight threads", 1, 0, 0, 0 },
    { "eight threads, a second handle, an aligned neighbour", 1, 1, 0, 1 },
    { "two handles", 0, 1, 0, 0 },
    { "pieces across two blocks", 0, 0, 2148, 0 },
    { "aligned writes in between", 0, 0, 0, 1 },
    { "two handles, pieces across two blocks, aligned writes in between", 0,
      1, 2148, 1 },
};

struct scene {
    struct bed *bed;
    const struct variant *variant;
    blkalign_handle *handles[2];
    uint8_t *want;              /* what the disk must hold at the end */
    pthread_barrier_t barrier;
    int errors;
};

struct writer {
    struct scene *scene;
    int number;                 /* WRITERS is the aligned neighbour */
    pthread_t thread;
};

static int64_t piece_offset(const struct scene *scene, int round, int writer)
{
    return (int64_t)round * ROUND_BYTES + BLOCK + scene->variant->shift +
           writer * PIECE;
}

/* The bytes of one write, and the disk that results. */
static void prepare(struct scene *scene, int round, int writer,
                    int64_t offset, size_t bytes, uint8_t *buf)
{
    pattern_fill(buf, (uint64_t)(round * 16 + writer + 2), offset, bytes);
    memcpy(scene->want + offset, buf, bytes);
}

static void *writer_thread(void *opaque)
{
    struct writer *writer = opaque;
    struct scene *scene = writer->scene;
    size_t bytes = writer->number == WRITERS ? BLOCK : PIECE;
    uint8_t *buf = aligned_memory(bytes);
    blkalign_handle *handle = scene->handles[writer->number % 2];
    int64_t offset;
    int round, ret;

    for (round = 0; round < ROUNDS; round++) {
        offset = piece_offset(scene, round, writer->number);
        if (writer->number == WRITERS)
            offset = (int64_t)round * ROUND_BYTES;
        prepare(scene, round, writer->number, offset, bytes, buf);
        pthread_barrier_wait(&scene->barrier);
        ret = blkalign_pwrite(handle, offset, (int64_t)bytes, buf, 0);
        if (ret)
            __atomic_add_fetch(&scene->errors, 1, __ATOMIC_RELAXED);
    }
    free(buf);
    return NULL;
}

static void run_threads(struct scene *scene)
{
    int i, count = WRITERS + (scene->variant->aligned ? 1 : 0);
    struct writer writers[WRITERS + 1];

    pthread_barrier_init(&scene->barrier, NULL, (unsigned)count);
    for (i = 0; i < count; i++) {
        writers[i].scene = scene;
        writers[i].number = i;
        pthread_create(&writers[i].thread, NULL, writer_thread,
                       &writers[i]);
    }
    for (i = 0; i < count; i++)
        pthread_join(writers[i].thread, NULL);
    pthread_barrier_destroy(&scene->barrier);
}

/* After the fourth piece come one aligned write over all pieces, and one to
 * the block before: the order of submission decides. */
static int submit_aligned(struct scene *scene, int round, uint8_t *bufs,
                          struct answer *answers)
{
    int64_t offset = (int64_t)round * ROUND_BYTES;
    size_t bytes = scene->variant->shift ? 2 * BLOCK : BLOCK;

    prepare(scene, round, 8, offset, BLOCK, bufs);
    aio_write(scene->handles[0], offset, bufs, BLOCK, 0, &answers[0]);
    bufs += BLOCK;
    prepare(scene, round, 9, offset + BLOCK, bytes, bufs);
    aio_write(scene->handles[0], offset + BLOCK, bufs, bytes, 0,
              &answers[1]);
    return 2;
}

static void run_round(struct scene *scene, int round, uint8_t *bufs)
{
    struct answer answers[WRITERS + 2];
    int i, count = 0;

    for (i = 0; i < WRITERS; i++) {
        uint8_t *buf = bufs + i * PIECE;
        int64_t offset = piece_offset(scene, round, i);

        if (i == WRITERS / 2 && scene->variant->aligned)
            count += submit_aligned(scene, round, bufs + BLOCK,
                                    answers + count);
        prepare(scene, round, i, offset, PIECE, buf);
        aio_write(scene->handles[i % 2], offset, buf, PIECE, 0,
                  &answers[count++]);
    }
    for (i = 0; i < count; i++)
        if (answer_wait(&answers[i]) != 0)
            scene->errors++;
}

static int pieces_lost(struct scene *scene)
{
    uint8_t *got = aligned_memory(DISK_BYTES);
    int64_t at;
    int lost = 0;

    bed_peek(scene->bed, 0, got, DISK_BYTES);
    for (at = 0; at < DISK_BYTES; at += PIECE) {
        if (!memcmp(got + at, scene->want + at, PIECE))
            continue;
        if (lost++ == 0)
            diag("first difference in the 512 bytes at %lld",
                 (long long)at);
    }
    free(got);
    return lost;
}

static void run_variant(struct bed *bed, const struct variant *variant)
{
    blkalign_open_options options = mode_options(0);
    struct scene scene;
    uint8_t *bufs = aligned_memory(4 * BLOCK);
    int round;

    /* Where a block has 512 bytes, writes to different sectors are not
     * ordered; a larger request_alignment orders them. */
    if (bed->kind == BED_FILE && variant->aligned)
        options.request_alignment = BLOCK;
    memset(&scene, 0, sizeof(scene));
    scene.bed = bed;
    scene.variant = variant;
    scene.want = aligned_memory(DISK_BYTES);
    pattern_fill(scene.want, 1, 0, DISK_BYTES);
    bed_poke(bed, 0, scene.want, DISK_BYTES);
    scene.handles[0] = scene.handles[1] = bed_open(bed, &options);
    if (variant->two_handles)
        scene.handles[1] = bed_open_again(bed, scene.handles[0], &options);
    if (variant->threads)
        run_threads(&scene);
    for (round = 0; !variant->threads && round < ROUNDS; round++)
        run_round(&scene, round, bufs);
    if (variant->two_handles)
        blkalign_close(scene.handles[1]);
    blkalign_close(scene.handles[0]);
    is_int(scene.errors, 0, "%s: %s, %s: no error", bed->name,
           variant->words, mode_words());
    is_int(pieces_lost(&scene), 0, "%s: %s, %s: nothing lost or damaged",
           bed->name, variant->words, mode_words());
    free(scene.want);
    free(bufs);
}

int main(void)
{
    size_t i, variants_count = sizeof(variants) / sizeof(variants[0]);
    struct bed bed;
    int kind;

    run_begin(170);
    for (kind = 0; kind < BED_KINDS; kind++) {
        int64_t start = now_ms();

        if (bed_make(&bed, (enum bed_kind)kind, DISK_BYTES)) {
            skip(bed.why_not, "%s: no update is lost", bed.name);
            continue;
        }
        for (i = 0; i < variants_count; i++) {
            run_variant(&bed, &variants[i]);
            mode_next();
        }
        if (bed.sim)
            ok(!*sim_violation(bed.sim), "%s: no refused I/O %s", bed.name,
               sim_violation(bed.sim));
        bed_remove(&bed);
        diag("%s took %lld ms", bed.name, (long long)(now_ms() - start));
    }
    return done_testing();
}
