//! Functions that give and take handles: open, open_fd, open_driver, dup, close.

use std::ffi::{c_char, c_int, c_void, CStr, CString};

use super::checks::invalid;
use super::extensible::copy_in;
use super::guard::{guard, guard_handle, guard_open, log_failed_open};
use super::options::read_options;
use crate::handle::{check_driver, Handle};
use crate::header::{blkalign_driver, blkalign_handle, blkalign_open_options};
use crate::sys::Error;

/// Opens a file or a block device.
///
/// `opts` may be NULL: all defaults, that is read-only through the page cache.
/// `*out` is written only on success. All handles of one file or device in this
/// process coordinate their requests, whatever path each was opened by. The
/// first handle decides whether all use O_DIRECT or the page cache: see
/// BLKALIGN_O_DIRECT.
///
/// The open acquires everything that the handle needs later, so that the
/// program may give up its privileges or its /proc afterwards. A handle has up
/// to five descriptors: the file, the file again through the page cache and for
/// flushes, the ring, and the descriptor of blkalign_get_event_fd().
/// BLKALIGN_O_LOCK needs two more.
///
/// Returns 0 or -errno: any error of open(2), with BLKALIGN_ENGINE_IO_URING
/// also any error of io_uring_setup(2) and io_uring_enter(2) such as -ENOSYS or
/// -EPERM, and
/// -EINVAL   `path` or `out` is NULL; `opts` has an unknown flag or value, an
///           alignment that is no power of two, no size, or too great a number
///           of workers or queue_depth; BLKALIGN_O_DIRECT on a file system
///           without O_DIRECT; a window that passes the end; BLKALIGN_O_RESIZE
///           with a window, for a block device, or for a driver without
///           truncate;
/// -E2BIG    `opts` comes from a newer version of the header and uses a field
///           that this library does not have;
/// -EROFS    BLKALIGN_O_RDWR for a read-only device (blockdev --setro);
/// -EOPNOTSUPP  BLKALIGN_O_RDWR for a zoned device that takes writes in order
///           only (host-managed); BLKALIGN_ENGINE_IO_URING for a file on FUSE;
/// -EBUSY    BLKALIGN_O_DIRECT without BLKALIGN_O_BUFFERED_OK, while this
///           process has the object open through the page cache; or another
///           copy of the library in this process has the object open;
/// -EAGAIN   BLKALIGN_O_LOCK: another process holds a conflicting lock;
///           blkalign_errmsg() names the byte of the lock;
/// -ENOTSUP  BLKALIGN_O_LOCK: the file system has no such locks;
/// -ENOLCK   BLKALIGN_O_LOCK: the same, as other file systems report it.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_open(
    path: *const c_char,
    opts: *const blkalign_open_options,
    out: *mut *mut blkalign_handle,
) -> c_int {
    guard_open(|| {
        check_out(out)?;
        if path.is_null() {
            return Err(invalid("path is NULL"));
        }
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        let options = unsafe { read_options(opts)? };
        // SAFETY: a C string, as the header demands.
        let path = unsafe { copy_string(path) };
        let handle = Handle::open(&path, &options)?;
        // SAFETY: not NULL.
        unsafe { give(handle, out) }
    }) as c_int
}

/// Opens the file or block device that a file descriptor refers to. `fd` stays
/// open and belongs to the caller. The handle gets descriptors of its own, and
/// the flags of `fd`, O_DIRECT among them, stay as they are.
///
/// The library opens the file again through /proc/self/fd. If that is not
/// possible, because /proc is missing or because this process may not open the
/// file, it uses a duplicate of `fd`, with the restrictions that blkalign(7)
/// names under "Descriptors".
///
/// Returns 0 or -errno: any error of blkalign_open(), the error of open(2) for
/// /proc/self/fd if a duplicate does not suffice (blkalign_errmsg() then names
/// /proc), and
/// -EBADF    `fd` is not open;
/// -EACCES   `fd` does not allow what `opts` asks for.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_open_fd(
    fd: c_int,
    opts: *const blkalign_open_options,
    out: *mut *mut blkalign_handle,
) -> c_int {
    guard_open(|| {
        check_out(out)?;
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        let options = unsafe { read_options(opts)? };
        let handle = Handle::open_fd(fd, &options)?;
        // SAFETY: not NULL.
        unsafe { give(handle, out) }
    }) as c_int
}

/// Opens a caller's own storage. `driver_opaque` is passed to each function of
/// the driver. Each call creates a storage object of its own; blkalign_dup()
/// opens further handles of it. The engine is BLKALIGN_ENGINE_THREADS, whatever
/// `opts` says.
///
/// Returns 0 or -errno: any error of the driver's getlength, and
/// -EINVAL   `driver` or `out` is NULL; a function that is required is missing;
///           alignments or limits contradict each other; the length is no
///           multiple of `request_alignment`; BLKALIGN_O_LOCK, which needs a
///           file or a device; or an error in `opts`, as for blkalign_open();
/// -E2BIG    `driver` or `opts` comes from a newer version of the header and
///           uses a field that this library does not have.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_open_driver(
    driver: *const blkalign_driver,
    driver_opaque: *mut c_void,
    opts: *const blkalign_open_options,
    out: *mut *mut blkalign_handle,
) -> c_int {
    guard_open(|| {
        check_out(out)?;
        if driver.is_null() {
            return Err(invalid("driver is NULL"));
        }
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        let options = unsafe { read_options(opts)? };
        // SAFETY: not NULL, and as long as it says, as the header demands.
        let table = unsafe { copy_in(driver)? };
        let table = check_driver(&table, options.writable)?;
        let handle = Handle::open_driver(table, driver_opaque, &options)?;
        // SAFETY: not NULL.
        unsafe { give(handle, out) }
    }) as c_int
}

/// Opens another handle, with a queue of its own, on the object of `h`. The
/// options of `h` are not inherited: `opts` may be NULL and then means all
/// defaults.
///
/// Returns 0 or -errno: any error of blkalign_open(), and
/// -EINVAL   `h` is NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_dup(
    h: *mut blkalign_handle,
    opts: *const blkalign_open_options,
    out: *mut *mut blkalign_handle,
) -> c_int {
    let body = |handle: &Handle| {
        check_out(out)?;
        // SAFETY: NULL, or a struct as long as it says, as the header demands.
        let options = unsafe { read_options(opts)? };
        let handle = handle.dup(&options)?;
        // SAFETY: not NULL.
        unsafe { give(handle, out) }
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| log_failed_open(body(handle))) as c_int }
}

/// Waits until every request of the handle has called back, then closes the
/// handle. With BLKALIGN_COMPLETION_EVENTFD the callbacks run inside this call.
/// `h` may be NULL.
///
/// Returns 0 or -errno. The handle is gone after every result but -EDEADLK.
/// -EDEADLK  called inside a callback; the handle is still open.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_close(h: *mut blkalign_handle) -> c_int {
    if h.is_null() {
        return 0;
    }
    // A panic in here drops the handle, so there is nothing left to poison.
    guard(|| {
        // SAFETY: an open handle is a `Box<Handle>` turned into a pointer, and nothing may use it
        // from here on.
        let handle = unsafe { Box::from_raw(h.cast::<Handle>()) };
        match handle.close() {
            Ok(()) => Ok(0),
            Err((handle, error)) => {
                // Still open: the pointer stays what it was.
                let _ = Box::into_raw(handle);
                Err(error)
            }
        }
    }) as c_int
}

/// The string as it is now: it is used more than once, and another thread may write to it
/// meanwhile.
///
/// # Safety
/// `string` is a C string.
pub(super) unsafe fn copy_string(string: *const c_char) -> CString {
    // SAFETY: the caller of this function vouches for it.
    let mut bytes = unsafe { CStr::from_ptr(string) }.to_bytes().to_vec();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    CString::new(bytes).expect("ends before its first NUL")
}

pub(super) fn check_out(out: *mut *mut blkalign_handle) -> Result<(), Error> {
    if out.is_null() {
        return Err(invalid("out is NULL"));
    }
    Ok(())
}

/// # Safety `out` can be written.
pub(super) unsafe fn give(handle: Handle, out: *mut *mut blkalign_handle) -> Result<i64, Error> {
    // SAFETY: the caller of this function vouches for `out`.
    unsafe { out.write(Box::into_raw(Box::new(handle)).cast()) };
    Ok(0)
}
