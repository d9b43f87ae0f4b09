/*
 * The list of cases, and what each requires.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

static const enum operation reads = OP_READ, writes = OP_WRITE,
                            zeroing = OP_ZERO, discards = OP_DISCARD;
static const bool by_flush = false, by_fua = true;

const struct test_case cases[] = {
    { "lost-update", "small writes to one block at once are all kept",
      run_race, &race_lost_update, 1, false },
    { "lost-update-handles", "the same from two handles", run_race,
      &race_lost_update, 2, false },
    { "straddle", "writes that meet in the middle of blocks are all kept",
      run_race, &race_straddle, 1, false },
    { "straddle-handles", "the same from two handles", run_race,
      &race_straddle, 2, false },
    { "aligned", "whole blocks and small writes in them at once are kept",
      run_race, &race_aligned, 1, false },
    { "aligned-handles", "the same from two handles", run_race,
      &race_aligned, 2, false },
    { "zero-race", "small writes and zeroing in one block are all kept",
      run_race, &race_zero, 1, false },
    { "zero-race-handles", "the same from two handles", run_race, &race_zero,
      2, false },
    { "discard-race", "small writes beside discards in one block are kept",
      run_race, &race_discard, 1, false },
    { "read-edges", "a read fills its memory, all of it, and nothing else",
      run_edges, &reads, 1, false },
    { "write-edges", "a write of any shape leaves its neighbours alone",
      run_edges, &writes, 1, false },
    { "zero-edges", "zeroing of any shape leaves its neighbours alone",
      run_edges, &zeroing, 1, false },
    { "discard-edges", "a discard of any shape leaves its neighbours alone",
      run_edges, &discards, 1, false },
    { "edge-read-error", "a write whose block cannot be read fails and "
      "destroys nothing", run_edge_error, NULL, 1, true },
    { "large", "large requests at odd places arrive whole", run_large, NULL,
      1, false },
    { "vectors", "vectors beyond IOV_MAX arrive whole", run_vectors, NULL, 1,
      false },
    { "odd-length", "a length that is no multiple of the block stays, and "
      "all of it can be used", run_odd_length, NULL, 1, false },
    { "past-end", "what passes the end is refused and changes nothing",
      run_past_end, NULL, 1, false },
    { "flush", "flush is accepted and reaches what is below", run_flush,
      &by_flush, 1, true },
    { "fua", "FUA is accepted and reaches what is below", run_flush, &by_fua,
      1, true },
    { "coherent", "a completed write is what another handle reads",
      run_coherent, NULL, 2, false },
    { "torn-reads", "reads beside a write are whole, where that is promised",
      run_torn, NULL, 1, false },
    { "model", "random operations, many at once, do what they should",
      run_model, NULL, 1, false },
    { "model-handles", "the same from two handles", run_model, NULL, 2,
      false },
    { NULL, NULL, NULL, NULL, 0, false }
};
