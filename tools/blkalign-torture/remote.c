/*
 * Remote storage: NBD through integrations/libnbd, images of Ceph through
 * integrations/librbd.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "remote.h"

#ifdef HAVE_LIBNBD
#include <blkalign-nbd.h>
#endif
#ifdef HAVE_LIBRBD
#include <blkalign-rbd.h>
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef HAVE_LIBNBD
int remote_open_nbd(const struct place *place,
                    const blkalign_open_options *options,
                    char why[WHY_BYTES], blkalign_handle **disk)
{
    blkalign_nbd_options nbd = BLKALIGN_NBD_OPTIONS_INIT;
    const char *connections = place_option(place, "connections");
    char words[BLKALIGN_NBD_WORDS];
    int result;

    if (connections)
        nbd.connections = (uint32_t)strtoul(connections, NULL, 0);
    result = blkalign_nbd_open(place->target, &nbd, options, words, disk);
    if (result < 0)
        snprintf(why, WHY_BYTES, "%s", words);
    return result;
}
#else
int remote_open_nbd(const struct place *place,
                    const blkalign_open_options *options,
                    char why[WHY_BYTES], blkalign_handle **disk)
{
    (void)place;
    (void)options;
    (void)disk;
    snprintf(why, WHY_BYTES, "built without libnbd, so no NBD "
             "(Debian: libnbd-dev, then build again)");
    return -ENOTSUP;
}
#endif

#ifdef HAVE_LIBRBD
int remote_open_rbd(const struct place *place,
                    const blkalign_open_options *options,
                    char why[WHY_BYTES], blkalign_handle **disk)
{
    char words[BLKALIGN_RBD_WORDS];
    int result = blkalign_rbd_open(place->target, options, words, disk);

    if (result < 0)
        snprintf(why, WHY_BYTES, "%s", words);
    return result;
}
#else
int remote_open_rbd(const struct place *place,
                    const blkalign_open_options *options,
                    char why[WHY_BYTES], blkalign_handle **disk)
{
    (void)place;
    (void)options;
    (void)disk;
    snprintf(why, WHY_BYTES, "built without librbd, so no Ceph "
             "(Debian: librbd-dev, then build again)");
    return -ENOTSUP;
}
#endif
