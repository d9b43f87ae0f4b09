/*
 * Reads now and then, and tells how long that took: blkalign-info --watch.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef WATCH_H
#define WATCH_H

#include <blkalign.h>

/* One line a second, for so many seconds. Returns 0 or -errno. */
int watch(blkalign_handle *handle, int64_t length, unsigned seconds);

#endif
