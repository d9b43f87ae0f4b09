/*
 * Overlays that fail: what cannot be created or opened, backing objects that
 * cannot be read, maps that are damaged, missing or of another length; and
 * what an overlay refuses.
 */
#include "common_aio.h"
#include "common_mode.h"
#include "common_overlay.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES (INT64_C(4) << 16)

static int try_open(struct layers *layers, const blkalign_open_options *opts,
                    uint32_t flags, uint32_t cluster)
{
    blkalign_overlay_options o = BLKALIGN_OVERLAY_OPTIONS_INIT;
    blkalign_handle *handle = NULL;
    int ret;

    o.flags = flags;
    o.cluster_size = cluster;
    ret = blkalign_open_overlay(layers->path, layers->backing, opts, &o,
                                &handle);
    if (!ret)
        blkalign_close(handle);
    else if (handle)
        ok(0, "a handle in spite of an error");
    return ret;
}

static void refused_options(struct layers *layers)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR), other;
    blkalign_handle *handle = NULL;

    other = options;
    other.flags |= BLKALIGN_O_RESIZE;
    is_int(try_open(layers, &other, 0, 0), -ENOTSUP, "RESIZE");
    other = options;
    other.window_offset = 512;
    is_int(try_open(layers, &other, 0, 0), -ENOTSUP, "a window");
    other = options;
    other.flags |= BLKALIGN_O_CREATE;
    is_int(try_open(layers, &other, 0, 0), -EINVAL, "CREATE");
    other = options;
    other.flags = 0;
    is_int(try_open(layers, &other, 1, 0), -EINVAL,
           "copy-on-read of a read-only handle");
    is_int(try_open(layers, &options, 0x10, 0), -EINVAL, "an unknown flag");
    is_int(try_open(layers, &options, 0, 4096), -EINVAL, "other clusters");
    is_int(try_open(layers, &options, 0, 65536), 0, "the right clusters");
    is_int(blkalign_open_overlay(NULL, layers->backing, NULL, NULL, &handle),
           -EINVAL, "no path");
    is_int(blkalign_open_overlay(layers->path, NULL, NULL, NULL, &handle),
           -EINVAL, "no backing object");
    is_int(blkalign_open_overlay(layers->path, layers->backing, NULL, NULL,
                                 NULL), -EINVAL, "no out");
}

static void refused_creates(struct layers *layers)
{
    blkalign_overlay_options o = BLKALIGN_OVERLAY_OPTIONS_INIT;
    char path[256], map[264];

    snprintf(path, sizeof(path), "%s/other", layers->top.dir);
    snprintf(map, sizeof(map), "%s.map", path);
    is_int(blkalign_overlay_create(layers->path, BYTES, NULL), -EEXIST,
           "a path that exists");
    is_int(blkalign_overlay_create(path, -1, NULL), -EINVAL, "no length");
    is_int(blkalign_overlay_create(NULL, BYTES, NULL), -EINVAL, "no path");
    o.cluster_size = 5000;
    is_int(blkalign_overlay_create(path, BYTES, &o), -EINVAL, "5000");
    o.cluster_size = 2048;
    is_int(blkalign_overlay_create(path, BYTES, &o), -EINVAL, "2048");
    o.cluster_size = 4 << 20;
    is_int(blkalign_overlay_create(path, BYTES, &o), -EINVAL, "4 MiB");
    o.cluster_size = 0;
    o.flags = BLKALIGN_OVERLAY_COPY_ON_READ;
    is_int(blkalign_overlay_create(path, BYTES, &o), -EINVAL, "a flag");
    ok(access(path, F_OK) && access(map, F_OK), "nothing was created");
    close(open(map, O_CREAT | O_WRONLY, 0600));
    is_int(blkalign_overlay_create(path, BYTES, NULL), -EEXIST,
           "a map that exists");
    ok(access(path, F_OK), "the file was not created");
    unlink(map);
}

static void refused_calls(struct layers *layers)
{
    blkalign_open_options options = mode_options(0);
    blkalign_handle *handle = NULL;
    struct answer answer = {0};
    int64_t run = 0;

    layers_open(layers, 0, 0);
    is_int(blkalign_truncate(layers->overlay, 100), -ENOTSUP, "truncate");
    is_int(blkalign_refresh_length(layers->overlay), BYTES, "the length");
    is_int(blkalign_open(layers->path, &options, &handle), -EBUSY,
           "the file on top by itself");
    is_int(try_open(layers, &options, 0, 0), -EBUSY, "the overlay again");
    is_int(blkalign_overlay_status(layers->backing, 0, 1, &run), -EINVAL,
           "status of no overlay");
    is_int(blkalign_overlay_status(layers->overlay, 0, 0, &run), -EINVAL,
           "status of no bytes");
    is_int(blkalign_overlay_status(layers->overlay, BYTES - 1, 2, &run),
           -EINVAL, "status past the end");
    is_int(blkalign_overlay_status(layers->overlay, 0, BYTES, &run), 0,
           "absent");
    is_int(run, BYTES, "all of it");
    is_int(blkalign_overlay_fill(layers->backing, answer_done, &answer),
           -EINVAL, "a fill of no overlay");
    is_int(blkalign_overlay_fill(layers->overlay, NULL, NULL), -EINVAL,
           "a fill without callback");
    is_int(blkalign_dup(layers->overlay, &options, &handle), 0, "a dup");
    is_int(blkalign_overlay_fill(handle, answer_done, &answer), -EPERM,
           "a fill by a read-only handle");
    blkalign_close(handle);
    layers_close(layers);
}

/* A backing object that cannot be read: nothing is written. */
static void unreadable(struct layers *layers)
{
    struct sim *sim = layers->below.sim;
    uint8_t bytes[1000];
    struct answer filled = {0};
    uint32_t kept;

    for (kept = 0; kept <= 1; kept++) {
        layers_open(layers, 0, kept);
        sim_fail_range(sim, SIM_READ, 2 * 65536, 65536, EIO);
        memset(bytes, 0x77, sizeof(bytes));
        is_int(blkalign_pwrite(layers->overlay, 2 * 65536 + 5, 1000, bytes,
                               0), -EIO, "a write whose gap cannot be read");
        is_int(blkalign_pwrite_zeroes(layers->overlay, 2 * 65536 + 512, 512,
                                      0), -EIO, "a zero write of such");
        is_int(blkalign_pread(layers->overlay, 2 * 65536, 1000, bytes, 0),
               -EIO, "a read of what cannot be read");
        is_int(layers_there(layers, 2 * 65536), 0, "it stays absent");
        filled.handle = layers->overlay;
        filled.calls = 0;
        filled.id = blkalign_overlay_fill(layers->overlay, answer_done,
                                          &filled);
        is_int(answer_wait(&filled), -EIO, "a fill");
        memset(layers->seen, 0x55, 65536);
        is_int(blkalign_pwrite(layers->overlay, 0, 65536, layers->seen, 0),
               0, "a write of a whole cluster needs no read");
        sim_fail_range(sim, SIM_READ, 0, 0, 0);
        if (!kept)
            layers_check(layers, "afterwards");
        layers_close(layers);
    }
}

static void spoil(const char *path, off_t at)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);

    if (fd < 0 || pread(fd, &byte, 1, at) != 1)
        bail("%s: %s", path, strerror(errno));
    byte ^= 0x40;
    if (pwrite(fd, &byte, 1, at) != 1)
        bail("%s: %s", path, strerror(errno));
    close(fd);
}

static void bad_maps(struct layers *layers)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    char aside[256];

    spoil(layers->map, 9);
    is_int(try_open(layers, &options, 0, 0), -EINVAL, "a damaged header");
    ok(strstr(blkalign_errmsg(), "map") != NULL, "in words: %s",
       blkalign_errmsg());
    spoil(layers->map, 9);
    is_int(try_open(layers, &options, 0, 0), 0, "mended");
    if (truncate(layers->path, BYTES - 512))
        bail("truncate");
    is_int(try_open(layers, &options, 0, 0), -EINVAL, "a shorter file");
    if (truncate(layers->path, BYTES))
        bail("truncate");
    snprintf(aside, sizeof(aside), "%s.aside", layers->map);
    if (rename(layers->map, aside))
        bail("rename");
    is_int(try_open(layers, &options, 0, 0), -ENOENT, "no map");
    ok(strstr(blkalign_errmsg(), ".map") != NULL, "in words: %s",
       blkalign_errmsg());
    if (rename(aside, layers->map))
        bail("rename");
    is_int(try_open(layers, &options, 0, 0), 0, "found again");
}

int main(void)
{
    struct sim_options disk = sim_disk_4k(BYTES, SIM_SYNC);
    struct layers layers;

    run_begin(60);
    if (layers_make(&layers, BED_FILE, BED_KINDS, &disk, BYTES, 0, 0))
        return done_testing();
    refused_options(&layers);
    refused_creates(&layers);
    refused_calls(&layers);
    unreadable(&layers);
    bad_maps(&layers);
    layers_remove(&layers);
    return done_testing();
}
