/*
 * Each argument of each call on a handle is wrong once: the call returns the
 * documented errno, with words, no callback runs and no I/O starts.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

#define DISK_BYTES INT64_C(65536)
#define LIMIT (INT64_MAX / (1 << 30) * (1 << 30))
#define UNKNOWN_FLAG UINT32_C(0x80000000)

static int callbacks;

static void never(void *opaque, int ret)
{
    (void)opaque;
    (void)ret;
    __atomic_add_fetch(&callbacks, 1, __ATOMIC_RELAXED);
}

static void fails(int64_t got, int want, const char *words)
{
    is_int(got, want, "%s", words);
    ok(blkalign_errmsg()[0] != 0, "%s: in words", words);
}

static void wrong_handles(void)
{
    struct iovec element = { NULL, 0 };
    blkalign_request request = request_of(BLKALIGN_OP_FLUSH);
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_stats stats = BLKALIGN_STATS_INIT;
    blkalign_handle *out = NULL;
    char buf[1];

    request.cb = never;
    fails(blkalign_pread(NULL, 0, 1, buf, 0), -EINVAL, "pread of NULL");
    fails(blkalign_pwrite(NULL, 0, 1, buf, 0), -EINVAL, "pwrite of NULL");
    fails(blkalign_preadv(NULL, 0, &element, 1, 0), -EINVAL,
          "preadv of NULL");
    fails(blkalign_pwritev(NULL, 0, &element, 1, 0), -EINVAL,
          "pwritev of NULL");
    fails(blkalign_flush(NULL), -EINVAL, "flush of NULL");
    fails(blkalign_drain(NULL), -EINVAL, "drain of NULL");
    fails(blkalign_getlength(NULL), -EINVAL, "getlength of NULL");
    fails(blkalign_get_limits(NULL, &limits), -EINVAL,
          "get_limits of NULL");
    fails(blkalign_get_stats(NULL, &stats), -EINVAL, "get_stats of NULL");
    fails(blkalign_dup(NULL, NULL, &out), -EINVAL, "dup of NULL");
    fails(blkalign_aio_preadv(NULL, 0, &element, 1, 0, never, NULL),
          -EINVAL, "aio_preadv of NULL");
    fails(blkalign_aio_pwritev(NULL, 0, &element, 1, 0, never, NULL),
          -EINVAL, "aio_pwritev of NULL");
    fails(blkalign_aio_flush(NULL, never, NULL), -EINVAL,
          "aio_flush of NULL");
    fails(blkalign_aio_submit(NULL, &request), -EINVAL,
          "aio_submit of NULL");
    is_int(blkalign_close(NULL), 0, "close of NULL is fine");
    blkalign_free(NULL);
    ok(1, "free of NULL is fine");
    ok(blkalign_memalign(NULL, 512) == NULL, "memalign of NULL is NULL");
}

static void wrong_flat_calls(blkalign_handle *h)
{
    char buf[16] = "";

    fails(blkalign_pread(h, -1, 1, buf, 0), -EINVAL, "pread at -1");
    fails(blkalign_pwrite(h, -1, 1, buf, 0), -EINVAL, "pwrite at -1");
    fails(blkalign_pread(h, -1, 0, buf, 0), -EINVAL,
          "pread of nothing at -1");
    fails(blkalign_pread(h, INT64_MIN, 1, buf, 0), -EINVAL,
          "pread at INT64_MIN");
    fails(blkalign_pread(h, 0, -1, buf, 0), -EINVAL, "pread of -1 bytes");
    fails(blkalign_pwrite(h, 0, -1, buf, 0), -EINVAL,
          "pwrite of -1 bytes");
    fails(blkalign_pread(h, 0, INT64_MIN, buf, 0), -EINVAL,
          "pread of INT64_MIN bytes");
    fails(blkalign_pread(h, 0, 1, NULL, 0), -EINVAL, "pread to NULL");
    fails(blkalign_pwrite(h, 0, 1, NULL, 0), -EINVAL, "pwrite from NULL");
    fails(blkalign_pread(h, 0, 1, buf, UNKNOWN_FLAG), -EINVAL,
          "pread with an unknown flag");
    fails(blkalign_pwrite(h, 0, 1, buf, UNKNOWN_FLAG), -EINVAL,
          "pwrite with an unknown flag");
    fails(blkalign_pread(h, INT64_MAX, 1, buf, 0), -EINVAL,
          "pread at INT64_MAX");
    fails(blkalign_pread(h, 0, INT64_MAX, buf, 0), -EINVAL,
          "pread of INT64_MAX bytes");
    fails(blkalign_pwrite(h, INT64_MAX, INT64_MAX, buf, 0), -EINVAL,
          "pwrite where offset and length overflow");
    fails(blkalign_pread(h, LIMIT, 1, buf, 0), -EINVAL,
          "pread that ends one byte beyond the limit");
    fails(blkalign_pread(h, 1, LIMIT, buf, 0), -EINVAL,
          "pread whose sum is one byte beyond the limit");
    fails(blkalign_pread(h, LIMIT + 1, 0, buf, 0), -EINVAL,
          "pread of nothing beyond the limit");
    fails(blkalign_pread(h, LIMIT - 1, 1, buf, 0), -EIO,
          "pread up to the limit is only past the end");
    fails(blkalign_pread(h, LIMIT, 0, buf, 0), -EIO,
          "pread of nothing at the limit is only past the end");
    fails(blkalign_pwrite(h, 0, LIMIT, buf, 0), -EIO,
          "pwrite of the limit is only past the end");
}

static void wrong_vectors(blkalign_handle *h)
{
    char buf[16] = "";
    struct iovec null_element[2] = { { buf, 1 }, { NULL, 1 } };
    struct iovec good = { buf, 1 };
    struct iovec huge[2] = { { buf, SIZE_MAX / 2 }, { buf, SIZE_MAX / 2 } };
    struct iovec wraps[3] = { { buf, SIZE_MAX / 2 + 1 },
                              { buf, SIZE_MAX / 2 + 1 }, { buf, 1 } };

    fails(blkalign_preadv(h, 0, &good, -1, 0), -EINVAL,
          "preadv of -1 elements");
    fails(blkalign_pwritev(h, 0, &good, -1, 0), -EINVAL,
          "pwritev of -1 elements");
    fails(blkalign_preadv(h, 0, NULL, 1, 0), -EINVAL,
          "preadv of a NULL vector");
    fails(blkalign_pwritev(h, 0, NULL, 1, 0), -EINVAL,
          "pwritev of a NULL vector");
    fails(blkalign_preadv(h, 0, null_element, 2, 0), -EINVAL,
          "preadv with a NULL element");
    fails(blkalign_pwritev(h, 0, null_element, 2, 0), -EINVAL,
          "pwritev with a NULL element");
    fails(blkalign_preadv(h, -1, &good, 1, 0), -EINVAL, "preadv at -1");
    fails(blkalign_pwritev(h, -1, &good, 1, 0), -EINVAL, "pwritev at -1");
    fails(blkalign_preadv(h, 0, huge, 2, 0), -EINVAL,
          "preadv of more than the limit");
    fails(blkalign_pwritev(h, 0, wraps, 3, 0), -EINVAL,
          "pwritev whose total wraps to one byte");
    fails(blkalign_preadv(h, 0, &good, 1, UNKNOWN_FLAG), -EINVAL,
          "preadv with an unknown flag");
    fails(blkalign_pwritev(h, 0, &good, 1, UNKNOWN_FLAG), -EINVAL,
          "pwritev with an unknown flag");
}

static void wrong_aio_calls(blkalign_handle *h)
{
    char buf[16] = "";
    struct iovec good = { buf, 1 }, null_element = { NULL, 1 };

    fails(blkalign_aio_preadv(h, 0, &good, 1, 0, NULL, NULL), -EINVAL,
          "aio_preadv without callback");
    fails(blkalign_aio_pwritev(h, 0, &good, 1, 0, NULL, NULL), -EINVAL,
          "aio_pwritev without callback");
    fails(blkalign_aio_flush(h, NULL, NULL), -EINVAL,
          "aio_flush without callback");
    fails(blkalign_aio_preadv(h, -1, &good, 1, 0, never, NULL), -EINVAL,
          "aio_preadv at -1");
    fails(blkalign_aio_pwritev(h, -1, &good, 1, 0, never, NULL), -EINVAL,
          "aio_pwritev at -1");
    fails(blkalign_aio_preadv(h, 0, &good, -1, 0, never, NULL), -EINVAL,
          "aio_preadv of -1 elements");
    fails(blkalign_aio_pwritev(h, 0, &good, -1, 0, never, NULL), -EINVAL,
          "aio_pwritev of -1 elements");
    fails(blkalign_aio_preadv(h, 0, NULL, 1, 0, never, NULL), -EINVAL,
          "aio_preadv of a NULL vector");
    fails(blkalign_aio_pwritev(h, 0, &null_element, 1, 0, never, NULL),
          -EINVAL, "aio_pwritev of a NULL element");
    fails(blkalign_aio_preadv(h, 0, &good, 1, UNKNOWN_FLAG, never, NULL),
          -EINVAL, "aio_preadv with an unknown flag");
    fails(blkalign_aio_pwritev(h, 0, &good, 1, UNKNOWN_FLAG, never, NULL),
          -EINVAL, "aio_pwritev with an unknown flag");
    fails(blkalign_aio_preadv(h, LIMIT, &good, 1, 0, never, NULL), -EINVAL,
          "aio_preadv beyond the limit");
    fails(blkalign_aio_preadv(h, DISK_BYTES, &good, 1, 0, never, NULL),
          -EIO, "aio_preadv past the end");
    fails(blkalign_aio_pwritev(h, DISK_BYTES, &good, 1, 0, never, NULL),
          -EIO, "aio_pwritev past the end");
    fails(blkalign_get_limits(h, NULL), -EINVAL, "get_limits into NULL");
    fails(blkalign_get_stats(h, NULL), -EINVAL, "get_stats into NULL");
    fails(blkalign_dup(h, NULL, NULL), -EINVAL, "dup into NULL");
}

static void nothing_at_all(blkalign_handle *h)
{
    struct iovec empty[2] = { { NULL, 0 }, { NULL, 0 } };
    struct answer answer;

    is_int(blkalign_pread(h, 0, 0, NULL, 0), 0, "pread of nothing");
    is_int(blkalign_pwrite(h, 5, 0, NULL, 0), 0, "pwrite of nothing");
    is_int(blkalign_preadv(h, 0, NULL, 0, 0), 0, "preadv of no elements");
    is_int(blkalign_pwritev(h, 0, NULL, 0, 0), 0,
           "pwritev of no elements");
    is_int(blkalign_preadv(h, 3, empty, 2, 0), 0,
           "preadv of empty elements");
    is_int(blkalign_pread(h, DISK_BYTES, 0, NULL, 0), 0,
           "nothing at exactly the end");
    fails(blkalign_pread(h, DISK_BYTES + 1, 0, NULL, 0), -EIO,
          "nothing beyond the end");
    fails(blkalign_pwrite(h, DISK_BYTES + 1, 0, NULL, 0), -EIO,
          "writing nothing beyond the end");
    aio_write(h, 0, NULL, 0, 0, &answer);
    is_int(answer_wait(&answer), 0, "aio_pwritev of nothing calls back");
    ok(answer.id > 0, "and has an id");
    memset(&answer, 0, sizeof(answer));
    answer.id = blkalign_aio_preadv(h, DISK_BYTES, NULL, 0, 0, answer_done,
                                    &answer);
    ok(answer.id > 0, "aio_preadv of no elements has an id");
    is_int(answer_wait(&answer), 0, "and calls back");
}

static void past_the_end(blkalign_handle *h)
{
    static char buf[8192];
    int64_t at;

    memset(buf, 'x', sizeof(buf));
    for (at = DISK_BYTES - 4096; at <= DISK_BYTES + 4096; at += 1024) {
        fails(blkalign_pread(h, at, 8192, buf, 0), -EIO,
              "pread across or past the end");
        fails(blkalign_pwrite(h, at, 8192, buf, 0), -EIO,
              "pwrite across or past the end");
    }
    fails(blkalign_pread(h, 0, INT64_C(1) << 32, buf, 0), -EIO,
          "a length of 2^32 is not taken for 0");
    fails(blkalign_pread(h, 0, (INT64_C(1) << 32) + 512, buf, 0), -EIO,
          "a length of 2^32 + 512 is not taken for 512");
    for (at = 0; at < 8192 && buf[at] == 'x'; at++)
        ;
    is_int(at, 8192, "nothing was read into the buffer");
    is_int(blkalign_getlength(h), DISK_BYTES, "the length is the same");
}

static void read_only(struct sim *sim)
{
    blkalign_handle *h = sim_open(sim, NULL);
    struct iovec good = { "x", 1 };
    char buf[1];

    fails(blkalign_pwrite(h, 0, 1, "x", 0), -EPERM, "read-only: pwrite");
    fails(blkalign_pwrite(h, 0, 0, NULL, 0), -EPERM,
          "read-only: pwrite of nothing");
    fails(blkalign_pwritev(h, 0, &good, 1, 0), -EPERM,
          "read-only: pwritev");
    fails(blkalign_pwritev(h, 0, NULL, 0, 0), -EPERM,
          "read-only: pwritev of nothing");
    fails(blkalign_aio_pwritev(h, 0, &good, 1, 0, never, NULL), -EPERM,
          "read-only: aio_pwritev");
    fails(blkalign_pwrite(h, DISK_BYTES, 1, "x", 0), -EPERM,
          "read-only comes before past the end");
    fails(blkalign_pwrite(h, -1, 1, "x", 0), -EINVAL,
          "malformed comes before read-only");
    is_int(blkalign_pread(h, 0, 1, buf, 0), 0, "read-only: pread is fine");
    is_int(blkalign_flush(h), 0, "read-only: flush is fine");
    is_int(blkalign_close(h), 0, "read-only: close");
}

int main(void)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, SIM_SYNC);
    blkalign_open_options options = options_of(BLKALIGN_O_RDWR, 0);
    struct sim *sim = sim_new(&disk);
    blkalign_handle *h;

    run_begin(60);
    ok(blkalign_errmsg() != NULL && !blkalign_errmsg()[0],
       "there are no words before a failure");
    ok(blkalign_version()[0] != 0, "there is a version");
    wrong_handles();
    h = sim_open(sim, &options);
    wrong_flat_calls(h);
    wrong_vectors(h);
    wrong_aio_calls(h);
    nothing_at_all(h);
    past_the_end(h);
    is_int(blkalign_drain(h), 0, "drain");
    is_int((int64_t)sim_counts(sim).ios[SIM_WRITE], 0, "nothing written");
    is_int((int64_t)sim_counts(sim).violations, 0,
           "nothing the disk had to refuse %s", sim_violation(sim));
    is_int(blkalign_close(h), 0, "close");
    read_only(sim);
    is_int(callbacks, 0, "no refused request called back");
    sim_free(sim);
    return done_testing();
}
