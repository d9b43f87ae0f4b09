//! `blkalign_driver`: the table with which a caller's own storage takes the file's place.

use std::ffi::{c_char, c_int, c_void};

use libc::iovec;

/// Reports that an asynchronous I/O of a driver is done: `ret` is 0 or -errno.
/// The driver calls this function exactly once for each I/O that was started,
/// from any thread. The call may come before the function that started the I/O
/// has returned.
pub type blkalign_driver_done_fn = extern "C-unwind" fn(token: *mut c_void, ret: c_int);

/// The functions of a caller's own storage, for blkalign_open_driver(). Start
/// from BLKALIGN_DRIVER_INIT. blkalign_open_driver() copies the struct; the
/// string `name` and the object that `opaque` points to must stay valid until
/// `close` is called.
///
/// The library promises that every offset and every length is a multiple of
/// `request_alignment`, that every address is a multiple of `mem_alignment`,
/// that the length of every iovec element is a multiple of `segment_alignment`
/// and never 0, and that no call exceeds `max_transfer` or `max_segments`.
/// Where `request_alignment` is more than 1 no read has the same memory in two
/// elements: a driver may decrypt or check data where it has read them to.
/// Hence the length that `getlength` returns must be a multiple of
/// `request_alignment`; storage of another length has to round it up or down.
///
/// `flags` are those flags of the request that a driver can act on:
/// BLKALIGN_REQ_FUA, BLKALIGN_REQ_MAY_UNMAP and BLKALIGN_REQ_NO_FALLBACK. A
/// driver that cannot do FUA in another way flushes after the write.
///
/// Threads of the library and threads that submit requests call these
/// functions, several at a time. `getlength` and `preadv` or `aio_preadv` must
/// not be NULL; for a writable handle neither must `pwritev` or `aio_pwritev`.
/// The others may be NULL. Without a flush function a flush succeeds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_driver {
    /// sizeof(blkalign_driver), as BLKALIGN_DRIVER_INIT sets it.
    pub size: usize,
    /// The name of the storage in messages. NULL: "driver".
    pub name: *const c_char,
    /// Alignment of offset and length of every call, in bytes: a power of two
    /// of at most 1 MiB. 0: 1.
    pub request_alignment: u32,
    /// Alignment of the address of each element of `iov`, with the same unit
    /// and range. 0: 1.
    pub mem_alignment: u32,
    /// Alignment of the length of each element of `iov`, with the same unit and
    /// range, and not greater than `request_alignment`. 0: 1.
    pub segment_alignment: u32,
    /// Greatest number of bytes in one call, at least `request_alignment`. 0:
    /// no limit.
    pub max_transfer: u32,
    /// Greatest number of elements of `iov` in one call. 0: no limit.
    pub max_segments: u32,
    /// Returns the length of the object in bytes, or -errno. Must not be NULL.
    /// blkalign_open_driver(), blkalign_dup() and blkalign_refresh_length()
    /// call it. Between two such calls only `truncate` may change the length.
    pub getlength: Option<unsafe extern "C" fn(opaque: *mut c_void) -> i64>,
    /// Synchronous: reads `bytes` bytes and returns 0, or returns -errno. If
    /// the function returns 0 without filling all of the memory, the rest of
    /// the reader's buffer holds zeros or its old content, never bytes of other
    /// requests.
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
    /// Synchronous: writes `bytes` bytes and returns 0, or returns -errno. The
    /// driver must not change the memory.
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
    /// Synchronous: makes all completed writes durable and returns 0, or
    /// returns -errno.
    pub flush: Option<unsafe extern "C" fn(opaque: *mut c_void) -> c_int>,
    /// Synchronous: takes note that the range is not needed any more and may
    /// read as anything. Returns 0 or -errno. -ENOTSUP: the driver cannot
    /// discard; the caller's discard succeeds nevertheless.
    pub pdiscard:
        Option<unsafe extern "C" fn(opaque: *mut c_void, offset: i64, bytes: i64) -> c_int>,
    /// Synchronous: makes the range zeros and returns 0, or returns -errno.
    /// -ENOTSUP: the driver cannot do that, or not with these flags; the
    /// library then writes zeros, unless BLKALIGN_REQ_NO_FALLBACK is set.
    pub pwrite_zeroes: Option<
        unsafe extern "C" fn(opaque: *mut c_void, offset: i64, bytes: i64, flags: u32) -> c_int,
    >,
    /// Synchronous: makes the object `length` bytes long, a multiple of
    /// `request_alignment`. Returns 0 or -errno. A part that is added must read
    /// as zeros.
    pub truncate: Option<unsafe extern "C" fn(opaque: *mut c_void, length: i64) -> c_int>,
    /// Called once, when the last handle of the object is closed. Not called if
    /// blkalign_open_driver() failed.
    pub close: Option<unsafe extern "C" fn(opaque: *mut c_void)>,
    /// The asynchronous form of `preadv`. Returns 0 and later calls done(token,
    /// ret) exactly once, or returns -errno and never calls `done`. `iov`
    /// belongs to the library and stays valid until `done` is called. If both
    /// forms are there, a synchronous call of the program, such as
    /// blkalign_pread(), uses `preadv` on its own thread where it can; all
    /// else uses `aio_preadv`.
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
    /// The asynchronous form of `pwritev`; return value and `done` as for
    /// `aio_preadv`.
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
    /// The asynchronous form of `flush`; return value and `done` as for
    /// `aio_preadv`.
    pub aio_flush: Option<
        unsafe extern "C" fn(
            opaque: *mut c_void,
            done: blkalign_driver_done_fn,
            token: *mut c_void,
        ) -> c_int,
    >,
    /// Says what lies at `offset`: one of BLKALIGN_STATUS_*, and in `*run` for
    /// how many bytes that holds, at most `bytes`, a multiple of
    /// `request_alignment`. Or returns -errno. Called on the thread that calls
    /// blkalign_block_status(). NULL: data everywhere.
    pub block_status: Option<
        unsafe extern "C" fn(opaque: *mut c_void, offset: i64, bytes: i64, run: *mut i64) -> c_int,
    >,
}
