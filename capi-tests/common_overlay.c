/* An overlay in a test: two layers on two beds. */
#include "common_overlay.h"

#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BELOW_SEED 7

static int make_below(struct layers *layers, enum bed_kind kind,
                      const struct sim_options *sim, int64_t bytes,
                      int64_t shown)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    uint8_t *content;

    if (sim) {
        memset(&layers->below, 0, sizeof(layers->below));
        layers->below.sim = sim_new(sim);
        layers->below.bytes = sim->bytes;
    } else if (bed_make(&layers->below, kind, bytes)) {
        return -1;
    }
    options.window_length = shown;
    layers->backing = bed_open(&layers->below, &options);
    content = aligned_memory((size_t)bytes);
    if (!shown)
        shown = blkalign_getlength(layers->backing);
    pattern_fill(content, BELOW_SEED, 0, (size_t)shown);
    if (blkalign_pwrite(layers->backing, 0, shown, content, 0))
        bail("backing: %s", blkalign_errmsg());
    if (shown > layers->bytes)
        shown = layers->bytes;
    memcpy(layers->seen, content, (size_t)shown);
    free(content);
    return 0;
}

int layers_make(struct layers *layers, enum bed_kind top, enum bed_kind below,
                const struct sim_options *sim, int64_t bytes,
                int64_t backing_bytes, uint32_t cluster)
{
    blkalign_overlay_options o = BLKALIGN_OVERLAY_OPTIONS_INIT;
    int64_t whole = sim ? sim->bytes : INT64_C(8) << 20;
    int ret;

    memset(layers, 0, sizeof(*layers));
    layers->bytes = bytes;
    if (bed_make(&layers->top, top, INT64_C(64) << 20)) {
        skip(layers->top.why_not, "an overlay");
        return -1;
    }
    layers->seen = calloc(1, (size_t)bytes);
    if (!layers->seen)
        bail("no memory");
    if (make_below(layers, below, sim, whole, backing_bytes)) {
        skip(layers->below.why_not, "an overlay");
        bed_remove(&layers->top);
        free(layers->seen);
        return -1;
    }
    snprintf(layers->path, sizeof(layers->path), "%s/over",
             layers->top.dir);
    snprintf(layers->map, sizeof(layers->map), "%s.map", layers->path);
    o.cluster_size = cluster;
    ret = blkalign_overlay_create(layers->path, bytes, &o);
    if (ret)
        bail("create %s: %d %s", layers->path, ret, blkalign_errmsg());
    layers->name = layers->top.name;
    return 0;
}

void layers_open(struct layers *layers, uint32_t open_flags,
                 uint32_t overlay_flags)
{
    blkalign_open_options options = mode_options(
        open_flags | BLKALIGN_O_RDWR | BLKALIGN_O_BUFFERED_OK |
        BLKALIGN_O_DIRECT);
    blkalign_overlay_options o = BLKALIGN_OVERLAY_OPTIONS_INIT;
    int ret;

    o.flags = overlay_flags;
    ret = blkalign_open_overlay(layers->path, layers->backing, &options, &o,
                                &layers->overlay);
    if (ret)
        bail("open %s: %d %s", layers->path, ret, blkalign_errmsg());
}

void layers_close(struct layers *layers)
{
    if (blkalign_close(layers->overlay))
        bail("close: %s", blkalign_errmsg());
    layers->overlay = NULL;
}

void layers_remove(struct layers *layers)
{
    if (layers->overlay)
        layers_close(layers);
    blkalign_close(layers->backing);
    unlink(layers->path);
    unlink(layers->map);
    if (layers->below.sim)
        sim_free(layers->below.sim);
    else
        bed_remove(&layers->below);
    bed_remove(&layers->top);
    free(layers->seen);
}

int layers_check(struct layers *layers, const char *when)
{
    uint8_t *got = aligned_memory((size_t)layers->bytes);
    int64_t at;
    int ret;

    ret = blkalign_pread(layers->overlay, 0, layers->bytes, got, 0);
    for (at = 0; !ret && at < layers->bytes; at++)
        if (got[at] != layers->seen[at])
            break;
    if (!ret && at < layers->bytes)
        diag("byte %lld is %02x instead of %02x", (long long)at, got[at],
             layers->seen[at]);
    free(got);
    return ok(!ret && at == layers->bytes, "%s: all bytes %s", layers->name,
              when);
}

int layers_there(struct layers *layers, int64_t offset)
{
    int64_t run;

    return blkalign_overlay_status(layers->overlay, offset, 1, &run);
}
