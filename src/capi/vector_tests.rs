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
