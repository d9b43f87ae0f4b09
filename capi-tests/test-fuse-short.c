/*
 * A FUSE server that answers short: through io_uring Linux (5.5 and later)
 * carries out the rest at the offset of the beginning, and reports success. So
 * files on FUSE get threads, and the engine's reason says why.
 */
#include "common_aio.h"
#include "common_fuse.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define BYTES (64 * BLOCK)
#define MANY (8 * BLOCK)

static struct fuse_bed bed;

static void moves_all(uint32_t direct, const char *words)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | direct);
    uint8_t *buf = aligned_memory(MANY), *got = aligned_memory(MANY);
    blkalign_handle *handle = NULL;
    struct answer write, read;

    options.engine = BLKALIGN_ENGINE_AUTO;
    pattern_fill(bed.bytes, 1, 0, BYTES);
    is_int(blkalign_open(bed.path, &options, &handle), 0, "%s: open %s",
           words, blkalign_errmsg());
    is_int(limits_of(handle).engine, BLKALIGN_ENGINE_THREADS,
           "%s: threads", words);
    ok(strstr(blkalign_engine_reason(handle), "FUSE") != NULL,
       "%s: because %s", words, blkalign_engine_reason(handle));
    aio_read(handle, 4 * BLOCK, got, MANY, &read);
    is_int(answer_wait(&read), 0, "%s: a read", words);
    is_int(pattern_differs(got, 1, 4 * BLOCK, MANY), -1,
           "%s: brings the bytes", words);
    pattern_fill(buf, 2, 5 * BLOCK, MANY);
    aio_write(handle, 5 * BLOCK, buf, MANY, 0, &write);
    is_int(answer_wait(&write), 0, "%s: a write", words);
    is_int(blkalign_close(handle), 0, "%s: close", words);
    is_int(pattern_differs(bed.bytes + 5 * BLOCK, 2, 5 * BLOCK, MANY), -1,
           "%s: its bytes are there", words);
    ok(pattern_differs(bed.bytes, 1, 0, 5 * BLOCK) == -1 &&
       pattern_differs(bed.bytes + 5 * BLOCK + MANY, 1, 5 * BLOCK + MANY,
                       BYTES - 5 * BLOCK - MANY) == -1,
       "%s: and all others as they were", words);
    free(buf);
    free(got);
}

static void refuses_a_ring(void)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT, 0);
    blkalign_handle *handle = NULL;

    options.engine = BLKALIGN_ENGINE_IO_URING;
    is_int(blkalign_open(bed.path, &options, &handle), -EOPNOTSUPP,
           "io_uring alone is refused");
    ok(!handle && strstr(blkalign_errmsg(), "FUSE"), "in words: %s",
       blkalign_errmsg());
}

int main(void)
{
    run_begin(60);
    if (fuse_bed_make(&bed, BYTES, BLOCK))
        skip_all("%s", bed.why_not);
    moves_all(BLKALIGN_O_DIRECT, "direct");
    moves_all(0, "page cache");
    refuses_a_ring();
    fuse_bed_remove(&bed);
    return done_testing();
}
