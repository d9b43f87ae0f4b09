//! Asynchronous requests: aio_preadv, aio_pwritev, aio_flush, and aio_submit, the general form.

use std::ffi::{c_int, c_void};

use libc::iovec;

use super::constants::*;
use super::extensible::copy_in;
use super::guard::guard_handle;
use super::options::{check_request_flags, invalid, ALIGNMENT_MAX};
use super::types::{blkalign_completion_fn, blkalign_handle, blkalign_request};
use super::vector::{check_range, copy_iovec};
use crate::driver::{Op, Segments};
use crate::handle::{Callback, Handle, Submission};
use crate::sys::Error;

/// Starts reading at `offset` into the elements of `iov`; else as
/// blkalign_preadv().
///
/// The array `iov` may go when the call has returned; the memory that it names
/// must stay until `cb(opaque, ret)` is called. Never blocks: what the storage
/// cannot take yet waits in the library.
///
/// Returns the request's id, greater than 0, and then `cb` is called exactly
/// once, never inside this call; or -errno, and then it is never called: what
/// is wrong with the call itself, as for blkalign_preadv(), and -EINVAL when
/// cb is NULL. What the storage says goes to `cb`.
#[no_mangle]
pub unsafe extern "C" fn blkalign_aio_preadv(
    h: *mut blkalign_handle,
    offset: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    let request = Vector { op: Op::Read, offset, iov, iovcnt, flags };
    // SAFETY: the header's demands are those of `submit_vector`.
    unsafe { submit_vector(h, request, cb, opaque) }
}

/// Starts writing the elements of `iov` at `offset`; else as
/// blkalign_pwritev(). The memory must neither go nor change until `cb` is
/// called.
///
/// Returns as blkalign_aio_preadv(); -EPERM: the handle is read-only.
#[no_mangle]
pub unsafe extern "C" fn blkalign_aio_pwritev(
    h: *mut blkalign_handle,
    offset: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    let request = Vector { op: Op::Write, offset, iov, iovcnt, flags };
    // SAFETY: the header's demands are those of `submit_vector`.
    unsafe { submit_vector(h, request, cb, opaque) }
}

/// Starts a flush of the writes that have completed so far; else as
/// blkalign_flush().
///
/// Returns as blkalign_aio_preadv().
#[no_mangle]
pub unsafe extern "C" fn blkalign_aio_flush(
    h: *mut blkalign_handle,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    let body = |handle: &Handle| {
        let callback = callback(cb, opaque)?;
        submit(handle, flush(), callback)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) }
}

/// Starts any request: `op` says which. `bytes` of a read or write must equal
/// the iovec's total; a flush takes no offset, bytes or iov.
///
/// Returns as the call for that kind of request; -EINVAL also for an unknown
/// op; -E2BIG: the request is of a newer version and uses what this one does
/// not have; -ENOTSUP: an op, a flag or a guest_block_size that this version
/// does not have yet.
#[no_mangle]
pub unsafe extern "C" fn blkalign_aio_submit(
    h: *mut blkalign_handle,
    request: *const blkalign_request,
) -> i64 {
    let body = |handle: &Handle| {
        if request.is_null() {
            return Err(invalid("request is NULL"));
        }
        // SAFETY: not NULL, and as long as it says, as the header demands.
        let request = unsafe { copy_in(request)? };
        let callback = callback(request.cb, request.opaque)?;
        // SAFETY: NULL or `iovcnt` elements, as the header demands.
        let submission = unsafe { general_form(&request)? };
        submit(handle, submission, callback)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) }
}

/// A read or write as the calls with an iovec take it.
struct Vector {
    op: Op,
    offset: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
}

/// # Safety `h` is NULL or an open handle; `iov` is NULL or has `iovcnt`
/// elements that name the caller's memory until the callback.
unsafe fn submit_vector(
    h: *mut blkalign_handle,
    request: Vector,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    let body = |handle: &Handle| {
        let callback = callback(cb, opaque)?;
        // SAFETY: the caller of this function vouches for the array.
        let (segments, bytes) = unsafe { copy_iovec(request.iov, request.iovcnt)? };
        let (offset, bytes) = check_range(request.offset, bytes)?;
        let fua = check_request_flags(request.flags)?;
        submit(handle, Submission { op: request.op, fua, offset, bytes, segments }, callback)
    };
    // SAFETY: the caller of this function vouches for `h`.
    unsafe { guard_handle(h, body) }
}

fn submit(handle: &Handle, submission: Submission, callback: Callback) -> Result<i64, Error> {
    // Ids count up from 1; 2^63 of them are never used up.
    handle.submit(submission, callback).map(|id| id as i64)
}

fn callback(cb: blkalign_completion_fn, opaque: *mut c_void) -> Result<Callback, Error> {
    let function = cb.ok_or_else(|| invalid("cb is NULL"))?;
    Ok(Callback { function, opaque })
}

fn flush() -> Submission {
    Submission { op: Op::Flush, fua: false, offset: 0, bytes: 0, segments: Segments::new() }
}

/// # Safety `request.iov` is NULL or has `request.iovcnt` elements.
unsafe fn general_form(request: &blkalign_request) -> Result<Submission, Error> {
    let op = match request.op {
        BLKALIGN_OP_READ => Op::Read,
        BLKALIGN_OP_WRITE => Op::Write,
        BLKALIGN_OP_FLUSH => Op::Flush,
        BLKALIGN_OP_WRITE_ZEROES | BLKALIGN_OP_DISCARD => {
            let words = format!("blkalign_request: op {} is not supported yet", request.op);
            return Err(Error::new(libc::ENOTSUP, words));
        }
        unknown => return Err(invalid(format!("blkalign_request: unknown op {unknown}"))),
    };
    let submission = if op == Op::Flush {
        let range = (request.offset, request.bytes, request.iovcnt);
        if range != (0, 0, 0) || !request.iov.is_null() {
            return Err(invalid("blkalign_request: a flush takes no offset, bytes or iov"));
        }
        check_request_flags(request.flags)?;
        flush()
    } else {
        // SAFETY: the caller of this function vouches for the array.
        let (segments, total) = unsafe { copy_iovec(request.iov, request.iovcnt)? };
        let (offset, bytes) = check_range(request.offset, request.bytes)?;
        if total != request.bytes {
            let words = format!("bytes is {bytes}, the iovec's total {total}");
            return Err(invalid(format!("blkalign_request: {words}")));
        }
        let fua = check_request_flags(request.flags)?;
        Submission { op, fua, offset, bytes, segments }
    };
    check_guest_block_size(request.guest_block_size)?;
    Ok(submission)
}

fn check_guest_block_size(bytes: u32) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    if !bytes.is_power_of_two() || bytes > ALIGNMENT_MAX {
        return Err(invalid(format!(
            "guest_block_size {bytes} is not a power of two of at most {ALIGNMENT_MAX}"
        )));
    }
    let words = format!("guest_block_size {bytes}: torn-read promises are not supported yet");
    Err(Error::new(libc::ENOTSUP, words))
}

#[cfg(test)]
mod tests {
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
    fn what_comes_later_is_not_supported_and_the_rest_invalid() {
        let ops = [(0, 22), (3, libc::ENOTSUP), (4, libc::ENOTSUP), (6, 22), (u32::MAX, 22)];
        for (op, expected) in ops {
            assert_eq!(errno(&blkalign_request { op, ..read(&[]) }), expected, "{op}");
        }
        for (guest_block_size, expected) in [(0, 0), (512, libc::ENOTSUP), (513, 22)] {
            assert_eq!(errno(&blkalign_request { guest_block_size, ..read(&[]) }), expected);
        }
        // Malformed comes first.
        let both = blkalign_request {
            flags: BLKALIGN_REQ_NO_WAIT,
            guest_block_size: 3,
            bytes: 1,
            ..read(&[])
        };
        assert_eq!(errno(&both), libc::EINVAL);
    }
}
