//! What changes how a handle works while it is open: set_write_cache, register_buf,
//! unregister_buf.

use std::ffi::{c_int, c_void};

use super::guard::guard_handle;
use crate::handle::bounds::check_region;
use crate::handle::Handle;
use crate::header::blkalign_handle;

/// Switches the write cache of the handle, as a guest sees it, on (`enable` is
/// not 0) or off. Off means that each write submitted from now on is treated as
/// if it carried BLKALIGN_REQ_FUA. Use blkalign_flush() for earlier writes.
/// BLKALIGN_O_WRITETHROUGH switches the cache off at open.
///
/// Returns 0 or -errno:
/// -EINVAL   `h` is NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_set_write_cache(
    h: *mut blkalign_handle,
    enable: c_int,
) -> c_int {
    let body = |handle: &Handle| {
        handle.set_write_cache(enable != 0);
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Registers memory for requests with BLKALIGN_REQ_REGISTERED_BUF, such as the
/// memory of a guest. io_uring then maps and pins the memory once, not for each
/// request (fixed buffers). Registration has no effect with threads, nor where
/// the kernel grants no fixed buffers, for example because RLIMIT_MEMLOCK is
/// too low; the call succeeds then as well. An I/O profits if its data are one
/// contiguous piece of one region.
///
/// Regions must not overlap. The memory must stay mapped, with the same pages,
/// until blkalign_unregister_buf() or blkalign_close(): see blkalign(7),
/// "Registered memory".
///
/// Returns 0 or -errno:
/// -EINVAL   `h` or `host` is NULL; `bytes` is 0; the region passes the end of
///           the address space;
/// -EEXIST   the region overlaps a registered one.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_register_buf(
    h: *mut blkalign_handle,
    host: *mut c_void,
    bytes: usize,
) -> c_int {
    let body = |handle: &Handle| {
        handle.register_buffer(check_region(host as usize, bytes)?)?;
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Ends the registration of a region. `host` and `bytes` must be those of the
/// call of blkalign_register_buf(). No request that uses the region may be in
/// flight.
///
/// Returns 0 or -errno:
/// -EINVAL   as for blkalign_register_buf();
/// -ENOENT   there is no such region.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_unregister_buf(
    h: *mut blkalign_handle,
    host: *mut c_void,
    bytes: usize,
) -> c_int {
    let body = |handle: &Handle| {
        handle.unregister_buffer(check_region(host as usize, bytes)?)?;
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}
