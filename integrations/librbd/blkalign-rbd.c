/*
 * An image of Ceph as storage of libblkalign: opening.
 *
 * Divisions: words, options, the cluster, the image, opening.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What Ceph's own storage writes at least, and most guests. */
enum { BLOCK = 4096 };

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

/* ---- options ---- */

/* As the library does with its own: shorter is older, the rest zero; longer
 * is newer, its rest must be zero. */
static int read_options(const blkalign_rbd_options *from,
                        blkalign_rbd_options *to, char *words)
{
    const unsigned char *bytes = (const unsigned char *)from;
    size_t i;

    memset(to, 0, sizeof *to);
    if (from && from->size < sizeof from->size)
        return fail(words, -EINVAL, "blkalign_rbd_options has no size");
    for (i = sizeof *to; from && i < from->size; i++) {
        if (bytes[i])
            return fail(words, -E2BIG, "blkalign_rbd_options is of a newer "
                        "version than this driver");
    }
    if (from)
        memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
    if (to->flags & ~(uint32_t)BLKALIGN_RBD_SHARED || to->reserved)
        return fail(words, -EINVAL, "unknown flags: 0x%x",
                    (unsigned)(to->flags | to->reserved));
    return 0;
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

/* A block is read, changed and written back: that nobody else writes to it
 * meanwhile is sure only with the lock. *alone: nobody can. */
static int lock(struct disk *disk, bool shared, bool *alone, char *words)
{
    uint64_t features = 0;
    int result = rbd_get_features(disk->image, &features);

    *alone = false;
    if (result < 0)
        return fail(words, result, "%s: cannot read the features: %s",
                    disk->name, strerror(-result));
    if (shared || !(features & RBD_FEATURE_EXCLUSIVE_LOCK))
        return 0;
    result = rbd_lock_acquire(disk->image, RBD_LOCK_MODE_EXCLUSIVE);
    if (result == -EROFS || result == -EBUSY)
        return fail(words, -EBUSY, "%s: another client holds the image's "
                    "exclusive lock", disk->name);
    if (result < 0)
        return fail(words, result, "%s: cannot get the image's exclusive "
                    "lock: %s", disk->name, strerror(-result));
    *alone = true;
    return 0;
}

static int choose_alignment(struct disk *disk, bool may_read_to_write,
                            char *words)
{
    uint64_t length;
    int result = rbd_get_size(disk->image, &length);

    if (result < 0)
        return fail(words, result, "%s: cannot read the length: %s",
                    disk->name, strerror(-result));
    disk->alignment = may_read_to_write ? BLOCK : 1;
    while (length % disk->alignment)
        disk->alignment /= 2;
    return 0;
}

static int open_image(struct disk *disk, const struct place *place,
                      bool writable, bool shared, char *words)
{
    bool alone = true;
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
    if (writable)
        result = lock(disk, shared, &alone, words);
    return result < 0 ? result : choose_alignment(disk, alone, words);
}

/* ---- opening ---- */

static int open_handle(struct disk *disk,
                       const blkalign_open_options *options, char *words,
                       blkalign_handle **out)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    int result;

    blkalign_rbd_driver_fill(disk, &driver);
    result = blkalign_open_driver(&driver, disk, options, out);
    return result == 0 ? 0 : fail(words, result, "%s", blkalign_errmsg());
}

static int open_disk(struct disk *disk, const struct place *place,
                     const blkalign_rbd_options *rbd,
                     const blkalign_open_options *options, char *words,
                     blkalign_handle **out)
{
    uint32_t flags = options ? options->flags : 0;
    int result = connect_cluster(disk, place, flags & BLKALIGN_O_DIRECT,
                                 words);

    if (result == 0)
        result = open_image(disk, place, flags & BLKALIGN_O_RDWR,
                            rbd->flags & BLKALIGN_RBD_SHARED, words);
    return result < 0 ? result : open_handle(disk, options, words, out);
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

int blkalign_rbd_open(const char *place, const blkalign_rbd_options *rbd,
                      const blkalign_open_options *options,
                      char words[BLKALIGN_RBD_WORDS], blkalign_handle **out)
{
    blkalign_rbd_options chosen;
    struct place parts;
    struct disk *disk;
    const char *wrong;
    int result;

    if (words)
        words[0] = '\0';
    if (!place || !out)
        return fail(words, -EINVAL, "no place, or none for the handle");
    result = read_options(rbd, &chosen, words);
    if (result < 0)
        return result;
    wrong = blkalign_rbd_place_parse(place, &parts);
    disk = wrong ? NULL : calloc(1, sizeof *disk);
    if (wrong)
        result = fail(words, -EINVAL, "the image's name %s", wrong);
    else if (!disk || !(disk->name = name_of(&parts)))
        result = fail(words, -ENOMEM, "out of memory");
    else
        result = open_disk(disk, &parts, &chosen, options, words, out);
    if (result < 0 && disk)
        blkalign_rbd_driver_close(disk);
    blkalign_rbd_place_free(&parts);
    return result;
}
