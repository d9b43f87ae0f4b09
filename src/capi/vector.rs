//! A caller's memory, checked for form and copied into a request's segments.

use std::ffi::{c_int, c_void};

use libc::iovec;

use super::checks::invalid;
use crate::driver::Segments;
use crate::handle::bounds::add_segment;
use crate::sys::Error;

/// The segments of one buffer.
pub fn one_buffer(buffer: *const c_void, bytes: u64) -> Result<Segments, Error> {
    let bytes = usize::try_from(bytes)
        .map_err(|_| invalid(format!("a buffer of {bytes} bytes does not fit into memory")))?;
    let mut segments = Segments::new();
    add_segment(&mut segments, buffer as usize, bytes)?;
    Ok(segments)
}

/// The segments of an iovec array without its empty elements, and their total length.
///
/// # Safety
/// `iov` is NULL or points to `iovcnt` elements.
pub unsafe fn copy_iovec(iov: *const iovec, iovcnt: c_int) -> Result<(Segments, i64), Error> {
    let count =
        usize::try_from(iovcnt).map_err(|_| invalid(format!("iovcnt {iovcnt} is negative")))?;
    let mut segments = Segments::new();
    if count == 0 {
        return Ok((segments, 0));
    }
    if iov.is_null() {
        return Err(invalid(format!("iov is NULL with an iovcnt of {iovcnt}")));
    }
    segments
        .try_reserve(count)
        .map_err(|_| Error::new(libc::ENOMEM, format!("no memory for {count} segments")))?;
    let mut total = 0i64;
    for index in 0..count {
        // Copied first, then checked: the array may lie in a guest's memory, and the guest may
        // write to it meanwhile.
        // SAFETY: the caller of this function vouches for `iovcnt` elements.
        let element = unsafe { iov.add(index).read_volatile() };
        add_segment(&mut segments, element.iov_base as usize, element.iov_len)?;
        total = i64::try_from(element.iov_len)
            .ok()
            .and_then(|bytes| total.checked_add(bytes))
            .ok_or_else(|| invalid("the lengths of the iovec's elements overflow"))?;
    }
    Ok((segments, total))
}

#[cfg(test)]
#[path = "vector_tests.rs"]
mod tests;
