/*
 * Many at once on an overlay: small writes to the sectors of absent clusters,
 * by several threads and handles, while the overlay is read, and filled, and
 * the fill is cancelled and begun again; overlays over overlays; two overlays
 * over one backing object.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_overlay.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER 16384
#define BYTES (INT64_C(24) * CLUSTER)
#define THREADS 4
#define SECTOR 512

struct writer {
    struct layers *layers;
    blkalign_handle *handle;
    int number;
    int failed;
};

/* Every fourth sector is this thread's; in two passes, and read back. */
static void *write_own(void *opaque)
{
    struct writer *writer = opaque;
    uint8_t got[SECTOR], bytes[SECTOR];
    int64_t at;
    int pass;

    for (pass = 0; pass < 2; pass++) {
        for (at = writer->number * SECTOR; at < BYTES;
             at += THREADS * SECTOR) {
            pattern_fill(bytes, (uint64_t)(10 + pass), at, SECTOR);
            if (pass && at % 3)
                continue;
            memcpy(writer->layers->seen + at, bytes, SECTOR);
            writer->failed |= blkalign_pwrite(writer->handle, at, SECTOR,
                                              bytes, 0) != 0;
            writer->failed |= blkalign_pread(writer->handle, at, SECTOR, got,
                                             0) != 0;
            writer->failed |= memcmp(got, bytes, SECTOR) != 0;
        }
    }
    return NULL;
}

static void crowd(enum bed_kind top, uint32_t flags)
{
    struct sim_options below = sim_disk_4k(BYTES, SIM_SYNC);
    blkalign_open_options options;
    struct writer writers[THREADS];
    pthread_t threads[THREADS];
    struct layers layers;
    struct answer filled = {0};
    int i, failed = 0, cancels = 0;

    below.latency_us_max = 300;
    if (layers_make(&layers, top, BED_KINDS, &below, BYTES, 0, CLUSTER))
        return;
    layers_open(&layers, 0, flags);
    options = mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT |
                           BLKALIGN_O_BUFFERED_OK);
    for (i = 0; i < THREADS; i++) {
        writers[i].layers = &layers;
        writers[i].number = i;
        writers[i].failed = 0;
        if (blkalign_dup(layers.overlay, &options, &writers[i].handle))
            bail("dup: %s", blkalign_errmsg());
        if (pthread_create(&threads[i], NULL, write_own, &writers[i]))
            bail("no thread");
    }
    filled.handle = layers.overlay;
    do {
        filled.calls = 0;
        filled.id = blkalign_overlay_fill(layers.overlay, answer_done,
                                          &filled);
        sleep_ms(2);
        i = cancels < 3 ? blkalign_aio_cancel(layers.overlay, filled.id) : 0;
        if (i && i != -ENOENT)
            ok(0, "cancel: %d", i);
        cancels++;
        i = answer_wait(&filled);
    } while (i == -ECANCELED);
    is_int(i, 0, "%s, %s: filled after %d attempts", layers.name,
           mode_words(), cancels);
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        failed |= writers[i].failed;
        blkalign_close(writers[i].handle);
    }
    ok(!failed, "each thread has read what it wrote");
    layers_check(&layers, "no sector is lost");
    is_int(blkalign_flush(layers.overlay), 0, "a flush");
    layers_close(&layers);
    ok(access(layers.map, F_OK) != 0, "the map is gone");
    layers_remove(&layers);
}

/* Three overlays, each over the one before, the lowest over a disk. */
static void tower(void)
{
    struct layers layers;
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_overlay_options o = BLKALIGN_OVERLAY_OPTIONS_INIT;
    blkalign_handle *floors[3];
    char path[3][256], map[264];
    uint8_t *seen;
    int i, at;

    if (layers_make(&layers, BED_FILE, BED_LOOP, NULL, BYTES, 0, CLUSTER))
        return;
    layers_open(&layers, 0, BLKALIGN_OVERLAY_COPY_ON_READ);
    seen = layers.seen;
    for (i = 0; i < 3; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/floor%d", layers.top.dir, i);
        o.cluster_size = 4096u << i;
        o.flags = 0;
        if (blkalign_overlay_create(path[i], BYTES, &o))
            bail("create: %s", blkalign_errmsg());
        o.flags = i % 2 ? BLKALIGN_OVERLAY_COPY_ON_READ : 0;
        if (blkalign_open_overlay(path[i], i ? floors[i - 1] : layers.overlay,
                                  &options, &o, &floors[i]))
            bail("open: %s", blkalign_errmsg());
    }
    for (at = 100; at < BYTES - 1000; at += 30011) {
        pattern_fill(seen + at, 99, at, 777);
        if (blkalign_pwrite(floors[2], at, 777, seen + at, 0))
            ok(0, "write: %s", blkalign_errmsg());
    }
    seen = aligned_memory(BYTES);
    is_int(blkalign_pread(floors[2], 0, BYTES, seen, 0), 0, "a read");
    ok(!memcmp(seen, layers.seen, BYTES), "through all floors");
    free(seen);
    for (i = 2; i >= 0; i--) {
        blkalign_close(floors[i]);
        unlink(path[i]);
        snprintf(map, sizeof(map), "%s.map", path[i]);
        unlink(map);
    }
    layers_remove(&layers);
}

/* What is written to one of two overlays does not show in the other. */
static void twins(void)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    blkalign_handle *other;
    struct layers layers;
    char path[256], map[264];
    uint8_t byte = 0, *seen;

    if (layers_make(&layers, BED_FILE, BED_LOOP_512, NULL, BYTES, 0, CLUSTER))
        return;
    layers_open(&layers, 0, 0);
    snprintf(path, sizeof(path), "%s/other", layers.top.dir);
    snprintf(map, sizeof(map), "%s.map", path);
    if (blkalign_overlay_create(path, BYTES, NULL) ||
        blkalign_open_overlay(path, layers.backing, &options, NULL, &other))
        bail("other: %s", blkalign_errmsg());
    is_int(blkalign_pwrite(other, 5, 1, &byte, 0), 0, "a write to one");
    layers_check(&layers, "of the other are as before");
    seen = aligned_memory(BYTES);
    layers.seen[5] ^= 0xff;
    layers.seen[CLUSTER] ^= 0xff;
    blkalign_pwrite(layers.overlay, CLUSTER, 1, layers.seen + CLUSTER, 0);
    blkalign_pwrite(layers.overlay, 5, 1, layers.seen + 5, 0);
    is_int(blkalign_pread(other, 0, BYTES, seen, 0), 0, "a read of one");
    layers.seen[CLUSTER] ^= 0xff;
    ok(!seen[5] && seen[CLUSTER] == layers.seen[CLUSTER],
       "shows nothing of the other");
    free(seen);
    blkalign_close(other);
    unlink(path);
    unlink(map);
    layers_remove(&layers);
}

int main(void)
{
    int i;

    run_begin(120);
    for (i = 0; i < 2; i++) {
        crowd(BED_XFS, BLKALIGN_OVERLAY_COPY_ON_READ * (uint32_t)i);
        mode_next();
        crowd(BED_FILE, BLKALIGN_OVERLAY_COPY_ON_READ * (uint32_t)i);
        mode_next();
    }
    tower();
    twins();
    return done_testing();
}
