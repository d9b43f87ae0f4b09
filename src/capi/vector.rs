//! A caller's memory, checked for form and copied into a request's segments.

use std::ffi::{c_int, c_void};

use libc::iovec;

use super::checks::invalid;
use crate::driver::{Segment, Segments};
use crate::sys::Error;

/// The segments of one buffer.
pub fn one_buffer(buffer: *const c_void, bytes: u64) -> Result<Segments, Error> {
    let bytes = usize::try_from(bytes)
        .map_err(|_| invalid(format!("a buffer of {bytes} bytes does not fit into memory")))?;
    let mut segments = Segments::new();
    push(&mut segments, buffer as usize, bytes)?;
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
        push(&mut segments, element.iov_base as usize, element.iov_len)?;
        total = i64::try_from(element.iov_len)
            .ok()
            .and_then(|bytes| total.checked_add(bytes))
            .ok_or_else(|| invalid("the lengths of the iovec's elements overflow"))?;
    }
    Ok((segments, total))
}

fn push(segments: &mut Segments, address: usize, bytes: usize) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    if address == 0 {
        return Err(invalid(format!("NULL in place of a buffer of {bytes} bytes")));
    }
    // No program has memory there, and the request machine marks addresses by their top bit.
    if address > isize::MAX as usize || address.checked_add(bytes).is_none() {
        let words = format!("a buffer of {bytes} bytes at {address:#x} passes the end of memory");
        return Err(invalid(words));
    }
    segments.push(Segment { address, bytes });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    fn element(address: usize, bytes: usize) -> iovec {
        iovec { iov_base: address as *mut c_void, iov_len: bytes }
    }

    fn copied(elements: &[iovec]) -> Result<(Vec<(usize, usize)>, i64), i32> {
        // SAFETY: pointer and count are those of one slice.
        let copied = unsafe { copy_iovec(elements.as_ptr(), elements.len() as c_int) };
        let (segments, total) = copied.map_err(|error| error.errno)?;
        Ok((segments.iter().map(|s| (s.address, s.bytes)).collect(), total))
    }

    #[test]
    fn a_length_that_changes_meanwhile_is_read_once() {
        let elements = [element(64, 1), element(128, 2)];
        // As a caller does that breaks the rules, or whose memory is a guest's.
        // SAFETY: the array lives longer than the thread that writes to it.
        let length = unsafe { AtomicUsize::from_ptr((&raw const elements[1].iov_len).cast_mut()) };
        let over = AtomicBool::new(false);
        let wrong = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    length.store(0, Ordering::Relaxed);
                    length.store(1 << 20, Ordering::Relaxed);
                }
            });
            let is_wrong = |_: &u32| {
                let (segments, total) = copied(&elements).unwrap();
                segments.iter().map(|&(_, bytes)| bytes as i64).sum::<i64>() != total
            };
            let wrong = (0..2_000_000).filter(is_wrong).count();
            over.store(true, Ordering::Relaxed);
            wrong
        });
        assert_eq!(wrong, 0);
    }

    #[test]
    fn empty_elements_are_dropped_even_with_null() {
        let elements = [element(0, 0), element(64, 3), element(9, 0), element(64, 3)];
        assert_eq!(copied(&elements), Ok((vec![(64, 3), (64, 3)], 6)));
        assert_eq!(copied(&[]), Ok((vec![], 0)));
    }

    #[test]
    fn what_is_no_vector_is_invalid() {
        assert_eq!(copied(&[element(64, 1), element(0, 1)]), Err(libc::EINVAL));
        assert_eq!(copied(&[element(64, usize::MAX)]), Err(libc::EINVAL));
        let half = usize::MAX / 2;
        assert_eq!(copied(&[element(64, half), element(64, half)]), Err(libc::EINVAL));
        // SAFETY: NULL is allowed, and nothing is read for these counts.
        let errno = |count| unsafe { copy_iovec(null(), count) }.err().map(|error| error.errno);
        assert_eq!(errno(0), None);
        assert_eq!(errno(1), Some(libc::EINVAL));
        assert_eq!(errno(-1), Some(libc::EINVAL));
        assert_eq!(errno(c_int::MIN), Some(libc::EINVAL));
    }

    #[test]
    fn more_elements_than_the_kernel_takes_are_fine() {
        let elements = vec![element(4096, 512); 5000];
        let (segments, total) = copied(&elements).unwrap();
        assert_eq!((segments.len(), total), (5000, 5000 * 512));
    }

    #[test]
    fn a_buffer_needs_an_address_only_when_it_has_a_length() {
        assert!(one_buffer(null(), 0).unwrap().is_empty());
        assert_eq!(one_buffer(null(), 1).unwrap_err().errno, libc::EINVAL);
        assert_eq!(one_buffer(64 as *const c_void, 5).unwrap()[0].bytes, 5);
    }
}
