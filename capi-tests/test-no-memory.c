/*
 * Requests without end while memory is limited: a submission fails with
 * -ENOMEM before memory is exhausted, each accepted request calls back once,
 * and the handle works again.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DISK_BYTES INT64_C(4194304)
/* How much more memory than the program has when the flood begins. */
#define MORE_BYTES (48 << 20)
#define REQUESTS_MAX 4000000
#define PIECES 64

enum flood { SMALL, VECTORS, COPIES };

static const char *const flood_words[] = {
    "small requests", "long vectors", "copied data"
};

static int came, failed;

static void count(void *opaque, int ret)
{
    (void)opaque;
    __atomic_add_fetch(&failed, ret != 0, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&came, 1, __ATOMIC_SEQ_CST);
}

/* Address space, as the kernel counts it. */
static rlim_t in_use(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;

    if (!file || fscanf(file, "%lu", &pages) != 1)
        bail("/proc/self/statm cannot be read");
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void limit(rlim_t bytes)
{
    struct rlimit now;

    getrlimit(RLIMIT_AS, &now);
    now.rlim_cur = bytes;
    setrlimit(RLIMIT_AS, &now);
}

static int64_t submit_one(blkalign_handle *handle, enum flood flood,
                          uint8_t *buf, unsigned number)
{
    struct iovec iov[PIECES];
    int64_t offset = (int64_t)(number % 500) * 4096;
    int i, pieces = flood == VECTORS ? PIECES : 1;

    for (i = 0; i < pieces; i++) {
        iov[i].iov_base = buf + 1024 * i;
        iov[i].iov_len = flood == COPIES ? 8192 : 32;
    }
    if (number % 3 == 0 && flood != COPIES)
        return blkalign_aio_preadv(handle, offset, iov, pieces, 0, count,
                                   NULL);
    return blkalign_aio_pwritev(handle, offset + 512, iov, pieces, 0, count,
                                NULL);
}

static void run(struct bed *bed, enum flood flood)
{
    blkalign_open_options options = mode_options(BLKALIGN_O_RDWR);
    uint8_t *buf = aligned_memory(PIECES * 1024);
    blkalign_handle *handle;
    int64_t id = 0;
    int submitted = 0, i;

    if (flood == COPIES)
        options.flags |= BLKALIGN_O_STABLE_WRITES;
    handle = bed_open(bed, &options);
    came = failed = 0;
    is_int(blkalign_pwrite(handle, 512, 512, buf, 0), 0, "%s, %s, %s",
           flood_words[flood], bed->name, mode_words());
    blkalign_plug(handle);
    limit(in_use() + MORE_BYTES);
    while (submitted < REQUESTS_MAX) {
        id = submit_one(handle, flood, buf, (unsigned)submitted);
        if (id < 0)
            break;
        submitted++;
    }
    is_int(id, -ENOMEM, "one too many is -ENOMEM");
    ok(strstr(blkalign_errmsg(), "memory") != NULL, "in words: %s",
       blkalign_errmsg());
    ok(submitted > 100, "%d were taken in", submitted);
    blkalign_unplug(handle);
    is_int(blkalign_drain(handle), 0, "drain");
    limit(RLIM_INFINITY);
    is_int(came, submitted, "each called back");
    is_int(failed, 0, "none of them failed");
    for (i = 0; i < 100; i++)
        if (submit_one(handle, flood, buf, (unsigned)i) > 0)
            submitted++;
    is_int(blkalign_drain(handle), 0, "drain");
    is_int(came, submitted, "it works again");
    is_int(blkalign_close(handle), 0, "close");
    free(buf);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_ZRAM, BED_FILE,
                                           BED_SIM_SYNC, BED_SIM_AT_ONCE };
    struct bed bed;
    int i, mode;

    if (getenv("BLKALIGN_TEST_VALGRIND") || getenv("ASAN_OPTIONS") ||
        getenv("TSAN_OPTIONS"))
        skip_all("a sanitizer needs more address space than there is");
    run_begin(240);
    mode_first(0);
    for (i = 0; i < 4; i++) {
        if (bed_make(&bed, kinds[i], DISK_BYTES)) {
            skip(bed.why_not, "%s", bed.name);
            continue;
        }
        /* Three modes for each kind: over the four kinds each mode comes
         * twice. */
        for (mode = 0; mode < MODES / 2; mode++, mode_next()) {
            run(&bed, SMALL);
            run(&bed, VECTORS);
            run(&bed, COPIES);
        }
        bed_remove(&bed);
    }
    return done_testing();
}
