/* An object that changes its length, and its model: see common_grow.h. */
#include "common_grow.h"

#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <string.h>
#include <sys/stat.h>

#define BLOCK 4096

uint8_t grow_model[GROW_ROOM];
static uint8_t got[GROW_ROOM], buf[GROW_ROOM];

static int64_t length_behind(const struct growing *growing)
{
    struct stat status;

    if (growing->bed->sim)
        return blkalign_getlength(growing->handle);
    return stat(growing->path, &status) ? -1 : (int64_t)status.st_size;
}

static void wrong(struct growing *growing, const char *what, int64_t seen)
{
    if (growing->wrong++ == 0)
        diag("%s, %s: %s: %lld at length %lld %s", growing->bed->name,
             growing->doing, what, (long long)seen,
             (long long)growing->length, blkalign_errmsg());
}

/* Checks the length and every byte, and that zeros follow. */
void grow_look(struct growing *growing)
{
    int64_t i;
    int ret;

    if (blkalign_getlength(growing->handle) != growing->length)
        wrong(growing, "getlength",
              blkalign_getlength(growing->handle));
    if (length_behind(growing) != growing->length)
        wrong(growing, "stat", length_behind(growing));
    memset(got, 0xaa, GROW_ROOM);
    ret = blkalign_pread(growing->handle, 0, GROW_ROOM, got, 0);
    if (ret)
        wrong(growing, "read", ret);
    for (i = 0; ret == 0 && i < GROW_ROOM; i++)
        if (got[i] != (i < growing->length ? grow_model[i] : 0)) {
            wrong(growing, "wrong byte at", i);
            return;
        }
}

void grow_write(struct growing *growing, int64_t offset, int64_t bytes,
                     uint64_t seed)
{
    int ret;

    growing->doing = "after a write";
    pattern_fill(buf, seed, offset, (size_t)bytes);
    ret = blkalign_pwrite(growing->handle, offset, bytes, buf, 0);
    if (ret)
        wrong(growing, "write", ret);
    memcpy(grow_model + offset, buf, (size_t)bytes);
    if (bytes && offset + bytes > growing->length)
        growing->length = offset + bytes;
    grow_look(growing);
}

void grow_zeroes(struct growing *growing, int64_t offset,
                      int64_t bytes)
{
    int ret = blkalign_pwrite_zeroes(growing->handle, offset, bytes,
                                     offset % 2 ? BLKALIGN_REQ_MAY_UNMAP
                                                : 0);

    growing->doing = "after a zero write";
    if (ret)
        wrong(growing, "pwrite_zeroes", ret);
    memset(grow_model + offset, 0, (size_t)bytes);
    if (bytes && offset + bytes > growing->length)
        growing->length = offset + bytes;
    grow_look(growing);
}

void grow_truncate(struct growing *growing, int64_t length)
{
    int ret = blkalign_truncate(growing->handle, length);

    growing->doing = "after truncate";
    if (ret)
        wrong(growing, "truncate", ret);
    if (length < growing->length)
        memset(grow_model + length, 0, (size_t)(growing->length - length));
    growing->length = length;
    grow_look(growing);
}

void grow_open(struct growing *growing, struct bed *bed,
                         uint32_t flags)
{
    blkalign_open_options options = mode_options(
        BLKALIGN_O_RDWR | BLKALIGN_O_RESIZE | flags);
    int ret;

    growing->bed = bed;
    if (bed->sim) {
        growing->handle = sim_open(bed->sim, &options);
        return;
    }
    if (!bed_is_buffered(bed))
        options.flags |= BLKALIGN_O_DIRECT;
    ret = blkalign_open(growing->path, &options, &growing->handle);
    if (ret)
        bail("open %s: %d %s", growing->path, ret, blkalign_errmsg());
}

/* An empty simulated disk that can grow. */
void grow_sim(struct bed *bed, enum sim_mode mode, uint32_t block)
{
    struct sim_options disk = sim_disk_4k(0, mode);

    memset(bed, 0, sizeof(*bed));
    bed->name = "simulated disk that grows";
    disk.bytes_max = GROW_ROOM;
    disk.request_alignment = block;
    disk.segment_alignment = block < 512 ? block : 512;
    disk.zeroes = mode == SIM_ASYNC;
    bed->sim = sim_new(&disk);
}
