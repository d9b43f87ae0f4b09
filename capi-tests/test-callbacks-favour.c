/*
 * CONCURRENT callbacks of a handle whose writes ride in those of another one:
 * the job of the other handle runs them, and still they run beside each other.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_run.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define BYTES (1 << 20)
#define SECTOR 512
#define ROUNDS 40
#define PATIENCE_MS 10000

struct pair {
    int second_ran, in_time, ran;       /* atomics */
};

static void add(int *number)
{
    __atomic_add_fetch(number, 1, __ATOMIC_SEQ_CST);
}

static int load(int *number)
{
    return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

static void first(void *opaque, int ret)
{
    struct pair *pair = opaque;
    int64_t until = now_ms() + PATIENCE_MS;

    (void)ret;
    while (!load(&pair->second_ran) && now_ms() < until)
        sleep_ms(1);
    __atomic_store_n(&pair->in_time, load(&pair->second_ran),
                     __ATOMIC_SEQ_CST);
    add(&pair->ran);
}

static void second(void *opaque, int ret)
{
    struct pair *pair = opaque;

    (void)ret;
    add(&pair->second_ran);
    add(&pair->ran);
}

static void ride(blkalign_handle *handle, int sector, uint8_t *memory,
                 blkalign_completion_fn done, struct pair *pair)
{
    struct iovec element;

    element.iov_base = memory + sector * SECTOR;
    element.iov_len = SECTOR;
    if (blkalign_aio_pwritev(handle, sector * SECTOR, &element, 1, 0, done,
                             pair) <= 0)
        bail("submit: %s", blkalign_errmsg());
}

int main(void)
{
    blkalign_open_options options =
        options_of(BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT
                       | BLKALIGN_O_BUFFERED_OK,
                   BLKALIGN_COMPLETION_CONCURRENT);
    blkalign_handle *host, *guest;
    struct answer leads, busy;
    int round, together = 0;
    struct pair pair;
    uint8_t *memory;
    struct bed bed;

    run_begin(60);
    bed_make(&bed, BED_FILE, BYTES);
    memory = aligned_memory(4096);
    options.request_alignment = 4096;
    host = bed_open(&bed, &options);
    guest = bed_open_again(&bed, host, &options);
    for (round = 0; round < ROUNDS && together == round; round++) {
        memset(&pair, 0, sizeof(pair));
        aio_write(host, 0, memory, SECTOR, 0, &busy);
        aio_write(host, SECTOR, memory, SECTOR, 0, &leads);
        ride(guest, 2, memory, first, &pair);
        ride(guest, 3, memory, second, &pair);
        answer_wait(&busy);
        answer_wait(&leads);
        while (load(&pair.ran) < 2)
            sleep_ms(1);
        together += load(&pair.in_time);
    }
    is_int(together, ROUNDS, "a callback that waits for another one of its "
           "handle gets it");
    ok(stats_of(guest).merged > 0, "the guest's writes rode in the host's");
    is_int(blkalign_close(guest), 0, "closed");
    is_int(blkalign_close(host), 0, "closed");
    bed_remove(&bed);
    free(memory);
    return done_testing();
}
