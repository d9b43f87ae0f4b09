/*
 * blkalign: I/O of any size at any offset on storage that only takes large
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
 * Results. 0 or positive is success, negative is -errno, with words in
 * blkalign_errmsg().
 *
 * Structs whose first field is `size` grow with the library. Start each from
 * its INIT macro, which sets the size and zeroes the rest. What a shorter
 * struct lacks counts as zero; what a longer one has beyond the library's must
 * be zero (-E2BIG). Unknown flags are -EINVAL.
 *
 * Units. Offsets, lengths and alignments are bytes, everywhere.
 *
 * Threads. Every function may be called from any thread at any time, but
 * nothing may use a handle once blkalign_close() has begun, and callbacks may
 * not call what waits. Threads of the library block all signals but those of
 * their own faults (SIGBUS, where a caller's memory is gone, SIGSEGV, SIGSYS
 * and so on), which a handler of the program sees; descriptors of the library
 * are close-on-exec. A process that forks must not use its handles in the
 * child. With io_uring, unless callbacks come by BLKALIGN_COMPLETION_EVENTFD,
 * slow system calls of a thread that submits may end with EINTR.
 *
 * Cancellation. No function is a cancellation point: a thread that
 * pthread_cancel(3) is used on acts on it when the call is over, whether its
 * cancel type is deferred or asynchronous, so such a call takes effect as any
 * other. The same holds for callbacks in blkalign_poll(), blkalign_drain()
 * and blkalign_close(), for a driver's functions and for the log's hook; they
 * must not enable cancellation. Threads of the library cannot be cancelled.
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
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define BLKALIGN_DRIVER_INIT \
    { sizeof(blkalign_driver), NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL, \
      NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/**
 * Version of this header: 0.1.0. This is its first number;
 * blkalign_version() tells the version of the library in use.
 */
#define BLKALIGN_VERSION_MAJOR 0
/** The second number of the version. */
#define BLKALIGN_VERSION_MINOR 1
/** The third number of the version. */
#define BLKALIGN_VERSION_PATCH 0

/** Open for reading and writing. Without it a write fails with -EPERM. */
#define BLKALIGN_O_RDWR (1 << 0)
/**
 * Use O_DIRECT. Opening fails where the file system has none, and with -EBUSY
 * where this process has handles of the object that go through the page
 * cache, unless BLKALIGN_O_BUFFERED_OK. Without this flag a handle uses the
 * page cache, but O_DIRECT where others of the object do: side by side the two
 * would lose each other's writes. blkalign_limits.direct tells.
 */
#define BLKALIGN_O_DIRECT (1 << 1)
/**
 * Where O_DIRECT is not to be had, or this process has the object open through
 * the page cache already, use the page cache; blkalign_limits.direct tells.
 */
#define BLKALIGN_O_BUFFERED_OK (1 << 2)
/** Create the file if it is missing. */
#define BLKALIGN_O_CREATE (1 << 3)
/**
 * Writes past the end extend the file, reads past the end give zeros. Not for
 * block devices, not with a window, and not for drivers without truncate:
 * opening is -EINVAL.
 */
#define BLKALIGN_O_RESIZE (1 << 4)
/** Let discard deallocate. Without it discards do nothing, with success. */
#define BLKALIGN_O_UNMAP (1 << 5)
/** Treat every write as if it carried BLKALIGN_REQ_FUA. */
#define BLKALIGN_O_WRITETHROUGH (1 << 6)
/** Do nothing for a flush: for disks that are thrown away after a crash. */
#define BLKALIGN_O_NO_FLUSH (1 << 7)
/**
 * Copy the data of a write at submit: what the guest does to its memory after
 * that does not matter. Each write in flight takes as much memory again; if
 * there is none the call is -ENOMEM. Statistics count such writes as bounced.
 */
#define BLKALIGN_O_STABLE_WRITES (1 << 8)
/**
 * Never merge queued writes of parts of one block. Reads of a batch still
 * share a block, and its adjacent I/Os still go out as one.
 */
#define BLKALIGN_O_NO_MERGE (1 << 9)
/**
 * Lock the image as QEMU does, against other processes that do so, QEMU and
 * its tools among them: shared OFD locks on the bytes 100 to 103 ("I use")
 * and 200 to 203 ("I do not share"), which need not exist. Opening is -EAGAIN
 * where another process contradicts; the words name the byte and what it
 * means.
 *
 * A handle for writing is alone: no other writer, and no reader that takes
 * locks as ours do. Handles for reading share the file with other readers,
 * not with a writer. As beside a guest of QEMU, a tool that reads whatever
 * there is (qemu-io -r -f raw, -U) is let in all the same.
 *
 * The locks belong to the file in this process: its handles with this flag
 * share them, and have locked what they need together, until the last one is
 * closed. Where one more handle cannot have what it needs, its opening fails
 * and the others keep what they have. Handles without the flag take no part.
 * An own descriptor of the program that has such locks counts as another
 * process. A child after fork keeps the locks, until it calls exec or ends,
 * if this process ends without closing its handles. The locks of a writer
 * that is killed last until its last I/O is over: who takes its place tries
 * again after -EAGAIN. Not for a blkalign_driver: -EINVAL. Where there are no
 * such locks: -ENOTSUP, -ENOLCK.
 */
#define BLKALIGN_O_LOCK (1 << 10)

/**
 * The library chooses the engine: io_uring for files and devices where the
 * system lets it (Linux 5.11, no seccomp filter or sysctl against it), else
 * threads; always threads for a blkalign_driver. blkalign_limits.engine tells
 * which engine it is, and blkalign_engine_reason() why io_uring was refused.
 */
#define BLKALIGN_ENGINE_AUTO 0
/** Threads of the library do the I/O, by calls that block. */
#define BLKALIGN_ENGINE_THREADS 1
/**
 * io_uring: where the system refuses it opening fails, with the kernel's
 * errno. A blkalign_driver has its own ways and always gets threads. Should
 * the system refuse io_uring later (a seccomp filter that was put on), threads
 * take over, whichever engine was asked for; no request fails by it.
 */
#define BLKALIGN_ENGINE_IO_URING 2

/** Callbacks one at a time per handle, on a thread of the library. */
#define BLKALIGN_COMPLETION_SERIAL 0
/** Callbacks on any thread of the pool, in parallel. */
#define BLKALIGN_COMPLETION_CONCURRENT 1
/**
 * Callbacks only inside blkalign_poll(), blkalign_drain() and
 * blkalign_close(), on the thread that calls these. See
 * blkalign_get_event_fd().
 */
#define BLKALIGN_COMPLETION_EVENTFD 2

/**
 * Durable when the callback runs. Accepted without effect on a read or flush.
 */
#define BLKALIGN_REQ_FUA (1 << 0)
/**
 * Exclude every overlapping request, reads too, while this one runs. Accepted
 * without effect on a flush.
 */
#define BLKALIGN_REQ_SERIALISING (1 << 1)
/**
 * -EBUSY, as the request's result, instead of waiting for an overlapping
 * request, be it an earlier one of its own batch. A block that is being
 * written in part is busy as a whole. Accepted without effect on a flush.
 */
#define BLKALIGN_REQ_NO_WAIT (1 << 2)
/** Writing zeros may deallocate. Only for requests that write zeros. */
#define BLKALIGN_REQ_MAY_UNMAP (1 << 3)
/**
 * -ENOTSUP rather than writing zeros slowly. Only for requests that write
 * zeros.
 */
#define BLKALIGN_REQ_NO_FALLBACK (1 << 4)
/**
 * Each element of the iovec lies in memory given to blkalign_register_buf().
 * Only for reads and writes.
 */
#define BLKALIGN_REQ_REGISTERED_BUF (1 << 5)

/** As blkalign_request.op, a read into `iov`: blkalign_aio_preadv(). */
#define BLKALIGN_OP_READ 1
/** A write from `iov`: blkalign_aio_pwritev(). */
#define BLKALIGN_OP_WRITE 2
/** A write of zeros: blkalign_aio_pwrite_zeroes(). */
#define BLKALIGN_OP_WRITE_ZEROES 3
/** A discard: blkalign_aio_pdiscard(). */
#define BLKALIGN_OP_DISCARD 4
/** A flush: blkalign_aio_flush(). */
#define BLKALIGN_OP_FLUSH 5

/** Who said what an alignment is: nobody did, the library assumed it. */
#define BLKALIGN_SOURCE_DEFAULT 0
/** The caller said it, in blkalign_open_options. */
#define BLKALIGN_SOURCE_OVERRIDE 1
/**
 * The kernel said it to statx(2), as STATX_DIOALIGN or STATX_DIO_READ_ALIGN.
 */
#define BLKALIGN_SOURCE_STATX 2
/** XFS said it to ioctl(2), as XFS_IOC_DIOINFO. */
#define BLKALIGN_SOURCE_DIOINFO 3
/** The device said it to ioctl(2), as BLKSSZGET. */
#define BLKALIGN_SOURCE_BLKSSZGET 4
/** Trial reads of the storage itself found it. */
#define BLKALIGN_SOURCE_TRIAL 5
/** The blkalign_driver said it. */
#define BLKALIGN_SOURCE_DRIVER 6

/**
 * How severe a message of the log is: something that the program wanted did
 * not happen.
 */
#define BLKALIGN_LOG_ERROR 1
/** It happened, but not in the way that was wanted. */
#define BLKALIGN_LOG_WARNING 2
/** What an operator wants to find in a log. */
#define BLKALIGN_LOG_INFO 3
/** For whoever looks for a fault. */
#define BLKALIGN_LOG_DEBUG 4

/**
 * One open storage object: a file, a block device or a driver, with its own
 * options. Every function may be called for it from any thread at any time,
 * but nothing may use a handle after blkalign_close() began.
 */
typedef struct blkalign_handle blkalign_handle;

/**
 * How to open. Start from BLKALIGN_OPEN_OPTIONS_INIT. NULL in its place means
 * all defaults.
 */
typedef struct blkalign_open_options {
    /** sizeof(blkalign_open_options), as the INIT macro sets it. */
    size_t size;
    /** Any of BLKALIGN_O_*, together. */
    uint32_t flags;
    /** One of BLKALIGN_ENGINE_*: who does the I/O. */
    uint32_t engine;
    /** One of BLKALIGN_COMPLETION_*: where callbacks run. */
    uint32_t completion;
    /**
     * Threads of this handle alone, at most 1024; 0: the pool that all
     * handles share. They do the I/O of the thread engine, what io_uring
     * cannot do, and callbacks, except with BLKALIGN_COMPLETION_EVENTFD.
     */
    uint32_t workers;
    /** Requests at the storage at once, at most 65536; 0: 64. */
    uint32_t queue_depth;
    /**
     * Bytes, a power of two of at most 1 MiB: overrides what the probe would
     * find for offset and total length; 0: probe.
     */
    uint32_t request_alignment;
    /** The same for addresses of memory. */
    uint32_t mem_alignment;
    /** The same for the length of each element of an iovec. */
    uint32_t segment_alignment;
    /**
     * Bytes, a power of two: the default for requests that carry none; 0: no
     * promise about torn reads. See blkalign_request.guest_block_size.
     */
    uint32_t guest_block_size;
    /**
     * Bytes. The handle shows only [window_offset, window_offset +
     * window_length) of the object: offsets count from the window's start, and
     * nothing outside is ever read into a caller's memory or changed. Neither
     * needs to be aligned. Not with BLKALIGN_O_RESIZE.
     */
    int64_t window_offset;
    /** Bytes; 0: to the end. */
    int64_t window_length;
} blkalign_open_options;

/**
 * How a driver tells that an I/O is done: `ret` is 0 or -errno. To be called
 * exactly once for each I/O that was started, from any thread, also before
 * the starting function has returned.
 */
typedef void (*blkalign_driver_done_fn)(void *token, int ret);

/**
 * A caller's own storage: another hypervisor's back end, a network client, a
 * test. Start from BLKALIGN_DRIVER_INIT. The table is copied by
 * blkalign_open_driver(); `name` and what `opaque` names must stay until
 * `close`.
 *
 * The library promises that every offset and length it passes is a multiple
 * of `request_alignment`, every address of `mem_alignment`, the length of
 * every iovec element of `segment_alignment` and never 0, and that no call
 * exceeds `max_transfer` or `max_segments`. So the length that getlength tells
 * must be a multiple of `request_alignment`: a last block that is there only
 * in part could be neither read nor written in keeping with that. (Of a file
 * the library reaches it through the page cache; a driver has no second way.)
 * Storage of an odd length has to round it, one way or the other.
 *
 * `flags` are those of BLKALIGN_REQ_FUA, BLKALIGN_REQ_MAY_UNMAP and
 * BLKALIGN_REQ_NO_FALLBACK that the request has; a driver without FUA of its
 * own flushes instead.
 *
 * The functions are called from threads of the library, or from the thread
 * that submits, many at once. `getlength`, a way to read and, for a writable
 * handle, a way to write must be there; the others may be NULL. Without a
 * flush function a flush succeeds.
 */
typedef struct blkalign_driver {
    /** sizeof(blkalign_driver), as BLKALIGN_DRIVER_INIT sets it. */
    size_t size;
    /** What messages call the storage; may be NULL. */
    const char *name;
    /**
     * What offset and length of every call are multiples of: bytes, a power
     * of two of at most 1 MiB; 0: 1.
     */
    uint32_t request_alignment;
    /** The same for the address of each element of `iov`. */
    uint32_t mem_alignment;
    /**
     * The same for the length of each element of `iov`; it must not exceed
     * `request_alignment`.
     */
    uint32_t segment_alignment;
    /**
     * The most bytes in one call, at least `request_alignment`; 0: no limit.
     */
    uint32_t max_transfer;
    /** The most elements of `iov` in one call; 0: no limit. */
    uint32_t max_segments;
    /**
     * Returns the length of the object in bytes, or -errno. Needed. Asked by
     * blkalign_open_driver(), blkalign_dup() and blkalign_refresh_length();
     * between two of these it changes by `truncate` alone.
     */
    int64_t (*getlength)(void *opaque);
    /**
     * Synchronous: reads all of `bytes` and returns 0, or returns -errno.
     * What a read leaves out though it says 0 never becomes bytes of other
     * requests: it is zeros, or stays what the reader had there.
     */
    int (*preadv)(void *opaque, int64_t offset, int64_t bytes,
                  const struct iovec *iov, int iovcnt, uint32_t flags);
    /**
     * Synchronous: writes all of `bytes` and returns 0, or returns -errno. The
     * memory is not the driver's to change.
     */
    int (*pwritev)(void *opaque, int64_t offset, int64_t bytes,
                   const struct iovec *iov, int iovcnt, uint32_t flags);
    /**
     * Synchronous: makes durable what has been written, and returns 0 or
     * -errno.
     */
    int (*flush)(void *opaque);
    /**
     * Synchronous: is told that these bytes are not needed any more, and may
     * read as anything; returns 0 or -errno. -ENOTSUP: it does not know how,
     * which is success to the caller.
     */
    int (*pdiscard)(void *opaque, int64_t offset, int64_t bytes);
    /**
     * Synchronous: makes these bytes zeros and returns 0, or returns -errno.
     * -ENOTSUP: it does not know how, or not with these flags; zeros are then
     * written, unless BLKALIGN_REQ_NO_FALLBACK.
     */
    int (*pwrite_zeroes)(void *opaque, int64_t offset, int64_t bytes,
                         uint32_t flags);
    /**
     * Synchronous: makes the object `length` bytes long, a multiple of
     * `request_alignment`, and returns 0 or -errno; what comes reads as zeros.
     */
    int (*truncate)(void *opaque, int64_t length);
    /**
     * Called once, when the last handle of the object is closed; not when
     * opening failed.
     */
    void (*close)(void *opaque);
    /**
     * As `preadv`, but asynchronous, and preferred to it: returns 0 and later
     * calls done(token, ret) exactly once; or returns -errno and never calls
     * `done`. `iov` is the library's and stays until `done`.
     */
    int (*aio_preadv)(void *opaque, int64_t offset, int64_t bytes,
                      const struct iovec *iov, int iovcnt, uint32_t flags,
                      blkalign_driver_done_fn done, void *token);
    /** As `pwritev`, asynchronous in the way of `aio_preadv`. */
    int (*aio_pwritev)(void *opaque, int64_t offset, int64_t bytes,
                       const struct iovec *iov, int iovcnt, uint32_t flags,
                       blkalign_driver_done_fn done, void *token);
    /** As `flush`, asynchronous in the way of `aio_preadv`. */
    int (*aio_flush)(void *opaque, blkalign_driver_done_fn done, void *token);
} blkalign_driver;

/**
 * Is told the result of a request, 0 or -errno, exactly once and never inside
 * the submitting call. By then the request has let go of its memory. In a
 * callback blkalign_aio_*() and the queries are fine; blkalign_drain(),
 * blkalign_close() and the synchronous calls are -EDEADLK, whichever handle
 * they are for. It must not throw or longjmp.
 */
typedef void (*blkalign_completion_fn)(void *opaque, int ret);

/**
 * The general form of a request, for blkalign_aio_submit(). Start from
 * BLKALIGN_REQUEST_INIT.
 */
typedef struct blkalign_request {
    /** sizeof(blkalign_request), as the INIT macro sets it. */
    size_t size;
    /** One of BLKALIGN_OP_*: what is to be done. */
    uint32_t op;
    /** Any of BLKALIGN_REQ_*, together. */
    uint32_t flags;
    /**
     * Bytes from the start of the object, or of the window. A flush takes
     * none: 0.
     */
    int64_t offset;
    /** Must equal the total of `iov` for a read or write; 0 for a flush. */
    int64_t bytes;
    /** The memory to read into or write from; NULL for other requests. */
    const struct iovec *iov;
    /** Number of elements of `iov`: any number, empty ones are fine. */
    int iovcnt;
    /**
     * Torn-read promise for this request, a power of two of at most 1 MiB; 0:
     * the handle's. A request with one is atomic in units of so many bytes
     * against every other request with one on the same object in this
     * process: a read sees all or nothing of a write to such a unit. Up to
     * blkalign_limits.atomic_write_unit_max so does a loss of power, of the
     * units that a write covers as a whole (not a zero write), where the
     * storage does not ask for more at once (XFS: a block of 4096).
     */
    uint32_t guest_block_size;
    /** Gets the result. Must not be NULL. */
    blkalign_completion_fn cb;
    /** Handed to `cb`. */
    void *opaque;
    /**
     * Where the request's id is put, for blkalign_aio_cancel(); may be NULL.
     * It is there before anything can come of the request, so `cb`, and
     * whoever learns of the request from it, always finds it, whichever
     * thread it runs on; what the submitting call returns may come later than
     * `cb`. Must stay valid until that call returns. Left alone when the call
     * fails. An id does not come back before 137 billion requests: that of one
     * that is over is only -ENOENT.
     */
    int64_t *id;
} blkalign_request;

/**
 * What one handle's storage needs and can do. Start from
 * BLKALIGN_LIMITS_INIT. All sizes and alignments are bytes.
 */
typedef struct blkalign_limits {
    /** sizeof(blkalign_limits), as the INIT macro sets it. */
    size_t size;
    /** What offset and total length of every I/O are padded to. */
    uint32_t request_alignment;
    /**
     * Buffer addresses that reach the storage without a copy. (Of a file or
     * device, what covers only a part of a block is copied anyway.)
     */
    uint32_t mem_alignment;
    /** Lengths of single elements of an iovec that do. */
    uint32_t segment_alignment;
    /** One of BLKALIGN_SOURCE_*: who said what `request_alignment` is. */
    uint32_t request_alignment_source;
    /** The same of `mem_alignment`. */
    uint32_t mem_alignment_source;
    /** The same of `segment_alignment`. */
    uint32_t segment_alignment_source;
    /** What the device below can address; 0: not known. */
    uint32_t logical_block_size;
    /** What the device below writes in one piece; 0: not known. */
    uint32_t physical_block_size;
    /** Length of a single I/O that the storage likes best; 0: not known. */
    uint32_t opt_transfer;
    /** Longest single I/O; 0: no limit known. Longer requests are split. */
    uint32_t max_transfer;
    /**
     * Most elements in one I/O; 0: no limit known. Requests with more are
     * split.
     */
    uint32_t max_segments;
    /**
     * What the storage discards in one piece: of a device as sysfs says, of a
     * file the block of its file system; 0: not known.
     */
    uint32_t discard_alignment;
    /**
     * What the storage makes zeros in one piece; else as `discard_alignment`.
     */
    uint32_t write_zeroes_alignment;
    /**
     * Longest write that is all or nothing across a loss of power, as
     * statx(2) promised at open; 0: nothing promised beyond the logical
     * block, or the page cache is in between.
     */
    uint32_t atomic_write_unit_max;
    /** 1: O_DIRECT is in use; 0: the page cache, or a driver. */
    uint32_t direct;
    /** The engine in use: one of BLKALIGN_ENGINE_*, never AUTO. */
    uint32_t engine;
} blkalign_limits;

/**
 * Counters of one handle since it was opened. Start from BLKALIGN_STATS_INIT.
 */
typedef struct blkalign_stats {
    /** sizeof(blkalign_stats), as the INIT macro sets it. */
    size_t size;
    /** Reads, from when they are submitted on. */
    uint64_t reads;
    /** Writes, counted like reads. */
    uint64_t writes;
    /** Zero writes, counted like reads. */
    uint64_t write_zeroes;
    /** Discards, counted like reads. */
    uint64_t discards;
    /** Flushes, counted like reads. */
    uint64_t flushes;
    /** Bytes that callers read, without what was read around them. */
    uint64_t bytes_read;
    /** Bytes that callers wrote, without what was written around them. */
    uint64_t bytes_written;
    /** Requests whose every guest byte moved without a copy. */
    uint64_t zero_copy;
    /** Requests with at least one guest byte copied. */
    uint64_t bounced;
    /** Requests that needed a read-modify-write. */
    uint64_t rmw;
    /** Edge reads really issued. */
    uint64_t rmw_reads;
    /** Edge reads saved: block covered, or its bytes still at hand. */
    uint64_t rmw_reads_skipped;
    /**
     * Write requests that shared another request's write, which is counted
     * for itself.
     */
    uint64_t merged;
    /** Requests that waited for an overlapping one. */
    uint64_t waits;
    /**
     * Reads that the storage got; adjacent ones that went out as one count
     * once.
     */
    uint64_t storage_reads;
    /** Writes that the storage got, counted like these reads. */
    uint64_t storage_writes;
    /** Requests that failed; not those that were cancelled. */
    uint64_t errors;
    /** Requests submitted that are not done yet. */
    uint64_t in_flight;
    /**
     * Times that the storage refused an alignment which it had accepted, and
     * a larger one was found. Requests that started again because of that
     * count again in rmw and merged. At most 8; then requests fail.
     */
    uint64_t probe_repairs;
} blkalign_stats;

/**
 * Is told what happens inside the library: `level` is BLKALIGN_LOG_*,
 * `message` one line of UTF-8 without newline and control characters, valid
 * until it returns. Called on any thread, by several at a time, also inside
 * calls of the library; the library holds no lock meanwhile. It must not call
 * the library but for blkalign_version(), nor throw or longjmp. What the
 * library would say inside of it is lost.
 */
typedef void (*blkalign_log_fn)(void *opaque, int level, const char *message);

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Opens a file or block device.
 *
 * `opts` may be NULL: all defaults, that is read-only through the page cache.
 * `*out` is written only on success. Handles of one file or device in this
 * process know of each other, whatever path they were opened by: their writes
 * never damage each other's neighbours. The first of them decides whether all
 * go with O_DIRECT or through the page cache: see BLKALIGN_O_DIRECT.
 *
 * What the handle will need later it opens now: the program may give up its
 * rights afterwards, or its /proc. A handle has up to five descriptors: the
 * file's, buffered and for flushes too; its ring's; and that of
 * blkalign_get_event_fd().
 *
 * Where io_uring was not ruled out and the system refuses it, the handle uses
 * threads and blkalign_engine_reason() tells why: see BLKALIGN_ENGINE_AUTO.
 * With BLKALIGN_ENGINE_IO_URING that is a failure: what io_uring_setup(2) and
 * io_uring_enter(2) say, -ENOSYS and -EPERM among them.
 *
 * Returns 0 or -errno: what open(2) says, and
 * -EROFS    BLKALIGN_O_RDWR, and the device is read-only (blockdev --setro);
 * -EINVAL   path or out is NULL; opts: an unknown flag or value, an alignment
 *           that is no power of two, size not set, workers or queue_depth
 *           too large; BLKALIGN_O_DIRECT where there is none; a window that
 *           passes the end; BLKALIGN_O_RESIZE with a window, for a block
 *           device, or for a driver without truncate;
 * -E2BIG    opts is of a newer version and uses what this one does not have;
 * -EBUSY    BLKALIGN_O_DIRECT, while this process has it open through the page
 *           cache; BLKALIGN_O_BUFFERED_OK goes along instead;
 * -EAGAIN   BLKALIGN_O_LOCK: another process has a lock that contradicts; the
 *           words name its byte;
 * -ENOTSUP  BLKALIGN_O_LOCK: there are no such locks;
 * -ENOLCK   the same, as other file systems say it.
 */
int blkalign_open(const char *path, const blkalign_open_options *opts,
                  blkalign_handle **out);

/**
 * Opens what a file descriptor refers to. The descriptor stays the caller's:
 * the handle has its own, and flags such as O_DIRECT of the caller's one are
 * left alone.
 *
 * The file is opened once more, through /proc/self/fd. Where /proc is missing,
 * or this process may not open the file, a duplicate of fd does what it can:
 * with O_DIRECT if fd has that, asked for or not, and without where
 * BLKALIGN_O_BUFFERED_OK allows it. A duplicate with O_DIRECT has no way to a
 * last block that is only a part of one: a length that is no multiple of
 * request_alignment, and BLKALIGN_O_RESIZE, are refused here, and later
 * blkalign_truncate() to such a length; the words name /proc. A duplicate
 * shares its flags with fd: leave these alone as long as the handle is open.
 *
 * Returns as blkalign_open(); -EBADF: fd is not open; -EACCES: not for what
 * opts asks; what open(2) of /proc/self/fd says where a duplicate will not do.
 */
int blkalign_open_fd(int fd, const blkalign_open_options *opts,
                     blkalign_handle **out);

/**
 * Opens a caller's own storage. `driver_opaque` is handed to each of its
 * functions. Each call makes an object of its own; more queues on it come
 * from blkalign_dup(). The engine is always BLKALIGN_ENGINE_THREADS, whatever
 * opts says.
 *
 * Returns 0 or -errno: what getlength says, and
 * -EINVAL   driver or out is NULL; a function that is needed is missing;
 *           alignments or limits that contradict each other; a length that is
 *           no multiple of request_alignment; BLKALIGN_O_LOCK, which is for
 *           files and devices; and what is wrong with opts, as for
 *           blkalign_open();
 * -E2BIG    driver or opts is of a newer version and uses what this one does
 *           not have.
 */
int blkalign_open_driver(const blkalign_driver *driver, void *driver_opaque,
                         const blkalign_open_options *opts,
                         blkalign_handle **out);

/**
 * Opens another handle (a queue of its own) on the object of `h`. Its options
 * are its own: NULL means all defaults, not those of `h`.
 *
 * Returns as blkalign_open(); -EINVAL also when h is NULL.
 */
int blkalign_dup(blkalign_handle *h, const blkalign_open_options *opts,
                 blkalign_handle **out);

/**
 * Waits until every request of the handle has called back, then closes it.
 * With BLKALIGN_COMPLETION_EVENTFD the callbacks run in here. NULL is fine.
 *
 * Returns 0, or -EDEADLK inside a callback: the handle is then still open.
 * After any other result it is gone.
 */
int blkalign_close(blkalign_handle *h);

/**
 * Reads `bytes` bytes at `offset` into `buf`. Any offset, length and address
 * will do.
 *
 * `flags` are BLKALIGN_REQ_*. Blocks until done; works in every completion
 * mode. Nothing is ever clipped: all of `bytes` is read, or the call fails.
 * Offset, length and their sum may reach 0x7fffffffc0000000. A zero length
 * succeeds.
 *
 * Returns 0 or -errno: what the storage says, and
 * -EINVAL   h is NULL; offset, bytes or flags out of range; buf is NULL and
 *           bytes is not 0;
 * -EIO      the range passes the end of the object;
 * -EBUSY    BLKALIGN_REQ_NO_WAIT, and an overlapping request is in the way;
 * -EDEADLK  called inside a callback.
 */
int blkalign_pread(blkalign_handle *h, int64_t offset, int64_t bytes,
                   void *buf, uint32_t flags);

/**
 * Writes `bytes` bytes from `buf` at `offset`. Any offset, length and address
 * will do; no other byte of the object changes, and its length does not
 * change either.
 *
 * `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_FUA the bytes are durable on
 * return. Where only a part of a block is written, its other bytes are read
 * first; if that fails, the call fails with that error and nothing is
 * written.
 *
 * Returns as blkalign_pread(); -EPERM: the handle is read-only; -ENOMEM: no
 * memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
 */
int blkalign_pwrite(blkalign_handle *h, int64_t offset, int64_t bytes,
                    const void *buf, uint32_t flags);

/**
 * Reads at `offset` into the elements of `iov`, one after the other. Any
 * number of elements will do, also more than IOV_MAX; empty ones are fine,
 * and so is the same memory twice.
 *
 * Returns as blkalign_pread(); -EINVAL also when iovcnt is negative, iov is
 * NULL and iovcnt is not 0, or an element is NULL and not empty.
 */
int blkalign_preadv(blkalign_handle *h, int64_t offset,
                    const struct iovec *iov, int iovcnt, uint32_t flags);

/**
 * Writes the elements of `iov` at `offset`, one after the other; else as
 * blkalign_pwrite().
 *
 * Returns as blkalign_preadv(); -EPERM and -ENOMEM as blkalign_pwrite().
 */
int blkalign_pwritev(blkalign_handle *h, int64_t offset,
                     const struct iovec *iov, int iovcnt, uint32_t flags);

/**
 * Makes `bytes` bytes at `offset` zeros, at any offset and length, by the
 * cheapest way that the storage has: it is told to (fallocate(2), a driver's
 * pwrite_zeroes) for the part made of whole
 * blocks, and written to at the edges. Storage that cannot be told is written
 * to, unless BLKALIGN_REQ_NO_FALLBACK.
 *
 * `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_MAY_UNMAP the storage may
 * deallocate.
 *
 * Returns as blkalign_pwrite(); -ENOTSUP: BLKALIGN_REQ_NO_FALLBACK, and whole
 * blocks would have had to be written: nothing was.
 */
int blkalign_pwrite_zeroes(blkalign_handle *h, int64_t offset, int64_t bytes,
                           uint32_t flags);

/**
 * Tells the storage that `bytes` bytes at `offset` are not needed any more:
 * advice. What is not a whole unit of blkalign_limits.discard_alignment stays
 * as it is, also at the edges; the rest may read as anything until it is
 * written. It does nothing, with success, without BLKALIGN_O_UNMAP and where
 * the storage does not know how.
 *
 * Returns as blkalign_pwrite().
 */
int blkalign_pdiscard(blkalign_handle *h, int64_t offset, int64_t bytes);

/**
 * Makes durable every write that completed before this call, whichever handle
 * of the same object wrote it. After a flush has failed, every later flush of
 * the object fails too until it is opened anew: nobody knows what was lost.
 *
 * Returns 0 or -errno: what the storage says; -EINVAL: h is NULL; -EDEADLK:
 * called inside a callback.
 */
int blkalign_flush(blkalign_handle *h);

/**
 * Changes the length of the object to `length` bytes. What goes is gone; what
 * comes reads as zeros. Waits for the requests that it touches, and those
 * submitted later wait for it. Needs no BLKALIGN_O_RESIZE.
 *
 * Returns 0 or -errno: what the storage says, and
 * -EINVAL   h is NULL, length out of range; a block device; a handle with a
 *           window;
 * -EPERM    the handle is read-only;
 * -EFBIG    beyond RLIMIT_FSIZE, or what the file system can hold;
 * -ENOTSUP  a driver without truncate;
 * -EDEADLK  called inside a callback.
 */
int blkalign_truncate(blkalign_handle *h, int64_t length);

/**
 * Waits until every request of this handle that was submitted before has
 * called back, synchronous ones of other threads included. What any thread
 * holds back by blkalign_plug() is submitted first. What is submitted
 * meanwhile, by other threads or by callbacks, does not hold it up. With
 * BLKALIGN_COMPLETION_EVENTFD callbacks run in here. Any number of threads
 * may drain at once.
 *
 * Returns 0 or -errno; -EINVAL: h is NULL; -EDEADLK: called inside a
 * callback. The results of the requests are the callbacks' business.
 */
int blkalign_drain(blkalign_handle *h);

/**
 * As blkalign_drain(), for at most `timeout_ms` milliseconds. 0: it does not
 * wait, but what is plugged is submitted, callbacks that are due run with
 * BLKALIGN_COMPLETION_EVENTFD, and the result tells how things are. Negative:
 * it waits without end. A callback that runs in here may take longer.
 *
 * Returns as blkalign_drain(); -ETIMEDOUT: something that was submitted before
 * has not called back yet. Nothing is lost by that: it will.
 */
int blkalign_drain_timeout(blkalign_handle *h, int timeout_ms);

/**
 * Starts reading at `offset` into the elements of `iov`; else as
 * blkalign_preadv().
 *
 * The array `iov` may go when the call has returned; the memory that it names
 * must stay until `cb(opaque, ret)` is called. Never blocks: what the storage
 * cannot take yet waits in the library.
 *
 * Returns the request's id for blkalign_aio_cancel(), greater than 0, and then
 * `cb` is called exactly once, never inside this call; or -errno, and then it
 * is never called: what is wrong with the call itself, as for
 * blkalign_preadv(), -EINVAL when cb is NULL, and -ENOMEM while so little
 * memory is left that what is in flight needs it. What the storage says goes
 * to `cb`.
 */
int64_t blkalign_aio_preadv(blkalign_handle *h, int64_t offset,
                            const struct iovec *iov, int iovcnt,
                            uint32_t flags, blkalign_completion_fn cb,
                            void *opaque);

/**
 * Starts writing the elements of `iov` at `offset`; else as
 * blkalign_pwritev(). The memory must neither go nor change until `cb` is
 * called.
 *
 * Returns as blkalign_aio_preadv(); -EPERM: the handle is read-only; -ENOMEM:
 * no memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
 */
int64_t blkalign_aio_pwritev(blkalign_handle *h, int64_t offset,
                             const struct iovec *iov, int iovcnt,
                             uint32_t flags, blkalign_completion_fn cb,
                             void *opaque);

/**
 * Starts writing zeros; else as blkalign_pwrite_zeroes().
 *
 * Returns as blkalign_aio_preadv(); -EPERM: the handle is read-only.
 */
int64_t blkalign_aio_pwrite_zeroes(blkalign_handle *h, int64_t offset,
                                   int64_t bytes, uint32_t flags,
                                   blkalign_completion_fn cb, void *opaque);

/**
 * Starts a discard; else as blkalign_pdiscard().
 *
 * Returns as blkalign_aio_preadv(); -EPERM: the handle is read-only.
 */
int64_t blkalign_aio_pdiscard(blkalign_handle *h, int64_t offset,
                              int64_t bytes, blkalign_completion_fn cb,
                              void *opaque);

/**
 * Starts a flush of the writes that have completed so far; else as
 * blkalign_flush().
 *
 * Returns as blkalign_aio_preadv().
 */
int64_t blkalign_aio_flush(blkalign_handle *h, blkalign_completion_fn cb,
                           void *opaque);

/**
 * Starts any request: `op` says which. `bytes` of a read or write must equal
 * the iovec's total; zero writes and discards take no iov; a flush takes no
 * offset, bytes or iov.
 *
 * Returns the request's id, which is in blkalign_request.id by then, or as the
 * call for that kind of request; -EINVAL also for an unknown
 * op, or a guest_block_size that is no power of two of at most 1 MiB; -E2BIG:
 * the request is of a newer version and uses what this one does not have.
 */
int64_t blkalign_aio_submit(blkalign_handle *h,
                            const blkalign_request *request);

/**
 * Takes a request back that has not reached the storage: its callback runs
 * with -ECANCELED, soon, and nothing of it is read or written. Requests that
 * waited for it go on as if it had never been. It does not count in
 * blkalign_stats.errors. `request_id` is what the submitting call returned;
 * with BLKALIGN_COMPLETION_SERIAL and BLKALIGN_COMPLETION_CONCURRENT the
 * callback may have run by the time that it returns, so where several threads
 * use ids take them from blkalign_request.id.
 *
 * A zero write or a discard that is at the storage, and has more than 16 GiB
 * left to ask of it, asks for nothing further: then -EBUSY is the answer, it
 * completes with -ECANCELED as soon as what it has asked for is over, and a
 * part of it is done.
 *
 * Returns 0: cancelled; -EBUSY: it is at the storage, or part of a write that
 * is, and will complete by itself; -ENOENT: the handle has no such request, or
 * its result is decided; -EINVAL: h is NULL.
 */
int blkalign_aio_cancel(blkalign_handle *h, int64_t request_id);

/**
 * As blkalign_aio_cancel() for each request of the handle, those of
 * synchronous calls in other threads included: these return -ECANCELED. What
 * is at the storage stays and completes by itself. It costs time in
 * proportion to what is in flight on the object, however many are cancelled.
 *
 * Returns how many were cancelled, or -EINVAL: h is NULL.
 */
int blkalign_cancel_all(blkalign_handle *h);

/**
 * Switches the write cache of the handle, as a guest sees it, on (`enable` not
 * 0) or off. Off: each write submitted from here on is as if it carried
 * BLKALIGN_REQ_FUA; what was written before is made durable by
 * blkalign_flush(). BLKALIGN_O_WRITETHROUGH is "off" from the start.
 *
 * Returns 0; -EINVAL: h is NULL.
 */
int blkalign_set_write_cache(blkalign_handle *h, int enable);

/**
 * Makes memory known to the handle, for requests with
 * BLKALIGN_REQ_REGISTERED_BUF: a guest's memory, say, which is then mapped and
 * pinned once and not by each request (io_uring's fixed buffers; with threads
 * it changes nothing, nor where the kernel has none to give, for lack of
 * RLIMIT_MEMLOCK, say). It serves I/O whose data are one piece of one region.
 * Regions must not overlap. The memory must stay until
 * blkalign_unregister_buf() or blkalign_close(), and keep its pages: pinned
 * ones that are taken away or replaced meanwhile (madvise(MADV_DONTNEED), a
 * balloon, mmap(MAP_FIXED)) still get the reads and give the writes.
 *
 * Returns 0 or -errno: -EINVAL: h or host is NULL, bytes is 0, or the region
 * passes the end of memory; -EEXIST: it overlaps one that is registered.
 */
int blkalign_register_buf(blkalign_handle *h, void *host, size_t bytes);

/**
 * The counterpart of blkalign_register_buf(), with the same region. No request
 * that uses it may be in flight.
 *
 * Returns 0 or -errno: -EINVAL as there; -ENOENT: no such region.
 */
int blkalign_unregister_buf(blkalign_handle *h, void *host, size_t bytes);

/**
 * Holds back the asynchronous requests of this handle that this thread submits
 * from here on, until blkalign_unplug() submits them as one batch: one system
 * call where the storage can be asked for several things at once, writes that
 * share a block become one write (with nothing read where they cover it),
 * reads that share a block one read, and adjacent I/Os one. Nests. What other
 * threads submit is not held back.
 *
 * A synchronous call first submits what its own thread has plugged, in order.
 * blkalign_drain() and blkalign_close() submit what all threads have, and
 * blkalign_cancel_all() takes it back; blkalign_poll() leaves it. What a
 * thread holds back when it ends stays so until one of these: unplug on the
 * thread that plugged. A callback that plugs unplugs before it returns, since
 * the next one may run on another thread.
 */
void blkalign_plug(blkalign_handle *h);

/**
 * Ends a blkalign_plug() of this thread; the outermost one submits what was
 * held back. Without a plug it does nothing.
 */
void blkalign_unplug(blkalign_handle *h);

/**
 * A descriptor for poll(2), epoll(7) and the like: while it is readable,
 * blkalign_poll() may have callbacks to run. It may be readable without
 * reason; do not read from it. It belongs to the handle and is closed with
 * it. A program that calls blkalign_poll() by itself needs none.
 *
 * Returns the descriptor or -errno: -EINVAL: h is NULL, or was not opened
 * with BLKALIGN_COMPLETION_EVENTFD; what eventfd(2) says.
 */
int blkalign_get_event_fd(blkalign_handle *h);

/**
 * Runs callbacks that are due, on this thread, at most `max`, and none that
 * becomes due meanwhile, so it returns whatever others do. If none is due it
 * waits for one: `timeout_ms` milliseconds at most, not at all if 0, and
 * without end if negative. What callbacks submit goes out in batches, as if
 * between blkalign_plug() and blkalign_unplug(). Where it would wait without
 * end it may carry out I/O itself, on this thread.
 *
 * Any thread may poll, several at once too: callbacks then run side by side.
 * It is fastest on the thread that submits.
 *
 * Returns how many ran, 0 when the time was over, or -errno:
 * -EINVAL   h is NULL, or was not opened with BLKALIGN_COMPLETION_EVENTFD;
 *           max is not greater than 0;
 * -EDEADLK  called inside a callback.
 */
int blkalign_poll(blkalign_handle *h, int max, int timeout_ms);

/** The version of the library in use, such as "0.1.0". */
const char *blkalign_version(void);

/**
 * The last failure of a call on this thread, in words for a log: what failed,
 * where and why. In a callback that is told a failure, that failure. Calls
 * that succeed leave it alone. "" if there was none; never NULL. Valid until
 * the next failure on this thread.
 */
const char *blkalign_errmsg(void);

/**
 * Why threads do the I/O of a handle that might have had io_uring, in words
 * for a log: the system refused it when the handle was opened with
 * BLKALIGN_ENGINE_AUTO, or later, with either engine. "" if io_uring does the
 * I/O, if BLKALIGN_ENGINE_THREADS was asked for, for a blkalign_driver, or if
 * h is NULL; never NULL. The words stay valid until the handle is closed.
 */
const char *blkalign_engine_reason(blkalign_handle *h);

/**
 * The length of the object, or of its window, in bytes: as it was when the
 * object was last opened or blkalign_refresh_length() was called, and as
 * requests have changed it since.
 *
 * Returns it, or -EINVAL: h is NULL.
 */
int64_t blkalign_getlength(blkalign_handle *h);

/**
 * Looks the storage's length up anew: of a device that has grown or shrunk, a
 * file that others have changed, a driver whose getlength says something else.
 * From then on it is the length of all handles of the object. An object that
 * is opened or duplicated once more is looked at in the same way.
 *
 * It comes after the requests in flight that change the length or lie behind
 * the new end; these get what the storage says. Requests behind the new end
 * that are submitted later fail with -EIO, unless BLKALIGN_O_RESIZE. A window
 * shows what is left of it, and all of it again when the object has grown
 * back; one that was opened without a length ends where the object ends.
 *
 * Returns the length, as blkalign_getlength(), or -errno: what the storage
 * says, and
 * -EINVAL   h is NULL; the length of a driver is no multiple of the request
 *           alignment of each of its handles: then nothing changes;
 * -EDEADLK  called inside a callback.
 */
int64_t blkalign_refresh_length(blkalign_handle *h);

/**
 * Tells what the storage needs and who said so. The caller sets limits->size,
 * best by BLKALIGN_LIMITS_INIT; no more than that is written.
 *
 * The three alignments are those of now: where the storage comes to refuse
 * what it took, larger ones are found by trial reads, with the source
 * BLKALIGN_SOURCE_TRIAL, and requests in flight go on with these. Nothing
 * else changes while a handle is open.
 *
 * Returns 0; -EINVAL: h or limits is NULL, or size is not set; -E2BIG: size
 * is absurd.
 */
int blkalign_get_limits(blkalign_handle *h, blkalign_limits *limits);

/**
 * Reads the counters of the handle. The caller sets stats->size, best by
 * BLKALIGN_STATS_INIT; no more than that is written.
 *
 * Returns 0; -EINVAL: h or stats is NULL, or size is not set; -E2BIG: size is
 * absurd.
 */
int blkalign_get_stats(blkalign_handle *h, blkalign_stats *stats);

/**
 * Allocates a buffer that the storage of `h` takes without a copy. Its bytes
 * are zero. 0 bytes give a pointer that can be freed. Give it back
 * with blkalign_free(), also after `h` has been closed.
 *
 * Returns NULL on failure, with errno set: EINVAL: h is NULL; ENOMEM.
 */
void *blkalign_memalign(blkalign_handle *h, size_t bytes);

/** Gives back what blkalign_memalign() gave. NULL is fine. */
void blkalign_free(void *buf);

/**
 * Sets who is told what happens in the library, for the whole process. `hook`
 * gets the messages of `level` (BLKALIGN_LOG_*) and those that are more
 * severe. It takes the place of what was set before; NULL: nobody is told, as
 * at first, and `level` is ignored. The library itself never prints.
 *
 * When this returns no call of the hook before is under way and none will
 * begin, so that what `opaque` names may be freed. It waits for those calls:
 * hold no lock that the hook takes. (Inside the hook it does not wait.)
 *
 * What is told. ERROR: an open that failed; an I/O that failed at the storage
 * (at most 10 of a handle in 5 seconds, then how many more there were); that
 * flushes of a file fail from now on; faults of the library. WARNING: threads
 * instead of io_uring; a lock that could not be given back. INFO: each open
 * with path, engine, and the alignments with who said so; image locks; each
 * close. DEBUG: more, from version to version something else.
 *
 * Returns 0, or -EINVAL: there is no such level; nothing changed.
 */
int blkalign_set_log(blkalign_log_fn hook, void *opaque, int level);

#ifdef __cplusplus
} /* extern "C" */
#endif /* __cplusplus */

#endif  /* BLKALIGN_H */
