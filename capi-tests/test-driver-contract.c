/*
 * What the library promises a driver: under random load each I/O obeys the
 * alignments and limits that the driver named. The simulated disk checks the
 * I/O; a byte model checks the data.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_BYTES 262144
#define LARGEST 40000
#define ELEMENTS 24
/* Starts are below 64 units of 512, gaps below 16 units. */
#define ARENA_BYTES (64 * 512 + LARGEST + 4096 + ELEMENTS * 16 * 512)
#define REQUESTS 150

static uint64_t state;
static uint8_t *model, *arena;
static int wrong;

/* Divides `bytes` of the arena into elements: most have misaligned starts and
 * lengths, some are aligned, a few are empty. */
static int cut(struct iovec *iov, size_t bytes)
{
    size_t unit = random_below(&state, 3) ? 1 : 512;
    uint8_t *at = arena + unit * random_below(&state, 64);
    int count = 0;

    while (bytes) {
        size_t piece = unit * random_below(&state, 1 + 6000 / unit);

        if (piece > bytes || count == ELEMENTS - 1)
            piece = bytes;
        iov[count].iov_base = piece ? at : NULL;
        iov[count++].iov_len = piece;
        at += piece + unit * random_below(&state, 16);
        bytes -= piece;
    }
    return count;
}

static void one_request(blkalign_handle *handle)
{
    size_t bytes = 1 + random_below(&state, LARGEST);
    int64_t offset = (int64_t)random_below(&state, DISK_BYTES - bytes + 1);
    struct iovec iov[ELEMENTS];
    uint8_t *at;
    int i, j, count;

    if (random_below(&state, 4) == 0) {
        offset -= offset % 4096;
        bytes = (bytes + 4095) / 4096 * 4096;
        if (offset + (int64_t)bytes > DISK_BYTES)
            bytes = DISK_BYTES - (size_t)offset;
    }
    count = cut(iov, bytes);
    at = model + offset;
    if (random_below(&state, 2)) {
        for (i = 0; i < count; at += iov[i++].iov_len)
            for (j = 0; j < (int)iov[i].iov_len; j++)
                at[j] = ((uint8_t *)iov[i].iov_base)[j] =
                    (uint8_t)random_next(&state);
        wrong += blkalign_pwritev(handle, offset, iov, count, 0) != 0;
        return;
    }
    wrong += blkalign_preadv(handle, offset, iov, count, 0) != 0;
    for (i = 0; i < count; at += iov[i++].iov_len)
        wrong += iov[i].iov_len &&
                 memcmp(at, iov[i].iov_base, iov[i].iov_len) != 0;
}

static void run_disk(const struct sim_options *disk, const char *words)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct sim *sim = sim_new(disk);
    blkalign_handle *handle = sim_open(sim, &options);
    int i;

    wrong = 0;
    memset(model, 0, DISK_BYTES);
    for (i = 0; i < REQUESTS; i++)
        one_request(handle);
    is_int(wrong, 0, "%s: each request and read-back is right", words);
    is_int(blkalign_close(handle), 0, "%s: close", words);
    ok(!memcmp(model, sim_bytes(sim), DISK_BYTES), "%s: so is the disk",
       words);
    ok(!sim_counts(sim).violations, "%s: no promise broken %s", words,
       sim_violation(sim));
    is_int((int64_t)sim_counts(sim).closes, 1, "%s: closed once", words);
    sim_free(sim);
}

static void matrix(void)
{
    static const uint32_t sizes[] = { 0, 512, 4096 };
    static const uint32_t requests[] = { 0, 1, 512, 4096, 65536 };
    struct sim_options disk;
    char words[160];
    unsigned r, m, s;

    for (r = 0; r < 5; r++)
        for (m = 0; m < 3; m++)
            for (s = 0; s < 3; s++) {
                if (sizes[s] > requests[r] && requests[r])
                    continue;
                disk = sim_disk_4k(DISK_BYTES, (enum sim_mode)((m + s) % 3));
                disk.request_alignment = requests[r];
                disk.mem_alignment = sizes[m];
                disk.segment_alignment = requests[r] ? sizes[s] : 0;
                snprintf(words, sizeof(words),
                         "alignments request %u memory %u segment %u",
                         requests[r], sizes[m], disk.segment_alignment);
                run_disk(&disk, words);
            }
}

static void limits(void)
{
    static const uint32_t transfers[] = { 4096, 8192, 12288, 20480, 65536 };
    static const uint32_t segments[] = { 1, 2, 3, 7, 0 };
    struct sim_options disk;
    char words[160];
    unsigned t, s;

    for (t = 0; t < 5; t++)
        for (s = 0; s < 5; s++) {
            disk = sim_disk_4k(DISK_BYTES, (enum sim_mode)((t + s) % 3));
            disk.max_transfer = transfers[t];
            disk.max_segments = segments[s];
            if (s % 2)
                disk.segment_alignment = 4096;
            snprintf(words, sizeof(words),
                     "max_transfer %u, max_segments %u, segments of %u",
                     disk.max_transfer, disk.max_segments,
                     disk.segment_alignment);
            run_disk(&disk, words);
        }
    /* A limit that is no multiple of the block must be obeyed, too. */
    disk = sim_disk_4k(DISK_BYTES, SIM_SYNC);
    disk.max_transfer = 10000;
    disk.max_segments = 2;
    run_disk(&disk, "max_transfer 10000");
}

static void reported(void)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, SIM_SYNC);
    struct sim *sim;
    blkalign_handle *handle;
    blkalign_limits told;

    disk.max_transfer = 65536;
    disk.max_segments = 9;
    sim = sim_new(&disk);
    handle = sim_open(sim, NULL);
    told = limits_of(handle);
    is_int(told.request_alignment, 4096, "limits: request_alignment");
    is_int(told.mem_alignment, 512, "limits: mem_alignment");
    is_int(told.segment_alignment, 512, "limits: segment_alignment");
    is_int(told.request_alignment_source, BLKALIGN_SOURCE_DRIVER,
           "limits: the driver said so");
    is_int(told.mem_alignment_source, BLKALIGN_SOURCE_DRIVER,
           "limits: also of memory");
    is_int(told.segment_alignment_source, BLKALIGN_SOURCE_DRIVER,
           "limits: also of segments");
    is_int(told.max_transfer, 65536, "limits: max_transfer");
    is_int(told.max_segments, 9, "limits: max_segments");
    is_int(blkalign_getlength(handle), DISK_BYTES, "getlength");
    is_int(blkalign_close(handle), 0, "close");
    sim_free(sim);
}

int main(void)
{
    run_begin(120);
    state = run_seed();
    model = aligned_memory(DISK_BYTES);
    arena = aligned_memory(ARENA_BYTES);
    reported();
    matrix();
    limits();
    free(model);
    free(arena);
    return done_testing();
}
