//! The structs of `<blkalign.h>`, as C lays them out. cbindgen turns this file into the header's
//! structs; `capi/extensible.rs` and `capi/options.rs` give them meaning. Fields are only ever
//! added at the end.

use std::ffi::{c_int, c_void};

use libc::iovec;

/// One open storage object (a file, a block device or a driver) with the
/// options of this open. Any thread may use a handle at any time. No thread may
/// use a handle after a call of blkalign_close() for the handle has begun.
pub struct blkalign_handle {
    _opaque: [u8; 0],
}

/// Gets the result of a request in `ret`: 0 or -errno. The library calls it
/// exactly once for each request, never inside the call that submits the
/// request, and does not touch the memory of the request any more. A callback
/// may submit requests and call functions that do not wait. blkalign_drain(),
/// blkalign_poll(), blkalign_close() and the synchronous functions return
/// -EDEADLK inside a callback, for every handle. A callback must not throw or
/// longjmp.
pub type blkalign_completion_fn = Option<extern "C" fn(opaque: *mut c_void, ret: c_int)>;

/// Options of an open. Start from BLKALIGN_OPEN_OPTIONS_INIT. Functions that
/// take a pointer to this struct accept NULL: all defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_open_options {
    /// sizeof(blkalign_open_options), as the INIT macro sets it.
    pub size: usize,
    /// Any BLKALIGN_O_* flags, combined with `|`.
    pub flags: u32,
    /// One of BLKALIGN_ENGINE_*: how I/O is done.
    pub engine: u32,
    /// One of BLKALIGN_COMPLETION_*: where callbacks run.
    pub completion: u32,
    /// Number of threads that serve this handle alone, at most 1024. 0: the
    /// pool of threads that all handles share. These threads do the I/O of the
    /// thread engine, the I/O that io_uring cannot do, and run callbacks,
    /// except with BLKALIGN_COMPLETION_EVENTFD.
    pub workers: u32,
    /// Greatest number of requests at the storage at once, at most 65536. 0:
    /// 64. Further requests wait in the library.
    pub queue_depth: u32,
    /// Alignment of offset and total length, in bytes: a power of two of at
    /// most 1 MiB, used in place of what the probe would find. 0: probe.
    pub request_alignment: u32,
    /// Alignment of memory addresses, with the same unit and range. 0: probe.
    pub mem_alignment: u32,
    /// Alignment of the length of each iovec element, with the same unit and
    /// range. 0: probe.
    pub segment_alignment: u32,
    /// Default for requests whose own `guest_block_size` is 0: bytes, a power
    /// of two of at most 1 MiB. 0: no promise about torn reads. See
    /// blkalign_request.guest_block_size.
    pub guest_block_size: u32,
    /// Start of the window, in bytes, at any offset. With a window the handle
    /// shows only the range [window_offset, window_offset + window_length) of
    /// the object. Offsets of requests count from the start of the window.
    /// Bytes outside the window are never changed and never copied into a
    /// caller's memory. Not with BLKALIGN_O_RESIZE.
    pub window_offset: i64,
    /// Length of the window, in bytes, any number. 0: to the end of the object.
    pub window_length: i64,
}

/// A request of any kind, for blkalign_aio_submit(). Start from
/// BLKALIGN_REQUEST_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_request {
    /// sizeof(blkalign_request), as the INIT macro sets it.
    pub size: usize,
    /// One of BLKALIGN_OP_*: the operation.
    pub op: u32,
    /// Any BLKALIGN_REQ_* flags, combined with `|`.
    pub flags: u32,
    /// Bytes from the start of the object, or of the window. 0 for a flush.
    pub offset: i64,
    /// Length in bytes. Must equal the total length of `iov` for a read or
    /// write; 0 for a flush.
    pub bytes: i64,
    /// The memory to read into or to write from. NULL for other operations.
    pub iov: *const iovec,
    /// Number of elements of `iov`, any number. Elements may be empty.
    pub iovcnt: c_int,
    /// Torn-read promise of this request: bytes, a power of two of at most 1
    /// MiB. 0: the value of the handle. A request with such a promise is atomic
    /// in units of this many bytes against every other request with a promise
    /// on the same object in this process. See blkalign(7), "Torn reads", also
    /// for a loss of power.
    pub guest_block_size: u32,
    /// The callback that gets the result. Must not be NULL.
    pub cb: blkalign_completion_fn,
    /// Passed to `cb` unchanged.
    pub opaque: *mut c_void,
    /// Where the library stores the request's id for blkalign_aio_cancel().
    /// NULL: nowhere. The id is stored before the request can have any effect,
    /// so that `cb` always finds it, on any thread; the return value of the
    /// submitting call may come later than `cb`. The pointer must stay valid
    /// until the submitting call returns. A call that fails stores nothing. An
    /// id is not used again before 137 billion requests: a cancel of a request
    /// that is over returns -ENOENT.
    pub id: *mut i64,
}

/// What the storage of a handle requires and can do, as blkalign_get_limits()
/// reports it. Start from BLKALIGN_LIMITS_INIT. All sizes and alignments are
/// bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_limits {
    /// sizeof(blkalign_limits), as the INIT macro sets it.
    pub size: usize,
    /// Alignment of offset and total length of every I/O at the storage. The
    /// library rounds requests out to it.
    pub request_alignment: u32,
    /// Alignment of memory addresses that the storage takes without a copy. (On
    /// a file or device a part of a block is copied in any case.)
    pub mem_alignment: u32,
    /// Alignment of lengths of iovec elements that the storage takes without a
    /// copy.
    pub segment_alignment: u32,
    /// One of BLKALIGN_SOURCE_*: the source of `request_alignment`.
    pub request_alignment_source: u32,
    /// One of BLKALIGN_SOURCE_*: the source of `mem_alignment`.
    pub mem_alignment_source: u32,
    /// One of BLKALIGN_SOURCE_*: the source of `segment_alignment`.
    pub segment_alignment_source: u32,
    /// Smallest unit that the device below can address. 0: not known.
    pub logical_block_size: u32,
    /// Unit that the device below writes in one piece. 0: not known.
    pub physical_block_size: u32,
    /// Length of a single I/O that the storage handles best. 0: not known.
    pub opt_transfer: u32,
    /// Greatest length of a single I/O. 0: no limit known. The library splits
    /// longer requests.
    pub max_transfer: u32,
    /// Greatest number of elements in one I/O. 0: no limit known. The library
    /// splits requests with more elements.
    pub max_segments: u32,
    /// Unit in which the storage discards: for a device the value in sysfs, for
    /// a file the block size of its file system. 0: not known.
    pub discard_alignment: u32,
    /// Unit in which the storage makes zeros, from the same sources. 0: not
    /// known.
    pub write_zeroes_alignment: u32,
    /// Length of the longest write that is all or nothing across a loss of
    /// power, as statx(2) reported it at open. 0: statx(2) promised nothing
    /// beyond the logical block, or I/O goes through the page cache.
    pub atomic_write_unit_max: u32,
    /// 1: the handle uses O_DIRECT. 0: the page cache, or a driver.
    pub direct: u32,
    /// The engine in use: one of BLKALIGN_ENGINE_*, never BLKALIGN_ENGINE_AUTO.
    pub engine: u32,
}

/// Counters of one handle since it was opened, as blkalign_get_stats() reports
/// them. Start from BLKALIGN_STATS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_stats {
    /// sizeof(blkalign_stats), as the INIT macro sets it.
    pub size: usize,
    /// Reads that were submitted, finished or not.
    pub reads: u64,
    /// Writes that were submitted.
    pub writes: u64,
    /// Zero writes that were submitted.
    pub write_zeroes: u64,
    /// Discards that were submitted.
    pub discards: u64,
    /// Flushes that were submitted.
    pub flushes: u64,
    /// Bytes that callers asked to read, without what the library read around
    /// them.
    pub bytes_read: u64,
    /// Bytes that callers asked to write, without what the library wrote around
    /// them.
    pub bytes_written: u64,
    /// Requests of which every byte moved between caller's memory and storage
    /// without a copy.
    pub zero_copy: u64,
    /// Requests of which at least one byte was copied.
    pub bounced: u64,
    /// Requests that needed a read-modify-write.
    pub rmw: u64,
    /// Edge reads that went to the storage.
    pub rmw_reads: u64,
    /// Edge reads that were saved, because writes covered the block together,
    /// or because the block's bytes were still in memory.
    pub rmw_reads_skipped: u64,
    /// Writes that went out as a part of another request's write. That other
    /// request does not count here.
    pub merged: u64,
    /// Requests that waited for an overlapping request.
    pub waits: u64,
    /// Reads at the storage. Adjacent reads that went out as one count once.
    pub storage_reads: u64,
    /// Writes at the storage. Adjacent writes that went out as one count once.
    pub storage_writes: u64,
    /// Requests that failed. Requests that were cancelled do not count.
    pub errors: u64,
    /// Requests that were submitted and are not done yet.
    pub in_flight: u64,
    /// How often the storage refused an alignment that it had accepted before,
    /// and trial reads found a larger one; at most 8 times, after which
    /// requests fail. Requests that start again after such a repair count again
    /// in `rmw` and `merged`.
    pub probe_repairs: u64,
    /// Requests that a throttle held: see blkalign_set_throttle().
    pub throttled: u64,
    /// For how long they were held, all together, in nanoseconds. What is still
    /// held does not count yet.
    pub throttled_ns: u64,
}
