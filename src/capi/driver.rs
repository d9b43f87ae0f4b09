//! `blkalign_driver`: the table with which a caller's own storage takes the file's place, and the
//! check that turns it into a `CDriver`. cbindgen reads the types here.

use std::ffi::{c_char, c_int, c_void};

use libc::iovec;

use super::options::{check_alignment, invalid};
use crate::driver::{Alignments, CDriver};
use crate::sys::Error;

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
