//! Functions that give and take handles: open, open_fd, open_driver, dup, close.

use std::ffi::{c_char, c_int, c_void, CStr, CString};

use super::check_driver::check_driver;
use super::checks::invalid;
use super::extensible::copy_in;
use super::guard::{guard, guard_handle, guard_open, log_failed_open};
use super::options::read_options;
use crate::handle::Handle;
use crate::header::{blkalign_driver, blkalign_handle, blkalign_open_options};
use crate::sys::Error;

/// Opens a file or block device.
///
/// `opts` may be NULL: all defaults, that is read-only through the page cache.
/// `*out` is written only on success. Handles of one file or device in this
/// process know of each other, whatever path they were opened by: their writes
/// never damage each other's neighbours. The first of them decides whether all
/// go with O_DIRECT or through the page cache: see BLKALIGN_O_DIRECT.
///
/// What the handle will need later it opens now: the program may give up its
/// rights afterwards, or its /proc. A handle has up to five descriptors: the
/// file's, buffered and for flushes too; its ring's; and that of
/// blkalign_get_event_fd().
///
/// Where io_uring was not ruled out and the system refuses it, the handle uses
/// threads and blkalign_engine_reason() tells why: see BLKALIGN_ENGINE_AUTO.
/// With BLKALIGN_ENGINE_IO_URING that is a failure: what io_uring_setup(2) and
/// io_uring_enter(2) say, -ENOSYS and -EPERM among them.
///
/// Returns 0 or -errno: what open(2) says, and
/// -EROFS    BLKALIGN_O_RDWR, and the device is read-only (blockdev --setro);
/// -EINVAL   path or out is NULL; opts: an unknown flag or value, an alignment
///           that is no power of two, size not set, workers or queue_depth
///           too large; BLKALIGN_O_DIRECT where there is none; a window that
///           passes the end; BLKALIGN_O_RESIZE with a window, for a block
///           device, or for a driver without truncate;
/// -E2BIG    opts is of a newer version and uses what this one does not have;
/// -EBUSY    BLKALIGN_O_DIRECT, while this process has it open through the page
///           cache; BLKALIGN_O_BUFFERED_OK goes along instead;
/// -EAGAIN   BLKALIGN_O_LOCK: another process has a lock that contradicts; the
///           words name its byte;
/// -ENOTSUP  BLKALIGN_O_LOCK: there are no such locks;
/// -ENOLCK   the same, as other file systems say it.
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

/// Opens what a file descriptor refers to. The descriptor stays the caller's:
/// the handle has its own, and flags such as O_DIRECT of the caller's one are
/// left alone.
///
/// The file is opened once more, through /proc/self/fd. Where /proc is missing,
/// or this process may not open the file, a duplicate of fd does what it can:
/// with O_DIRECT if fd has that, asked for or not, and without where
/// BLKALIGN_O_BUFFERED_OK allows it. A duplicate with O_DIRECT has no way to a
/// last block that is only a part of one: a length that is no multiple of
/// request_alignment, and BLKALIGN_O_RESIZE, are refused here, and later
/// blkalign_truncate() to such a length; the words name /proc. A duplicate
/// shares its flags with fd: leave these alone as long as the handle is open.
///
/// Returns as blkalign_open(); -EBADF: fd is not open; -EACCES: not for what
/// opts asks; what open(2) of /proc/self/fd says where a duplicate will not do.
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

/// Opens a caller's own storage. `driver_opaque` is handed to each of its
/// functions. Each call makes an object of its own; more queues on it come
/// from blkalign_dup(). The engine is always BLKALIGN_ENGINE_THREADS, whatever
/// opts says.
///
/// Returns 0 or -errno: what getlength says, and
/// -EINVAL   driver or out is NULL; a function that is needed is missing;
///           alignments or limits that contradict each other; a length that is
///           no multiple of request_alignment; BLKALIGN_O_LOCK, which is for
///           files and devices; and what is wrong with opts, as for
///           blkalign_open();
/// -E2BIG    driver or opts is of a newer version and uses what this one does
///           not have.
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

/// Opens another handle (a queue of its own) on the object of `h`. Its options
/// are its own: NULL means all defaults, not those of `h`.
///
/// Returns as blkalign_open(); -EINVAL also when h is NULL.
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

/// Waits until every request of the handle has called back, then closes it.
/// With BLKALIGN_COMPLETION_EVENTFD the callbacks run in here. NULL is fine.
///
/// Returns 0, or -EDEADLK inside a callback: the handle is then still open.
/// After any other result it is gone.
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
unsafe fn copy_string(string: *const c_char) -> CString {
    // SAFETY: the caller of this function vouches for it.
    let mut bytes = unsafe { CStr::from_ptr(string) }.to_bytes().to_vec();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    CString::new(bytes).expect("ends before its first NUL")
}

fn check_out(out: *mut *mut blkalign_handle) -> Result<(), Error> {
    if out.is_null() {
        return Err(invalid("out is NULL"));
    }
    Ok(())
}

/// # Safety `out` can be written.
unsafe fn give(handle: Handle, out: *mut *mut blkalign_handle) -> Result<i64, Error> {
    // SAFETY: the caller of this function vouches for `out`.
    unsafe { out.write(Box::into_raw(Box::new(handle)).cast()) };
    Ok(0)
}
