/*
 * The adapters that come with the suite, one file each.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ADAPTERS_H
#define ADAPTERS_H

#include "adapter.h"

extern const struct adapter blkalign_adapter;   /* adapter-blkalign.c */
extern const struct adapter blkalign_nbd_adapter;
extern const struct adapter blkalign_rbd_adapter;
extern const struct adapter path_adapter;       /* adapter-path.c */
extern const struct adapter nbd_adapter;        /* adapter-nbd.c */
extern const struct adapter broken_adapter;     /* adapter-broken.c */

#endif
