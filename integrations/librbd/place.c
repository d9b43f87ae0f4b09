/*
 * Takes the name of an image apart. QEMU's rules: ':' ends the image and
 * separates settings, '@' begins the snapshot, a backslash makes the next
 * character one like others.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <stdlib.h>
#include <string.h>

/* Ends the word before the first of `ends`, and takes its backslashes away.
 * Returns the character that it ended at, and in *rest what is behind that;
 * '\0' and NULL at the end of the text. */
static char cut(char *text, const char *ends, char **rest)
{
    char *from = text, *to = text, end;

    for (; *from && !strchr(ends, *from); *to++ = *from++) {
        if (*from == '\\' && from[1])
            from++;
    }
    end = *from;
    *rest = end ? from + 1 : NULL;
    *to = '\0';
    return end;
}

static const char *parse_settings(char *text, struct place *place)
{
    struct setting *setting;
    char *rest;

    for (; text && *text; text = rest) {
        setting = &place->settings[place->count];
        if (place->count == SETTINGS_MAX)
            return "has too many settings";
        setting->name = text;
        if (cut(text, "=:", &rest) != '=' || !*setting->name)
            return "has a setting that is not NAME=VALUE";
        setting->value = rest;
        cut(rest, ":", &rest);
        if (strcmp(setting->name, "id") == 0)
            place->user = setting->value;
        else if (strcmp(setting->name, "conf") == 0)
            place->conf = setting->value;
        else
            place->count++;
    }
    return NULL;
}

/* Does the next word end at a slash? */
static bool more_slashes(const char *text)
{
    for (; *text && !strchr("/@:", *text); text++) {
        if (*text == '\\' && text[1])
            text++;
    }
    return *text == '/';
}

const char *blkalign_rbd_place_parse(const char *text, struct place *place)
{
    char *rest, end;

    memset(place, 0, sizeof *place);
    if (strncmp(text, "rbd:", 4) != 0)
        return "does not begin with rbd:";
    place->text = strdup(text + 4);
    if (!place->text)
        return "is too long for the memory";
    if (!more_slashes(place->text))
        return "is not rbd:POOL/IMAGE";
    place->pool = place->text;
    cut(place->text, "/", &rest);
    if (more_slashes(rest)) {
        place->name_space = rest;
        cut(rest, "/", &rest);
    }
    place->image = rest;
    end = cut(rest, "@:", &rest);
    if (end == '@') {
        place->snapshot = rest;
        cut(rest, ":", &rest);
    }
    if (!*place->pool || !*place->image)
        return "is not rbd:POOL/IMAGE";
    if (place->snapshot && !*place->snapshot)
        return "names an empty snapshot";
    return parse_settings(rest, place);
}

void blkalign_rbd_place_free(struct place *place)
{
    free(place->text);
}
