/* backup DISK COPY: copies DISK to the new file COPY, as DISK is at one
 * moment, while it is being written. Before a unit changes for the first time,
 * its old bytes go to COPY; the rest follows in order. One thread plays the
 * guest: DISK is overwritten.
 *                            SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _XOPEN_SOURCE 700
#include <blkalign.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "care.h"
#include "load.h"
#define UNIT 65536

/* A change that waits until what it overwrites is copied. */
struct change {
    int64_t offset, bytes;
    blkalign_before_write_done_fn done;
    void *token;
    struct change *next;
};

struct backup {
    blkalign_handle *disk;
    int copy;
    int64_t length, count, copied;
    char *is_copied;            /* by unit; main's alone, as all above */
    pthread_mutex_t lock;       /* guards what follows */
    struct change *changes;
    int ended;                  /* all is copied: changes need not wait */
};

static void stop(const char *why)
{
    fprintf(stderr, "backup: %s\n", why);
    exit(EXIT_FAILURE);
}

/* What the library calls. It must not wait, so main does the work. */
static int before_write(void *opaque, uint32_t op, int64_t offset,
                        int64_t bytes, blkalign_before_write_done_fn done,
                        void *token)
{
    struct backup *backup = opaque;
    struct change *change = malloc(sizeof *change);
    int ended;

    (void)op;                           /* whatever it is, bytes will change */
    if (!change)
        return -ENOMEM;                 /* that change fails */
    pthread_mutex_lock(&backup->lock);
    *change = (struct change){ offset, bytes, done, token, backup->changes };
    ended = backup->ended;
    if (!ended)
        backup->changes = change;
    pthread_mutex_unlock(&backup->lock);
    if (ended) {
        free(change);
        done(token, 0);
    }
    return 0;
}

/* Copies a unit that was not copied. Reads never wait for a notifier. */
static void copy_unit(struct backup *backup, int64_t number)
{
    static char buf[UNIT];
    int64_t offset = number * UNIT, bytes = backup->length - offset;

    if (number >= backup->count || backup->is_copied[number])
        return;
    if (bytes > UNIT)
        bytes = UNIT;
    if (blkalign_pread(backup->disk, offset, bytes, buf, 0) < 0)
        stop(blkalign_errmsg());
    if (pwrite(backup->copy, buf, (size_t)bytes, offset) != bytes)
        stop("cannot write the copy");
    backup->is_copied[number] = 1;
    backup->copied++;
}

/* Lets the changes go on that wait by now, once their old bytes are copied.
 * `ended`: all is copied. */
static void serve_changes(struct backup *backup, int ended)
{
    struct change *change, *next;
    int64_t n;

    pthread_mutex_lock(&backup->lock);
    change = backup->changes;
    backup->changes = NULL;
    backup->ended = ended;
    pthread_mutex_unlock(&backup->lock);
    for (; change; change = next) {
        for (n = change->offset / UNIT;
             n * UNIT < change->offset + change->bytes; n++)
            copy_unit(backup, n);
        next = change->next;
        change->done(change->token, 0);
        free(change);
    }
}

static void begin(struct backup *backup, const char *path, const char *copy)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_BUFFERED_OK;
    if (blkalign_open(path, &options, &backup->disk) < 0)
        stop(blkalign_errmsg());
    backup->copy = open(copy, O_WRONLY | O_CREAT | O_EXCL, 0666);
    backup->length = blkalign_getlength(backup->disk);
    backup->count = (backup->length + UNIT - 1) / UNIT;
    backup->is_copied = calloc((size_t)backup->count + 1, 1);
    if (backup->copy < 0 || !backup->is_copied)
        stop("cannot make the copy");
}

int main(int argc, char **argv)
{
    struct backup backup = { .lock = PTHREAD_MUTEX_INITIALIZER };
    blkalign_notifier *notifier;
    struct load load;
    int64_t n;

    if (argc != 3)
        return fprintf(stderr, "usage: backup DISK COPY\n"), 2;
    take_care(argv[1]);
    begin(&backup, argv[1], argv[2]);
    /* The copy is the disk as it is when this returns. */
    if (blkalign_add_before_write(backup.disk, UNIT, before_write, &backup,
                                  &notifier) < 0)
        stop(blkalign_errmsg());
    load_begin(&load, backup.disk);
    for (n = 0; n < backup.count; n++) {
        serve_changes(&backup, 0);
        copy_unit(&backup, n);
        show_progress(backup.copied, backup.count, load_writes(&load));
    }
    serve_changes(&backup, 1);
    if (blkalign_remove_before_write(notifier) < 0)
        stop(blkalign_errmsg());
    load_end(&load);
    blkalign_close(backup.disk);
    return fsync(backup.copy) < 0 || close(backup.copy) < 0;
}
