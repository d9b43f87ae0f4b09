/*
 * Text from elsewhere (file names, messages) on its way to the output.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stdio.h>

/* For a terminal: a file name may contain control sequences, so control bytes
 * become '?'. */
void put_text(FILE *to, const char *text);

/* A JSON string. Bytes that are not UTF-8 become U+FFFD; returns false if
 * there were any. */
bool json_string(const char *text);

/* `path` as the members "path" and, if it is not UTF-8, "path_hex". */
void json_path(const char *path, const char *indent);

#endif
