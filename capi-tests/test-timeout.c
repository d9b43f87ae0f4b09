/*
 * blkalign_set_timeout: a request that is at the storage for too long is told
 * once, with kind, offset, length and id; one that waits for another is not,
 * and one that comes back in time neither.
 */
#include "common_aio.h"
#include "common_held.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MS 60
#define KEPT 16

struct told {
    uint32_t op;
    int64_t offset, bytes, id;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct told told[KEPT];
static int count, waits;
static blkalign_handle *handle;

static void hear(void *opaque, uint32_t op, int64_t offset, int64_t bytes,
                 int64_t request_id)
{
    pthread_mutex_lock(&lock);
    if (count < KEPT) {
        told[count].op = op;
        told[count].offset = offset;
        told[count].bytes = bytes;
        told[count].id = request_id;
    }
    count++;
    pthread_mutex_unlock(&lock);
    waits = blkalign_drain(handle);
    if (opaque)
        waits = blkalign_set_timeout(handle, 0, NULL, NULL);
}

static int heard(void)
{
    int now;

    pthread_mutex_lock(&lock);
    now = count;
    pthread_mutex_unlock(&lock);
    return now;
}

static int heard_within(int wanted, int ms)
{
    for (; ms > 0 && heard() < wanted; ms -= 5)
        sleep_ms(5);
    return heard();
}

static void forget(void)
{
    pthread_mutex_lock(&lock);
    count = 0;
    memset(told, 0, sizeof told);
    pthread_mutex_unlock(&lock);
}

static void kinds(uint32_t completion)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, completion);
    struct held *held = held_new(16);
    struct answer write, waiting, flush, quick;
    uint8_t *buf = aligned_memory(4 * HELD_BLOCK);
    int64_t begin;

    diag("completion %u", completion);
    options.flags |= BLKALIGN_O_NO_MERGE;
    options.window_offset = HELD_BLOCK;
    handle = held_open(held, &options);
    forget();
    is_int(blkalign_set_timeout(handle, LIMIT_MS, hear, NULL), 0, "set");
    aio_read(handle, 4 * HELD_BLOCK, buf, HELD_BLOCK, &quick);
    held_wait(held, 1);
    held_release(held, HELD_READ, 5, 0);
    is_int(answer_wait(&quick), 0, "one that comes back in time");
    begin = now_ms();
    aio_write(handle, 512, buf, 500, 0, &write);
    held_wait(held, 1);
    aio_write(handle, 700, buf + HELD_BLOCK, 500, 0, &waiting);
    is_int(heard_within(1, 20000), 1, "the write is told");
    ok(now_ms() - begin >= LIMIT_MS, "not too early");
    is_int(told[0].op, BLKALIGN_OP_WRITE, "as a write");
    is_int(told[0].offset, 512, "with its offset in the window");
    is_int(told[0].bytes, 500, "its length");
    is_int(told[0].id, write.id, "and its id");
    is_int(waits, -EDEADLK, "the function may not wait");
    sleep_ms(3 * LIMIT_MS);
    is_int(heard(), 1, "once, and not what waits for it");
    held_release_all(held, 20);
    is_int(answer_wait(&write), 0, "it comes back");
    is_int(answer_wait(&waiting), 0, "and so does the other");
    aio_flush(handle, &flush);
    is_int(heard_within(2, 20000), 2, "a flush is told");
    is_int(told[1].op, BLKALIGN_OP_FLUSH, "as a flush");
    held_pass(held);
    is_int(answer_wait(&flush), 0, "it comes back");
    is_int(blkalign_close(handle), 0, "close");
    held_free(held);
    free(buf);
}

/* Another function takes over, none, and one that takes itself away. */
static void changes(void)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct held *held = held_new(16);
    struct answer first, second;
    uint8_t *buf = aligned_memory(2 * HELD_BLOCK);

    handle = held_open(held, &options);
    forget();
    is_int(blkalign_set_timeout(handle, 0, hear, NULL), -EINVAL, "0 ms");
    is_int(blkalign_set_timeout(handle, -1, hear, NULL), -EINVAL, "-1 ms");
    is_int(blkalign_set_timeout(NULL, 1, hear, NULL), -EINVAL, "no handle");
    aio_write(handle, 0, buf, HELD_BLOCK, 0, &first);
    held_wait(held, 1);
    is_int(blkalign_set_timeout(handle, 10, hear, NULL), 0,
           "set while a request hangs");
    is_int(heard_within(1, 20000), 1, "that is told, too");
    is_int(blkalign_set_timeout(handle, 5, NULL, NULL), 0, "no function");
    aio_write(handle, 3 * HELD_BLOCK, buf, HELD_BLOCK, 0, &second);
    sleep_ms(60);
    is_int(heard(), 1, "nothing is told any more");
    is_int(blkalign_set_timeout(handle, 10, hear, &lock), 0,
           "one that takes itself away");
    is_int(heard_within(2, 20000), 2, "is called");
    sleep_ms(60);
    is_int(heard(), 2, "once");
    is_int(waits, 0, "and could");
    held_pass(held);
    is_int(answer_wait(&first), 0, "the first comes back");
    is_int(answer_wait(&second), 0, "and the second");
    is_int(blkalign_close(handle), 0, "close");
    held_free(held);
    free(buf);
}

int main(void)
{
    uint32_t completion;

    run_begin(60);
    for (completion = 0; completion < 3; completion++)
        kinds(completion);
    changes();
    return done_testing();
}
