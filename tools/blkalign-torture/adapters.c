/*
 * The back ends that the suite knows.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "adapters.h"

#include <stddef.h>
#include <string.h>

const struct adapter *const adapters[] = {
#ifndef TORTURE_STANDALONE
    &blkalign_adapter,
    &blkalign_nbd_adapter,
    &blkalign_rbd_adapter,
#endif
    &path_adapter,
    &nbd_adapter,
    &broken_adapter,
    NULL
};

const char *place_option(const struct place *place, const char *name)
{
    const char *at = place->options;
    size_t length = strlen(name);

    while (at && *at) {
        if (strncmp(at, name, length) == 0) {
            if (at[length] == '=')
                return at + length + 1;
            if (at[length] == ',' || !at[length])
                return "";
        }
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    return NULL;
}

bool place_option_is(const struct place *place, const char *name,
                     const char *word)
{
    const char *value = place_option(place, name);
    size_t length = strlen(word);

    return value && strncmp(value, word, length) == 0 &&
           (value[length] == ',' || !value[length]);
}
