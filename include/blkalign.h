/*
 * blkalign: I/O of any size at any offset on storage that only takes large,
 * aligned blocks.
 *
 *     blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
 *     blkalign_handle *disk;
 *
 *     options.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT;
 *     if (blkalign_open("/dev/sdb", &options, &disk) < 0)
 *         errx(1, "%s", blkalign_errmsg());
 *     blkalign_pwrite(disk, 512, 7, "example", 0);
 *     blkalign_close(disk);
 *
 * Results. 0 or a positive number is success. A negative number is -errno, and
 * blkalign_errmsg() describes the failure in words.
 *
 * Structs whose first field is `size` may grow with the library. Start each
 * from its INIT macro, which sets `size` and makes the rest zeros. A field
 * that a shorter struct lacks counts as zero. Bytes of a longer struct that
 * this library does not know must be zero, else a call fails with -E2BIG.
 * Unknown flags are -EINVAL.
 *
 * Units. Offsets, lengths and alignments are in bytes. Alignments are powers
 * of two.
 *
 * Threads. Any thread may call any function at any time, with two exceptions:
 * no thread may use a handle once blkalign_close() has begun, and a callback
 * may not call a function that waits. Threads of the library block all signals
 * but those of their own faults, such as SIGBUS. Descriptors of the library
 * are close-on-exec. A child process must not use handles of its parent. With
 * io_uring, slow system calls of a thread that submits requests may fail with
 * EINTR, except with BLKALIGN_COMPLETION_EVENTFD. See blkalign(7), "Threads"
 * and "Fork".
 *
 * Cancellation. No function is a cancellation point. pthread_cancel(3) takes
 * effect when the call is over, so that the call is always complete.
 * Callbacks, driver functions and log hooks must not enable cancellation. See
 * blkalign(7), "Cancellation of threads".
 *
 * This file is generated from src/header and src/capi by `make header`.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef BLKALIGN_H
#define BLKALIGN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Each struct of this header starts out as its INIT macro. */
#define BLKALIGN_OPEN_OPTIONS_INIT \
    { sizeof(blkalign_open_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define BLKALIGN_REQUEST_INIT \
    { sizeof(blkalign_request), 0, 0, 0, 0, NULL, 0, 0, NULL, NULL, NULL }
#define BLKALIGN_LIMITS_INIT \
    { sizeof(blkalign_limits), \
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define BLKALIGN_STATS_INIT \
    { sizeof(blkalign_stats), \
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define BLKALIGN_DRIVER_INIT \
    { sizeof(blkalign_driver), NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL, \
      NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }
#define BLKALIGN_THROTTLE_LIMITS_INIT \
    { sizeof(blkalign_throttle_limits), {0, 0}, {0, 0}, {0, 0}, \
      {0, 0}, {0, 0}, {0, 0}, 0 }
#define BLKALIGN_LATENCY_INIT \
    { sizeof(blkalign_latency), 0, 0, 0, 0, 0, 0, 0, {0} }
#define BLKALIGN_OVERLAY_OPTIONS_INIT \
    { sizeof(blkalign_overlay_options), 0, 0 }

/**
 * Version of this header: 0.2.0. This macro is the first number.
 * blkalign_version() returns the version of the library that the program runs
 * with.
 */
#define BLKALIGN_VERSION_MAJOR 0
/** The second number of the version. */
#define BLKALIGN_VERSION_MINOR 2
/** The third number of the version. */
#define BLKALIGN_VERSION_PATCH 0

/**
 * Open for reading and writing. Without this flag a write fails with -EPERM.
 */
#define BLKALIGN_O_RDWR (1 << 0)
/**
 * Use O_DIRECT. Opening fails with -EINVAL if the file system has no O_DIRECT,
 * and with -EBUSY if this process has the object open through the page cache.
 * BLKALIGN_O_BUFFERED_OK allows the page cache in both cases.
 *
 * Without BLKALIGN_O_DIRECT a handle uses the page cache, unless other handles
 * of the object in this process use O_DIRECT: then this handle uses O_DIRECT,
 * too. blkalign_limits.direct tells which of the two a handle uses. See
 * blkalign(7), "Direct I/O".
 */
#define BLKALIGN_O_DIRECT (1 << 1)
/**
 * Use the page cache if O_DIRECT is not available, or if this process has the
 * object open through the page cache already. blkalign_limits.direct tells.
 */
#define BLKALIGN_O_BUFFERED_OK (1 << 2)
/** Create the file if it does not exist, with mode 0666 less the umask. */
#define BLKALIGN_O_CREATE (1 << 3)
/**
 * Writes past the end make the file longer, and reads past the end return
 * zeros. Opening fails with -EINVAL for a block device, for a window and for a
 * driver without a truncate function.
 */
#define BLKALIGN_O_RESIZE (1 << 4)
/**
 * Let a discard deallocate storage. Without this flag a discard succeeds and
 * does nothing.
 */
#define BLKALIGN_O_UNMAP (1 << 5)
/** Treat every write as if it carried BLKALIGN_REQ_FUA. */
#define BLKALIGN_O_WRITETHROUGH (1 << 6)
/**
 * A flush succeeds and does nothing. For disks that are thrown away after a
 * crash.
 */
#define BLKALIGN_O_NO_FLUSH (1 << 7)
/**
 * Copy the data of each write when the write is submitted. A guest may then
 * change its memory at once. The copies take as much memory as the writes in
 * flight; a submission without memory for its copy fails with -ENOMEM.
 * blkalign_stats counts such writes as bounced.
 */
#define BLKALIGN_O_STABLE_WRITES (1 << 8)
/**
 * Never merge queued writes to parts of one block into one write. Reads of one
 * batch still share a block, and adjacent I/Os of one batch still go out as
 * one I/O.
 */
#define BLKALIGN_O_NO_MERGE (1 << 9)
/**
 * Lock the image file as QEMU does, against other processes that take these
 * locks. A handle for writing excludes every other process that writes or that
 * takes locks for reading; handles for reading exclude writers. Opening fails
 * with -EAGAIN if another process holds a conflicting lock, with -ENOTSUP or
 * -ENOLCK if the file system has no such locks, and with -EINVAL for a
 * blkalign_driver. See blkalign(7), "Image locks".
 */
#define BLKALIGN_O_LOCK (1 << 10)

/**
 * The library chooses the engine: io_uring for files and devices if the system
 * allows it (Linux 5.11 or newer, no seccomp filter or sysctl that forbids
 * it), else threads. Files on FUSE (and virtiofs) always get threads, because
 * through io_uring Linux moves wrong bytes where a server answers short. A
 * blkalign_driver always gets threads.
 * blkalign_limits.engine tells which engine a handle uses, and
 * blkalign_engine_reason() tells why io_uring was refused.
 */
#define BLKALIGN_ENGINE_AUTO 0
/** Threads of the library do the I/O, with system calls that block. */
#define BLKALIGN_ENGINE_THREADS 1
/**
 * io_uring. Opening fails with the kernel's errno if the system refuses
 * io_uring, and with -EOPNOTSUPP for a file on FUSE. A blkalign_driver always
 * gets threads. If the system refuses io_uring after the open (a seccomp
 * filter that is installed later, for example), threads take over and no
 * request fails because of that; this holds for BLKALIGN_ENGINE_AUTO as well.
 */
#define BLKALIGN_ENGINE_IO_URING 2

/** Callbacks run on threads of the library, one at a time for each handle. */
#define BLKALIGN_COMPLETION_SERIAL 0
/** Callbacks run on threads of the library, several at a time. */
#define BLKALIGN_COMPLETION_CONCURRENT 1
/**
 * Callbacks run only inside blkalign_poll(), blkalign_drain() and
 * blkalign_close(), on the thread that calls one of these. See
 * blkalign_get_event_fd().
 */
#define BLKALIGN_COMPLETION_EVENTFD 2

/**
 * The data are durable when the callback runs. Has no effect on a read or a
 * flush.
 */
#define BLKALIGN_REQ_FUA (1 << 0)
/**
 * Exclude every overlapping request, reads included, while this request runs.
 * Has no effect on a flush.
 */
#define BLKALIGN_REQ_SERIALISING (1 << 1)
/**
 * The request's result is -EBUSY if it would have to wait for an overlapping
 * request, which may be an earlier request of the same batch. While a part of
 * a block is being written, the whole block counts as busy. Has no effect on a
 * flush.
 */
#define BLKALIGN_REQ_NO_WAIT (1 << 2)
/** A zero write may deallocate storage. Only for zero writes. */
#define BLKALIGN_REQ_MAY_UNMAP (1 << 3)
/**
 * The result is -ENOTSUP if the storage has no operation for zeros, so that
 * blocks of zeros would have to be written. Only for zero writes.
 */
#define BLKALIGN_REQ_NO_FALLBACK (1 << 4)
/**
 * Each element of the iovec lies in memory that was registered with
 * blkalign_register_buf(). Only for reads and writes.
 */
#define BLKALIGN_REQ_REGISTERED_BUF (1 << 5)

/**
 * Value of blkalign_request.op: a read into `iov`, like blkalign_aio_preadv().
 */
#define BLKALIGN_OP_READ 1
/** A write from `iov`, like blkalign_aio_pwritev(). */
#define BLKALIGN_OP_WRITE 2
/** A zero write, like blkalign_aio_pwrite_zeroes(). */
#define BLKALIGN_OP_WRITE_ZEROES 3
/** A discard, like blkalign_aio_pdiscard(). */
#define BLKALIGN_OP_DISCARD 4
/** A flush, like blkalign_aio_flush(). */
#define BLKALIGN_OP_FLUSH 5
/**
 * A truncate, as a `blkalign_before_write_fn` is told of it. Not for
 * blkalign_aio_submit(): see blkalign_truncate().
 */
#define BLKALIGN_OP_TRUNCATE 6

/**
 * Answer of blkalign_block_status(): there may be anything, zeros included.
 */
#define BLKALIGN_STATUS_DATA 0
/** The bytes are zeros, and the storage has room for them. */
#define BLKALIGN_STATUS_ZERO 1
/** The bytes are zeros, and a hole: the storage has no room for them yet. */
#define BLKALIGN_STATUS_HOLE 2

/** Number of buckets in blkalign_latency. */
#define BLKALIGN_LATENCY_BUCKETS 312

/**
 * Source of an alignment: a default of the library, because no other source
 * named a value.
 */
#define BLKALIGN_SOURCE_DEFAULT 0
/** Source of an alignment: the caller, in blkalign_open_options. */
#define BLKALIGN_SOURCE_OVERRIDE 1
/**
 * Source of an alignment: statx(2), with STATX_DIOALIGN or
 * STATX_DIO_READ_ALIGN.
 */
#define BLKALIGN_SOURCE_STATX 2
/** Source of an alignment: the ioctl XFS_IOC_DIOINFO of XFS. */
#define BLKALIGN_SOURCE_DIOINFO 3
/** Source of an alignment: the ioctl BLKSSZGET of a block device. */
#define BLKALIGN_SOURCE_BLKSSZGET 4
/** Source of an alignment: trial reads of the storage. */
#define BLKALIGN_SOURCE_TRIAL 5
/** Source of an alignment: the blkalign_driver. */
#define BLKALIGN_SOURCE_DRIVER 6
/**
 * Source of an alignment: the protection information of a disk (T10 DIF, NVMe
 * PI), in the directory integrity/ of sysfs.
 */
#define BLKALIGN_SOURCE_INTEGRITY 7

/** Level of a log message: an operation that the program asked for failed. */
#define BLKALIGN_LOG_ERROR 1
/**
 * Level of a log message: an operation succeeded in another way than the
 * program asked for.
 */
#define BLKALIGN_LOG_WARNING 2
/**
 * Level of a log message: events that an operator looks for, such as opens and
 * closes.
 */
#define BLKALIGN_LOG_INFO 3
/** Level of a log message: details for the search for a fault. */
#define BLKALIGN_LOG_DEBUG 4

/**
 * Flag of blkalign_open_overlay(): what a read takes from the backing object
 * is kept, in whole clusters. Needs BLKALIGN_O_RDWR. If it cannot be written,
 * for lack of space say, the read succeeds all the same.
 */
#define BLKALIGN_OVERLAY_COPY_ON_READ (1 << 0)

/**
 * One open storage object (a file, a block device or a driver) with the
 * options of this open. Any thread may use a handle at any time. No thread may
 * use a handle after a call of blkalign_close() for the handle has begun.
 */
typedef struct blkalign_handle blkalign_handle;

/** A notifier that was added by blkalign_add_before_write(). */
typedef struct blkalign_notifier blkalign_notifier;

/**
 * Limits that handles share: see blkalign_throttle_new(). Any thread may use a
 * throttle at any time until blkalign_throttle_free().
 */
typedef struct blkalign_throttle blkalign_throttle;

/**
 * Options of an open. Start from BLKALIGN_OPEN_OPTIONS_INIT. Functions that
 * take a pointer to this struct accept NULL: all defaults.
 */
typedef struct blkalign_open_options {
    /** sizeof(blkalign_open_options), as the INIT macro sets it. */
    size_t size;
    /** Any BLKALIGN_O_* flags, combined with `|`. */
    uint32_t flags;
    /** One of BLKALIGN_ENGINE_*: how I/O is done. */
    uint32_t engine;
    /** One of BLKALIGN_COMPLETION_*: where callbacks run. */
    uint32_t completion;
    /**
     * Number of threads that serve this handle alone, at most 1024. 0: the
     * pool of threads that all handles share. These threads do the I/O of the
     * thread engine, the I/O that io_uring cannot do, and run callbacks,
     * except with BLKALIGN_COMPLETION_EVENTFD.
     */
    uint32_t workers;
    /**
     * Greatest number of requests at the storage at once, at most 65536. 0:
     * 64. Further requests wait in the library.
     */
    uint32_t queue_depth;
    /**
     * Alignment of offset and total length, in bytes: a power of two of at
     * most 1 MiB, used in place of what the probe would find. 0: probe.
     */
    uint32_t request_alignment;
    /**
     * Alignment of memory addresses, with the same unit and range. 0: probe.
     */
    uint32_t mem_alignment;
    /**
     * Alignment of the length of each iovec element, with the same unit and
     * range. 0: probe.
     */
    uint32_t segment_alignment;
    /**
     * Default for requests whose own `guest_block_size` is 0: bytes, a power
     * of two of at most 1 MiB. 0: no promise about torn reads. See
     * blkalign_request.guest_block_size.
     */
    uint32_t guest_block_size;
    /**
     * Start of the window, in bytes, at any offset. With a window the handle
     * shows only the range [window_offset, window_offset + window_length) of
     * the object. Offsets of requests count from the start of the window.
     * Bytes outside the window are never changed and never copied into a
     * caller's memory. Not with BLKALIGN_O_RESIZE.
     */
    int64_t window_offset;
    /**
     * Length of the window, in bytes, any number. 0: to the end of the object.
     */
    int64_t window_length;
} blkalign_open_options;

/**
 * Reports that an asynchronous I/O of a driver is done: `ret` is 0 or -errno.
 * The driver calls this function exactly once for each I/O that was started,
 * from any thread. The call may come before the function that started the I/O
 * has returned.
 */
typedef void (*blkalign_driver_done_fn)(void *token, int ret);

/**
 * The functions of a caller's own storage, for blkalign_open_driver(). Start
 * from BLKALIGN_DRIVER_INIT. blkalign_open_driver() copies the struct; the
 * string `name` and the object that `opaque` points to must stay valid until
 * `close` is called.
 *
 * The library promises that every offset and every length is a multiple of
 * `request_alignment`, that every address is a multiple of `mem_alignment`,
 * that the length of every iovec element is a multiple of `segment_alignment`
 * and never 0, and that no call exceeds `max_transfer` or `max_segments`.
 * Where `request_alignment` is more than 1 no read has the same memory in two
 * elements: a driver may decrypt or check data where it has read them to.
 * Hence the length that `getlength` returns must be a multiple of
 * `request_alignment`; storage of another length has to round it up or down.
 *
 * `flags` are those flags of the request that a driver can act on:
 * BLKALIGN_REQ_FUA, BLKALIGN_REQ_MAY_UNMAP and BLKALIGN_REQ_NO_FALLBACK. A
 * driver that cannot do FUA in another way flushes after the write.
 *
 * Threads of the library and threads that submit requests call these
 * functions, several at a time. `getlength` and `preadv` or `aio_preadv` must
 * not be NULL; for a writable handle neither must `pwritev` or `aio_pwritev`.
 * The others may be NULL. Without a flush function a flush succeeds.
 */
typedef struct blkalign_driver {
    /** sizeof(blkalign_driver), as BLKALIGN_DRIVER_INIT sets it. */
    size_t size;
    /** The name of the storage in messages. NULL: "driver". */
    const char *name;
    /**
     * Alignment of offset and length of every call, in bytes: a power of two
     * of at most 1 MiB. 0: 1.
     */
    uint32_t request_alignment;
    /**
     * Alignment of the address of each element of `iov`, with the same unit
     * and range. 0: 1.
     */
    uint32_t mem_alignment;
    /**
     * Alignment of the length of each element of `iov`, with the same unit and
     * range, and not greater than `request_alignment`. 0: 1.
     */
    uint32_t segment_alignment;
    /**
     * Greatest number of bytes in one call, at least `request_alignment`. 0:
     * no limit.
     */
    uint32_t max_transfer;
    /** Greatest number of elements of `iov` in one call. 0: no limit. */
    uint32_t max_segments;
    /**
     * Returns the length of the object in bytes, or -errno. Must not be NULL.
     * blkalign_open_driver(), blkalign_dup() and blkalign_refresh_length()
     * call it. Between two such calls only `truncate` may change the length.
     */
    int64_t (*getlength)(void *opaque);
    /**
     * Synchronous: reads `bytes` bytes and returns 0, or returns -errno. If
     * the function returns 0 without filling all of the memory, the rest of
     * the reader's buffer holds zeros or its old content, never bytes of other
     * requests.
     */
    int (*preadv)(void *opaque, int64_t offset, int64_t bytes,
                  const struct iovec *iov, int iovcnt, uint32_t flags);
    /**
     * Synchronous: writes `bytes` bytes and returns 0, or returns -errno. The
     * driver must not change the memory.
     */
    int (*pwritev)(void *opaque, int64_t offset, int64_t bytes,
                   const struct iovec *iov, int iovcnt, uint32_t flags);
    /**
     * Synchronous: makes all completed writes durable and returns 0, or
     * returns -errno.
     */
    int (*flush)(void *opaque);
    /**
     * Synchronous: takes note that the range is not needed any more and may
     * read as anything. Returns 0 or -errno. -ENOTSUP: the driver cannot
     * discard; the caller's discard succeeds nevertheless.
     */
    int (*pdiscard)(void *opaque, int64_t offset, int64_t bytes);
    /**
     * Synchronous: makes the range zeros and returns 0, or returns -errno.
     * -ENOTSUP: the driver cannot do that, or not with these flags; the
     * library then writes zeros, unless BLKALIGN_REQ_NO_FALLBACK is set.
     */
    int (*pwrite_zeroes)(void *opaque, int64_t offset, int64_t bytes,
                         uint32_t flags);
    /**
     * Synchronous: makes the object `length` bytes long, a multiple of
     * `request_alignment`. Returns 0 or -errno. A part that is added must read
     * as zeros.
     */
    int (*truncate)(void *opaque, int64_t length);
    /**
     * Called once, when the last handle of the object is closed. Not called if
     * blkalign_open_driver() failed.
     */
    void (*close)(void *opaque);
    /**
     * The asynchronous form of `preadv`. Returns 0 and later calls done(token,
     * ret) exactly once, or returns -errno and never calls `done`. `iov`
     * belongs to the library and stays valid until `done` is called. If both
     * forms are there, a synchronous call of the program, such as
     * blkalign_pread(), uses `preadv` on its own thread where it can; all
     * else uses `aio_preadv`.
     */
    int (*aio_preadv)(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags,
                      blkalign_driver_done_fn done, void *token);
    /**
     * The asynchronous form of `pwritev`; return value and `done` as for
     * `aio_preadv`.
     */
    int (*aio_pwritev)(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags,
                       blkalign_driver_done_fn done, void *token);
    /**
     * The asynchronous form of `flush`; return value and `done` as for
     * `aio_preadv`.
     */
    int (*aio_flush)(void *opaque, blkalign_driver_done_fn done, void *token);
    /**
     * Says what lies at `offset`: one of BLKALIGN_STATUS_*, and in `*run` for
     * how many bytes that holds, at most `bytes`, a multiple of
     * `request_alignment`. Or returns -errno. Called on the thread that calls
     * blkalign_block_status(). NULL: data everywhere.
     */
    int (*block_status)(void *opaque, int64_t offset, int64_t bytes,
                        int64_t *run);
} blkalign_driver;

/**
 * Gets the result of a request in `ret`: 0 or -errno. The library calls it
 * exactly once for each request, never inside the call that submits the
 * request, and does not touch the memory of the request any more. A callback
 * may submit requests and call functions that do not wait. blkalign_drain(),
 * blkalign_poll(), blkalign_close() and the synchronous functions return
 * -EDEADLK inside a callback, for every handle. A callback must not throw or
 * longjmp.
 */
typedef void (*blkalign_completion_fn)(void *opaque, int ret);

/**
 * A request of any kind, for blkalign_aio_submit(). Start from
 * BLKALIGN_REQUEST_INIT.
 */
typedef struct blkalign_request {
    /** sizeof(blkalign_request), as the INIT macro sets it. */
    size_t size;
    /** One of BLKALIGN_OP_*: the operation. */
    uint32_t op;
    /** Any BLKALIGN_REQ_* flags, combined with `|`. */
    uint32_t flags;
    /** Bytes from the start of the object, or of the window. 0 for a flush. */
    int64_t offset;
    /**
     * Length in bytes. Must equal the total length of `iov` for a read or
     * write; 0 for a flush.
     */
    int64_t bytes;
    /** The memory to read into or to write from. NULL for other operations. */
    const struct iovec *iov;
    /** Number of elements of `iov`, any number. Elements may be empty. */
    int iovcnt;
    /**
     * Torn-read promise of this request: bytes, a power of two of at most 1
     * MiB. 0: the value of the handle. A request with such a promise is atomic
     * in units of this many bytes against every other request with a promise
     * on the same object in this process. See blkalign(7), "Torn reads", also
     * for a loss of power.
     */
    uint32_t guest_block_size;
    /** The callback that gets the result. Must not be NULL. */
    blkalign_completion_fn cb;
    /** Passed to `cb` unchanged. */
    void *opaque;
    /**
     * Where the library stores the request's id for blkalign_aio_cancel().
     * NULL: nowhere. The id is stored before the request can have any effect,
     * so that `cb` always finds it, on any thread; the return value of the
     * submitting call may come later than `cb`. The pointer must stay valid
     * until the submitting call returns. A call that fails stores nothing. An
     * id is not used again before 137 billion requests: a cancel of a request
     * that is over returns -ENOENT.
     */
    int64_t *id;
} blkalign_request;

/**
 * Runs on a thread that the library has just started, before anything else
 * does. The thread has its name, which begins with "blkalign", and blocks
 * signals. The function may change the name, the processors, the priority, the
 * control group, and install a filter of system calls for the thread
 * (docs/SANDBOX.md says what the thread needs). It must return, must not throw
 * or longjmp, and must not call the library, except for blkalign_version().
 */
typedef void (*blkalign_thread_fn)(void *opaque);

/**
 * One limit of a throttle, as a token bucket: `rate` tokens come each second,
 * and at most `burst` of them are kept.
 */
typedef struct blkalign_bucket {
    /** Bytes, or requests, a second. 0: no limit. */
    uint64_t rate;
    /**
     * Bytes, or requests, that may go at once after a pause. 0: a tenth of
     * `rate`, at least 1. A request that needs more than `burst` goes when the
     * bucket is full; those behind it wait until what it took has come again.
     */
    uint64_t burst;
} blkalign_bucket;

/**
 * The limits of a throttle. Start from BLKALIGN_THROTTLE_LIMITS_INIT: no
 * limits. A request goes when every bucket that counts it has tokens for it.
 * Zero writes and discards count as writes of their length. In any second the
 * requests of a throttle move at most `rate` + `burst`, and at least 95
 * percent of `rate` if there are requests for that.
 */
typedef struct blkalign_throttle_limits {
    /** sizeof(blkalign_throttle_limits), as the INIT macro sets it. */
    size_t size;
    /** Limit of bytes that are read or written. */
    blkalign_bucket bytes;
    /** Limit of bytes that are read. */
    blkalign_bucket read_bytes;
    /** Limit of bytes that are written. */
    blkalign_bucket write_bytes;
    /** Limit of reads and writes together. */
    blkalign_bucket requests;
    /** Limit of reads. */
    blkalign_bucket read_requests;
    /** Limit of writes. */
    blkalign_bucket write_requests;
    /**
     * In the buckets of requests a request of more bytes counts as several:
     * its length divided by this number, rounded up. 0: each request is one.
     */
    uint64_t request_bytes;
} blkalign_throttle_limits;

/**
 * The answer to a `blkalign_before_write_fn`: `ret` is 0 if the change may go
 * on, or -errno if it is to fail with that. Call it once, from any thread,
 * with the `token` of the question, also before the `blkalign_before_write_fn`
 * has returned. A second call with the same token changes nothing; the log is
 * told.
 */
typedef void (*blkalign_before_write_done_fn)(void *token, int ret);

/**
 * A program's notifier: called before bytes of the object change.
 *
 * `op` is what will change them: BLKALIGN_OP_WRITE, BLKALIGN_OP_WRITE_ZEROES,
 * BLKALIGN_OP_DISCARD or BLKALIGN_OP_TRUNCATE. `offset` and `bytes` are the
 * range, from the start of the object (not of a window), rounded out to the
 * notifier's unit, but not beyond the end of the object, unless what changes
 * lies there. Of a truncate the range is what goes, or comes.
 *
 * Returns 0, and `done(token, ret)` is called then or later; or -errno, which
 * is as good as a call of `done` with it.
 *
 * The function runs on a thread that submits a request or on one of the
 * library, and several calls may run at once. So it must take no lock that the
 * program holds while it calls the library, and must not wait. Functions of
 * the library that wait return -EDEADLK in it; the blkalign_aio_*() functions
 * do not wait. It must not throw or longjmp.
 */
typedef int (*blkalign_before_write_fn)(void *opaque, uint32_t op,
                                        int64_t offset, int64_t bytes,
                                        blkalign_before_write_done_fn done,
                                        void *token);

/**
 * Options of an overlay. Start from BLKALIGN_OVERLAY_OPTIONS_INIT. Functions
 * that take a pointer to this struct accept NULL: all defaults.
 */
typedef struct blkalign_overlay_options {
    /** sizeof(blkalign_overlay_options), as the INIT macro sets it. */
    size_t size;
    /** Any BLKALIGN_OVERLAY_* flags, combined with `|`; 0 to create. */
    uint32_t flags;
    /**
     * Bytes of a cluster: a power of two from 4 KiB to 2 MiB. 0: 64 KiB to
     * create; to open, whatever the overlay was created with.
     */
    uint32_t cluster_size;
} blkalign_overlay_options;

/**
 * What the storage of a handle requires and can do, as blkalign_get_limits()
 * reports it. Start from BLKALIGN_LIMITS_INIT. All sizes and alignments are
 * bytes.
 */
typedef struct blkalign_limits {
    /** sizeof(blkalign_limits), as the INIT macro sets it. */
    size_t size;
    /**
     * Alignment of offset and total length of every I/O at the storage. The
     * library rounds requests out to it.
     */
    uint32_t request_alignment;
    /**
     * Alignment of memory addresses that the storage takes without a copy. (On
     * a file or device a part of a block is copied in any case.)
     */
    uint32_t mem_alignment;
    /**
     * Alignment of lengths of iovec elements that the storage takes without a
     * copy.
     */
    uint32_t segment_alignment;
    /** One of BLKALIGN_SOURCE_*: the source of `request_alignment`. */
    uint32_t request_alignment_source;
    /** One of BLKALIGN_SOURCE_*: the source of `mem_alignment`. */
    uint32_t mem_alignment_source;
    /** One of BLKALIGN_SOURCE_*: the source of `segment_alignment`. */
    uint32_t segment_alignment_source;
    /** Smallest unit that the device below can address. 0: not known. */
    uint32_t logical_block_size;
    /** Unit that the device below writes in one piece. 0: not known. */
    uint32_t physical_block_size;
    /** Length of a single I/O that the storage handles best. 0: not known. */
    uint32_t opt_transfer;
    /**
     * Greatest length of a single I/O. 0: no limit known. The library splits
     * longer requests.
     */
    uint32_t max_transfer;
    /**
     * Greatest number of elements in one I/O. 0: no limit known. The library
     * splits requests with more elements.
     */
    uint32_t max_segments;
    /**
     * Unit in which the storage discards: for a device the value in sysfs, for
     * a file the block size of its file system. 0: not known.
     */
    uint32_t discard_alignment;
    /**
     * Unit in which the storage makes zeros, from the same sources. 0: not
     * known.
     */
    uint32_t write_zeroes_alignment;
    /**
     * Length of the longest write that is all or nothing across a loss of
     * power, as statx(2) reported it at open. 0: statx(2) promised nothing
     * beyond the logical block, or I/O goes through the page cache.
     */
    uint32_t atomic_write_unit_max;
    /** 1: the handle uses O_DIRECT. 0: the page cache, or a driver. */
    uint32_t direct;
    /**
     * The engine in use: one of BLKALIGN_ENGINE_*, never BLKALIGN_ENGINE_AUTO.
     */
    uint32_t engine;
} blkalign_limits;

/**
 * Counters of one handle since it was opened, as blkalign_get_stats() reports
 * them. Start from BLKALIGN_STATS_INIT.
 */
typedef struct blkalign_stats {
    /** sizeof(blkalign_stats), as the INIT macro sets it. */
    size_t size;
    /** Reads that were submitted, finished or not. */
    uint64_t reads;
    /** Writes that were submitted. */
    uint64_t writes;
    /** Zero writes that were submitted. */
    uint64_t write_zeroes;
    /** Discards that were submitted. */
    uint64_t discards;
    /** Flushes that were submitted. */
    uint64_t flushes;
    /**
     * Bytes that callers asked to read, without what the library read around
     * them.
     */
    uint64_t bytes_read;
    /**
     * Bytes that callers asked to write, without what the library wrote around
     * them.
     */
    uint64_t bytes_written;
    /**
     * Requests of which every byte moved between caller's memory and storage
     * without a copy.
     */
    uint64_t zero_copy;
    /** Requests of which at least one byte was copied. */
    uint64_t bounced;
    /** Requests that needed a read-modify-write. */
    uint64_t rmw;
    /** Edge reads that went to the storage. */
    uint64_t rmw_reads;
    /**
     * Edge reads that were saved, because writes covered the block together,
     * or because the block's bytes were still in memory.
     */
    uint64_t rmw_reads_skipped;
    /**
     * Writes that went out as a part of another request's write. That other
     * request does not count here.
     */
    uint64_t merged;
    /** Requests that waited for an overlapping request. */
    uint64_t waits;
    /**
     * Reads at the storage. Adjacent reads that went out as one count once.
     */
    uint64_t storage_reads;
    /**
     * Writes at the storage. Adjacent writes that went out as one count once.
     */
    uint64_t storage_writes;
    /** Requests that failed. Requests that were cancelled do not count. */
    uint64_t errors;
    /** Requests that were submitted and are not done yet. */
    uint64_t in_flight;
    /**
     * How often the storage refused an alignment that it had accepted before,
     * and trial reads found a larger one; at most 8 times, after which
     * requests fail. Requests that start again after such a repair count again
     * in `rmw` and `merged`.
     */
    uint64_t probe_repairs;
    /** Requests that a throttle held: see blkalign_set_throttle(). */
    uint64_t throttled;
    /**
     * For how long they were held, all together, in nanoseconds. What is still
     * held does not count yet.
     */
    uint64_t throttled_ns;
} blkalign_stats;

/**
 * Is told of a request that is at the storage for longer than the handle's
 * limit: its kind, one of BLKALIGN_OP_*, its offset and length as submitted,
 * and its id. Runs on a thread of the library,
 * one call at a time for each handle, and counts as a callback: it may call
 * functions that do not wait.
 */
typedef void (*blkalign_timeout_fn)(void *opaque, uint32_t op, int64_t offset,
                                    int64_t bytes, int64_t request_id);

/**
 * How long the requests of one kind took, as blkalign_get_latency() reports
 * it: from the submission until the result was there, before the callback ran.
 * All times are nanoseconds. Start from BLKALIGN_LATENCY_INIT.
 *
 * The numbers only grow, so that the difference of two reports is that of the
 * time in between.
 */
typedef struct blkalign_latency {
    /** sizeof(blkalign_latency), as the INIT macro sets it. */
    size_t size;
    /** Number of requests that were over; cancelled ones are not counted. */
    uint64_t count;
    /** Sum of their times. */
    uint64_t total_ns;
    /** The longest time. */
    uint64_t max_ns;
    /**
     * The time that half of the requests did not exceed. It may be up to an
     * eighth too long, here and below.
     */
    uint64_t p50_ns;
    /** The time that 90 of 100 requests did not exceed. */
    uint64_t p90_ns;
    /** The time that 99 of 100 requests did not exceed. */
    uint64_t p99_ns;
    /** The time that 999 of 1000 requests did not exceed. */
    uint64_t p999_ns;
    /**
     * The histogram: how many requests took how long. Bucket 0 to 7 are those
     * of 0 to 7 ns; from there on each power of two has eight buckets of one
     * width. blkalign_latency_bucket_ns() gives the longest time of a bucket.
     */
    uint64_t buckets[312];
} blkalign_latency;

/**
 * Gets one message of the log. `level` is one of BLKALIGN_LOG_*. `message` is
 * one line of UTF-8 without newline and control characters, valid until the
 * function returns. Any thread may call it, several at a time, also inside
 * calls of the library; the library holds no lock meanwhile. The function must
 * not throw or longjmp, and must not call the library, except for
 * blkalign_version(). Messages that arise inside the function are lost.
 */
typedef void (*blkalign_log_fn)(void *opaque, int level, const char *message);

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Opens a file or a block device.
 *
 * `opts` may be NULL: all defaults, that is read-only through the page cache.
 * `*out` is written only on success. All handles of one file or device in this
 * process coordinate their requests, whatever path each was opened by. The
 * first handle decides whether all use O_DIRECT or the page cache: see
 * BLKALIGN_O_DIRECT.
 *
 * The open acquires everything that the handle needs later, so that the
 * program may give up its privileges or its /proc afterwards. A handle has up
 * to five descriptors: the file, the file again through the page cache and for
 * flushes, the ring, and the descriptor of blkalign_get_event_fd().
 * BLKALIGN_O_LOCK needs two more.
 *
 * Returns 0 or -errno: any error of open(2), with BLKALIGN_ENGINE_IO_URING
 * also any error of io_uring_setup(2) and io_uring_enter(2) such as -ENOSYS or
 * -EPERM, and
 * -EINVAL   `path` or `out` is NULL; `opts` has an unknown flag or value, an
 *           alignment that is no power of two, no size, or too great a number
 *           of workers or queue_depth; BLKALIGN_O_DIRECT on a file system
 *           without O_DIRECT; a window that passes the end; BLKALIGN_O_RESIZE
 *           with a window, for a block device, or for a driver without
 *           truncate;
 * -E2BIG    `opts` comes from a newer version of the header and uses a field
 *           that this library does not have;
 * -EROFS    BLKALIGN_O_RDWR for a read-only device (blockdev --setro);
 * -EOPNOTSUPP  BLKALIGN_O_RDWR for a zoned device that takes writes in order
 *           only (host-managed); BLKALIGN_ENGINE_IO_URING for a file on FUSE;
 * -EBUSY    BLKALIGN_O_DIRECT without BLKALIGN_O_BUFFERED_OK, while this
 *           process has the object open through the page cache; or another
 *           copy of the library in this process has the object open;
 * -EAGAIN   BLKALIGN_O_LOCK: another process holds a conflicting lock;
 *           blkalign_errmsg() names the byte of the lock;
 * -ENOTSUP  BLKALIGN_O_LOCK: the file system has no such locks;
 * -ENOLCK   BLKALIGN_O_LOCK: the same, as other file systems report it.
 */
int blkalign_open(const char *path, const blkalign_open_options *opts,
                  blkalign_handle **out);

/**
 * Opens the file or block device that a file descriptor refers to. `fd` stays
 * open and belongs to the caller. The handle gets descriptors of its own, and
 * the flags of `fd`, O_DIRECT among them, stay as they are.
 *
 * The library opens the file again through /proc/self/fd. If that is not
 * possible, because /proc is missing or because this process may not open the
 * file, it uses a duplicate of `fd`, with the restrictions that blkalign(7)
 * names under "Descriptors".
 *
 * Returns 0 or -errno: any error of blkalign_open(), the error of open(2) for
 * /proc/self/fd if a duplicate does not suffice (blkalign_errmsg() then names
 * /proc), and
 * -EBADF    `fd` is not open;
 * -EACCES   `fd` does not allow what `opts` asks for.
 */
int blkalign_open_fd(int fd, const blkalign_open_options *opts,
                     blkalign_handle **out);

/**
 * Opens a caller's own storage. `driver_opaque` is passed to each function of
 * the driver. Each call creates a storage object of its own; blkalign_dup()
 * opens further handles of it. The engine is BLKALIGN_ENGINE_THREADS, whatever
 * `opts` says.
 *
 * Returns 0 or -errno: any error of the driver's getlength, and
 * -EINVAL   `driver` or `out` is NULL; a function that is required is missing;
 *           alignments or limits contradict each other; the length is no
 *           multiple of `request_alignment`; BLKALIGN_O_LOCK, which needs a
 *           file or a device; or an error in `opts`, as for blkalign_open();
 * -E2BIG    `driver` or `opts` comes from a newer version of the header and
 *           uses a field that this library does not have.
 */
int blkalign_open_driver(const blkalign_driver *driver, void *driver_opaque,
                         const blkalign_open_options *opts,
                         blkalign_handle **out);

/**
 * Opens another handle, with a queue of its own, on the object of `h`. The
 * options of `h` are not inherited: `opts` may be NULL and then means all
 * defaults.
 *
 * Returns 0 or -errno: any error of blkalign_open(), and
 * -EINVAL   `h` is NULL.
 */
int blkalign_dup(blkalign_handle *h, const blkalign_open_options *opts,
                 blkalign_handle **out);

/**
 * Waits until every request of the handle has called back, then closes the
 * handle. With BLKALIGN_COMPLETION_EVENTFD the callbacks run inside this call.
 * `h` may be NULL.
 *
 * Returns 0 or -errno. The handle is gone after every result but -EDEADLK.
 * -EDEADLK  called inside a callback; the handle is still open.
 */
int blkalign_close(blkalign_handle *h);

/**
 * Reads `bytes` bytes at `offset` into `buf`. Offset, length and address need
 * no alignment.
 *
 * `flags` are BLKALIGN_REQ_*. The call blocks until the read is done, in every
 * completion mode. It reads all of `bytes` or fails; a length of 0 succeeds.
 * Offset, length and their sum may be as large as 0x7fffffffc0000000.
 *
 * Returns 0 or -errno: any error of the storage, and
 * -EINVAL   `h` is NULL; `offset`, `bytes` or `flags` are out of range; `buf`
 *           is NULL and `bytes` is not 0; BLKALIGN_REQ_REGISTERED_BUF and
 *           memory outside registered regions;
 * -EIO      the range passes the end of the object;
 * -EBUSY    BLKALIGN_REQ_NO_WAIT is set and an overlapping request is in
 *           flight;
 * -ECANCELED  another thread called blkalign_cancel_all();
 * -EDEADLK  called inside a callback.
 */
int blkalign_pread(blkalign_handle *h, int64_t offset, int64_t bytes,
                   void *buf, uint32_t flags);

/**
 * Writes `bytes` bytes from `buf` at `offset`. Offset, length and address need
 * no alignment. No other byte of the object changes. The length of the object
 * changes only with BLKALIGN_O_RESIZE.
 *
 * `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_FUA the bytes are durable when
 * the call returns. If the write covers a part of a block, the library reads
 * the other bytes of the block first; if that read fails, the call fails with
 * its error and writes nothing.
 *
 * Returns 0 or -errno: any error of blkalign_pread(), and
 * -EPERM    the handle is read-only;
 * -ENOMEM   no memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
 */
int blkalign_pwrite(blkalign_handle *h, int64_t offset, int64_t bytes,
                    const void *buf, uint32_t flags);

/**
 * Reads at `offset` into the elements of `iov`, one after the other. There may
 * be any number of elements, more than IOV_MAX included. Elements may be
 * empty, and several may name the same memory. Otherwise like
 * blkalign_pread().
 *
 * Returns 0 or -errno: any error of blkalign_pread(), and
 * -EINVAL   `iovcnt` is negative; `iov` is NULL and `iovcnt` is not 0; an
 *           element has a NULL address and a length;
 *           BLKALIGN_REQ_REGISTERED_BUF and an element outside registered
 *           memory.
 */
int blkalign_preadv(blkalign_handle *h, int64_t offset,
                    const struct iovec *iov, int iovcnt, uint32_t flags);

/**
 * Writes the elements of `iov` at `offset`, one after the other. Otherwise
 * like blkalign_pwrite().
 *
 * Returns 0 or -errno: any error of blkalign_preadv(), and
 * -EPERM    the handle is read-only;
 * -ENOMEM   no memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
 */
int blkalign_pwritev(blkalign_handle *h, int64_t offset,
                     const struct iovec *iov, int iovcnt, uint32_t flags);

/**
 * Makes `bytes` bytes at `offset` zeros. Offset and length need no alignment.
 * For whole blocks the library uses the storage's own operation (fallocate(2),
 * a driver's pwrite_zeroes); it writes the edges. If the storage has no such
 * operation, the library writes blocks of zeros, unless
 * BLKALIGN_REQ_NO_FALLBACK is set.
 *
 * `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_MAY_UNMAP the storage may
 * deallocate the range.
 *
 * Returns 0 or -errno: any error of blkalign_pwrite(), and
 * -ENOTSUP  BLKALIGN_REQ_NO_FALLBACK is set and the storage has no operation
 *           for zeros; nothing was written.
 */
int blkalign_pwrite_zeroes(blkalign_handle *h, int64_t offset, int64_t bytes,
                           uint32_t flags);

/**
 * Tells the storage that `bytes` bytes at `offset` are not needed any more.
 * This is advice. Whole units of blkalign_limits.discard_alignment inside the
 * range may read as anything until they are written again; the rest of the
 * range does not change. Without BLKALIGN_O_UNMAP, and on storage that cannot
 * discard, the call succeeds and does nothing.
 *
 * Returns 0 or -errno: any error of the storage, and
 * -EINVAL   `h` is NULL; `offset` or `bytes` are out of range;
 * -EIO      the range passes the end of the object;
 * -EPERM    the handle is read-only;
 * -ECANCELED  another thread called blkalign_cancel_all();
 * -EDEADLK  called inside a callback.
 */
int blkalign_pdiscard(blkalign_handle *h, int64_t offset, int64_t bytes);

/**
 * Makes durable every write that completed before this call, on any handle of
 * the same object. After a flush has failed, every later flush of the object
 * fails as well, until the object is opened again: the system does not say
 * which data were lost.
 *
 * Returns 0 or -errno: any error of the storage, and
 * -EINVAL   `h` is NULL;
 * -ECANCELED  another thread called blkalign_cancel_all();
 * -EDEADLK  called inside a callback.
 */
int blkalign_flush(blkalign_handle *h);

/**
 * Changes the length of the object to `length` bytes. A part that is cut off
 * is lost; a part that is added reads as zeros. The call waits for the
 * requests in the range that it removes or adds, and later requests there wait
 * for it. It does not need BLKALIGN_O_RESIZE.
 *
 * Returns 0 or -errno: any error of the storage, and
 * -EINVAL   `h` is NULL; `length` is out of range; the object is a block
 *           device; the handle has a window;
 * -EPERM    the handle is read-only;
 * -EFBIG    `length` exceeds RLIMIT_FSIZE, or what the file system can hold;
 * -ENOTSUP  the driver has no truncate function;
 * -ECANCELED  another thread called blkalign_cancel_all();
 * -EDEADLK  called inside a callback.
 */
int blkalign_truncate(blkalign_handle *h, int64_t length);

/**
 * Waits until every request of this handle that was submitted before this call
 * has called back, synchronous requests of other threads included. Requests
 * that threads hold back with blkalign_plug() are submitted first. Requests
 * that are submitted during the call do not prolong it. With
 * BLKALIGN_COMPLETION_EVENTFD callbacks run inside this call. Any number of
 * threads may drain a handle at once.
 *
 * Returns 0 or -errno. Results of requests go to their callbacks only.
 * -EINVAL   `h` is NULL;
 * -EDEADLK  called inside a callback.
 */
int blkalign_drain(blkalign_handle *h);

/**
 * Waits like blkalign_drain(), but for at most `timeout_ms` milliseconds. A
 * negative value means no time limit. With 0 the call does not wait: it
 * submits what is held back, runs callbacks that are due
 * (BLKALIGN_COMPLETION_EVENTFD), and reports whether all is done. A callback
 * that runs inside this call may prolong it.
 *
 * Returns 0 or -errno: any error of blkalign_drain(), and
 * -ETIMEDOUT  a request that was submitted before this call has not called
 *             back yet; it will do so later.
 */
int blkalign_drain_timeout(blkalign_handle *h, int timeout_ms);

/**
 * Starts to read at `offset` into the elements of `iov`. Otherwise like
 * blkalign_preadv().
 *
 * The call never blocks: requests that the storage cannot take yet wait in the
 * library. The array `iov` may be freed when the call has returned; the memory
 * that the elements name must stay valid until `cb` is called.
 *
 * Returns the id of the request, greater than 0, for blkalign_aio_cancel();
 * cb(opaque, ret) is then called exactly once, and never inside this call. Or
 * returns -errno, and `cb` is never called. Errors of the storage go to `cb`.
 * -EINVAL   `h` or `cb` is NULL; `offset` or `flags` are out of range;
 *           `iovcnt` is negative; `iov` is NULL and `iovcnt` is not 0; an
 *           element has a NULL address and a length;
 *           BLKALIGN_REQ_REGISTERED_BUF and an element outside registered
 *           memory;
 * -EIO      the range passes the end of the object;
 * -ENOMEM   so little memory is left that the requests in flight need it.
 */
int64_t blkalign_aio_preadv(blkalign_handle *h, int64_t offset,
                            const struct iovec *iov, int iovcnt,
                            uint32_t flags, blkalign_completion_fn cb,
                            void *opaque);

/**
 * Starts to write the elements of `iov` at `offset`. Otherwise like
 * blkalign_pwritev(). The memory that the elements name must stay valid and
 * unchanged until `cb` is called.
 *
 * Returns the id of the request, or -errno: any error of
 * blkalign_aio_preadv(), and
 * -EPERM    the handle is read-only;
 * -ENOMEM   no memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
 */
int64_t blkalign_aio_pwritev(blkalign_handle *h, int64_t offset,
                             const struct iovec *iov, int iovcnt,
                             uint32_t flags, blkalign_completion_fn cb,
                             void *opaque);

/**
 * Starts a zero write. Otherwise like blkalign_pwrite_zeroes().
 *
 * Returns the id of the request, or -errno: any error of
 * blkalign_aio_preadv(), and
 * -EPERM    the handle is read-only.
 */
int64_t blkalign_aio_pwrite_zeroes(blkalign_handle *h, int64_t offset,
                                   int64_t bytes, uint32_t flags,
                                   blkalign_completion_fn cb, void *opaque);

/**
 * Starts a discard. Otherwise like blkalign_pdiscard().
 *
 * Returns the id of the request, or -errno: any error of
 * blkalign_aio_preadv(), and
 * -EPERM    the handle is read-only.
 */
int64_t blkalign_aio_pdiscard(blkalign_handle *h, int64_t offset,
                              int64_t bytes, blkalign_completion_fn cb,
                              void *opaque);

/**
 * Starts a flush of the writes that have completed so far. Otherwise like
 * blkalign_flush().
 *
 * Returns the id of the request, or -errno:
 * -EINVAL   `h` or `cb` is NULL;
 * -ENOMEM   so little memory is left that the requests in flight need it.
 */
int64_t blkalign_aio_flush(blkalign_handle *h, blkalign_completion_fn cb,
                           void *opaque);

/**
 * Starts a request of any kind. `request->op` names the operation. The other
 * fields must fit the operation: see blkalign_request.
 *
 * Returns the id of the request, which is also stored through
 * blkalign_request.id, or -errno: any error of the blkalign_aio_*() function
 * for that operation, and
 * -EINVAL   `request` is NULL; its op is unknown; `bytes` is not the total
 *           length of `iov`; fields that the operation does not use are set;
 *           `guest_block_size` is no power of two of at most 1 MiB;
 * -E2BIG    `request` comes from a newer version of the header and uses a
 *           field that this library does not have.
 */
int64_t blkalign_aio_submit(blkalign_handle *h,
                            const blkalign_request *request);

/**
 * Cancels a request that has not reached the storage. The callback of the
 * request runs soon, with -ECANCELED; the request reads and writes nothing.
 * Requests that waited for the cancelled request go on. blkalign_stats.errors
 * does not count it.
 *
 * `request_id` is the return value of the call that submitted the request.
 * With BLKALIGN_COMPLETION_SERIAL and BLKALIGN_COMPLETION_CONCURRENT the
 * callback may run before that call returns: where several threads use ids,
 * take them from blkalign_request.id.
 *
 * A zero write or a discard that is at the storage with more than 16 GiB left
 * to do asks the storage for nothing further. This call then returns -EBUSY,
 * and the request completes with -ECANCELED as soon as the current piece is
 * over; a part of the range has then been zeroed or discarded.
 *
 * Returns 0 if the request was cancelled, or -errno:
 * -EBUSY    the request, or the write that it is a part of, is at the storage;
 *           it will complete by itself;
 * -ENOENT   the handle has no such request, or the request is over;
 * -EINVAL   `h` is NULL.
 */
int blkalign_aio_cancel(blkalign_handle *h, int64_t request_id);

/**
 * Cancels all requests of the handle that have not reached the storage, as
 * blkalign_aio_cancel() would. Synchronous calls of other threads that are
 * cancelled return -ECANCELED. Requests at the storage complete by themselves.
 * The time that the call takes grows with the number of requests in flight on
 * the object, not with the number that it cancels.
 *
 * Returns how many requests were cancelled, or -errno:
 * -EINVAL   `h` is NULL.
 */
int blkalign_cancel_all(blkalign_handle *h);

/**
 * Switches the write cache of the handle, as a guest sees it, on (`enable` is
 * not 0) or off. Off means that each write submitted from now on is treated as
 * if it carried BLKALIGN_REQ_FUA. Use blkalign_flush() for earlier writes.
 * BLKALIGN_O_WRITETHROUGH switches the cache off at open.
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` is NULL.
 */
int blkalign_set_write_cache(blkalign_handle *h, int enable);

/**
 * Registers memory for requests with BLKALIGN_REQ_REGISTERED_BUF, such as the
 * memory of a guest. io_uring then maps and pins the memory once, not for each
 * request (fixed buffers). Registration has no effect with threads, nor where
 * the kernel grants no fixed buffers, for example because RLIMIT_MEMLOCK is
 * too low; the call succeeds then as well. An I/O profits if its data are one
 * contiguous piece of one region.
 *
 * Regions must not overlap. The memory must stay mapped, with the same pages,
 * until blkalign_unregister_buf() or blkalign_close(): see blkalign(7),
 * "Registered memory".
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` or `host` is NULL; `bytes` is 0; the region passes the end of
 *           the address space;
 * -EEXIST   the region overlaps a registered one.
 */
int blkalign_register_buf(blkalign_handle *h, void *host, size_t bytes);

/**
 * Ends the registration of a region. `host` and `bytes` must be those of the
 * call of blkalign_register_buf(). No request that uses the region may be in
 * flight.
 *
 * Returns 0 or -errno:
 * -EINVAL   as for blkalign_register_buf();
 * -ENOENT   there is no such region.
 */
int blkalign_unregister_buf(blkalign_handle *h, void *host, size_t bytes);

/**
 * Holds back the asynchronous requests that this thread submits to this
 * handle, until blkalign_unplug() submits them as one batch. A batch costs one
 * system call where the storage allows that. Writes of a batch that share a
 * block become one write, reads that share a block become one read, and
 * adjacent I/Os become one I/O. Calls nest. Requests of other threads are not
 * held back.
 *
 * A synchronous call first submits what its own thread holds back.
 * blkalign_drain() and blkalign_close() submit what all threads hold back, and
 * blkalign_cancel_all() cancels it; blkalign_poll() leaves it alone. A thread
 * must call blkalign_unplug() before it ends, and a callback before it
 * returns: see blkalign(7), "Batches".
 */
void blkalign_plug(blkalign_handle *h);

/**
 * Ends one call of blkalign_plug() on this thread. The outermost call submits
 * the requests that were held back. Without a preceding blkalign_plug() the
 * call does nothing.
 */
void blkalign_unplug(blkalign_handle *h);

/**
 * Returns a descriptor for poll(2), epoll(7) and the like. While the
 * descriptor is readable, blkalign_poll() may have callbacks to run. It may
 * also be readable without a callback. Do not read from the descriptor. It
 * belongs to the handle and is closed with the handle. A program that calls
 * blkalign_poll() without waiting for the descriptor does not need it.
 *
 * Returns the descriptor or -errno: any error of eventfd(2), and
 * -EINVAL   `h` is NULL, or was not opened with BLKALIGN_COMPLETION_EVENTFD.
 */
int blkalign_get_event_fd(blkalign_handle *h);

/**
 * Runs up to `max` callbacks that are due, on this thread. Callbacks that
 * become due during the call do not prolong it. If no callback is due, the
 * call waits for one: at most `timeout_ms` milliseconds, not at all if 0,
 * without a time limit if negative. Without a time limit the call may also
 * carry out I/O of the handle on this thread. Requests that callbacks submit
 * go out in batches, as between blkalign_plug() and blkalign_unplug().
 *
 * Any number of threads may poll a handle at once; callbacks then run in
 * parallel. Polling is fastest on the thread that submits.
 *
 * Returns how many callbacks ran, 0 if the time is over, or -errno:
 * -EINVAL   `h` is NULL, or was not opened with BLKALIGN_COMPLETION_EVENTFD;
 *           `max` is not greater than 0;
 * -EDEADLK  called inside a callback.
 */
int blkalign_poll(blkalign_handle *h, int max, int timeout_ms);

/**
 * Sets the function that each thread of the library runs first, for the whole
 * process, also on several threads at once. It replaces the function that was
 * set before. NULL: none, as at the start. Threads that run already are left
 * alone, so set the hook before the first open.
 *
 * Threads start while blkalign_open() and its kin run, which return after the
 * hook has; later ones are started by threads of the library. The function
 * runs on threads of the pool ("blkalign-work") and of throttles
 * ("blkalign-timer"). Threads that the kernel starts for io_uring are not the
 * library's. See blkalign(7), "Sandboxes".
 *
 * When the call returns, no call of the earlier hook is running or will begin,
 * so that its `opaque` may be freed.
 *
 * Returns 0 or -errno:
 * -EDEADLK  the call comes from inside a hook.
 */
int blkalign_set_thread_hook(blkalign_thread_fn hook, void *opaque);

/**
 * Creates a throttle: a group of limits that all handles share which get it by
 * blkalign_set_throttle(). The handles may be those of several objects.
 * `*out` is written only on success. See blkalign(7), "Throttling".
 *
 * Returns 0 or -errno:
 * -EINVAL   `limits` or `out` is NULL; limits->size is not set; a bucket has a
 *           burst and no rate;
 * -E2BIG    `limits` comes from a newer version of the header and uses a field
 *           that this library does not have.
 */
int blkalign_throttle_new(const blkalign_throttle_limits *limits,
                          blkalign_throttle **out);

/**
 * Changes the limits of a throttle, at any time and on any thread. The new
 * limits hold at once, also for requests that the throttle holds. The call
 * does not wait.
 *
 * Returns 0 or -errno: any error of blkalign_throttle_new(), and
 * -EINVAL   `t` is NULL.
 */
int blkalign_throttle_set(blkalign_throttle *t,
                          const blkalign_throttle_limits *limits);

/**
 * Gives up the caller's reference to a throttle: `t` must not be used any
 * more. Handles that have the throttle keep it, and its limits, until they are
 * closed or get another. `t` may be NULL.
 *
 * Returns 0.
 */
int blkalign_throttle_free(blkalign_throttle *t);

/**
 * Makes the requests that are submitted to `h` from now on keep to the limits
 * of `t`. `t` may be NULL: no limits. Requests that the handle's throttle of
 * before holds are let go at once. The call does not wait for requests.
 *
 * Reads, writes, zero writes and discards are held before they wait for any
 * other request; flushes, truncates and the library's own edge reads are never
 * held. Requests of one handle go in order of submission, the handles of a
 * throttle take turns request by request. A synchronous call waits in the
 * throttle. What is held can be cancelled. blkalign_drain() and
 * blkalign_close() let all that is held go at once.
 *
 * While a handle has a throttle the library has one more thread, for all
 * throttles together.
 *
 * Returns 0 or -errno; after an error nothing has changed:
 * -EINVAL   `h` is NULL;
 * -ENOMEM   the system gives no thread.
 */
int blkalign_set_throttle(blkalign_handle *h, blkalign_throttle *t);

/**
 * Adds a notifier: `notify` is called before any request changes bytes of the
 * object of `h`, and the request waits for the answer. That is what a backup
 * of a disk in use is made with, and how changes are tracked.
 *
 * All changes count, by whichever handle of the object: writes, zero writes,
 * discards and truncates. `notify` is called for a change when the change has
 * waited for all requests that it conflicts with, and before anything of it
 * reaches the storage, with its range rounded out to multiples of `unit` (a
 * power of two, 1 byte to 1 GiB). Until `done` is called, the change and all
 * other changes in the rounded range wait. Reads do not wait, on any handle:
 * they see the old bytes. Only a SERIALISING read of the range waits. While a
 * change is announced a cancel of it is -EBUSY. If the answer is -errno the
 * change fails with that, and nothing of it is written. Where one call
 * announces several writes that is so of the first; the others can be
 * cancelled, and after -errno they are announced by themselves.
 *
 * Ranges of one unit are announced one after the other. One call may announce
 * several writes that will be one I/O. Several notifiers are called one after
 * the other, in the order in which they were added. `notify` gets `opaque`.
 *
 * The call returns when every change is over that was not announced to the
 * notifier: from then on all changes are. The notifier belongs to the object:
 * it stays until blkalign_remove_before_write(), also when `h` is closed, as
 * long as any handle of the object is open. `*out` is written only on success,
 * and `notify` may be called before that. See blkalign(7), "Backup and change
 * tracking".
 *
 * Returns 0 or -errno:
 * -EINVAL   `h`, `notify` or `out` is NULL; `unit` is no power of two, or is
 *           above 1 GiB;
 * -EBUSY    `h` has paused the object (blkalign_pause()): what waits in the
 *           pause would be waited for;
 * -EDEADLK  the call was made inside a callback or a notifier;
 * -EIO      the library has had an internal error on this object.
 */
int blkalign_add_before_write(blkalign_handle *h, uint32_t unit,
                              blkalign_before_write_fn notify, void *opaque,
                              blkalign_notifier **out);

/**
 * Removes a notifier: no change is announced to it any more. The call returns
 * when none of its calls is outstanding: each has returned, and `done` has
 * been called for it. Then `n` is gone, and its `opaque` is not used any more.
 * Every notifier must be removed, also when all handles of the object are
 * closed.
 *
 * Returns 0 or -errno; after an error the notifier is still there:
 * -EINVAL   `n` is NULL;
 * -EDEADLK  the call was made inside a callback or a notifier.
 */
int blkalign_remove_before_write(blkalign_notifier *n);

/**
 * Creates an overlay: the file `path`, which is `length` bytes long, and
 * `path`.map, which says which clusters of the file are there. At first none
 * is: all bytes are those of the backing object that the overlay is opened
 * with, by blkalign_open_overlay(). Both files are on stable storage when the
 * call returns. `o` may be NULL.
 *
 * Returns 0 or -errno: any error of open(2), write(2) and fsync(2), and
 * -EEXIST   `path` or `path`.map exists;
 * -EINVAL   `path` is NULL; `length` is negative or too great; o->cluster_size
 *           is not allowed; o->flags is not 0;
 * -E2BIG    `o` comes from a newer version of the header and uses a field
 *           that this library does not have.
 */
int blkalign_overlay_create(const char *path, int64_t length,
                            const blkalign_overlay_options *o);

/**
 * Opens an overlay that blkalign_overlay_create() has created. What the
 * overlay has not got yet is read from `backing`: any handle, of a file, a
 * device, a driver or another overlay, of any length and any alignment. Where
 * `backing` is shorter there are zeros. The bytes of `backing` must not
 * change, and `backing` must stay open, until the last handle of the overlay
 * is closed; the library reads it by blkalign_pread(), on any thread. Several
 * overlays may have the same `backing`. What is done to `backing` itself is
 * done to these reads, too: a throttle, a pause, blkalign_cancel_all().
 *
 * Each cluster that is written stays in `path`, at its own offset. A write of
 * a part of a cluster brings the rest from `backing`; if that cannot be read,
 * the write fails and nothing is changed. A zero write, and a discard that is
 * carried out, leave zeros, never the bytes of `backing`. A flush makes the
 * data durable, then the map. When nothing is absent any more the map is
 * removed as the last handle is closed: `path` is an ordinary image then, to
 * be opened by blkalign_open().
 *
 * blkalign_dup() opens more handles of the overlay. The length is fixed.
 *
 * Returns 0 or -errno: any error of blkalign_open(), and
 * -ENOENT   there is no `path`, or no `path`.map;
 * -EINVAL   `path`, `backing` or `out` is NULL; the map is damaged, of another
 *           length or of an unknown version, and nothing was touched; `path`
 *           is no regular file; o->cluster_size is another than that of the
 *           map; clusters are smaller than a block of the storage;
 *           BLKALIGN_O_CREATE; BLKALIGN_OVERLAY_COPY_ON_READ without
 *           BLKALIGN_O_RDWR; an unknown flag in o->flags;
 * -ENOTSUP  a window, or BLKALIGN_O_RESIZE;
 * -EBUSY    this process has `path` open;
 * -EAGAIN   another process has the overlay open.
 */
int blkalign_open_overlay(const char *path, blkalign_handle *backing,
                          const blkalign_open_options *opts,
                          const blkalign_overlay_options *o,
                          blkalign_handle **out);

/**
 * Tells whether the byte at `offset` of an overlay is there, or absent: taken
 * from the backing object. `*run` gets for how many bytes from `offset` on, at
 * most `bytes`, that is so. `run` may be NULL. What is there stays there; what
 * is absent may come at any moment.
 *
 * Returns 1 (there), 0 (absent) or -errno:
 * -EINVAL   `h` is NULL or no overlay; the range is empty or passes the end.
 */
int blkalign_overlay_status(blkalign_handle *h, int64_t offset, int64_t bytes,
                            int64_t *run);

/**
 * Starts to copy all that is absent from the backing object, while other
 * requests go on: several clusters at a time, adjacent ones at once. The copy
 * never undoes a write. Writes to what is being copied at this moment wait for
 * that. From time to time, and at the end, what has been copied is made
 * durable and noted in the map; a later fill goes on from there, also after a
 * crash. blkalign_aio_cancel() stops the fill between two clusters, and
 * returns 0. No throttle of `h` counts the fill; one of the backing handle
 * does.
 *
 * Returns the id of the fill, or -errno: any error of blkalign_aio_flush(),
 * and
 * -EINVAL   `h` is no overlay;
 * -EPERM    the handle is read-only.
 */
int64_t blkalign_overlay_fill(blkalign_handle *h, blkalign_completion_fn cb,
                              void *opaque);

/**
 * The version of the library that the program runs with, such as "0.2.0".
 *
 * Returns a string that is valid as long as the library is loaded.
 */
const char *blkalign_version(void);

/**
 * The last failure of a call on this thread, in words for a log: what failed,
 * where and why. In a callback that gets an error, the words describe that
 * error. Calls that succeed do not change the words.
 *
 * Returns a string, never NULL, and "" if no call has failed. It is valid
 * until the next failure on this thread.
 */
const char *blkalign_errmsg(void);

/**
 * Why threads do the I/O of a handle that could have used io_uring, in words
 * for a log. The system has refused io_uring, either at the open with
 * BLKALIGN_ENGINE_AUTO, or later; or the file is on FUSE.
 *
 * Returns a string, never NULL, that is valid until the handle is closed. The
 * string is "" if io_uring does the I/O, if the handle was opened with
 * BLKALIGN_ENGINE_THREADS, if the storage is a blkalign_driver, or if `h` is
 * NULL.
 */
const char *blkalign_engine_reason(blkalign_handle *h);

/**
 * The length of the object, or of the window, in bytes. The library looks the
 * length up at each open and in blkalign_refresh_length(), and takes account
 * of the requests that change it.
 *
 * Returns the length or -errno:
 * -EINVAL   `h` is NULL.
 */
int64_t blkalign_getlength(blkalign_handle *h);

/**
 * Looks up the length of the storage again: a device may have grown or shrunk,
 * another process may have changed a file, the getlength of a driver may
 * return another value. The new length holds for all handles of the object.
 * blkalign_open() and blkalign_dup() do the same for an object that is open
 * already.
 *
 * The call waits for the requests in flight that change the length or lie past
 * the new end; these requests get the result that the storage gives. Requests
 * past the new end that are submitted later fail with -EIO, unless
 * BLKALIGN_O_RESIZE is set. A window shows what is left of it, and all of it
 * again when the object has grown. A window that was opened without a length
 * ends at the end of the object.
 *
 * Returns the length, as blkalign_getlength() does, or -errno: any error of
 * the storage, and
 * -EINVAL   `h` is NULL; the length of the driver is no multiple of the
 *           request alignment of each of its handles; nothing changes then;
 * -ECANCELED  another thread called blkalign_cancel_all();
 * -EDEADLK  called inside a callback.
 */
int64_t blkalign_refresh_length(blkalign_handle *h);

/**
 * Reports what the storage requires, and the source of each alignment. The
 * caller sets limits->size, best with BLKALIGN_LIMITS_INIT; the library writes
 * no more than that many bytes.
 *
 * The three alignments may grow while a handle is open: if the storage refuses
 * an alignment that it accepted before, trial reads find a larger one, and
 * requests in flight are repeated with it. Also `engine` changes when threads
 * take over from io_uring. Nothing else changes.
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` or `limits` is NULL; limits->size is not set;
 * -E2BIG    limits->size is too large for this struct in any version.
 */
int blkalign_get_limits(blkalign_handle *h, blkalign_limits *limits);

/**
 * Reads the counters of the handle. The caller sets stats->size, best with
 * BLKALIGN_STATS_INIT; the library writes no more than that many bytes.
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` or `stats` is NULL; stats->size is not set;
 * -E2BIG    stats->size is too large for this struct in any version.
 */
int blkalign_get_stats(blkalign_handle *h, blkalign_stats *stats);

/**
 * Allocates `bytes` bytes that the storage of `h` takes without a copy. The
 * bytes are zero. Free the memory with blkalign_free(), which may be after `h`
 * was closed. A length of 0 is allowed and gives a pointer that can be freed.
 *
 * Returns the memory, or NULL with errno set to EINVAL (`h` is NULL) or
 * ENOMEM.
 */
void *blkalign_memalign(blkalign_handle *h, size_t bytes);

/** Frees memory that blkalign_memalign() allocated. `buf` may be NULL. */
void blkalign_free(void *buf);

/**
 * Pauses the object: no request of any handle of it in this process starts any
 * more, and the call returns when nothing of them is at the storage. Then the
 * file below can be copied, replaced by another program's work, or handed over
 * to another process. Data may still be in a volatile cache: call
 * blkalign_flush() before.
 *
 * What is submitted meanwhile waits in order, costs no thread, and can be
 * cancelled. Synchronous calls wait. Pauses nest, also those of several
 * handles: the object goes on when each was ended by blkalign_resume() for the
 * handle that made it. blkalign_close() ends the pauses of its handle.
 * blkalign_drain() returns -EBUSY for requests that its own handle's pause
 * holds back, and waits for those that another handle's pause holds back, as
 * blkalign_close() does; the log tells of requests that wait for long.
 * blkalign_open() and blkalign_dup() work, but not while the length has
 * changed: -EBUSY, as blkalign_refresh_length() returns then. A throttle does
 * not notice a pause.
 *
 * A request that is at the storage and does not come back keeps the call
 * waiting; the log tells of that, too.
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` is NULL;
 * -EDEADLK  called inside a callback;
 * -EIO      the object takes no I/O after an internal error of the library.
 */
int blkalign_pause(blkalign_handle *h);

/**
 * Ends one pause that blkalign_pause() made for the same handle. When it was
 * the last of the object, what waits starts, in order. Any thread may call
 * this, also inside a callback.
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` is NULL; the handle has no pause.
 */
int blkalign_resume(blkalign_handle *h);

/**
 * Sets the time after which the program is told of a request that is at the
 * storage, once for each request. Waiting for others, in a plug, in a throttle
 * or in a pause does not count. The request itself goes on: nothing can take
 * back what the storage has. `cb` NULL: no limit, as at the start; `ms` is
 * ignored then.
 *
 * The library looks four times in that time, but at most every millisecond and
 * at least every 250. So a request is told of after between `ms` and one and a
 * half times as long, or `ms` and half a second. Handles without a limit, and
 * requests that come back in time, cost nothing.
 *
 * When the call returns no call of the earlier function is running or will
 * begin. (Inside a callback the call does not wait for that.)
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` is NULL; `ms` is not positive;
 * -ENOTSUP  the handle has no threads, since the system gave none at open.
 */
int blkalign_set_timeout(blkalign_handle *h, int ms, blkalign_timeout_fn cb,
                         void *opaque);

/**
 * Reports how long the requests of one kind took that were submitted to the
 * handle: BLKALIGN_OP_READ, _WRITE, _WRITE_ZEROES, _DISCARD or _FLUSH. The
 * handle begins to count with the first call for any kind, which reports
 * nothing; until then no request pays for the clock. The caller sets
 * latency->size, best with BLKALIGN_LATENCY_INIT.
 *
 * Returns 0 or -errno:
 * -EINVAL   `h` or `latency` is NULL; `op` is none of these; latency->size is
 *           not set;
 * -E2BIG    latency->size is too large for this struct in any version.
 */
int blkalign_get_latency(blkalign_handle *h, uint32_t op,
                         blkalign_latency *latency);

/**
 * The longest time, in nanoseconds, of a bucket of blkalign_latency.buckets.
 * The last bucket has no end: UINT64_MAX, as for numbers beyond it.
 */
uint64_t blkalign_latency_bucket_ns(uint32_t bucket);

/**
 * Says what lies at `offset`: data, zeros, or a hole, and in `*run` for how
 * many bytes from there on that holds, at most `bytes`. The next part may have
 * the same status. This is what the storage says at this moment (lseek(2) with
 * SEEK_DATA for a file, the driver's block_status): requests in flight may
 * change it, so ask when there are none, as in a pause. Where the storage does
 * not tell, as with a block device, it is data.
 *
 * Returns BLKALIGN_STATUS_DATA, _ZERO or _HOLE, or -errno; `*run` is written
 * only on success, and is 0 only if `bytes` is 0:
 * -EINVAL   `h` or `run` is NULL; the range is not within bounds;
 * -EIO      the range passes the end, and BLKALIGN_O_RESIZE is not set; the
 *           driver gave an answer that is none; any other errno of the
 *           storage.
 */
int blkalign_block_status(blkalign_handle *h, int64_t offset, int64_t bytes,
                          int64_t *run);

/**
 * Sets the function that gets the messages of the library, for the whole
 * process. `hook` gets the messages of `level` (one of BLKALIGN_LOG_*) and of
 * the more severe levels. It replaces the function that was set before. NULL:
 * no messages, as at the start; `level` is then ignored. The library itself
 * never prints.
 *
 * When the call returns, no call of the earlier hook is running or will begin,
 * so that its `opaque` may be freed. The call waits for running hooks: hold no
 * lock that the hook takes. (Inside the hook the call does not wait.)
 *
 * The messages of each level: BLKALIGN_LOG_ERROR tells of an open that failed,
 * of an I/O that failed at the storage (for each handle at most 10 in 5
 * seconds, then a count of the others), of flushes that fail from now on, and
 * of faults of the library. BLKALIGN_LOG_WARNING tells of threads in place of
 * io_uring, of a lock that could not be released, and of requests that have
 * not come back for 5 seconds, then 10, 20, 40 and so on, with what each waits
 * for. BLKALIGN_LOG_INFO tells
 * of each open with path, engine, alignments and their sources, of image
 * locks, and of each close. BLKALIGN_LOG_DEBUG adds details that may change
 * from version to version.
 *
 * Returns 0 or -errno:
 * -EINVAL   there is no such level; the hook does not change.
 */
int blkalign_set_log(blkalign_log_fn hook, void *opaque, int level);

#ifdef __cplusplus
} /* extern "C" */
#endif /* __cplusplus */

#endif  /* BLKALIGN_H */
