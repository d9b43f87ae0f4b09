/*
 * Registered memory: the same bytes arrive as without it, and the flag is
 * refused where the memory is not registered.
 */
#include "common_disk.h"
#include "common_aio.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096
#define MEMORY_BYTES (16 * BLOCK)
#define FLAG BLKALIGN_REQ_REGISTERED_BUF

static uint8_t *memory;

static void in_and_out(struct bed *bed, blkalign_handle *handle,
                       int64_t offset, size_t at, size_t bytes)
{
    struct iovec iov = { memory + at, bytes };
    struct answer answer;
    int64_t id;
    int direction;

    for (direction = 0; direction < 2; direction++) {
        memset(&answer, 0, sizeof(answer));
        answer.handle = handle;
        if (direction == 0) {
            pattern_fill(memory, 9, 0, MEMORY_BYTES);
            id = blkalign_aio_pwritev(handle, offset, &iov, 1, FLAG,
                                      answer_done, &answer);
        } else {
            memset(memory, 0xee, MEMORY_BYTES);
            id = blkalign_aio_preadv(handle, offset, &iov, 1, FLAG,
                                     answer_done, &answer);
        }
        ok(id > 0 && answer_wait(&answer) == 0, "%s, %s: %s %d at %d",
           bed->name, mode_words(), direction ? "read" : "write",
           (int)bytes, (int)offset);
    }
    is_int(pattern_differs(memory + at, 9, (int64_t)at, bytes), -1,
           "%s: what was written comes back", bed->name);
    ok((at == 0 || memory[at - 1] == 0xee) && memory[at + bytes] == 0xee,
       "%s: and touches nothing beside it", bed->name);
}

static void on(enum bed_kind kind)
{
    blkalign_open_options options =
        mode_options(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT);
    blkalign_handle *handle;
    struct iovec iov = { memory, BLOCK };
    struct bed bed;

    if (bed_make(&bed, kind, 64 * BLOCK) < 0) {
        skip(bed.why_not, "registered memory on %s", bed.name);
        return;
    }
    handle = bed_open(&bed, &options);
    is_int(blkalign_preadv(handle, 0, &iov, 1, FLAG), -EINVAL,
           "%s: nothing is registered yet", bed.name);
    is_int(blkalign_register_buf(handle, memory, 8 * BLOCK), 0, "register");
    is_int(blkalign_register_buf(handle, memory + 8 * BLOCK, 8 * BLOCK), 0,
           "register what lies beside it");
    in_and_out(&bed, handle, 0, 0, BLOCK);
    in_and_out(&bed, handle, BLOCK, 3 * BLOCK + 512, 2 * BLOCK);
    in_and_out(&bed, handle, 512, BLOCK, 512);
    in_and_out(&bed, handle, 5 * BLOCK + 7, 1, 3 * BLOCK);
    in_and_out(&bed, handle, 9 * BLOCK, 4 * BLOCK, 4 * BLOCK);
    is_int(blkalign_pread(handle, 0, BLOCK, memory, FLAG), 0,
           "%s: a synchronous call may say it too", bed.name);
    is_int(blkalign_unregister_buf(handle, memory, 8 * BLOCK), 0,
           "unregister");
    is_int(blkalign_preadv(handle, 0, &iov, 1, FLAG), -EINVAL,
           "%s: not registered any more", bed.name);
    in_and_out(&bed, handle, 0, 9 * BLOCK, BLOCK);
    is_int(blkalign_close(handle), 0, "close with a region registered");
    bed_remove(&bed);
}

int main(void)
{
    unsigned mode;
    int kind;

    run_begin(120);
    memory = aligned_memory(MEMORY_BYTES + BLOCK);
    mode_first(0);
    for (mode = 0; mode < MODES; mode++) {
        on(BED_LOOP);
        mode_next();
    }
    for (kind = 0; kind < BED_KINDS; kind++) {
        on((enum bed_kind)kind);
        mode_next();
    }
    free(memory);
    return done_testing();
}
