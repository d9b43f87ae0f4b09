/*
 * Text that came from elsewhere (file names, messages) on its way out.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stdio.h>

/* For a terminal: a file may have any name, also one that would play with it.
 * Control bytes become '?'. */
void put_text(FILE *to, const char *text);

/* A JSON string. What is not UTF-8 becomes U+FFFD; returns false if any
 * did. */
bool json_string(const char *text);

/* `path` as the members "path" and, where it is not UTF-8, "path_hex". */
void json_path(const char *path, const char *indent);

#endif
