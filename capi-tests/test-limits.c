/* What blkalign_get_limits reports for real storage. */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <string.h>

static int power_of_two(uint32_t value)
{
    return value && !(value & (value - 1));
}

static void run(struct bed *bed)
{
    blkalign_handle *handle = bed_open(bed, NULL);
    blkalign_limits limits = limits_of(handle);

    diag("%s: request %u, memory %u, segment %u (sources %u %u %u), blocks "
         "%u/%u", bed->name, limits.request_alignment, limits.mem_alignment,
         limits.segment_alignment, limits.request_alignment_source,
         limits.mem_alignment_source, limits.segment_alignment_source,
         limits.logical_block_size, limits.physical_block_size);
    ok(power_of_two(limits.request_alignment) &&
       power_of_two(limits.mem_alignment) &&
       power_of_two(limits.segment_alignment),
       "%s: alignments are powers of two", bed->name);
    if (bed->kind != BED_FILE)
        is_int(limits.request_alignment, 4096, "%s: request_alignment",
               bed->name);
    ok(limits.mem_alignment <= 4096 && limits.segment_alignment <= 4096,
       "%s: nothing absurd", bed->name);
    ok(limits.request_alignment_source != BLKALIGN_SOURCE_DEFAULT &&
       limits.request_alignment_source <= BLKALIGN_SOURCE_INTEGRITY,
       "%s: somebody said so", bed->name);
    if (!bed->sim)
        is_int(limits.direct, 1, "%s: O_DIRECT is in use", bed->name);
    if (bed->kind == BED_LOOP || bed->kind == BED_ZRAM)
        is_int(limits.logical_block_size, 4096, "%s: logical block",
               bed->name);
    is_int(blkalign_getlength(handle), bed->bytes, "%s: length", bed->name);
    is_int(blkalign_close(handle), 0, "%s: close", bed->name);
}

static void override(struct bed *bed)
{
    blkalign_open_options options = options_of(0, 0);
    char buf[100], back[100];
    blkalign_handle *handle;
    blkalign_limits limits;

    options.request_alignment = 8192;
    options.mem_alignment = 4096;
    options.segment_alignment = 4096;
    handle = bed_open(bed, &options);
    limits = limits_of(handle);
    is_int(limits.request_alignment, 8192, "%s: override of requests",
           bed->name);
    is_int(limits.mem_alignment, 4096, "%s: of memory", bed->name);
    is_int(limits.segment_alignment, 4096, "%s: of segments", bed->name);
    is_int(limits.request_alignment_source, BLKALIGN_SOURCE_OVERRIDE,
           "%s: and the source says so", bed->name);
    memset(buf, 'o', sizeof(buf));
    is_int(blkalign_pwrite(handle, 12300, 100, buf, 0), 0,
           "%s: a write with it", bed->name);
    is_int(blkalign_pread(handle, 12300, 100, back, 0), 0,
           "%s: a read with it", bed->name);
    ok(!memcmp(buf, back, 100), "%s: brings the bytes", bed->name);
    is_int(blkalign_close(handle), 0, "%s: close", bed->name);
}

static void buffered(struct bed *bed)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    blkalign_handle *handle = NULL;
    char byte = 'b';

    is_int(blkalign_open(bed->path, &options, &handle), 0,
           "%s: without O_DIRECT", bed->name);
    is_int(limits_of(handle).direct, 0, "%s: limits say so", bed->name);
    is_int(blkalign_pwrite(handle, 77, 1, &byte, 0), 0, "%s: one byte",
           bed->name);
    byte = 0;
    is_int(blkalign_pread(handle, 77, 1, &byte, 0), 0, "%s: and back",
           bed->name);
    is_int(byte, 'b', "%s: it is the same", bed->name);
    is_int(blkalign_close(handle), 0, "%s: close", bed->name);
}

int main(void)
{
    struct bed bed;
    int kind;

    run_begin(60);
    for (kind = 0; kind < BED_KINDS; kind++) {
        if (bed_make(&bed, (enum bed_kind)kind, 1 << 20)) {
            skip(bed.why_not, "%s: limits", bed.name);
            continue;
        }
        run(&bed);
        if (!bed.sim)
            override(&bed);
        if (bed_is_file(&bed))
            buffered(&bed);
        bed_remove(&bed);
    }
    return done_testing();
}
