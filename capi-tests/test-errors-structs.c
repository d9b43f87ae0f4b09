/*
 * Extensible structs: a struct of another version is understood, or refused
 * with the right errno, and the library writes nothing beyond its size.
 */
#include "common_aio.h"
#include "common_run.h"
#include "common_sim.h"
#include "tap.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define DISK_BYTES INT64_C(65536)

/* A struct of the future: ours, followed by 64 bytes. */
union long_options {
    blkalign_open_options now;
    char bytes[sizeof(blkalign_open_options) + 64];
};
union long_request {
    blkalign_request now;
    char bytes[sizeof(blkalign_request) + 64];
};
union long_driver {
    blkalign_driver now;
    char bytes[sizeof(blkalign_driver) + 64];
};

static struct sim *sim;
static blkalign_driver driver;

static void fails(int64_t got, int want, const char *words)
{
    is_int(got, want, "%s", words);
    ok(blkalign_errmsg()[0] != 0, "%s: in words", words);
}

static int try_options(const blkalign_open_options *options)
{
    blkalign_handle *handle = NULL;
    int ret = blkalign_open_driver(&driver, sim, options, &handle);

    ok((ret == 0) == (handle != NULL), "a handle comes with success only");
    if (handle)
        blkalign_close(handle);
    return ret;
}

static void sizes_of_options(void)
{
    union long_options longer;
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    is_int((int64_t)options.size, sizeof(options), "INIT sets the size");
    options.size = 0;
    fails(try_options(&options), -EINVAL, "options of size 0");
    options.size = sizeof(size_t) - 1;
    fails(try_options(&options), -EINVAL, "options too short for a size");
    options.size = sizeof(size_t);
    options.flags = UINT32_MAX;
    is_int(try_options(&options), 0,
           "options that end after size: no flag is read");
    options.flags = 0;
    options.engine = UINT32_MAX;
    options.size = offsetof(blkalign_open_options, engine);
    is_int(try_options(&options), 0,
           "options that end after flags: no engine is read");
    memset(&longer, 0, sizeof(longer));
    longer.now.size = sizeof(longer);
    is_int(try_options(&longer.now), 0, "longer options, tail all zero");
    longer.bytes[sizeof(longer) - 1] = 1;
    fails(try_options(&longer.now), -E2BIG,
          "longer options, last byte not zero");
    longer.bytes[sizeof(longer) - 1] = 0;
    longer.bytes[sizeof(longer.now)] = 1;
    fails(try_options(&longer.now), -E2BIG,
          "longer options, first byte beyond ours not zero");
}

static void values_of_options(void)
{
    blkalign_open_options options = options_of(UINT32_C(0x80000000), 0);

    fails(try_options(&options), -EINVAL, "an unknown open flag");
    options = options_of(0, 99);
    fails(try_options(&options), -EINVAL, "an unknown completion mode");
    options = options_of(0, 0);
    options.engine = 99;
    fails(try_options(&options), -EINVAL, "an unknown engine");
    options = options_of(0, 0);
    options.request_alignment = 4097;
    fails(try_options(&options), -EINVAL,
          "request_alignment no power of two");
    options = options_of(0, 0);
    options.mem_alignment = 3;
    fails(try_options(&options), -EINVAL, "mem_alignment no power of two");
    options = options_of(0, 0);
    options.segment_alignment = 511;
    fails(try_options(&options), -EINVAL,
          "segment_alignment no power of two");
    options = options_of(0, 0);
    options.guest_block_size = 1000;
    fails(try_options(&options), -EINVAL,
          "guest_block_size no power of two");
    is_int(try_options(NULL), 0, "no options at all are the defaults");
}

static int64_t try_request(blkalign_handle *h,
                           const blkalign_request *request)
{
    struct answer *answer = request->opaque;
    int64_t id;

    memset(answer, 0, sizeof(*answer));
    id = blkalign_aio_submit(h, request);
    if (id > 0)
        answer_wait(answer);
    is_int(answer_calls(answer), id > 0,
           "a callback comes for an id and for nothing else");
    return id > 0 ? answer->ret : id;
}

static void sizes_of_requests(blkalign_handle *h)
{
    struct answer answer;
    union long_request longer;
    blkalign_request request = request_of(BLKALIGN_OP_FLUSH);

    request.cb = answer_done;
    request.opaque = &answer;
    is_int(try_request(h, &request), 0, "a good request");
    request.size = 4;
    fails(try_request(h, &request), -EINVAL,
          "a request too short for a size");
    request.size = offsetof(blkalign_request, cb);
    fails(try_request(h, &request), -EINVAL,
          "a request that ends before its callback has none");
    memset(&longer, 0, sizeof(longer));
    longer.now = request;
    longer.now.size = sizeof(longer);
    is_int(try_request(h, &longer.now), 0,
           "a longer request, tail all zero");
    longer.bytes[sizeof(longer) - 1] = 1;
    fails(try_request(h, &longer.now), -E2BIG,
          "a longer request, tail not zero");
    fails(blkalign_aio_submit(h, NULL), -EINVAL, "no request");
}

static void values_of_requests(blkalign_handle *h)
{
    struct answer answer;
    char buf[512];
    struct iovec iov = { buf, sizeof(buf) };
    blkalign_request good = request_of(BLKALIGN_OP_READ), request;

    good.cb = answer_done;
    good.opaque = &answer;
    good.bytes = sizeof(buf);
    good.iov = &iov;
    good.iovcnt = 1;
    is_int(try_request(h, &good), 0, "a good read");
    request = good;
    request.op = 0;
    fails(try_request(h, &request), -EINVAL, "operation 0");
    request.op = 6;
    fails(try_request(h, &request), -EINVAL, "operation 6");
    request = good;
    request.bytes = 511;
    fails(try_request(h, &request), -EINVAL, "bytes below the vector's");
    request.bytes = 513;
    fails(try_request(h, &request), -EINVAL, "bytes above the vector's");
    request = good;
    request.flags = UINT32_C(0x40000000);
    fails(try_request(h, &request), -EINVAL, "an unknown request flag");
    request = good;
    request.guest_block_size = 513;
    fails(try_request(h, &request), -EINVAL,
          "guest_block_size no power of two");
    request = good;
    request.iovcnt = -1;
    fails(try_request(h, &request), -EINVAL, "-1 elements");
    request = good;
    request.iov = NULL;
    fails(try_request(h, &request), -EINVAL, "a NULL vector");
    request = good;
    request.offset = DISK_BYTES - 511;
    fails(try_request(h, &request), -EIO, "past the end");
    request = good;
    request.op = BLKALIGN_OP_FLUSH;
    fails(try_request(h, &request), -EINVAL,
          "a flush with bytes and a vector");
    request.bytes = 0;
    fails(try_request(h, &request), -EINVAL, "a flush with a vector");
    request = request_of(BLKALIGN_OP_FLUSH);
    request.cb = answer_done;
    request.opaque = &answer;
    request.offset = 4096;
    fails(try_request(h, &request), -EINVAL, "a flush with an offset");
    request.offset = 0;
    request.bytes = 4096;
    fails(try_request(h, &request), -EINVAL, "a flush with bytes");
}

/* The library writes no more than the caller's size, and makes the bytes zeros
 * that a longer struct has beyond its own. */
static void structs_that_are_filled(blkalign_handle *h)
{
    unsigned char limits[sizeof(blkalign_limits) + 64];
    unsigned char stats[sizeof(blkalign_stats) + 64];
    blkalign_limits *shorter = (void *)limits;
    blkalign_stats *longer = (void *)stats;
    size_t i, spoilt = 0;

    memset(limits, 0xee, sizeof(limits));
    shorter->size = offsetof(blkalign_limits, mem_alignment);
    is_int(blkalign_get_limits(h, shorter), 0, "short limits");
    is_int(shorter->request_alignment, 4096, "are filled");
    for (i = offsetof(blkalign_limits, mem_alignment); i < sizeof(limits);
         i++)
        spoilt += limits[i] != 0xee;
    is_int((int64_t)spoilt, 0, "and not overrun");
    shorter->size = 3;
    fails(blkalign_get_limits(h, shorter), -EINVAL,
          "limits too short for a size");
    memset(stats, 0xee, sizeof(stats));
    longer->size = sizeof(stats);
    is_int(blkalign_get_stats(h, longer), 0, "longer stats");
    for (i = sizeof(*longer); i < sizeof(stats); i++)
        spoilt += stats[i] != 0;
    is_int((int64_t)spoilt, 0, "are zero beyond ours");
    longer->size = 0;
    fails(blkalign_get_stats(h, longer), -EINVAL, "stats of size 0");
}

static int try_driver(const blkalign_driver *broken)
{
    blkalign_handle *handle = NULL;
    int ret = blkalign_open_driver(broken, sim, NULL, &handle);

    if (ret == 0)
        blkalign_close(handle);
    else
        ok(!handle, "a failed open leaves the handle alone");
    return ret;
}

static void drivers(void)
{
    blkalign_driver broken = driver;
    union long_driver longer;

    fails(try_driver(NULL), -EINVAL, "no driver");
    fails(blkalign_open_driver(&driver, sim, NULL, NULL), -EINVAL,
          "open_driver into NULL");
    broken.size = 7;
    fails(try_driver(&broken), -EINVAL, "a driver too short for a size");
    broken = driver;
    broken.getlength = NULL;
    fails(try_driver(&broken), -EINVAL, "a driver without length");
    broken = driver;
    broken.preadv = NULL;
    fails(try_driver(&broken), -EINVAL, "a driver that cannot read");
    broken = driver;
    broken.request_alignment = 1000;
    fails(try_driver(&broken), -EINVAL,
          "a driver whose request_alignment is no power of two");
    broken = driver;
    broken.mem_alignment = 3;
    fails(try_driver(&broken), -EINVAL,
          "a driver whose mem_alignment is no power of two");
    broken = driver;
    broken.segment_alignment = 3;
    fails(try_driver(&broken), -EINVAL,
          "a driver whose segment_alignment is no power of two");
    memset(&longer, 0, sizeof(longer));
    longer.now = driver;
    longer.now.size = sizeof(longer);
    is_int(try_driver(&longer.now), 0, "a longer driver, tail all zero");
    longer.bytes[sizeof(longer) - 1] = 1;
    fails(try_driver(&longer.now), -E2BIG,
          "a longer driver, tail not zero");
    broken = driver;
    broken.size = offsetof(blkalign_driver, pdiscard);
    is_int(try_driver(&broken), 0,
           "a driver that ends after its synchronous functions");
}

int main(void)
{
    struct sim_options disk = sim_disk_4k(DISK_BYTES, SIM_SYNC);
    blkalign_handle *handle;

    run_begin(60);
    sim = sim_new(&disk);
    driver = sim_driver(sim);
    sizes_of_options();
    values_of_options();
    drivers();
    handle = sim_open(sim, NULL);
    sizes_of_requests(handle);
    values_of_requests(handle);
    structs_that_are_filled(handle);
    is_int(blkalign_close(handle), 0, "close");
    sim_free(sim);
    return done_testing();
}
