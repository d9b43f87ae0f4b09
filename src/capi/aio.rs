//! Asynchronous requests: aio_preadv, aio_pwritev, aio_pwrite_zeroes, aio_pdiscard, aio_flush, and
//! aio_submit, the general form; aio_cancel, cancel_all.

use std::ffi::{c_int, c_void};

use libc::iovec;

use super::checks::{check_alignment, check_range, invalid};
use super::errmsg;
use super::extensible::copy_in;
use super::guard::guard_handle;
use super::vector::copy_iovec;
use crate::driver::{Op, Segments};
use crate::handle::{check_request_flags, Callback, Handle, RequestFlags, Submission};
use crate::header::*;
use crate::sys::Error;

/// Starts to read at `offset` into the elements of `iov`. Otherwise like
/// blkalign_preadv().
///
/// The call never blocks: requests that the storage cannot take yet wait in the
/// library. The array `iov` may be freed when the call has returned; the memory
/// that the elements name must stay valid until `cb` is called.
///
/// Returns the id of the request, greater than 0, for blkalign_aio_cancel();
/// cb(opaque, ret) is then called exactly once, and never inside this call. Or
/// returns -errno, and `cb` is never called. Errors of the storage go to `cb`.
/// -EINVAL   `h` or `cb` is NULL; `offset` or `flags` are out of range;
///           `iovcnt` is negative; `iov` is NULL and `iovcnt` is not 0; an
///           element has a NULL address and a length;
///           BLKALIGN_REQ_REGISTERED_BUF and an element outside registered
///           memory;
/// -EIO      the range passes the end of the object;
/// -ENOMEM   so little memory is left that the requests in flight need it.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_aio_preadv(
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

/// Starts to write the elements of `iov` at `offset`. Otherwise like
/// blkalign_pwritev(). The memory that the elements name must stay valid and
/// unchanged until `cb` is called.
///
/// Returns the id of the request, or -errno: any error of
/// blkalign_aio_preadv(), and
/// -EPERM    the handle is read-only;
/// -ENOMEM   no memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_aio_pwritev(
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

/// Starts a zero write. Otherwise like blkalign_pwrite_zeroes().
///
/// Returns the id of the request, or -errno: any error of
/// blkalign_aio_preadv(), and
/// -EPERM    the handle is read-only.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_aio_pwrite_zeroes(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
    flags: u32,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    // SAFETY: the header's demands are those of `submit_without_memory`.
    unsafe { submit_without_memory(h, Op::WriteZeroes, (offset, bytes), flags, cb, opaque) }
}

/// Starts a discard. Otherwise like blkalign_pdiscard().
///
/// Returns the id of the request, or -errno: any error of
/// blkalign_aio_preadv(), and
/// -EPERM    the handle is read-only.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_aio_pdiscard(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    // SAFETY: the header's demands are those of `submit_without_memory`.
    unsafe { submit_without_memory(h, Op::Discard, (offset, bytes), 0, cb, opaque) }
}

/// Starts a flush of the writes that have completed so far. Otherwise like
/// blkalign_flush().
///
/// Returns the id of the request, or -errno:
/// -EINVAL   `h` or `cb` is NULL;
/// -ENOMEM   so little memory is left that the requests in flight need it.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_aio_flush(
    h: *mut blkalign_handle,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    // SAFETY: the header's demands are those of `submit_without_memory`.
    unsafe { submit_without_memory(h, Op::Flush, (0, 0), 0, cb, opaque) }
}

/// Starts a request of any kind. `request->op` names the operation. The other
/// fields must fit the operation: see blkalign_request.
///
/// Returns the id of the request, which is also stored through
/// blkalign_request.id, or -errno: any error of the blkalign_aio_*() function
/// for that operation, and
/// -EINVAL   `request` is NULL; its op is unknown; `bytes` is not the total
///           length of `iov`; fields that the operation does not use are set;
///           `guest_block_size` is no power of two of at most 1 MiB;
/// -E2BIG    `request` comes from a newer version of the header and uses a
///           field that this library does not have.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_aio_submit(
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
        let note_id = |id| {
            if !request.id.is_null() {
                // SAFETY: not NULL, so it can be written, as the header demands. Unaligned, since a
                // caller may have packed its structs.
                unsafe { request.id.write_unaligned(as_c(id)) };
            }
        };
        handle.submit(submission, callback, note_id).map(as_c)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) }
}

/// Cancels a request that has not reached the storage. The callback of the
/// request runs soon, with -ECANCELED; the request reads and writes nothing.
/// Requests that waited for the cancelled request go on. blkalign_stats.errors
/// does not count it.
///
/// `request_id` is the return value of the call that submitted the request.
/// With BLKALIGN_COMPLETION_SERIAL and BLKALIGN_COMPLETION_CONCURRENT the
/// callback may run before that call returns: where several threads use ids,
/// take them from blkalign_request.id.
///
/// A zero write or a discard that is at the storage with more than 16 GiB left
/// to do asks the storage for nothing further. This call then returns -EBUSY,
/// and the request completes with -ECANCELED as soon as the current piece is
/// over; a part of the range has then been zeroed or discarded.
///
/// Returns 0 if the request was cancelled, or -errno:
/// -EBUSY    the request, or the write that it is a part of, is at the storage;
///           it will complete by itself;
/// -ENOENT   the handle has no such request, or the request is over;
/// -EINVAL   `h` is NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_aio_cancel(
    h: *mut blkalign_handle,
    request_id: i64,
) -> c_int {
    let body = |handle: &Handle| {
        let id = u64::try_from(request_id).unwrap_or(0);
        handle.cancel(id).map(|()| 0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}

/// Cancels all requests of the handle that have not reached the storage, as
/// blkalign_aio_cancel() would. Synchronous calls of other threads that are
/// cancelled return -ECANCELED. Requests at the storage complete by themselves.
/// The time that the call takes grows with the number of requests in flight on
/// the object, not with the number that it cancels.
///
/// Returns how many requests were cancelled, or -errno:
/// -EINVAL   `h` is NULL.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_cancel_all(h: *mut blkalign_handle) -> c_int {
    let body = |handle: &Handle| Ok(i64::try_from(handle.cancel_all()).unwrap_or(i64::MAX));
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
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
        let op = request.op;
        let flags = check_request_flags(op, request.flags)?;
        let submission = Submission { op, flags, guest_block: 0, offset, bytes, segments };
        submit(handle, submission, callback)
    };
    // SAFETY: the caller of this function vouches for `h`.
    unsafe { guard_handle(h, body) }
}

fn submit(handle: &Handle, submission: Submission, callback: Callback) -> Result<i64, Error> {
    handle.submit(submission, callback, |_| {}).map(as_c)
}

/// Ids are below 2^63.
fn as_c(id: u64) -> i64 {
    id as i64
}

pub(crate) fn callback(cb: blkalign_completion_fn, opaque: *mut c_void) -> Result<Callback, Error> {
    let function = cb.ok_or_else(|| invalid("cb is NULL"))?;
    Ok(Callback { function, opaque, on_failure: errmsg::remember })
}

/// A request of a kind that names no memory.
fn without_memory(
    op: Op,
    offset: i64,
    bytes: i64,
    flags: RequestFlags,
) -> Result<Submission, Error> {
    let (offset, bytes) = check_range(offset, bytes)?;
    Ok(Submission { op, flags, guest_block: 0, offset, bytes, segments: Segments::new() })
}

/// # Safety `h` is NULL or an open handle.
unsafe fn submit_without_memory(
    h: *mut blkalign_handle,
    op: Op,
    range: (i64, i64),
    flags: u32,
    cb: blkalign_completion_fn,
    opaque: *mut c_void,
) -> i64 {
    let body = |handle: &Handle| {
        let callback = callback(cb, opaque)?;
        let flags = check_request_flags(op, flags)?;
        submit(handle, without_memory(op, range.0, range.1, flags)?, callback)
    };
    // SAFETY: the caller of this function vouches for `h`.
    unsafe { guard_handle(h, body) }
}

/// # Safety `request.iov` is NULL or has `request.iovcnt` elements.
unsafe fn general_form(request: &blkalign_request) -> Result<Submission, Error> {
    let op = match request.op {
        BLKALIGN_OP_READ => Op::Read,
        BLKALIGN_OP_WRITE => Op::Write,
        BLKALIGN_OP_WRITE_ZEROES => Op::WriteZeroes,
        BLKALIGN_OP_DISCARD => Op::Discard,
        BLKALIGN_OP_FLUSH => Op::Flush,
        unknown => return Err(invalid(format!("blkalign_request: unknown op {unknown}"))),
    };
    check_alignment("guest_block_size", request.guest_block_size)?;
    let flags = check_request_flags(op, request.flags)?;
    if matches!(op, Op::Read | Op::Write) {
        // SAFETY: the caller of this function vouches for the array.
        let (segments, total) = unsafe { copy_iovec(request.iov, request.iovcnt)? };
        let (offset, bytes) = check_range(request.offset, request.bytes)?;
        if total != request.bytes {
            let words = format!("bytes is {bytes}, the iovec's total {total}");
            return Err(invalid(format!("blkalign_request: {words}")));
        }
        let guest_block = request.guest_block_size;
        return Ok(Submission { op, flags, guest_block, offset, bytes, segments });
    }
    if request.iovcnt != 0 || !request.iov.is_null() {
        return Err(invalid("blkalign_request: only reads and writes take an iovec"));
    }
    if op == Op::Flush && (request.offset, request.bytes) != (0, 0) {
        return Err(invalid("blkalign_request: a flush takes no offset and no bytes"));
    }
    let guest_block = request.guest_block_size;
    Ok(Submission { guest_block, ..without_memory(op, request.offset, request.bytes, flags)? })
}

#[cfg(test)]
#[path = "aio_tests.rs"]
mod tests;
