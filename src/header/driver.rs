//! `blkalign_driver`: the table with which a caller's own storage takes the file's place.

use std::ffi::{c_char, c_int, c_void};

use libc::iovec;

/// How a driver tells that an I/O is done: `ret` is 0 or -errno. To be called
/// exactly once for each I/O that was started, from any thread, also before
/// the starting function has returned.
pub type blkalign_driver_done_fn = extern "C-unwind" fn(token: *mut c_void, ret: c_int);

/// A caller's own storage: another hypervisor's back end, a network client, a
/// test. Start from BLKALIGN_DRIVER_INIT. The table is copied by
/// blkalign_open_driver(); `name` and what `opaque` names must stay until
/// `close`.
///
/// The library promises that every offset and length it passes is a multiple
/// of `request_alignment`, every address of `mem_alignment`, the length of
/// every iovec element of `segment_alignment` and never 0, and that no call
/// exceeds `max_transfer` or `max_segments`. So the length that getlength tells
/// must be a multiple of `request_alignment`: a last block that is there only
/// in part could be neither read nor written in keeping with that. (Of a file
/// the library reaches it through the page cache; a driver has no second way.)
/// Storage of an odd length has to round it, one way or the other.
///
/// `flags` are those of BLKALIGN_REQ_FUA, BLKALIGN_REQ_MAY_UNMAP and
/// BLKALIGN_REQ_NO_FALLBACK that the request has; a driver without FUA of its
/// own flushes instead.
///
/// The functions are called from threads of the library, or from the thread
/// that submits, many at once. `getlength`, a way to read and, for a writable
/// handle, a way to write must be there; the others may be NULL. Without a
/// flush function a flush succeeds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_driver {
    /// sizeof(blkalign_driver), as BLKALIGN_DRIVER_INIT sets it.
    pub size: usize,
    /// What messages call the storage; may be NULL.
    pub name: *const c_char,
    /// What offset and length of every call are multiples of: bytes, a power
    /// of two of at most 1 MiB; 0: 1.
    pub request_alignment: u32,
    /// The same for the address of each element of `iov`.
    pub mem_alignment: u32,
    /// The same for the length of each element of `iov`; it must not exceed
    /// `request_alignment`.
    pub segment_alignment: u32,
    /// The most bytes in one call, at least `request_alignment`; 0: no limit.
    pub max_transfer: u32,
    /// The most elements of `iov` in one call; 0: no limit.
    pub max_segments: u32,
    /// Returns the length of the object in bytes, or -errno. Needed. Asked by
    /// blkalign_open_driver(), blkalign_dup() and blkalign_refresh_length();
    /// between two of these it changes by `truncate` alone.
    pub getlength: Option<unsafe extern "C" fn(opaque: *mut c_void) -> i64>,
    /// Synchronous: reads all of `bytes` and returns 0, or returns -errno.
    /// What a read leaves out though it says 0 never becomes bytes of other
    /// requests: it is zeros, or stays what the reader had there.
    pub preadv: Option<
        unsafe extern "C" fn(
            opaque: *mut c_void,
            offset: i64,
            bytes: i64,
            iov: *const iovec,
            iovcnt: c_int,
            flags: u32,
        ) -> c_int,
    >,
    /// Synchronous: writes all of `bytes` and returns 0, or returns -errno. The
    /// memory is not the driver's to change.
    pub pwritev: Option<
        unsafe extern "C" fn(
            opaque: *mut c_void,
            offset: i64,
            bytes: i64,
            iov: *const iovec,
            iovcnt: c_int,
            flags: u32,
        ) -> c_int,
    >,
    /// Synchronous: makes durable what has been written, and returns 0 or
    /// -errno.
    pub flush: Option<unsafe extern "C" fn(opaque: *mut c_void) -> c_int>,
    /// Synchronous: is told that these bytes are not needed any more, and may
    /// read as anything; returns 0 or -errno. -ENOTSUP: it does not know how,
    /// which is success to the caller.
    pub pdiscard:
        Option<unsafe extern "C" fn(opaque: *mut c_void, offset: i64, bytes: i64) -> c_int>,
    /// Synchronous: makes these bytes zeros and returns 0, or returns -errno.
    /// -ENOTSUP: it does not know how, or not with these flags; zeros are then
    /// written, unless BLKALIGN_REQ_NO_FALLBACK.
    pub pwrite_zeroes: Option<
        unsafe extern "C" fn(opaque: *mut c_void, offset: i64, bytes: i64, flags: u32) -> c_int,
    >,
    /// Synchronous: makes the object `length` bytes long, a multiple of
    /// `request_alignment`, and returns 0 or -errno; what comes reads as zeros.
    pub truncate: Option<unsafe extern "C" fn(opaque: *mut c_void, length: i64) -> c_int>,
    /// Called once, when the last handle of the object is closed; not when
    /// opening failed.
    pub close: Option<unsafe extern "C" fn(opaque: *mut c_void)>,
    /// As `preadv`, but asynchronous, and preferred to it: returns 0 and later
    /// calls done(token, ret) exactly once; or returns -errno and never calls
    /// `done`. `iov` is the library's and stays until `done`.
    pub aio_preadv: Option<
        unsafe extern "C" fn(
            opaque: *mut c_void,
            offset: i64,
            bytes: i64,
            iov: *const iovec,
            iovcnt: c_int,
            flags: u32,
            done: blkalign_driver_done_fn,
            token: *mut c_void,
        ) -> c_int,
    >,
    /// As `pwritev`, asynchronous in the way of `aio_preadv`.
    pub aio_pwritev: Option<
        unsafe extern "C" fn(
            opaque: *mut c_void,
            offset: i64,
            bytes: i64,
            iov: *const iovec,
            iovcnt: c_int,
            flags: u32,
            done: blkalign_driver_done_fn,
            token: *mut c_void,
        ) -> c_int,
    >,
    /// As `flush`, asynchronous in the way of `aio_preadv`.
    pub aio_flush: Option<
        unsafe extern "C" fn(
            opaque: *mut c_void,
            done: blkalign_driver_done_fn,
            token: *mut c_void,
        ) -> c_int,
    >,
}
