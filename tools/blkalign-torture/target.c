/*
 * An opened back end.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number of blocks that cases use, and of blocks before these. */
enum { BASE_BLOCKS = 16, LEAST_BLOCKS = 64, DEFAULT_BLOCK = 4096 };

unsigned char *new_buffer(int64_t bytes)
{
    void *memory;

    if (posix_memalign(&memory, 65536, (size_t)bytes + 1) == 0)
        return memset(memory, 0, (size_t)bytes);
    printf("Bail out! no memory for %lld bytes\n", (long long)bytes);
    exit(EXIT_CANNOT);
}

/* Determines block, small request, and the blocks that cases may use. */
static int choose_sizes(struct target *target, char *why)
{
    const struct settings *settings = target->settings;
    const struct facts *facts = &target->facts;

    target->length = facts->length;
    target->block = settings->block ? settings->block
                    : facts->block  ? facts->block
                                    : DEFAULT_BLOCK;
    if (target->block < facts->smallest)
        target->block = facts->smallest;
    target->sector = settings->sector ? settings->sector
                     : target->block >= 4096 ? 512
                                             : target->block / 8;
    if (target->sector < facts->smallest)
        target->sector = facts->smallest;
    target->base = (int64_t)target->block * BASE_BLOCKS;
    if (target->block % target->sector) {
        snprintf(why, WHY_BYTES, "blocks of %u do not consist of sectors of "
                 "%u", (unsigned)target->block, (unsigned)target->sector);
        return -EINVAL;
    }
    if (target->length < (int64_t)target->block * LEAST_BLOCKS) {
        snprintf(why, WHY_BYTES, "too small: %lld bytes, at least %lld are "
                 "needed", (long long)target->length,
                 (long long)target->block * LEAST_BLOCKS);
        return -EINVAL;
    }
    return 0;
}

int target_open(struct target *target, const struct settings *settings,
                struct memory_disk *memory, char why[WHY_BYTES])
{
    int result;

    memset(target, 0, sizeof *target);
    target->settings = settings;
    target->adapter = settings->adapter;
    target->place = settings->place;
    target->place.memory = target->memory = memory;
    snprintf(why, WHY_BYTES, "no reason given");
    do {
        result = target->adapter->open(
            &target->place, target->handle_count ? target->handles[0] : NULL,
            &target->handles[target->handle_count], why);
        if (result == 0)
            target->handle_count++;
        if (settings->second)
            target->place.target = settings->second;
    } while (result == 0 && target->handle_count < settings->handles);
    /* The server takes one connection only: some cases have to be skipped. */
    if (target->handle_count) {
        result = target->adapter->describe(target->handles[0],
                                           &target->facts);
        if (result)
            snprintf(why, WHY_BYTES, "%s", strerror(-result));
    }
    if (result == 0)
        result = choose_sizes(target, why);
    if (result == 0)
        result = flight_open(target);
    if (result)
        target_close(target);
    return result;
}

void target_close(struct target *target)
{
    if (target->flight)
        flight_close(target);
    while (target->handle_count)
        target->adapter->close(target->handles[--target->handle_count]);
}

static int do_request(struct target *target, struct request *request,
                      void *data)
{
    struct iovec iov = { data, (size_t)request->bytes };

    request->iov = &iov;
    request->iovcnt = 1;
    flight_start(target, request);
    return flight_finish(target, request);
}

int target_do(struct target *target, unsigned handle,
              enum operation operation, int64_t offset, int64_t bytes,
              void *data)
{
    struct request request = { .operation = operation, .handle = handle,
                               .offset = offset, .bytes = bytes };

    return do_request(target, &request, data);
}

int target_write_fua(struct target *target, unsigned handle, int64_t offset,
                     int64_t bytes, void *data)
{
    struct request request = { .operation = OP_WRITE, .handle = handle,
                               .offset = offset, .bytes = bytes,
                               .fua = true };

    return do_request(target, &request, data);
}
