/*
 * Opening remote storage through libblkalign's drivers for it. Each needs a
 * library that may be absent: then its function only says so.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef REMOTE_H
#define REMOTE_H

#include "adapter.h"

#include <blkalign.h>

/* Returns 0, or -errno with words in `why`. */
typedef int remote_open(const struct place *place,
                        const blkalign_open_options *options,
                        char why[WHY_BYTES], blkalign_handle **disk);

remote_open remote_open_nbd, remote_open_rbd;

#ifdef HAVE_LIBNBD
#define REMOTE_NBD_HELP \
    "libblkalign over its driver for NBD: an NBD URI. -o\n" \
    "connections=N, and completion, no-merge, guest-block-size as above"
#else
#define REMOTE_NBD_HELP \
    "libblkalign over NBD; not in this program: it was built\n" \
    "without libnbd"
#endif

#ifdef HAVE_LIBRBD
#define REMOTE_RBD_HELP \
    "libblkalign over its driver for Ceph: rbd:POOL/IMAGE. -o\n" \
    "completion, no-merge, align, guest-block-size as above"
#else
#define REMOTE_RBD_HELP \
    "libblkalign over Ceph; not in this program: it was built\n" \
    "without librbd"
#endif

#endif
