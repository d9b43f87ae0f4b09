/*
 * Checks that a tool makes before it may overwrite something.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef CARE_H
#define CARE_H

#include <stdbool.h>
#include <stddef.h>

/* To be called before everything else. A tool that is started without
 * descriptor 0, 1 or 2 would get one of these numbers for its target, and
 * write its messages into the target. */
void care_descriptors(void);

/* Whether another program uses the file or device `path`, as far as can be
 * seen: `path` is mounted or part of something that is, a loop device lies on
 * it, or a process has locked it as an image. Then `why` says so. A device
 * that is free is kept from others until the tool ends. A path that cannot be
 * opened counts as free. */
bool care_in_use(const char *path, char *why, size_t why_bytes);

/* Whether `path` is a device that takes writes in order only, zone by zone
 * (host-managed). */
bool care_zoned(const char *path);

#endif
