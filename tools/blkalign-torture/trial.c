/*
 * How a case reports its outcome, and what all cases need.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "torture.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

double clock_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Each case has a random sequence of its own: alone it does the same as among
 * other cases. */
void trial_start(struct trial *trial, const struct test_case *test_case,
                 const struct settings *settings, struct target *target)
{
    const char *letter;

    memset(trial, 0, sizeof *trial);
    trial->test_case = test_case;
    trial->settings = settings;
    trial->target = target;
    trial->handles = test_case->handles ? test_case->handles : 1;
    trial->random = settings->seed;
    for (letter = test_case->name; *letter; letter++)
        trial->random = mix(trial->random + (unsigned char)*letter);
    trial->until = clock_s() + settings->seconds;
}

uint64_t trial_random(struct trial *trial)
{
    trial->random += UINT64_C(0x9e3779b97f4a7c15);
    return mix(trial->random);
}

bool trial_goes_on(const struct trial *trial, unsigned round)
{
    if (trial->settings->seconds)
        return clock_s() < trial->until;
    return round < trial->settings->rounds;
}

void trial_say(struct trial *trial, enum state state, const char *format,
               ...)
{
    va_list arguments;

    if (trial->state != STATE_HOLDS)
        return;
    trial->state = state;
    va_start(arguments, format);
    vsnprintf(trial->words, sizeof trial->words, format, arguments);
    va_end(arguments);
}

void trial_note(struct trial *trial, const char *format, ...)
{
    size_t used = strlen(trial->notes);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(trial->notes + used, sizeof trial->notes - used, format,
              arguments);
    va_end(arguments);
    used = strlen(trial->notes);
    if (used + 1 < sizeof trial->notes)
        strcpy(trial->notes + used, "\n");
}

const char *operation_name(enum operation operation)
{
    static const char *const names[] = { "read", "write", "zeroing",
                                         "discard", "flush" };

    return names[operation];
}

bool is_absent(int result)
{
    return result == -ENOTSUP || result == -EOPNOTSUPP || result == -ENOSYS;
}

bool trial_accepts(struct trial *trial, int result, enum operation operation,
                   int64_t offset, int64_t bytes)
{
    if (result == 0)
        return true;
    if (is_absent(result))
        trial_say(trial, STATE_SKIPPED, "the target has no %s",
                  operation_name(operation));
    else
        trial_say(trial, STATE_BROKEN,
                  "a %s of %lld bytes at %lld failed: %s",
                  operation_name(operation), (long long)bytes,
                  (long long)offset, strerror(-result));
    return false;
}

bool trial_do(struct trial *trial, unsigned handle, enum operation operation,
              int64_t offset, int64_t bytes, void *data)
{
    return trial_accepts(trial,
                         target_do(trial->target, handle, operation, offset,
                                   bytes, data),
                         operation, offset, bytes);
}

void stamp(unsigned char *to, uint64_t id, int64_t offset, int64_t bytes)
{
    int64_t i;

    for (i = 0; i < bytes; i++) {
        int64_t at = offset + i;
        uint64_t word = mix(id * 0x9e3779b97f4a7c15u + (uint64_t)(at >> 3));
        unsigned char byte = (unsigned char)(word >> (at & 7) * 8);

        to[i] = byte ? byte : 1;
    }
}

int64_t difference(const unsigned char *a, const unsigned char *b,
                   int64_t bytes)
{
    int64_t i;

    if (memcmp(a, b, (size_t)bytes) == 0)
        return -1;
    for (i = 0; a[i] == b[i]; i++)
        ;
    return i;
}

bool all_zero(const unsigned char *data, int64_t bytes)
{
    return bytes == 0 ||
           (data[0] == 0 && memcmp(data, data + 1, (size_t)bytes - 1) == 0);
}

void loosen(const struct target *target, unsigned char *loose,
            int64_t offset, int64_t bytes)
{
    int64_t block = target->block;
    int64_t first = (offset + block - 1) / block * block;
    int64_t end = (offset + bytes) / block * block;

    if (first < end)
        memset(loose + first, 1, (size_t)(end - first));
}
