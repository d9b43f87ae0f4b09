/*
 * A disk cut into extents of whole 64-byte cells, so that neighbours share
 * blocks. Each extent has one thread that writes it.
 */
#ifndef COMMON_EXTENTS_H
#define COMMON_EXTENTS_H

#include <stdint.h>

#define CELL 64
#define CELLS_MAX 4096

struct extent {
    int64_t offset, bytes;
    int owner, busy;            /* only its owner looks at busy */
};

struct extents {
    int count;
    struct extent each[CELLS_MAX];
};

/* Divides the first `cells` cells among `owners` threads. */
void extents_cut(struct extents *extents, int cells, int owners,
                 uint64_t *random);
/* An extent that is not busy; NULL if some tries found none. */
struct extent *extents_pick(struct extents *extents, int owner,
                            uint64_t *random);

#endif
