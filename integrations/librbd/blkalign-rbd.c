/*
 * An image of Ceph as storage of libblkalign: opening.
 *
 * Divisions: words, the cluster, the image, opening.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

static int fail(char *words, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(char *words, int result, const char *format, ...)
{
    va_list arguments;

    if (words) {
        va_start(arguments, format);
        vsnprintf(words, BLKALIGN_RBD_WORDS, format, arguments);
        va_end(arguments);
    }
    return result;
}

/* ---- the cluster ---- */

static int configure(struct disk *disk, const struct place *place,
                     bool direct, char *words)
{
    unsigned i;
    int result = rados_conf_read_file(disk->cluster, place->conf);

    /* Without a file: all may come from the environment, and settings. */
    if (result < 0 && place->conf)
        return fail(words, result, "%s: cannot read %s: %s", disk->name,
                    place->conf, strerror(-result));
    rados_conf_parse_env(disk->cluster, NULL);
    /* An error would mean that there is no cache to be switched off. */
    if (direct)
        rados_conf_set(disk->cluster, "rbd_cache", "false");
    for (i = 0; i < place->count; i++) {
        const struct setting *setting = &place->settings[i];

        result = rados_conf_set(disk->cluster, setting->name,
                                setting->value);
        if (result < 0)
            return fail(words, -EINVAL, "%s: Ceph does not take the setting "
                        "%s=%s: %s", disk->name, setting->name,
                        setting->value, strerror(-result));
    }
    return 0;
}

static int connect_cluster(struct disk *disk, const struct place *place,
                           bool direct, char *words)
{
    int result = rados_create(&disk->cluster, place->user);

    if (result < 0)
        return fail(words, result, "%s: no client of Ceph: %s", disk->name,
                    strerror(-result));
    result = configure(disk, place, direct, words);
    if (result < 0)
        return result;
    result = rados_connect(disk->cluster);
    if (result < 0)
        return fail(words, result, "%s: cannot connect to the cluster: %s",
                    disk->name, strerror(-result));
    result = rados_ioctx_create(disk->cluster, place->pool, &disk->pool);
    if (result < 0)
        return fail(words, result, "%s: cannot open the pool: %s",
                    disk->name, strerror(-result));
    if (place->name_space)
        rados_ioctx_set_namespace(disk->pool, place->name_space);
    return 0;
}

/* ---- the image ---- */

/* With it nobody else writes: librbd gives it away only when the image is
 * closed. */
static int lock(struct disk *disk, char *words)
{
    uint64_t features = 0;
    int result = rbd_get_features(disk->image, &features);

    if (result < 0)
        return fail(words, result, "%s: cannot read the features: %s",
                    disk->name, strerror(-result));
    if (!(features & RBD_FEATURE_EXCLUSIVE_LOCK))
        return fail(words, -ENOTSUP, "%s: the image has no exclusive lock, "
                    "which a lock and a request alignment need",
                    disk->name);
    result = rbd_lock_acquire(disk->image, RBD_LOCK_MODE_EXCLUSIVE);
    if (result == -EROFS || result == -EBUSY)
        return fail(words, -EAGAIN, "%s: another client holds the image's "
                    "exclusive lock", disk->name);
    if (result < 0)
        return fail(words, result, "%s: cannot get the image's exclusive "
                    "lock: %s", disk->name, strerror(-result));
    return 0;
}

/* The end of the image could not be reached else. */
static int check_length(struct disk *disk, uint32_t alignment, char *words)
{
    uint64_t length;
    int result = rbd_get_size(disk->image, &length);

    if (result < 0)
        return fail(words, result, "%s: cannot read the length: %s",
                    disk->name, strerror(-result));
    if (alignment && length % alignment)
        return fail(words, -EINVAL, "%s: the length, %llu, is no multiple of "
                    "the request alignment, %u", disk->name,
                    (unsigned long long)length, (unsigned)alignment);
    return 0;
}

static int open_image(struct disk *disk, const struct place *place,
                      const blkalign_open_options *options, char *words)
{
    bool writable = options->flags & BLKALIGN_O_RDWR;
    int result;

    if (writable && place->snapshot)
        return fail(words, -EROFS, "%s: a snapshot is read-only",
                    disk->name);
    result = writable ? rbd_open(disk->pool, place->image, &disk->image,
                                 NULL)
                      : rbd_open_read_only(disk->pool, place->image,
                                           &disk->image, place->snapshot);
    if (result < 0) {
        disk->image = NULL;
        return fail(words, result, "%s: cannot open the image: %s",
                    disk->name, strerror(-result));
    }
    if (writable && (options->flags & BLKALIGN_O_LOCK ||
                     options->request_alignment > 1))
        result = lock(disk, words);
    return result < 0 ? result
                      : check_length(disk, options->request_alignment, words);
}

/* ---- opening ---- */

/* The lock is taken: the library has none for drivers. */
static int open_handle(struct disk *disk, blkalign_open_options options,
                       char *words, blkalign_handle **out)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    int result;

    blkalign_rbd_driver_fill(disk, &driver);
    options.flags &= ~(uint32_t)BLKALIGN_O_LOCK;
    result = blkalign_open_driver(&driver, disk, &options, out);
    return result == 0 ? 0 : fail(words, result, "%s", blkalign_errmsg());
}

static int open_disk(struct disk *disk, const struct place *place,
                     const blkalign_open_options *options, char *words,
                     blkalign_handle **out)
{
    int result = connect_cluster(disk, place,
                                 options->flags & BLKALIGN_O_DIRECT, words);

    if (result == 0)
        result = open_image(disk, place, options, words);
    return result < 0 ? result : open_handle(disk, *options, words, out);
}

/* Without the settings: one may be a key. */
static char *name_of(const struct place *parts)
{
    const char *space = parts->name_space ? parts->name_space : "";
    const char *snapshot = parts->snapshot ? parts->snapshot : "";
    size_t bytes = strlen(parts->pool) + strlen(space) +
                   strlen(parts->image) + strlen(snapshot) +
                   sizeof "rbd://@";
    char *name = malloc(bytes);

    if (name)
        snprintf(name, bytes, "rbd:%s/%s%s%s%s%s", parts->pool, space,
                 *space ? "/" : "", parts->image, *snapshot ? "@" : "",
                 snapshot);
    return name;
}

/* Only what this driver knows of; the library checks the rest. */
static int read_options(const blkalign_open_options *from,
                        blkalign_open_options *to, char *words)
{
    const blkalign_open_options defaults = BLKALIGN_OPEN_OPTIONS_INIT;

    *to = defaults;
    if (!from)
        return 0;
    if (from->size < sizeof from->size || from->size > sizeof *to)
        return fail(words, -EINVAL, "blkalign_open_options has a size of %zu, "
                    "not of up to %zu", from->size, sizeof *to);
    memcpy(to, from, from->size);
    to->size = sizeof *to;
    return 0;
}

int blkalign_rbd_open(const char *place, const blkalign_open_options *options,
                      char words[BLKALIGN_RBD_WORDS], blkalign_handle **out)
{
    blkalign_open_options chosen;
    struct place parts;
    struct disk *disk;
    const char *wrong;
    int result;

    if (words)
        words[0] = '\0';
    if (!place || !out)
        return fail(words, -EINVAL, "no name, or no place for the handle");
    result = read_options(options, &chosen, words);
    if (result < 0)
        return result;
    wrong = blkalign_rbd_place_parse(place, &parts);
    disk = wrong ? NULL : calloc(1, sizeof *disk);
    if (wrong)
        result = fail(words, -EINVAL, "the image's name %s", wrong);
    else if (!disk || !(disk->name = name_of(&parts)))
        result = fail(words, -ENOMEM, "out of memory");
    else
        result = open_disk(disk, &parts, &chosen, words, out);
    if (result < 0 && disk)
        blkalign_rbd_driver_close(disk);
    blkalign_rbd_place_free(&parts);
    return result;
}
