/*
 * What a tool that may overwrite things sees to before it does anything.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef CARE_H
#define CARE_H

#include <stdbool.h>
#include <stddef.h>

/* To be called first of all. A tool that is started without descriptor 0, 1 or
 * 2 would get one of them for its target, and write its own words there. */
void care_descriptors(void);

/* Whether somebody else uses the file or device `path`, as far as can be
 * seen: it is mounted or part of something that is, a loop device lies on it,
 * or a process has locked it as an image. Then `why` says so. A device that
 * is free is kept for us until the tool ends. What can't be opened is not
 * used. */
bool care_in_use(const char *path, char *why, size_t why_bytes);

#endif
