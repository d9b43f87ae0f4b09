/*
 * A driver over memory that splits each request into sectors of 512 bytes, as
 * an image format with small clusters splits requests. Threads of its own do
 * the sectors of all requests that are in flight, in any order; a request is
 * answered when its last sector is done.
 */
#ifndef COMMON_SPLIT_H
#define COMMON_SPLIT_H

#include <blkalign.h>
#include <stdint.h>

#define SPLIT_SECTOR 512

struct split;

/* A disk of zeros. `seed` decides the order of sectors. */
struct split *split_new(int64_t bytes, unsigned threads, uint64_t seed);
/* The opaque of the driver is the struct split itself. */
blkalign_driver split_driver(void);
/* After close: waits for the threads. */
void split_free(struct split *split);

/* The disk's memory, for looking at and preparing while it is idle. */
uint8_t *split_bytes(struct split *split);
/* How many sectors were done out of the order in which they came. */
uint64_t split_overtakings(struct split *split);

#endif
