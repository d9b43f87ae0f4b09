//! `blkalign_driver`: the table with which a caller's own storage takes the file's place, and the
//! check that turns it into a `CDriver`. cbindgen reads the types here.

use std::ffi::{c_char, c_int, c_void};

use libc::iovec;

use super::options::{check_alignment, invalid};
use crate::driver::{Alignments, CDriver};
use crate::sys::Error;

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
    /// The asynchronous form of `preadv`, used if both are there. Returns 0 and
    /// later calls done(token, ret) exactly once, or returns -errno and never
    /// calls `done`. `iov` belongs to the library and stays valid until `done`
    /// is called.
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
}

/// Checks a table for form; `writable` tells whether it needs a way to write.
pub fn check_driver(
    table: &blkalign_driver,
    opaque: *mut c_void,
    writable: bool,
) -> Result<CDriver, Error> {
    check_alignment("blkalign_driver: request_alignment", table.request_alignment)?;
    check_alignment("blkalign_driver: mem_alignment", table.mem_alignment)?;
    check_alignment("blkalign_driver: segment_alignment", table.segment_alignment)?;
    let request_alignment = table.request_alignment.max(1);
    let segment_alignment = table.segment_alignment.max(1);
    if segment_alignment > request_alignment {
        return Err(invalid(format!(
            "blkalign_driver: segment_alignment {segment_alignment} is above request_alignment \
             {request_alignment}"
        )));
    }
    if table.max_transfer != 0 && table.max_transfer < request_alignment {
        return Err(invalid(format!(
            "blkalign_driver: max_transfer {} is below request_alignment {request_alignment}",
            table.max_transfer
        )));
    }
    let getlength = table.getlength.ok_or_else(|| invalid("blkalign_driver: no getlength"))?;
    if table.preadv.is_none() && table.aio_preadv.is_none() {
        return Err(invalid("blkalign_driver: neither preadv nor aio_preadv"));
    }
    if writable && table.pwritev.is_none() && table.aio_pwritev.is_none() {
        return Err(invalid("blkalign_driver: neither pwritev nor aio_pwritev to write with"));
    }
    Ok(CDriver {
        opaque,
        name: if table.name.is_null() { c"driver".as_ptr() } else { table.name },
        alignments: Alignments {
            request: u64::from(request_alignment),
            memory: table.mem_alignment.max(1) as usize,
            segment: segment_alignment as usize,
        },
        // What does not fill a block cannot be used.
        max_transfer: table.max_transfer - table.max_transfer % request_alignment,
        max_segments: table.max_segments,
        getlength,
        preadv: table.preadv,
        pwritev: table.pwritev,
        flush: table.flush,
        pdiscard: table.pdiscard,
        pwrite_zeroes: table.pwrite_zeroes,
        truncate: table.truncate,
        close: table.close,
        aio_preadv: table.aio_preadv,
        aio_pwritev: table.aio_pwritev,
        aio_flush: table.aio_flush,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::extensible::Extensible;
    use std::ptr::null_mut;

    unsafe extern "C" fn length(_: *mut c_void) -> i64 {
        0
    }

    unsafe extern "C" fn io(
        _: *mut c_void,
        _: i64,
        _: i64,
        _: *const iovec,
        _: c_int,
        _: u32,
    ) -> c_int {
        0
    }

    fn table() -> blkalign_driver {
        blkalign_driver {
            getlength: Some(length),
            preadv: Some(io),
            pwritev: Some(io),
            ..Extensible::zeroed()
        }
    }

    fn errno(table: blkalign_driver) -> i32 {
        check_driver(&table, null_mut(), true).err().map_or(0, |error| error.errno)
    }

    #[test]
    fn zeros_stand_for_one_and_for_no_limit() {
        let driver = check_driver(&table(), null_mut(), true).unwrap();
        assert_eq!(driver.alignments, Alignments { request: 1, memory: 1, segment: 1 });
        assert_eq!((driver.max_transfer, driver.max_segments), (0, 0));
        assert!(!driver.name.is_null());
    }

    #[test]
    fn max_transfer_is_whole_blocks() {
        let table = blkalign_driver { request_alignment: 4096, max_transfer: 9000, ..table() };
        assert_eq!(check_driver(&table, null_mut(), true).unwrap().max_transfer, 8192);
        assert_eq!(errno(blkalign_driver { max_transfer: 512, ..table }), libc::EINVAL);
    }

    #[test]
    fn what_cannot_work_is_invalid() {
        assert_eq!(errno(table()), 0);
        assert_eq!(errno(blkalign_driver { getlength: None, ..table() }), libc::EINVAL);
        assert_eq!(errno(blkalign_driver { preadv: None, ..table() }), libc::EINVAL);
        assert_eq!(errno(blkalign_driver { pwritev: None, ..table() }), libc::EINVAL);
        assert_eq!(errno(blkalign_driver { request_alignment: 3, ..table() }), libc::EINVAL);
        assert_eq!(errno(blkalign_driver { mem_alignment: 1 << 21, ..table() }), libc::EINVAL);
        assert_eq!(errno(blkalign_driver { segment_alignment: 2, ..table() }), libc::EINVAL);
        let reads_only = blkalign_driver { pwritev: None, ..table() };
        assert!(check_driver(&reads_only, null_mut(), false).is_ok());
    }
}
