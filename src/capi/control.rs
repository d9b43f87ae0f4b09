//! What changes how a handle works while it is open: set_write_cache, register_buf,
//! unregister_buf.

use std::ffi::{c_int, c_void};

use super::checks::invalid;
use super::guard::guard_handle;
use crate::driver::Segment;
use crate::handle::Handle;
use crate::header::blkalign_handle;
use crate::sys::Error;

/// Switches the write cache of the handle, as a guest sees it, on (`enable` not
/// 0) or off. Off: each write submitted from here on is as if it carried
/// BLKALIGN_REQ_FUA; what was written before is made durable by
/// blkalign_flush(). BLKALIGN_O_WRITETHROUGH is "off" from the start.
///
/// Returns 0; -EINVAL: h is NULL.
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

/// Makes memory known to the handle, for requests with
/// BLKALIGN_REQ_REGISTERED_BUF: a guest's memory, say, which is then mapped and
/// pinned once and not by each request (io_uring's fixed buffers; with threads
/// it changes nothing, nor where the kernel has none to give, for lack of
/// RLIMIT_MEMLOCK, say). It serves I/O whose data are one piece of one region.
/// Regions must not overlap. The memory must stay until
/// blkalign_unregister_buf() or blkalign_close(), and keep its pages: pinned
/// ones that are taken away or replaced meanwhile (madvise(MADV_DONTNEED), a
/// balloon, mmap(MAP_FIXED)) still get the reads and give the writes.
///
/// Returns 0 or -errno: -EINVAL: h or host is NULL, bytes is 0, or the region
/// passes the end of memory; -EEXIST: it overlaps one that is registered.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_register_buf(
    h: *mut blkalign_handle,
    host: *mut c_void,
    bytes: usize,
) -> c_int {
    let body = |handle: &Handle| {
        handle.register_buffer(region(host, bytes)?)?;
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// The counterpart of blkalign_register_buf(), with the same region. No request
/// that uses it may be in flight.
///
/// Returns 0 or -errno: -EINVAL as there; -ENOENT: no such region.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_unregister_buf(
    h: *mut blkalign_handle,
    host: *mut c_void,
    bytes: usize,
) -> c_int {
    let body = |handle: &Handle| {
        handle.unregister_buffer(region(host, bytes)?)?;
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

fn region(host: *mut c_void, bytes: usize) -> Result<Segment, Error> {
    let address = host as usize;
    if address == 0 || bytes == 0 {
        return Err(invalid("a region of memory needs an address and a length"));
    }
    if address.checked_add(bytes).is_none_or(|end| end > isize::MAX as usize) {
        return Err(invalid(format!("{bytes} bytes at {address:#x} pass the end of memory")));
    }
    Ok(Segment { address, bytes })
}
