/*
 * blkalign.c as QEMU's block layer uses it, in a very small QEMU: coroutines,
 * two event loops, deferred sections. On a loop disk with blocks of 4096
 * bytes where one can be made, and on a file. TAP.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu/defer-call.h"
#include "qobject/qdict.h"

#include "stub/fake.h"

#include <fcntl.h>

#define LENGTH (1 << 20)
#define SECTOR 512

static int number, failures;
static char file[] = "/tmp/test-qemu-XXXXXX";
static char loop[64];
static BlockDriver *driver;

static void ok(bool good, const char *name)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++number, name);
    failures += !good;
}

/* ---- requests, each a coroutine ----------------------------------------- */

enum kind { READ, WRITE, ZERO, DISCARD, FLUSH, TRUNCATE };

struct call {
    enum kind kind;
    BlockDriverState *bs;
    int64_t offset, bytes;
    char *memory;
    BdrvRequestFlags flags;
    bool over;
    int ret;
};

static void run_call(void *opaque)
{
    struct call *call = opaque;
    struct iovec iov = { call->memory, (size_t)call->bytes };
    QEMUIOVector qiov = { &iov, 1, (size_t)call->bytes };
    int64_t at = call->offset, bytes = call->bytes;
    BlockDriverState *bs = call->bs;

    switch (call->kind) {
    case READ:
        call->ret = driver->bdrv_co_preadv(bs, at, bytes, &qiov, 0);
        break;
    case WRITE:
        call->ret = driver->bdrv_co_pwritev(bs, at, bytes, &qiov,
                                            call->flags);
        break;
    case ZERO:
        call->ret = driver->bdrv_co_pwrite_zeroes(bs, at, bytes, call->flags);
        break;
    case DISCARD:
        call->ret = driver->bdrv_co_pdiscard(bs, at, bytes);
        break;
    case FLUSH:
        call->ret = driver->bdrv_co_flush_to_disk(bs);
        break;
    case TRUNCATE:
        call->ret = driver->bdrv_co_truncate(bs, at, true, PREALLOC_MODE_OFF,
                                             0, NULL);
        break;
    }
    call->over = true;
}

static void start(struct call *call, enum kind kind, BlockDriverState *bs,
                  int64_t offset, int64_t bytes, char *memory)
{
    memset(call, 0, sizeof(*call));
    call->kind = kind;
    call->bs = bs;
    call->offset = offset;
    call->bytes = bytes;
    call->memory = memory;
    fake_coroutine_start(bs->aio_context, run_call, call);
}

/* Every other request is waited for by busy polling. */
static int wait_for(struct call *call)
{
    static bool busy;

    busy = !busy;
    while (!call->over)
        if (!fake_aio_poll(call->bs->aio_context, busy))
            return -ETIME;
    return call->ret;
}

static int run(enum kind kind, BlockDriverState *bs, int64_t offset,
               int64_t bytes, char *memory)
{
    struct call call;

    start(&call, kind, bs, offset, bytes, memory);
    return wait_for(&call);
}

static void read_length(void *opaque)
{
    struct call *call = opaque;

    call->offset = driver->bdrv_co_getlength(call->bs);
}

static int64_t length_of(BlockDriverState *bs)
{
    struct call call;

    call.bs = bs;
    fake_coroutine_start(bs->aio_context, read_length, &call);
    return call.offset;
}

/* ---- nodes -------------------------------------------------------------- */

static int open_node(BlockDriverState *bs, const char *filename, int flags,
                     Error **errp)
{
    QDict *options = qdict_new();
    int ret;

    memset(bs, 0, sizeof(*bs));
    bs->opaque = calloc(1, (size_t)driver->instance_size);
    bs->aio_context = fake_context_new();
    driver->bdrv_parse_filename(filename, options, errp);
    ret = driver->bdrv_open(bs, options, flags, errp);
    if (ret == 0 && qdict_size(options) != 0)
        ret = -E2BIG;           /* QEMU refuses what nobody took */
    if (ret == 0)
        driver->bdrv_refresh_limits(bs, errp);
    qdict_free(options);
    return ret;
}

static void free_node(BlockDriverState *bs)
{
    fake_context_free(bs->aio_context);
    free(bs->opaque);
}

static bool close_node(BlockDriverState *bs)
{
    bool good;

    driver->bdrv_close(bs);
    good = fake_context_handlers(bs->aio_context) == 0;
    free_node(bs);
    return good;
}

/* ---- what is tested ----------------------------------------------------- */

static char memory[LENGTH], back[LENGTH];

static void test_data(BlockDriverState *bs)
{
    struct call calls[8];
    int i, ret = 0, wakes = fake_wakes();

    memset(memory, 'x', sizeof(memory));
    ok(run(WRITE, bs, 0, LENGTH, memory) == 0, "all of it is written");
    defer_call_begin();
    for (i = 0; i < 8; i++) {
        memset(memory + 65536 + i * SECTOR, 'a' + i, SECTOR);
        start(&calls[i], WRITE, bs, 65536 + i * SECTOR, SECTOR,
              memory + 65536 + i * SECTOR);
        ret |= calls[i].over;
    }
    ok(ret == 0, "in a deferred section nothing is done yet");
    defer_call_end();
    for (i = 0; i < 8; i++)
        ret |= wait_for(&calls[i]);
    ok(ret == 0, "the eight sectors of a block are written as a batch");
    memset(memory + 4095, 'O', 2);
    memset(memory + 12345, 'L', 100001);
    ret = run(WRITE, bs, 4095, 2, memory + 4095);
    ret |= run(WRITE, bs, 12345, 100001, memory + 12345);
    ok(ret == 0, "writes at odd places");
    memset(memory + 300001, 0, 5000);
    ok(run(ZERO, bs, 300001, 5000, NULL) == 0, "zeros at odd places");
    ok(run(FLUSH, bs, 0, 0, NULL) == 0, "a flush");
    ok(run(DISCARD, bs, 4096, 1, NULL) == 0, "a discard of too little");
    ok(run(READ, bs, 0, LENGTH, back) == 0 &&
       memcmp(memory, back, LENGTH) == 0, "every byte is right");
    ok(run(READ, bs, 12347, 7, back) == 0 &&
       memcmp(memory + 12347, back, 7) == 0, "also of a part");
    ok(fake_wakes() > wakes && fake_coroutines() == 0,
       "every coroutine has come to its end");
}

static void test_contexts(BlockDriverState *bs)
{
    AioContext *other = fake_context_new(), *old = bs->aio_context;

    driver->bdrv_detach_aio_context(bs);
    ok(fake_context_handlers(old) == 0, "detached, no handler is left");
    bs->aio_context = other;
    driver->bdrv_attach_aio_context(bs, other);
    ok(run(READ, bs, 65536, 4096, back) == 0 &&
       memcmp(memory + 65536, back, 4096) == 0,
       "requests are done in the other event loop");
    fake_context_free(old);
}

static void test_refused(const char *path)
{
    BlockDriverState bs;
    Error *err = NULL;

    ok(open_node(&bs, "blkalign:/nonexistent/x", BDRV_O_RDWR, &err) ==
       -ENOENT && err != NULL &&
       strstr(error_get_pretty(err), "/nonexistent/x") != NULL,
       "no such file, and the words say which");
    error_free(err);
    err = NULL;
    free_node(&bs);
    ok(open_node(&bs, path, 0, &err) == 0, "a read-only node");
    ok(run(WRITE, &bs, 0, 1, memory) == -EPERM, "cannot be written");
    ok(run(READ, &bs, 0, LENGTH, back) == 0 &&
       memcmp(memory, back, LENGTH) == 0, "and can be read");
    ok(run(READ, &bs, LENGTH, 1, back) == -EIO, "but not past its end");
    ok(close_node(&bs), "and closes");
}

static void test_length(BlockDriverState *bs, bool regular)
{
    int ret = run(TRUNCATE, bs, LENGTH + 777, 0, NULL);

    if (!regular) {
        ok(ret == -EINVAL && run(TRUNCATE, bs, LENGTH, 0, NULL) == 0,
           "a device keeps its length");
        return;
    }
    ok(ret == 0 && length_of(bs) == LENGTH + 777, "a file grows");
    ok(run(READ, bs, LENGTH, 777, back) == 0 && back[0] == 0 &&
       memcmp(back, back + 1, 776) == 0, "by zeros");
    ok(run(WRITE, bs, LENGTH + 2000, 10, memory) == 0 &&
       length_of(bs) == LENGTH + 2010, "and where it is written");
    ok(run(TRUNCATE, bs, LENGTH, 0, NULL) == 0 &&
       length_of(bs) == LENGTH, "and shrinks");
}

static void test_node(const char *path, int flags, bool regular)
{
    BlockDriverState bs;
    BlockSizes sizes;
    Error *err = NULL;
    char name[128];

    snprintf(name, sizeof(name), "blkalign:%s", path);
    printf("# %s\n", path);
    ok(open_node(&bs, name, BDRV_O_RDWR | BDRV_O_UNMAP | flags, &err) == 0 &&
       err == NULL, "it is opened");
    ok(length_of(&bs) == LENGTH, "the length is right");
    ok(bs.bl.request_alignment == 1, "any byte may be asked for");
    if (!regular)
        ok(driver->bdrv_probe_blocksizes(&bs, &sizes) == 0 &&
           sizes.log == 512 && sizes.phys == 4096,
           "a guest is told 512 bytes on 4096");
    test_data(&bs);
    test_contexts(&bs);
    test_length(&bs, regular);
    test_refused(path);
    ok(close_node(&bs), "it is closed");
}

static void detach_loop(void)
{
    char command[128];

    snprintf(command, sizeof(command), "losetup -d %s", loop);
    if (loop[0] != '\0' && system(command) != 0)
        fprintf(stderr, "%s has failed\n", command);
    unlink(file);
}

static bool attach_loop(void)
{
    char command[256];
    FILE *pipe;

    snprintf(command, sizeof(command), "losetup --show -f --sector-size 4096 "
             "--direct-io=on %s 2>/dev/null", file);
    pipe = popen(command, "r");
    if (pipe == NULL || fgets(loop, sizeof(loop), pipe) == NULL)
        loop[0] = '\0';
    if (pipe != NULL)
        pclose(pipe);
    loop[strcspn(loop, "\n")] = '\0';
    return loop[0] != '\0';
}

int main(void)
{
    int fd = mkstemp(file);

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (fd < 0 || ftruncate(fd, LENGTH) < 0)
        return 1;
    close(fd);
    atexit(detach_loop);
    driver = fake_driver("blkalign");
    ok(driver != NULL, "the driver is registered");
    if (driver == NULL)
        return 1;
    test_node(file, 0, true);
    if (attach_loop())
        test_node(loop, BDRV_O_NOCACHE, false);
    else
        printf("ok %d - on a disk # SKIP no loop disk can be made here\n",
               ++number);
    printf("1..%d\n", number);
    return failures != 0;
}
