//! The structs of `<blkalign.h>`, as C lays them out. cbindgen turns this file into the header's
//! structs; `capi/extensible.rs` and `capi/options.rs` give them meaning. Fields are only ever added
//! at the end.

use std::ffi::{c_int, c_void};

use libc::iovec;

/// One open storage object: a file, a block device or a driver, with its own
/// options. Every function may be called for it from any thread at any time,
/// but nothing may use a handle after blkalign_close() began.
pub struct blkalign_handle {
    _opaque: [u8; 0],
}

/// Is told the result of a request, 0 or -errno, exactly once and never inside
/// the submitting call. By then the request has let go of its memory. In a
/// callback blkalign_aio_*() and the queries are fine; blkalign_drain(),
/// blkalign_close() and the synchronous calls are -EDEADLK, whichever handle
/// they are for. It must not throw or longjmp.
pub type blkalign_completion_fn = Option<extern "C" fn(opaque: *mut c_void, ret: c_int)>;

/// How to open. Start from BLKALIGN_OPEN_OPTIONS_INIT. NULL in its place means
/// all defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_open_options {
    /// sizeof(blkalign_open_options), as the INIT macro sets it.
    pub size: usize,
    /// Any of BLKALIGN_O_*, together.
    pub flags: u32,
    /// One of BLKALIGN_ENGINE_*: who does the I/O.
    pub engine: u32,
    /// One of BLKALIGN_COMPLETION_*: where callbacks run.
    pub completion: u32,
    /// Threads of this handle alone, at most 1024; 0: the pool that all
    /// handles share. They do the I/O of the thread engine, what io_uring
    /// cannot do, and callbacks, except with BLKALIGN_COMPLETION_EVENTFD.
    pub workers: u32,
    /// Requests at the storage at once, at most 65536; 0: 64.
    pub queue_depth: u32,
    /// Bytes, a power of two of at most 1 MiB: overrides what the probe would
    /// find for offset and total length; 0: probe.
    pub request_alignment: u32,
    /// The same for addresses of memory.
    pub mem_alignment: u32,
    /// The same for the length of each element of an iovec.
    pub segment_alignment: u32,
    /// Bytes, a power of two: the default for requests that carry none; 0: no
    /// promise about torn reads. See blkalign_request.guest_block_size.
    pub guest_block_size: u32,
    /// Bytes. The handle shows only [window_offset, window_offset +
    /// window_length) of the object: offsets count from the window's start, and
    /// nothing outside is ever read into a caller's memory or changed. Neither
    /// needs to be aligned. Not with BLKALIGN_O_RESIZE.
    pub window_offset: i64,
    /// Bytes; 0: to the end.
    pub window_length: i64,
}

/// The general form of a request, for blkalign_aio_submit(). Start from
/// BLKALIGN_REQUEST_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_request {
    /// sizeof(blkalign_request), as the INIT macro sets it.
    pub size: usize,
    /// One of BLKALIGN_OP_*: what is to be done.
    pub op: u32,
    /// Any of BLKALIGN_REQ_*, together.
    pub flags: u32,
    /// Bytes from the start of the object, or of the window. A flush takes
    /// none: 0.
    pub offset: i64,
    /// Must equal the total of `iov` for a read or write; 0 for a flush.
    pub bytes: i64,
    /// The memory to read into or write from; NULL for other requests.
    pub iov: *const iovec,
    /// Number of elements of `iov`: any number, empty ones are fine.
    pub iovcnt: c_int,
    /// Torn-read promise for this request, a power of two of at most 1 MiB; 0:
    /// the handle's. A request with one is atomic in units of so many bytes
    /// against every other request with one on the same object in this
    /// process: a read sees all or nothing of a write to such a unit. Up to
    /// blkalign_limits.atomic_write_unit_max so does a loss of power, of the
    /// units that a write covers as a whole (not a zero write), where the
    /// storage does not ask for more at once (XFS: a block of 4096).
    pub guest_block_size: u32,
    /// Gets the result. Must not be NULL.
    pub cb: blkalign_completion_fn,
    /// Handed to `cb`.
    pub opaque: *mut c_void,
    /// Where the request's id is put, for blkalign_aio_cancel(); may be NULL.
    /// It is there before anything can come of the request, so `cb`, and
    /// whoever learns of the request from it, always finds it, whichever
    /// thread it runs on; what the submitting call returns may come later than
    /// `cb`. Must stay valid until that call returns. Left alone when the call
    /// fails. An id does not come back before 137 billion requests: that of one
    /// that is over is only -ENOENT.
    pub id: *mut i64,
}

/// What one handle's storage needs and can do. Start from
/// BLKALIGN_LIMITS_INIT. All sizes and alignments are bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_limits {
    /// sizeof(blkalign_limits), as the INIT macro sets it.
    pub size: usize,
    /// What offset and total length of every I/O are padded to.
    pub request_alignment: u32,
    /// Buffer addresses that reach the storage without a copy. (Of a file or
    /// device, what covers only a part of a block is copied anyway.)
    pub mem_alignment: u32,
    /// Lengths of single elements of an iovec that do.
    pub segment_alignment: u32,
    /// One of BLKALIGN_SOURCE_*: who said what `request_alignment` is.
    pub request_alignment_source: u32,
    /// The same of `mem_alignment`.
    pub mem_alignment_source: u32,
    /// The same of `segment_alignment`.
    pub segment_alignment_source: u32,
    /// What the device below can address; 0: not known.
    pub logical_block_size: u32,
    /// What the device below writes in one piece; 0: not known.
    pub physical_block_size: u32,
    /// Length of a single I/O that the storage likes best; 0: not known.
    pub opt_transfer: u32,
    /// Longest single I/O; 0: no limit known. Longer requests are split.
    pub max_transfer: u32,
    /// Most elements in one I/O; 0: no limit known. Requests with more are
    /// split.
    pub max_segments: u32,
    /// What the storage discards in one piece: of a device as sysfs says, of a
    /// file the block of its file system; 0: not known.
    pub discard_alignment: u32,
    /// What the storage makes zeros in one piece; else as `discard_alignment`.
    pub write_zeroes_alignment: u32,
    /// Longest write that is all or nothing across a loss of power, as
    /// statx(2) promised at open; 0: nothing promised beyond the logical
    /// block, or the page cache is in between.
    pub atomic_write_unit_max: u32,
    /// 1: O_DIRECT is in use; 0: the page cache, or a driver.
    pub direct: u32,
    /// The engine in use: one of BLKALIGN_ENGINE_*, never AUTO.
    pub engine: u32,
}

/// Counters of one handle since it was opened. Start from BLKALIGN_STATS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_stats {
    /// sizeof(blkalign_stats), as the INIT macro sets it.
    pub size: usize,
    /// Reads, from when they are submitted on.
    pub reads: u64,
    /// Writes, counted like reads.
    pub writes: u64,
    /// Zero writes, counted like reads.
    pub write_zeroes: u64,
    /// Discards, counted like reads.
    pub discards: u64,
    /// Flushes, counted like reads.
    pub flushes: u64,
    /// Bytes that callers read, without what was read around them.
    pub bytes_read: u64,
    /// Bytes that callers wrote, without what was written around them.
    pub bytes_written: u64,
    /// Requests whose every guest byte moved without a copy.
    pub zero_copy: u64,
    /// Requests with at least one guest byte copied.
    pub bounced: u64,
    /// Requests that needed a read-modify-write.
    pub rmw: u64,
    /// Edge reads really issued.
    pub rmw_reads: u64,
    /// Edge reads saved: block covered, or its bytes still at hand.
    pub rmw_reads_skipped: u64,
    /// Write requests that shared another request's write, which is counted
    /// for itself.
    pub merged: u64,
    /// Requests that waited for an overlapping one.
    pub waits: u64,
    /// Reads that the storage got; adjacent ones that went out as one count
    /// once.
    pub storage_reads: u64,
    /// Writes that the storage got, counted like these reads.
    pub storage_writes: u64,
    /// Requests that failed; not those that were cancelled.
    pub errors: u64,
    /// Requests submitted that are not done yet.
    pub in_flight: u64,
    /// Times that the storage refused an alignment which it had accepted, and
    /// a larger one was found. Requests that started again because of that
    /// count again in rmw and merged. At most 8; then requests fail.
    pub probe_repairs: u64,
}
