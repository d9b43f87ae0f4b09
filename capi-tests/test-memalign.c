/* blkalign_memalign gives memory that reaches the storage without a copy. */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <string.h>

static void run(uint32_t alignment)
{
    static const size_t sizes[] = { 1, 511, 512, 4096, 1 << 20 };
    struct sim_options disk = sim_disk_4k(4 << 20, SIM_SYNC);
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_handle *handle;
    struct sim *sim;
    uint8_t *buf;
    unsigned i;

    disk.mem_alignment = alignment;
    sim = sim_new(&disk);
    handle = sim_open(sim, &options);
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        buf = blkalign_memalign(handle, sizes[i]);
        ok(buf != NULL, "%zu bytes for alignment %u", sizes[i], alignment);
        is_int((int64_t)((uintptr_t)buf % alignment), 0, "aligned so");
        memset(buf, 0xab, sizes[i]);
        blkalign_free(buf);
        buf = blkalign_memalign(handle, sizes[i]);
        ok(!buf[0] && !memcmp(buf, buf + 1, sizes[i] - 1),
           "nothing of what was there before is left");
        blkalign_free(buf);
    }
    buf = blkalign_memalign(handle, 1 << 20);
    memset(buf, 0xab, 1 << 20);
    sim_watch(sim, buf, 1 << 20);
    is_int(blkalign_pwrite(handle, 0, 1 << 20, buf, 0), 0, "a write of it");
    is_int(blkalign_pwrite(handle, 1 << 20, 4096, buf + 65536, 0), 0,
           "a write of a block of it");
    ok(sim_counts(sim).pointer_hits >= 2, "the driver saw that memory");
    is_int((int64_t)stats_of(handle).bounced, 0, "nothing was copied");
    is_int((int64_t)stats_of(handle).zero_copy, 2, "both are zero_copy");
    ok(blkalign_memalign(handle, SIZE_MAX) == NULL,
       "more than there is gives NULL");
    ok(blkalign_memalign(handle, SIZE_MAX / 2) == NULL,
       "half of that too");
    is_int(blkalign_close(handle), 0, "close");
    is_int(buf[(1 << 20) - 1], 0xab, "it outlives the handle");
    blkalign_free(buf);
    sim_free(sim);
}

int main(void)
{
    run_begin(60);
    run(1);
    run(512);
    run(4096);
    run(65536);
    return done_testing();
}
