/*
 * The guest's own memory reaches the driver wherever the driver's alignments
 * allow that; only elements that the driver would refuse are copied.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <stdlib.h>

#define BLOCK 4096
#define DISK_BYTES INT64_C(1048576)
#define MEMORY_BYTES (64 * BLOCK)

static struct sim *sim;
static blkalign_handle *handle;
static uint8_t *memory;

/* Reads and writes; returns how many elements of the guest the driver must
 * have seen. */
static void in_place(int64_t offset, const struct iovec *iov, int count,
                     int hits, const char *words)
{
    uint64_t before = sim_counts(sim).pointer_hits;
    uint64_t after_read, after_write;
    int ret;

    ret = blkalign_preadv(handle, offset, iov, count, 0);
    after_read = sim_counts(sim).pointer_hits;
    is_int(ret, 0, "%s: read", words);
    is_int((int64_t)(after_read - before), hits,
           "%s: the driver fills this much of the guest's own", words);
    ret = blkalign_pwritev(handle, offset, iov, count, 0);
    after_write = sim_counts(sim).pointer_hits;
    is_int(ret, 0, "%s: write", words);
    is_int((int64_t)(after_write - after_read), hits,
           "%s: and takes as much", words);
}

static void one_element(void)
{
    struct iovec element = { memory, 2 * BLOCK };
    blkalign_stats before = stats_of(handle), after;

    in_place(0, &element, 1, 1, "aligned");
    in_place(512, &element, 1, 1, "sectors off the block");
    element.iov_base = memory + 512;
    in_place(BLOCK, &element, 1, 1, "memory at 512");
    element.iov_len = 512;
    in_place(1024, &element, 1, 1, "one sector");
    after = stats_of(handle);
    is_int((int64_t)(after.zero_copy - before.zero_copy), 8,
           "stats: zero_copy counts them");
    is_int((int64_t)(after.bounced - before.bounced), 0,
           "stats: none bounced");
    element.iov_base = memory + 1;
    in_place(0, &element, 1, 0, "memory at 1");
    element.iov_base = memory;
    element.iov_len = 100;
    in_place(0, &element, 1, 0, "100 bytes");
    /* The padding would have an odd length itself. */
    element.iov_len = 512;
    in_place(BLOCK - 100, &element, 1, 0, "512 bytes at an odd offset");
    before = after;
    after = stats_of(handle);
    is_int((int64_t)(after.zero_copy - before.zero_copy), 0,
           "stats: no zero_copy among those");
    is_int((int64_t)(after.bounced - before.bounced), 6,
           "stats: all six bounced");
}

static void several_elements(void)
{
    struct iovec iov[5] = {
        { memory, BLOCK }, { memory + 2 * BLOCK + 3, BLOCK },
        { memory + 4 * BLOCK, BLOCK }, { memory + 6 * BLOCK, 512 },
        { memory + 8 * BLOCK, 3584 }
    };

    in_place(0, iov, 5, 4, "one of five misaligned");
    in_place(1536, iov, 5, 4, "the same, sectors off the block");
    iov[1].iov_base = memory + 2 * BLOCK;
    in_place(0, iov, 5, 5, "all five aligned");
    in_place(7 * 512, iov, 5, 5, "the same, sectors off the block");
    iov[0].iov_len = 100;
    in_place(BLOCK - 100, iov, 5, 4, "an odd element before the block");
    iov[0].iov_len = BLOCK;
    iov[4].iov_len = 77;
    in_place(0, iov, 5, 4, "an odd element at the end");
}

int main(void)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, SIM_SYNC);
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);

    run_begin(60);
    memory = aligned_memory(MEMORY_BYTES);
    sim = sim_new(&disk);
    sim_watch(sim, memory, MEMORY_BYTES);
    handle = sim_open(sim, &options);
    one_element();
    several_elements();
    is_int(blkalign_close(handle), 0, "close");
    ok(!sim_counts(sim).violations, "nothing to refuse %s",
       sim_violation(sim));
    sim_free(sim);
    free(memory);
    return done_testing();
}
