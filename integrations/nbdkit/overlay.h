/*
 * The overlay that the plugin serves with backing=: one for the process, of
 * which each connection has a handle.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef BLKALIGN_PLUGIN_OVERLAY_H
#define BLKALIGN_PLUGIN_OVERLAY_H

#include <blkalign.h>
#include <stdbool.h>

struct overlay_choices {
    char *backing;              /* a path or an NBD URI; NULL: no overlay */
    int copy_on_read, fill;
};

/* Opens `path` over its backing object, and starts to fill it if that is
 * asked for. After the fork, since the library may have threads. Returns 0, or
 * -1 after nbdkit_error. */
int overlay_begin(const char *path, const struct overlay_choices *choices,
                  const blkalign_open_options *options);

/* Another handle of it: 0 or -errno, as blkalign_dup. */
int overlay_handle(const blkalign_open_options *options,
                   blkalign_handle **out);

/* When the last connection is closed: stops the fill and closes all. */
void overlay_end(void);

/* Whether this names an NBD export. */
bool overlay_is_uri(const char *backing);

#endif
