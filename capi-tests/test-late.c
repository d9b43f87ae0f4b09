/*
 * Requests that do not come back are told in the log: since when, and what
 * they wait for. One that comes back in time is not.
 */
#include "common_aio.h"
#include "common_held.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 16
#define KEPT 32
/* Late is what takes five seconds; the first look comes after half a one. */
#define LATE_MS 6500

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char messages[KEPT][300];
static int count;

static void hear(void *opaque, int level, const char *message)
{
    (void)opaque;
    (void)level;
    pthread_mutex_lock(&lock);
    if (count < KEPT)
        snprintf(messages[count++], sizeof(messages[0]), "%s", message);
    pthread_mutex_unlock(&lock);
}

/* How many messages have all three words. */
static int told(const char *one, const char *two, const char *three)
{
    int i, found = 0;

    pthread_mutex_lock(&lock);
    for (i = 0; i < count; i++)
        found += strstr(messages[i], one) && strstr(messages[i], two) &&
                 strstr(messages[i], three);
    pthread_mutex_unlock(&lock);
    return found;
}

int main(void)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct held *held;
    blkalign_handle *handle;
    struct answer hangs, waits, quick;
    uint8_t *buf;
    int i;

    run_begin(60);
    buf = aligned_memory(2 * HELD_BLOCK);
    blkalign_set_log(hear, NULL, BLKALIGN_LOG_WARNING);
    held = held_new(BLOCKS);
    options.flags |= BLKALIGN_O_NO_MERGE;
    handle = held_open(held, &options);
    aio_write(handle, 512, buf, 512, 0, &hangs);
    aio_write(handle, 1024, buf, 512, 0, &waits);
    ok(held_wait(held, 1), "an edge is being read");
    /* Others come and go. */
    for (i = 0; i < LATE_MS / 500; i++) {
        aio_read(handle, 4 * HELD_BLOCK, buf, HELD_BLOCK, &quick);
        if (!held_wait(held, 2))
            bail("no read");
        held_release(held, HELD_READ, 4, 0);
        if (answer_wait(&quick))
            bail("a read fails");
        sleep_ms(500);
    }
    is_int(told("write of 512 bytes at offset 512 has not come back for 5 s",
                "it is at the storage", ""), 1, "it is told once");
    is_int(told("write of 512 bytes at offset 1024 has not come back for 5 s",
                "it waits for the write of 512 bytes at offset 512",
                "at the storage"), 1, "and so is what waits for it");
    is_int(told("read", "has not come back", ""), 0, "others are not");
    for (i = 0; i < count; i++)
        diag("%s", messages[i]);
    held_pass(held);
    is_int(answer_wait(&hangs), 0, "it comes back");
    is_int(answer_wait(&waits), 0, "and the other");
    is_int(blkalign_close(handle), 0, "close");
    blkalign_set_log(NULL, NULL, 0);
    held_free(held);
    free(buf);
    return done_testing();
}
