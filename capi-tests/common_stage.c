#include "common_stage.h"
#include "common_run.h"
#include "tap.h"

#include <string.h>

blkalign_handle *sim_begin(struct sim **sim, const struct sim_options *disk,
                           uint32_t flags)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);

    *sim = sim_new(disk);
    return sim_open(*sim, &options);
}

void sim_end(struct sim *sim, blkalign_handle *handle, const char *words)
{
    is_int(blkalign_close(handle), 0, "%s: close", words);
    ok(!sim_counts(sim).violations, "%s: nothing to refuse %s", words,
       sim_violation(sim));
    sim_free(sim);
}

void stage_begin(struct stage *stage, const struct sim_options *disk,
                 uint32_t flags, uint8_t *model)
{
    stage->handle = sim_begin(&stage->sim, disk, flags);
    stage->model = model;
    stage->bytes = (size_t)disk->bytes;
    pattern_fill(model, 1, 0, stage->bytes);
    memcpy(sim_bytes(stage->sim), model, stage->bytes);
}

void stage_end(struct stage *stage, const char *words)
{
    is_int(blkalign_drain(stage->handle), 0, "%s: drain", words);
    ok(!memcmp(sim_bytes(stage->sim), stage->model, stage->bytes),
       "%s: every byte is right", words);
    sim_end(stage->sim, stage->handle, words);
}
