//! The numbers of `<blkalign.h>`: flags, modes, operations, sources. cbindgen turns this file into
//! the header's `#define`s; it holds nothing else, and a number never changes once released.

/// Version of this header: 0.2.0. This macro is the first number.
/// blkalign_version() returns the version of the library that the program runs
/// with.
pub const BLKALIGN_VERSION_MAJOR: u32 = 0;
/// The second number of the version.
pub const BLKALIGN_VERSION_MINOR: u32 = 2;
/// The third number of the version.
pub const BLKALIGN_VERSION_PATCH: u32 = 0;

/// Open for reading and writing. Without this flag a write fails with -EPERM.
pub const BLKALIGN_O_RDWR: u32 = 1 << 0;
/// Use O_DIRECT. Opening fails with -EINVAL if the file system has no O_DIRECT,
/// and with -EBUSY if this process has the object open through the page cache.
/// BLKALIGN_O_BUFFERED_OK allows the page cache in both cases.
///
/// Without BLKALIGN_O_DIRECT a handle uses the page cache, unless other handles
/// of the object in this process use O_DIRECT: then this handle uses O_DIRECT,
/// too. blkalign_limits.direct tells which of the two a handle uses. See
/// blkalign(7), "Direct I/O".
pub const BLKALIGN_O_DIRECT: u32 = 1 << 1;
/// Use the page cache if O_DIRECT is not available, or if this process has the
/// object open through the page cache already. blkalign_limits.direct tells.
pub const BLKALIGN_O_BUFFERED_OK: u32 = 1 << 2;
/// Create the file if it does not exist, with mode 0666 less the umask.
pub const BLKALIGN_O_CREATE: u32 = 1 << 3;
/// Writes past the end make the file longer, and reads past the end return
/// zeros. Opening fails with -EINVAL for a block device, for a window and for a
/// driver without a truncate function.
pub const BLKALIGN_O_RESIZE: u32 = 1 << 4;
/// Let a discard deallocate storage. Without this flag a discard succeeds and
/// does nothing.
pub const BLKALIGN_O_UNMAP: u32 = 1 << 5;
/// Treat every write as if it carried BLKALIGN_REQ_FUA.
pub const BLKALIGN_O_WRITETHROUGH: u32 = 1 << 6;
/// A flush succeeds and does nothing. For disks that are thrown away after a
/// crash.
pub const BLKALIGN_O_NO_FLUSH: u32 = 1 << 7;
/// Copy the data of each write when the write is submitted. A guest may then
/// change its memory at once. The copies take as much memory as the writes in
/// flight; a submission without memory for its copy fails with -ENOMEM.
/// blkalign_stats counts such writes as bounced.
pub const BLKALIGN_O_STABLE_WRITES: u32 = 1 << 8;
/// Never merge queued writes to parts of one block into one write. Reads of one
/// batch still share a block, and adjacent I/Os of one batch still go out as
/// one I/O.
pub const BLKALIGN_O_NO_MERGE: u32 = 1 << 9;
/// Lock the image file as QEMU does, against other processes that take these
/// locks. A handle for writing excludes every other process that writes or that
/// takes locks for reading; handles for reading exclude writers. Opening fails
/// with -EAGAIN if another process holds a conflicting lock, with -ENOTSUP or
/// -ENOLCK if the file system has no such locks, and with -EINVAL for a
/// blkalign_driver. See blkalign(7), "Image locks".
pub const BLKALIGN_O_LOCK: u32 = 1 << 10;

/// The library chooses the engine: io_uring for files and devices if the system
/// allows it (Linux 5.11 or newer, no seccomp filter or sysctl that forbids
/// it), else threads. Files on FUSE (and virtiofs) always get threads, because
/// through io_uring Linux moves wrong bytes where a server answers short. A
/// blkalign_driver always gets threads.
/// blkalign_limits.engine tells which engine a handle uses, and
/// blkalign_engine_reason() tells why io_uring was refused.
pub const BLKALIGN_ENGINE_AUTO: u32 = 0;
/// Threads of the library do the I/O, with system calls that block.
pub const BLKALIGN_ENGINE_THREADS: u32 = 1;
/// io_uring. Opening fails with the kernel's errno if the system refuses
/// io_uring, and with -EOPNOTSUPP for a file on FUSE. A blkalign_driver always
/// gets threads. If the system refuses io_uring after the open (a seccomp
/// filter that is installed later, for example), threads take over and no
/// request fails because of that; this holds for BLKALIGN_ENGINE_AUTO as well.
pub const BLKALIGN_ENGINE_IO_URING: u32 = 2;

/// Callbacks run on threads of the library, one at a time for each handle.
pub const BLKALIGN_COMPLETION_SERIAL: u32 = 0;
/// Callbacks run on threads of the library, several at a time.
pub const BLKALIGN_COMPLETION_CONCURRENT: u32 = 1;
/// Callbacks run only inside blkalign_poll(), blkalign_drain() and
/// blkalign_close(), on the thread that calls one of these. See
/// blkalign_get_event_fd().
pub const BLKALIGN_COMPLETION_EVENTFD: u32 = 2;

/// The data are durable when the callback runs. Has no effect on a read or a
/// flush.
pub const BLKALIGN_REQ_FUA: u32 = 1 << 0;
/// Exclude every overlapping request, reads included, while this request runs.
/// Has no effect on a flush.
pub const BLKALIGN_REQ_SERIALISING: u32 = 1 << 1;
/// The request's result is -EBUSY if it would have to wait for an overlapping
/// request, which may be an earlier request of the same batch. While a part of
/// a block is being written, the whole block counts as busy. Has no effect on a
/// flush.
pub const BLKALIGN_REQ_NO_WAIT: u32 = 1 << 2;
/// A zero write may deallocate storage. Only for zero writes.
pub const BLKALIGN_REQ_MAY_UNMAP: u32 = 1 << 3;
/// The result is -ENOTSUP if the storage has no operation for zeros, so that
/// blocks of zeros would have to be written. Only for zero writes.
pub const BLKALIGN_REQ_NO_FALLBACK: u32 = 1 << 4;
/// Each element of the iovec lies in memory that was registered with
/// blkalign_register_buf(). Only for reads and writes.
pub const BLKALIGN_REQ_REGISTERED_BUF: u32 = 1 << 5;

/// Value of blkalign_request.op: a read into `iov`, like blkalign_aio_preadv().
pub const BLKALIGN_OP_READ: u32 = 1;
/// A write from `iov`, like blkalign_aio_pwritev().
pub const BLKALIGN_OP_WRITE: u32 = 2;
/// A zero write, like blkalign_aio_pwrite_zeroes().
pub const BLKALIGN_OP_WRITE_ZEROES: u32 = 3;
/// A discard, like blkalign_aio_pdiscard().
pub const BLKALIGN_OP_DISCARD: u32 = 4;
/// A flush, like blkalign_aio_flush().
pub const BLKALIGN_OP_FLUSH: u32 = 5;
/// A truncate, as a `blkalign_before_write_fn` is told of it. Not for
/// blkalign_aio_submit(): see blkalign_truncate().
pub const BLKALIGN_OP_TRUNCATE: u32 = 6;

/// Answer of blkalign_block_status(): there may be anything, zeros included.
pub const BLKALIGN_STATUS_DATA: u32 = 0;
/// The bytes are zeros, and the storage has room for them.
pub const BLKALIGN_STATUS_ZERO: u32 = 1;
/// The bytes are zeros, and a hole: the storage has no room for them yet.
pub const BLKALIGN_STATUS_HOLE: u32 = 2;

/// Number of buckets in blkalign_latency.
pub const BLKALIGN_LATENCY_BUCKETS: u32 = 312;

/// Source of an alignment: a default of the library, because no other source
/// named a value.
pub const BLKALIGN_SOURCE_DEFAULT: u32 = 0;
/// Source of an alignment: the caller, in blkalign_open_options.
pub const BLKALIGN_SOURCE_OVERRIDE: u32 = 1;
/// Source of an alignment: statx(2), with STATX_DIOALIGN or
/// STATX_DIO_READ_ALIGN.
pub const BLKALIGN_SOURCE_STATX: u32 = 2;
/// Source of an alignment: the ioctl XFS_IOC_DIOINFO of XFS.
pub const BLKALIGN_SOURCE_DIOINFO: u32 = 3;
/// Source of an alignment: the ioctl BLKSSZGET of a block device.
pub const BLKALIGN_SOURCE_BLKSSZGET: u32 = 4;
/// Source of an alignment: trial reads of the storage.
pub const BLKALIGN_SOURCE_TRIAL: u32 = 5;
/// Source of an alignment: the blkalign_driver.
pub const BLKALIGN_SOURCE_DRIVER: u32 = 6;
/// Source of an alignment: the protection information of a disk (T10 DIF, NVMe
/// PI), in the directory integrity/ of sysfs.
pub const BLKALIGN_SOURCE_INTEGRITY: u32 = 7;

/// Level of a log message: an operation that the program asked for failed.
pub const BLKALIGN_LOG_ERROR: u32 = 1;
/// Level of a log message: an operation succeeded in another way than the
/// program asked for.
pub const BLKALIGN_LOG_WARNING: u32 = 2;
/// Level of a log message: events that an operator looks for, such as opens and
/// closes.
pub const BLKALIGN_LOG_INFO: u32 = 3;
/// Level of a log message: details for the search for a fault.
pub const BLKALIGN_LOG_DEBUG: u32 = 4;
