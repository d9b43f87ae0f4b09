/*
 * Text from elsewhere, on its way to a terminal or into JSON.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "text.h"

#include <stddef.h>
#include <stdint.h>

void put_text(FILE *to, const char *text)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;

        putc(byte < 0x20 || byte == 0x7f ? '?' : byte, to);
    }
}

/* Length of the UTF-8 character that begins here; 0 if none does. */
static size_t utf8_length(const unsigned char *text)
{
    uint32_t character, smallest;
    size_t length, i;

    if (text[0] < 0x80)
        return 1;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    length = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    character = text[0] & (0x7fu >> length);
    for (i = 1; i < length; i++) {
        /* Stops at the terminating NUL too. */
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (text[i] & 0x3f);
    }
    if (character < smallest || character > 0x10ffff ||
        (character >= 0xd800 && character <= 0xdfff))
        return 0;
    return length;
}

bool json_string(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    bool exact = true;
    size_t length;

    putchar('"');
    for (; *at; at += length ? length : 1) {
        length = utf8_length(at);
        exact = exact && length;
        if (!length)
            fputs("\\ufffd", stdout);
        else if (*at == '"' || *at == '\\')
            printf("\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            printf("\\u%04x", *at);
        else
            fwrite(at, 1, length, stdout);
    }
    putchar('"');
    return exact;
}

void json_path(const char *path, const char *indent)
{
    printf("%s\"path\": ", indent);
    if (json_string(path))
        return;
    printf(",\n%s\"path_hex\": \"", indent);
    for (; *path; path++)
        printf("%02x", (unsigned char)*path);
    putchar('"');
}
