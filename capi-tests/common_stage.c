#include "common_stage.h"
#include "common_run.h"
#include "tap.h"

#include <string.h>

void stage_begin(struct stage *stage, const struct sim_options *disk,
                 uint32_t flags, uint8_t *model)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR | flags);

    stage->sim = sim_new(disk);
    stage->handle = sim_open(stage->sim, &options);
    stage->model = model;
    stage->bytes = (size_t)disk->bytes;
    pattern_fill(model, 1, 0, stage->bytes);
    memcpy(sim_bytes(stage->sim), model, stage->bytes);
}

void stage_end(struct stage *stage, const char *words)
{
    is_int(blkalign_close(stage->handle), 0, "%s: close", words);
    ok(!memcmp(sim_bytes(stage->sim), stage->model, stage->bytes),
       "%s: every byte is right", words);
    ok(!sim_counts(stage->sim).violations, "%s: nothing to refuse %s",
       words, sim_violation(stage->sim));
    sim_free(stage->sim);
}
