//! The numbers of `<blkalign.h>`: flags, modes, operations, sources. cbindgen turns this file into
//! the header's `#define`s; it holds nothing else, and a number never changes once released.

/// Version of this header: 0.1.0. This is its first number;
/// blkalign_version() tells the version of the library in use.
pub const BLKALIGN_VERSION_MAJOR: u32 = 0;
/// The second number of the version.
pub const BLKALIGN_VERSION_MINOR: u32 = 1;
/// The third number of the version.
pub const BLKALIGN_VERSION_PATCH: u32 = 0;

/// Open for reading and writing. Without it a write fails with -EPERM.
pub const BLKALIGN_O_RDWR: u32 = 1 << 0;
/// Use O_DIRECT. Opening fails where the file system has none, and with -EBUSY
/// where this process has handles of the object that go through the page
/// cache, unless BLKALIGN_O_BUFFERED_OK. Without this flag a handle uses the
/// page cache, but O_DIRECT where others of the object do: side by side the two
/// would lose each other's writes. blkalign_limits.direct tells.
pub const BLKALIGN_O_DIRECT: u32 = 1 << 1;
/// Where O_DIRECT is not to be had, or this process has the object open through
/// the page cache already, use the page cache; blkalign_limits.direct tells.
pub const BLKALIGN_O_BUFFERED_OK: u32 = 1 << 2;
/// Create the file if it is missing.
pub const BLKALIGN_O_CREATE: u32 = 1 << 3;
/// Writes past the end extend the file, reads past the end give zeros. Not for
/// block devices, not with a window, and not for drivers without truncate:
/// opening is -EINVAL.
pub const BLKALIGN_O_RESIZE: u32 = 1 << 4;
/// Let discard deallocate. Without it discards do nothing, with success.
pub const BLKALIGN_O_UNMAP: u32 = 1 << 5;
/// Treat every write as if it carried BLKALIGN_REQ_FUA.
pub const BLKALIGN_O_WRITETHROUGH: u32 = 1 << 6;
/// Do nothing for a flush: for disks that are thrown away after a crash.
pub const BLKALIGN_O_NO_FLUSH: u32 = 1 << 7;
/// Copy the data of a write at submit: what the guest does to its memory after
/// that does not matter. Each write in flight takes as much memory again; if
/// there is none the call is -ENOMEM. Statistics count such writes as bounced.
pub const BLKALIGN_O_STABLE_WRITES: u32 = 1 << 8;
/// Never merge queued writes of parts of one block. Reads of a batch still
/// share a block, and its adjacent I/Os still go out as one.
pub const BLKALIGN_O_NO_MERGE: u32 = 1 << 9;
/// Lock the image as QEMU does, against other processes that do so, QEMU and
/// its tools among them: shared OFD locks on the bytes 100 to 103 ("I use")
/// and 200 to 203 ("I do not share"), which need not exist. Opening is -EAGAIN
/// where another process contradicts; the words name the byte and what it
/// means.
///
/// A handle for writing is alone: no other writer, and no reader that takes
/// locks as ours do. Handles for reading share the file with other readers,
/// not with a writer. As beside a guest of QEMU, a tool that reads whatever
/// there is (qemu-io -r -f raw, -U) is let in all the same.
///
/// The locks belong to the file in this process: its handles with this flag
/// share them, and have locked what they need together, until the last one is
/// closed. Where one more handle cannot have what it needs, its opening fails
/// and the others keep what they have. Handles without the flag take no part.
/// An own descriptor of the program that has such locks counts as another
/// process. A child after fork keeps the locks, until it calls exec or ends,
/// if this process ends without closing its handles. The locks of a writer
/// that is killed last until its last I/O is over: who takes its place tries
/// again after -EAGAIN. Not for a blkalign_driver: -EINVAL. Where there are no
/// such locks: -ENOTSUP, -ENOLCK.
pub const BLKALIGN_O_LOCK: u32 = 1 << 10;

/// The library chooses the engine: io_uring for files and devices where the
/// system lets it (Linux 5.11, no seccomp filter or sysctl against it), else
/// threads; always threads for a blkalign_driver. blkalign_limits.engine tells
/// which engine it is, and blkalign_engine_reason() why io_uring was refused.
pub const BLKALIGN_ENGINE_AUTO: u32 = 0;
/// Threads of the library do the I/O, by calls that block.
pub const BLKALIGN_ENGINE_THREADS: u32 = 1;
/// io_uring: where the system refuses it opening fails, with the kernel's
/// errno. A blkalign_driver has its own ways and always gets threads. Should
/// the system refuse io_uring later (a seccomp filter that was put on), threads
/// take over, whichever engine was asked for; no request fails by it.
pub const BLKALIGN_ENGINE_IO_URING: u32 = 2;

/// Callbacks one at a time per handle, on a thread of the library.
pub const BLKALIGN_COMPLETION_SERIAL: u32 = 0;
/// Callbacks on any thread of the pool, in parallel.
pub const BLKALIGN_COMPLETION_CONCURRENT: u32 = 1;
/// Callbacks only inside blkalign_poll(), blkalign_drain() and
/// blkalign_close(), on the thread that calls these. See
/// blkalign_get_event_fd().
pub const BLKALIGN_COMPLETION_EVENTFD: u32 = 2;

/// Durable when the callback runs. Accepted without effect on a read or flush.
pub const BLKALIGN_REQ_FUA: u32 = 1 << 0;
/// Exclude every overlapping request, reads too, while this one runs. Accepted
/// without effect on a flush.
pub const BLKALIGN_REQ_SERIALISING: u32 = 1 << 1;
/// -EBUSY, as the request's result, instead of waiting for an overlapping
/// request, be it an earlier one of its own batch. A block that is being
/// written in part is busy as a whole. Accepted without effect on a flush.
pub const BLKALIGN_REQ_NO_WAIT: u32 = 1 << 2;
/// Writing zeros may deallocate. Only for requests that write zeros.
pub const BLKALIGN_REQ_MAY_UNMAP: u32 = 1 << 3;
/// -ENOTSUP rather than writing zeros slowly. Only for requests that write
/// zeros.
pub const BLKALIGN_REQ_NO_FALLBACK: u32 = 1 << 4;
/// Each element of the iovec lies in memory given to blkalign_register_buf().
/// Only for reads and writes.
pub const BLKALIGN_REQ_REGISTERED_BUF: u32 = 1 << 5;

/// As blkalign_request.op, a read into `iov`: blkalign_aio_preadv().
pub const BLKALIGN_OP_READ: u32 = 1;
/// A write from `iov`: blkalign_aio_pwritev().
pub const BLKALIGN_OP_WRITE: u32 = 2;
/// A write of zeros: blkalign_aio_pwrite_zeroes().
pub const BLKALIGN_OP_WRITE_ZEROES: u32 = 3;
/// A discard: blkalign_aio_pdiscard().
pub const BLKALIGN_OP_DISCARD: u32 = 4;
/// A flush: blkalign_aio_flush().
pub const BLKALIGN_OP_FLUSH: u32 = 5;

/// Who said what an alignment is: nobody did, the library assumed it.
pub const BLKALIGN_SOURCE_DEFAULT: u32 = 0;
/// The caller said it, in blkalign_open_options.
pub const BLKALIGN_SOURCE_OVERRIDE: u32 = 1;
/// The kernel said it to statx(2), as STATX_DIOALIGN or STATX_DIO_READ_ALIGN.
pub const BLKALIGN_SOURCE_STATX: u32 = 2;
/// XFS said it to ioctl(2), as XFS_IOC_DIOINFO.
pub const BLKALIGN_SOURCE_DIOINFO: u32 = 3;
/// The device said it to ioctl(2), as BLKSSZGET.
pub const BLKALIGN_SOURCE_BLKSSZGET: u32 = 4;
/// Trial reads of the storage itself found it.
pub const BLKALIGN_SOURCE_TRIAL: u32 = 5;
/// The blkalign_driver said it.
pub const BLKALIGN_SOURCE_DRIVER: u32 = 6;

/// How severe a message of the log is: something that the program wanted did
/// not happen.
pub const BLKALIGN_LOG_ERROR: u32 = 1;
/// It happened, but not in the way that was wanted.
pub const BLKALIGN_LOG_WARNING: u32 = 2;
/// What an operator wants to find in a log.
pub const BLKALIGN_LOG_INFO: u32 = 3;
/// For whoever looks for a fault.
pub const BLKALIGN_LOG_DEBUG: u32 = 4;
