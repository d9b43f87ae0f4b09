//! Synchronous requests: pread, pwrite, preadv, pwritev, pwrite_zeroes, pdiscard, flush, truncate;
//! and drain, drain_timeout.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use libc::iovec;

use super::checks::check_range;
use super::guard::guard_handle;
use super::vector::{copy_iovec, one_buffer};
use crate::driver::{Op, Segments};
use crate::handle::{check_request_flags, Handle, Submission};
use crate::header::blkalign_handle;

/// Reads `bytes` bytes at `offset` into `buf`. Offset, length and address need
/// no alignment.
///
/// `flags` are BLKALIGN_REQ_*. The call blocks until the read is done, in every
/// completion mode. It reads all of `bytes` or fails; a length of 0 succeeds.
/// Offset, length and their sum may be as large as 0x7fffffffc0000000.
///
/// Returns 0 or -errno: any error of the storage, and
/// -EINVAL   `h` is NULL; `offset`, `bytes` or `flags` are out of range; `buf`
///           is NULL and `bytes` is not 0; BLKALIGN_REQ_REGISTERED_BUF and
///           memory outside registered regions;
/// -EIO      the range passes the end of the object;
/// -EBUSY    BLKALIGN_REQ_NO_WAIT is set and an overlapping request is in
///           flight;
/// -ECANCELED  another thread called blkalign_cancel_all();
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_pread(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
    buf: *mut c_void,
    flags: u32,
) -> c_int {
    // SAFETY: the header's demands are those of `run_buffer`.
    unsafe { run_buffer(h, Op::Read, offset, bytes, buf, flags) }
}

/// Writes `bytes` bytes from `buf` at `offset`. Offset, length and address need
/// no alignment. No other byte of the object changes. The length of the object
/// changes only with BLKALIGN_O_RESIZE.
///
/// `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_FUA the bytes are durable when
/// the call returns. If the write covers a part of a block, the library reads
/// the other bytes of the block first; if that read fails, the call fails with
/// its error and writes nothing.
///
/// Returns 0 or -errno: any error of blkalign_pread(), and
/// -EPERM    the handle is read-only;
/// -ENOMEM   no memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_pwrite(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
    buf: *const c_void,
    flags: u32,
) -> c_int {
    // SAFETY: the header's demands are those of `run_buffer`.
    unsafe { run_buffer(h, Op::Write, offset, bytes, buf, flags) }
}

/// Reads at `offset` into the elements of `iov`, one after the other. There may
/// be any number of elements, more than IOV_MAX included. Elements may be
/// empty, and several may name the same memory. Otherwise like
/// blkalign_pread().
///
/// Returns 0 or -errno: any error of blkalign_pread(), and
/// -EINVAL   `iovcnt` is negative; `iov` is NULL and `iovcnt` is not 0; an
///           element has a NULL address and a length;
///           BLKALIGN_REQ_REGISTERED_BUF and an element outside registered
///           memory.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_preadv(
    h: *mut blkalign_handle,
    offset: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
) -> c_int {
    // SAFETY: the header's demands are those of `run_vector`.
    unsafe { run_vector(h, Op::Read, offset, iov, iovcnt, flags) }
}

/// Writes the elements of `iov` at `offset`, one after the other. Otherwise
/// like blkalign_pwrite().
///
/// Returns 0 or -errno: any error of blkalign_preadv(), and
/// -EPERM    the handle is read-only;
/// -ENOMEM   no memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_pwritev(
    h: *mut blkalign_handle,
    offset: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
) -> c_int {
    // SAFETY: the header's demands are those of `run_vector`.
    unsafe { run_vector(h, Op::Write, offset, iov, iovcnt, flags) }
}

/// Makes `bytes` bytes at `offset` zeros. Offset and length need no alignment.
/// For whole blocks the library uses the storage's own operation (fallocate(2),
/// a driver's pwrite_zeroes); it writes the edges. If the storage has no such
/// operation, the library writes blocks of zeros, unless
/// BLKALIGN_REQ_NO_FALLBACK is set.
///
/// `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_MAY_UNMAP the storage may
/// deallocate the range.
///
/// Returns 0 or -errno: any error of blkalign_pwrite(), and
/// -ENOTSUP  BLKALIGN_REQ_NO_FALLBACK is set and the storage has no operation
///           for zeros; nothing was written.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_pwrite_zeroes(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
    flags: u32,
) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { run_without_memory(h, Op::WriteZeroes, offset, bytes, flags) }
}

/// Tells the storage that `bytes` bytes at `offset` are not needed any more.
/// This is advice. Whole units of blkalign_limits.discard_alignment inside the
/// range may read as anything until they are written again; the rest of the
/// range does not change. Without BLKALIGN_O_UNMAP, and on storage that cannot
/// discard, the call succeeds and does nothing.
///
/// Returns 0 or -errno: any error of the storage, and
/// -EINVAL   `h` is NULL; `offset` or `bytes` are out of range;
/// -EIO      the range passes the end of the object;
/// -EPERM    the handle is read-only;
/// -ECANCELED  another thread called blkalign_cancel_all();
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_pdiscard(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { run_without_memory(h, Op::Discard, offset, bytes, 0) }
}

/// Makes durable every write that completed before this call, on any handle of
/// the same object. After a flush has failed, every later flush of the object
/// fails as well, until the object is opened again: the system does not say
/// which data were lost.
///
/// Returns 0 or -errno: any error of the storage, and
/// -EINVAL   `h` is NULL;
/// -ECANCELED  another thread called blkalign_cancel_all();
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_flush(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { run_without_memory(h, Op::Flush, 0, 0, 0) }
}

/// Changes the length of the object to `length` bytes. A part that is cut off
/// is lost; a part that is added reads as zeros. The call waits for the
/// requests in the range that it removes or adds, and later requests there wait
/// for it. It does not need BLKALIGN_O_RESIZE.
///
/// Returns 0 or -errno: any error of the storage, and
/// -EINVAL   `h` is NULL; `length` is out of range; the object is a block
///           device; the handle has a window;
/// -EPERM    the handle is read-only;
/// -EFBIG    `length` exceeds RLIMIT_FSIZE, or what the file system can hold;
/// -ENOTSUP  the driver has no truncate function;
/// -ECANCELED  another thread called blkalign_cancel_all();
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_truncate(h: *mut blkalign_handle, length: i64) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { run_without_memory(h, Op::Truncate, length, 0, 0) }
}

/// Waits until every request of this handle that was submitted before this call
/// has called back, synchronous requests of other threads included. Requests
/// that threads hold back with blkalign_plug() are submitted first. Requests
/// that are submitted during the call do not prolong it. With
/// BLKALIGN_COMPLETION_EVENTFD callbacks run inside this call. Any number of
/// threads may drain a handle at once.
///
/// Returns 0 or -errno. Results of requests go to their callbacks only.
/// -EINVAL   `h` is NULL;
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_drain(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| handle.drain().map(|()| 0)) as c_int }
}

/// Waits like blkalign_drain(), but for at most `timeout_ms` milliseconds. A
/// negative value means no time limit. With 0 the call does not wait: it
/// submits what is held back, runs callbacks that are due
/// (BLKALIGN_COMPLETION_EVENTFD), and reports whether all is done. A callback
/// that runs inside this call may prolong it.
///
/// Returns 0 or -errno: any error of blkalign_drain(), and
/// -ETIMEDOUT  a request that was submitted before this call has not called
///             back yet; it will do so later.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_drain_timeout(
    h: *mut blkalign_handle,
    timeout_ms: c_int,
) -> c_int {
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| handle.drain_within(timeout).map(|()| 0)) as c_int }
}

/// # Safety `h` is NULL or an open handle.
unsafe fn run_without_memory(
    h: *mut blkalign_handle,
    op: Op,
    offset: i64,
    bytes: i64,
    flags: u32,
) -> c_int {
    let body = |handle: &Handle| {
        let (offset, bytes) = check_range(offset, bytes)?;
        let flags = check_request_flags(op, flags)?;
        let segments = Segments::new();
        handle.run(Submission { op, flags, guest_block: 0, offset, bytes, segments })?;
        Ok(0)
    };
    // SAFETY: the caller of this function vouches for `h`.
    unsafe { guard_handle(h, body) as c_int }
}

/// # Safety `h` is NULL or an open handle; `buffer` holds `bytes` bytes,
/// written to for a read.
unsafe fn run_buffer(
    h: *mut blkalign_handle,
    op: Op,
    offset: i64,
    bytes: i64,
    buffer: *const c_void,
    flags: u32,
) -> c_int {
    let body = |handle: &Handle| {
        let (offset, bytes) = check_range(offset, bytes)?;
        let segments = one_buffer(buffer, bytes)?;
        let flags = check_request_flags(op, flags)?;
        handle.run(Submission { op, flags, guest_block: 0, offset, bytes, segments })?;
        Ok(0)
    };
    // SAFETY: the caller of this function vouches for `h`.
    unsafe { guard_handle(h, body) as c_int }
}

/// # Safety `h` is NULL or an open handle; `iov` is NULL or has `iovcnt`
/// elements, each as `run_buffer`.
unsafe fn run_vector(
    h: *mut blkalign_handle,
    op: Op,
    offset: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
) -> c_int {
    let body = |handle: &Handle| {
        // SAFETY: the caller of this function vouches for `iov`.
        let (segments, bytes) = unsafe { copy_iovec(iov, iovcnt)? };
        let (offset, bytes) = check_range(offset, bytes)?;
        let flags = check_request_flags(op, flags)?;
        handle.run(Submission { op, flags, guest_block: 0, offset, bytes, segments })?;
        Ok(0)
    };
    // SAFETY: the caller of this function vouches for `h`.
    unsafe { guard_handle(h, body) as c_int }
}
