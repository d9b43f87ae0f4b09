/*
 * An image of Ceph in place of a file, through libblkalign's driver for it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"

#include <string.h>

bool is_rbd_place(const char *path)
{
    return strncmp(path, "rbd:", 4) == 0;
}

#ifndef HAVE_LIBRBD

bool rbd_place_open(const char *place, const blkalign_open_options *options,
                    blkalign_handle **handle)
{
    (void)options;
    (void)handle;
    complain("%s: built without librbd, so no Ceph; ./%s is a file", place,
             place);
    return false;
}

#else

#include <blkalign-rbd.h>

bool rbd_place_open(const char *place, const blkalign_open_options *options,
                    blkalign_handle **handle)
{
    char words[BLKALIGN_RBD_WORDS];
    int result = blkalign_rbd_open(place, options, words, handle);

    if (result < 0)
        complain("%s", words);
    return result == 0;
}

#endif
