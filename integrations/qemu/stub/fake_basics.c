/*
 * The rest of a very small QEMU: drivers, mutexes, errors, options.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "qemu/osdep.h"
#include "block/block-io.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qobject/qdict.h"

#include "fake.h"

#include <stdarg.h>

#define KEYS_MAX 8

struct Error {
    char text[512];
};

struct QDict {
    char *keys[KEYS_MAX], *values[KEYS_MAX];
};

static BlockDriver *registered;

void fake_insist(bool good, const char *what)
{
    if (!good) {
        printf("Bail out! %s\n", what);
        exit(1);
    }
}

void bdrv_register(BlockDriver *driver)
{
    registered = driver;
}

BlockDriver *fake_driver(const char *protocol)
{
    bool there = registered != NULL &&
                 strcmp(registered->protocol_name, protocol) == 0;

    return there ? registered : NULL;
}

AioContext *bdrv_get_aio_context(BlockDriverState *bs)
{
    return bs->aio_context;
}

void bdrv_parse_filename_strip_prefix(const char *filename,
                                      const char *prefix, QDict *options)
{
    if (strncmp(filename, prefix, strlen(prefix)) == 0)
        filename += strlen(prefix);
    qdict_put_str(options, "filename", filename);
}

void qemu_mutex_init(QemuMutex *mutex)
{
    pthread_mutex_init(&mutex->lock, NULL);
}

void qemu_mutex_destroy(QemuMutex *mutex)
{
    pthread_mutex_destroy(&mutex->lock);
}

void qemu_mutex_lock(QemuMutex *mutex)
{
    pthread_mutex_lock(&mutex->lock);
}

void qemu_mutex_unlock(QemuMutex *mutex)
{
    pthread_mutex_unlock(&mutex->lock);
}

uintptr_t qemu_real_host_page_size(void)
{
    return (uintptr_t)sysconf(_SC_PAGESIZE);
}

static void set_error(Error **errp, const char *format, va_list arguments)
{
    fake_insist(errp == NULL || *errp == NULL, "an error was set twice");
    if (errp == NULL)
        return;
    *errp = calloc(1, sizeof(**errp));
    vsnprintf((*errp)->text, sizeof((*errp)->text), format, arguments);
}

void error_setg(Error **errp, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    set_error(errp, format, arguments);
    va_end(arguments);
}

void error_setg_errno(Error **errp, int os_errno, const char *format, ...)
{
    va_list arguments;

    (void)os_errno;
    va_start(arguments, format);
    set_error(errp, format, arguments);
    va_end(arguments);
}

const char *error_get_pretty(const Error *err)
{
    return err->text;
}

void error_free(Error *err)
{
    free(err);
}

QDict *qdict_new(void)
{
    return calloc(1, sizeof(QDict));
}

static int find(const QDict *dict, const char *key)
{
    int i;

    for (i = 0; i < KEYS_MAX; i++)
        if (dict->keys[i] != NULL && strcmp(dict->keys[i], key) == 0)
            return i;
    return -1;
}

void qdict_put_str(QDict *dict, const char *key, const char *value)
{
    int i;

    qdict_del(dict, key);
    for (i = 0; i < KEYS_MAX && dict->keys[i] != NULL; i++)
        ;
    fake_insist(i < KEYS_MAX, "too many options");
    dict->keys[i] = strdup(key);
    dict->values[i] = strdup(value);
}

const char *qdict_get_try_str(const QDict *dict, const char *key)
{
    int i = find(dict, key);

    return i < 0 ? NULL : dict->values[i];
}

void qdict_del(QDict *dict, const char *key)
{
    int i = find(dict, key);

    if (i < 0)
        return;
    free(dict->keys[i]);
    free(dict->values[i]);
    dict->keys[i] = dict->values[i] = NULL;
}

size_t qdict_size(const QDict *dict)
{
    size_t count = 0;
    int i;

    for (i = 0; i < KEYS_MAX; i++)
        count += dict->keys[i] != NULL;
    return count;
}

void qdict_free(QDict *dict)
{
    int i;

    for (i = 0; i < KEYS_MAX; i++) {
        free(dict->keys[i]);
        free(dict->values[i]);
    }
    free(dict);
}
