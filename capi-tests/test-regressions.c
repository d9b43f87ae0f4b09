/* Faults that were found once, each with the smallest program that shows it.
 * */
#include "common_aio.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096
#define FILE_BYTES (64 * BLOCK)
#define HANDLES 300

static char path[] = "/tmp/blkalign-regressions-XXXXXX";
static uint8_t *buf;

static blkalign_handle *open_file(uint32_t completion, uint32_t workers)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, completion);
    blkalign_handle *handle;

    options.request_alignment = BLOCK;
    options.workers = workers;
    if (blkalign_open(path, &options, &handle))
        bail("open: %s", blkalign_errmsg());
    return handle;
}

/* Each ring occupied a thread of the pool that watched it, until no thread was
 * left. */
static void more_handles_than_threads_of_the_pool(void)
{
    static blkalign_handle *handles[HANDLES];
    static struct answer answers[HANDLES];
    int i, came = 0;

    for (i = 0; i < HANDLES; i++)
        handles[i] = open_file(BLKALIGN_COMPLETION_SERIAL, 0);
    for (i = 0; i < HANDLES; i++)
        aio_read(handles[i], 0, buf, BLOCK, &answers[i]);
    for (i = 0; i < HANDLES; i++)
        came += answer_wait(&answers[i]) == 0;
    is_int(came, HANDLES, "requests of many handles at once complete");
    for (i = 0; i < HANDLES; i++)
        blkalign_close(handles[i]);
}

static sem_t go;

static void block(void *opaque, int ret)
{
    (void)ret;
    answer_done(opaque, 0);
    while (sem_wait(&go))
        ;
}

/* Two edges that do not touch: the pool reads one of them. */
static void callbacks_that_block(void)
{
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR,
                                               BLKALIGN_COMPLETION_CONCURRENT);
    struct iovec iov = { buf, BLOCK };
    struct answer answers[6], write;
    blkalign_handle *handle;
    int i;

    memset(answers, 0, sizeof(answers));
    options.workers = 1;
    options.engine = BLKALIGN_ENGINE_THREADS;
    options.request_alignment = BLOCK;
    if (blkalign_open(path, &options, &handle))
        bail("open: %s", blkalign_errmsg());
    sem_init(&go, 0, 0);
    for (i = 0; i < 6; i++)
        blkalign_aio_preadv(handle, i * BLOCK, &iov, 1, 0, block,
                            &answers[i]);
    sleep_ms(200);
    aio_write(handle, 100, buf, 3 * BLOCK, 0, &write);
    for (i = 0; i < 200; i++) {
        if (blkalign_getlength(handle) && stats_of(handle).bytes_written)
            break;
        sleep_ms(20);
    }
    is_int((int64_t)stats_of(handle).bytes_written, 3 * BLOCK,
           "blocked callbacks do not keep a write from the storage");
    for (i = 0; i < 6; i++)
        sem_post(&go);
    blkalign_close(handle);
}

struct chain {
    blkalign_handle *handle;
    int called;
    struct answer answer;
};

static void submit_another(void *opaque, int ret)
{
    struct chain *chain = opaque;

    (void)ret;
    aio_write(chain->handle, 0, buf, 512, 0, &chain->answer);
    chain->called = 1;
}

static void drain_of_a_plugged_handle(uint32_t completion)
{
    struct iovec iov = { buf, 512 };
    struct chain chain;

    memset(&chain, 0, sizeof(chain));
    chain.handle = open_file(completion, 0);
    blkalign_plug(chain.handle);
    blkalign_aio_pwritev(chain.handle, 0, &iov, 1, 0, submit_another,
                         &chain);
    is_int(blkalign_drain(chain.handle), 0, "drain while plugged");
    is_int(chain.called, 1, "what was plugged has called back, mode %u",
           completion);
    /* The request that the callback submits comes after that drain began. */
    is_int(blkalign_drain(chain.handle), 0, "drain again");
    is_int(answer_calls(&chain.answer), 1,
           "what callbacks submit meanwhile is done by the next, mode %u",
           completion);
    blkalign_close(chain.handle);
}

static void drain_behind_a_handle_that_nobody_polls(uint32_t completion)
{
    blkalign_handle *first = open_file(BLKALIGN_COMPLETION_EVENTFD, 0);
    blkalign_handle *second = open_file(completion, 0);
    struct answer before, after;

    aio_write(first, 0, buf, 512, 0, &before);
    aio_write(second, 512, buf, 512, 0, &after);
    is_int(blkalign_drain(second), 0, "drain");
    is_int(answer_calls(&after), 1, "came behind a write of a handle "
           "that nobody polls, mode %u", completion);
    is_int(answer_calls(&before), 0, "whose callback waits for its caller");
    blkalign_close(first);
    blkalign_close(second);
}

static int64_t small_length(void *opaque)
{
    (void)opaque;
    return FILE_BYTES;
}

static int read_zeros(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags)
{
    int i;

    (void)opaque, (void)offset, (void)bytes, (void)flags;
    for (i = 0; i < iovcnt; i++)
        memset(iov[i].iov_base, 0, iov[i].iov_len);
    return 0;
}

static void what_a_driver_cannot_do(void)
{
    blkalign_driver driver = BLKALIGN_DRIVER_INIT;
    blkalign_open_options options = options_of(0, 0);
    blkalign_handle *handle, *second;

    driver.request_alignment = BLOCK;
    driver.max_transfer = BLOCK;
    driver.getlength = small_length;
    driver.preadv = read_zeros;
    options.request_alignment = 2 * BLOCK;
    is_int(blkalign_open_driver(&driver, NULL, &options, &handle), -EINVAL,
           "an override above the driver's max_transfer");
    if (blkalign_open_driver(&driver, NULL, NULL, &handle))
        bail("open_driver: %s", blkalign_errmsg());
    options = options_of(BLKALIGN_O_RDWR, 0);
    is_int(blkalign_dup(handle, &options, &second), -EINVAL,
           "dup for writing of a driver that cannot write");
    blkalign_close(handle);
}

int main(void)
{
    int fd;

    run_begin(120);
    buf = aligned_memory(FILE_BYTES);
    fd = mkstemp(path);
    if (fd < 0 || write(fd, buf, FILE_BYTES) != FILE_BYTES)
        bail("no file in /tmp");
    close(fd);
    janitor_tell("file", path);
    more_handles_than_threads_of_the_pool();
    callbacks_that_block();
    drain_of_a_plugged_handle(BLKALIGN_COMPLETION_SERIAL);
    drain_of_a_plugged_handle(BLKALIGN_COMPLETION_EVENTFD);
    drain_behind_a_handle_that_nobody_polls(BLKALIGN_COMPLETION_SERIAL);
    drain_behind_a_handle_that_nobody_polls(BLKALIGN_COMPLETION_EVENTFD);
    what_a_driver_cannot_do();
    return done_testing();
}
