//! Calls whose arguments are wrong: they are refused, and that is all that happens.

use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};

use blkalign::capi::*;
use libc::iovec;

use crate::calls::Disk;

extern "C" fn never(_: *mut c_void, _: c_int) {
    panic!("the callback of a call that was refused");
}

fn one(base: *mut c_void, bytes: usize) -> [iovec; 1] {
    [iovec { iov_base: base, iov_len: bytes }]
}

/// Makes one of the calls; each must be -EINVAL.
pub fn call(disk: Disk, choice: u8) {
    let Disk(h) = disk;
    let mut byte = 0u8;
    let base = (&raw mut byte).cast::<c_void>();
    let far = i64::MAX - 1000;
    let some: blkalign_completion_fn = Some(never);
    let (nothing, whole) = (one(null_mut(), 512), one(base, usize::MAX));
    let good = one(base, 1);
    let request = |op, offset, bytes| blkalign_request {
        size: std::mem::size_of::<blkalign_request>(),
        op,
        flags: 0,
        offset,
        bytes,
        iov: null(),
        iovcnt: 0,
        guest_block_size: 0,
        cb: some,
        opaque: null_mut(),
        id: std::ptr::null_mut(),
    };
    let wrong = blkalign_request { guest_block_size: 3, ..request(BLKALIGN_OP_FLUSH, 0, 0) };
    let negative = blkalign_request { iovcnt: -1, ..request(BLKALIGN_OP_READ, 0, 0) };
    // SAFETY: an open handle or NULL; the wrong memory is never touched.
    let ret: i64 = unsafe {
        match choice % 24 {
            0 => blkalign_pread(h, -1, 1, base, 0).into(),
            1 => blkalign_pread(h, far, 1000, base, 0).into(),
            2 => blkalign_pread(h, 0, -1, base, 0).into(),
            3 => blkalign_pread(h, 0, 1, null_mut(), 0).into(),
            4 => blkalign_pwrite(h, 0, 1, base, 1 << 31).into(),
            5 => blkalign_preadv(h, 0, null(), 1, 0).into(),
            6 => blkalign_preadv(h, 0, good.as_ptr(), -1, 0).into(),
            7 => blkalign_pwritev(h, 0, nothing.as_ptr(), 1, 0).into(),
            8 => blkalign_pwritev(h, 0, whole.as_ptr(), 1, 0).into(),
            9 => blkalign_pwrite_zeroes(h, 0, 0, BLKALIGN_REQ_REGISTERED_BUF).into(),
            10 => blkalign_pdiscard(h, i64::MAX, i64::MAX).into(),
            11 => blkalign_truncate(h, -1).into(),
            12 => blkalign_aio_preadv(h, 0, good.as_ptr(), 1, 0, None, null_mut()),
            13 => blkalign_aio_pwritev(h, -5, good.as_ptr(), 1, 0, some, null_mut()),
            14 => blkalign_aio_pwrite_zeroes(h, 0, far, 0, some, null_mut()),
            15 => blkalign_aio_submit(h, &request(99, 0, 0)),
            16 => blkalign_aio_submit(h, &request(BLKALIGN_OP_READ, 0, 1)),
            17 => blkalign_aio_submit(h, &request(BLKALIGN_OP_FLUSH, 0, 1)),
            18 => blkalign_aio_submit(h, &wrong),
            19 => blkalign_aio_submit(h, &negative),
            20 => blkalign_aio_submit(h, null()),
            21 => blkalign_register_buf(h, base, 0).into(),
            22 => blkalign_pread(null_mut(), 0, 1, base, 0).into(),
            _ => blkalign_poll(h, 0, 0).into(),
        }
    };
    assert_eq!(ret, -i64::from(libc::EINVAL), "odd call {}", choice % 24);
}
