/*
 * Limits of a throttle, as servers take them: a name ("write-bytes") and a
 * value, RATE or RATE:BURST, in numbers that may end in K, M, G or T (times
 * 1024, and so on). Knows no command line; a header alone, because a plugin is
 * one file.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef THROTTLE_OPTION_H
#define THROTTLE_OPTION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <blkalign.h>

enum throttle_option {
    THROTTLE_TAKEN,
    THROTTLE_UNKNOWN,   /* there is no such limit */
    THROTTLE_WRONG      /* the value is none */
};

/* A number and how it ends, at `*text`, which then is behind it. */
static inline bool throttle_number(const char **text, uint64_t *number)
{
    static const char suffixes[] = "KMGT";
    uint64_t value = 0;
    const char *at = *text, *suffix;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > (UINT64_MAX - 9) / 10)
            return false;
        value = 10 * value + (uint64_t)(*at - '0');
    }
    if (at == *text)
        return false;
    suffix = *at ? strchr(suffixes, *at & ~0x20) : NULL;
    if (suffix && *suffix) {
        unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);

        if (value > UINT64_MAX >> shift)
            return false;
        value <<= shift;
        at++;
    }
    *text = at;
    *number = value;
    return true;
}

static inline bool throttle_bucket(const char *value, blkalign_bucket *bucket)
{
    bucket->burst = 0;
    if (!throttle_number(&value, &bucket->rate))
        return false;
    if (*value == ':') {
        value++;
        if (!throttle_number(&value, &bucket->burst))
            return false;
    }
    return !*value && (bucket->rate || !bucket->burst);
}

static inline enum throttle_option
throttle_option(blkalign_throttle_limits *limits, const char *name,
                const char *value)
{
    struct { const char *name; blkalign_bucket *bucket; } buckets[] = {
        { "bytes", &limits->bytes },
        { "read-bytes", &limits->read_bytes },
        { "write-bytes", &limits->write_bytes },
        { "requests", &limits->requests },
        { "read-requests", &limits->read_requests },
        { "write-requests", &limits->write_requests },
    };
    unsigned i;
    bool taken;

    if (strcmp(name, "request-bytes") == 0) {
        taken = throttle_number(&value, &limits->request_bytes) && !*value;
        return taken ? THROTTLE_TAKEN : THROTTLE_WRONG;
    }
    for (i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
        if (strcmp(name, buckets[i].name) == 0)
            return throttle_bucket(value, buckets[i].bucket) ?
                THROTTLE_TAKEN : THROTTLE_WRONG;
    }
    return THROTTLE_UNKNOWN;
}

static inline bool throttle_limits_any(const blkalign_throttle_limits *its)
{
    return its->bytes.rate || its->read_bytes.rate || its->write_bytes.rate ||
           its->requests.rate || its->read_requests.rate ||
           its->write_requests.rate;
}

#endif
