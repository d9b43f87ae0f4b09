use super::*;
use crate::capi::extensible::Extensible;

fn errno(request: &blkalign_request) -> i32 {
    // SAFETY: the requests below have as many elements as they say.
    unsafe { general_form(request) }.err().map_or(0, |error| error.errno)
}

fn read(iov: &[iovec]) -> blkalign_request {
    blkalign_request {
        op: BLKALIGN_OP_READ,
        bytes: iov.iter().map(|element| element.iov_len as i64).sum(),
        iov: iov.as_ptr(),
        iovcnt: iov.len() as c_int,
        ..Extensible::zeroed()
    }
}

#[test]
fn bytes_must_equal_the_total_of_the_vector() {
    let mut memory = [0u8; 8];
    let iov = [iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: 8 }];
    assert_eq!(errno(&read(&iov)), 0);
    for bytes in [-1, 0, 7, 9] {
        assert_eq!(errno(&blkalign_request { bytes, ..read(&iov) }), libc::EINVAL);
    }
}

#[test]
fn a_flush_takes_nothing() {
    let flush = blkalign_request { op: BLKALIGN_OP_FLUSH, ..Extensible::zeroed() };
    let iov = [iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }];
    assert_eq!(errno(&flush), 0);
    assert_eq!(errno(&blkalign_request { offset: 1, ..flush }), libc::EINVAL);
    assert_eq!(errno(&blkalign_request { bytes: 1, ..flush }), libc::EINVAL);
    assert_eq!(errno(&blkalign_request { iovcnt: 1, ..flush }), libc::EINVAL);
    assert_eq!(errno(&blkalign_request { iov: iov.as_ptr(), ..flush }), libc::EINVAL);
    let flags = BLKALIGN_REQ_MAY_UNMAP;
    assert_eq!(errno(&blkalign_request { flags, ..flush }), libc::EINVAL);
}

#[test]
fn zeros_and_discards_take_a_range_and_no_memory() {
    let iov = [iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }];
    for op in [BLKALIGN_OP_WRITE_ZEROES, BLKALIGN_OP_DISCARD] {
        let request = blkalign_request { op, offset: 1, bytes: 99, ..Extensible::zeroed() };
        assert_eq!(errno(&request), 0);
        assert_eq!(errno(&blkalign_request { bytes: -1, ..request }), libc::EINVAL);
        assert_eq!(errno(&blkalign_request { iov: iov.as_ptr(), ..request }), libc::EINVAL);
        assert_eq!(errno(&blkalign_request { iovcnt: 1, ..request }), libc::EINVAL);
    }
}

#[test]
fn unknown_ops_and_odd_guest_blocks_are_invalid() {
    for (op, expected) in [(0, 22), (6, 22), (u32::MAX, 22)] {
        assert_eq!(errno(&blkalign_request { op, ..read(&[]) }), expected, "{op}");
    }
    for (guest_block_size, expected) in [(0, 0), (512, 0), (1 << 20, 0), (513, 22)] {
        assert_eq!(errno(&blkalign_request { guest_block_size, ..read(&[]) }), expected);
    }
}
