/* A disk cut into extents: see common_extents.h. */
#include "common_extents.h"

#include "common_run.h"

#include <stddef.h>

/* Mostly short extents, some of several blocks. */
void extents_cut(struct extents *extents, int cells, int owners,
                 uint64_t *random)
{
    int cell = 0;

    extents->count = 0;
    while (cell < cells) {
        struct extent *extent = &extents->each[extents->count++];
        int some = 1 + (int)random_below(random,
                                         random_below(random, 4) ? 12 : 199);

        if (some > cells - cell)
            some = cells - cell;
        extent->offset = (int64_t)cell * CELL;
        extent->bytes = (int64_t)some * CELL;
        extent->owner = (int)random_below(random, (uint64_t)owners);
        extent->busy = 0;
        cell += some;
    }
}

struct extent *extents_pick(struct extents *extents, int owner,
                            uint64_t *random)
{
    int attempt;

    for (attempt = 0; attempt < 1000; attempt++) {
        struct extent *extent = &extents->each[random_below(
            random, (uint64_t)extents->count)];

        if (extent->owner == owner && !extent->busy)
            return extent;
    }
    return NULL;
}
