//! Synchronous requests: pread, pwrite, preadv, pwritev, pwrite_zeroes, pdiscard, flush, truncate;
//! and drain, drain_timeout.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use libc::iovec;

use super::checks::check_range;
use super::guard::guard_handle;
use super::options::check_request_flags;
use super::vector::{copy_iovec, one_buffer};
use crate::driver::{Op, Segments};
use crate::handle::{Handle, Submission};
use crate::header::blkalign_handle;

/// Reads `bytes` bytes at `offset` into `buf`. Any offset, length and address
/// will do.
///
/// `flags` are BLKALIGN_REQ_*. Blocks until done; works in every completion
/// mode. Nothing is ever clipped: all of `bytes` is read, or the call fails.
/// Offset, length and their sum may reach 0x7fffffffc0000000. A zero length
/// succeeds.
///
/// Returns 0 or -errno: what the storage says, and
/// -EINVAL   h is NULL; offset, bytes or flags out of range; buf is NULL and
///           bytes is not 0;
/// -EIO      the range passes the end of the object;
/// -EBUSY    BLKALIGN_REQ_NO_WAIT, and an overlapping request is in the way;
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

/// Writes `bytes` bytes from `buf` at `offset`. Any offset, length and address
/// will do; no other byte of the object changes, and its length does not
/// change either.
///
/// `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_FUA the bytes are durable on
/// return. Where only a part of a block is written, its other bytes are read
/// first; if that fails, the call fails with that error and nothing is
/// written.
///
/// Returns as blkalign_pread(); -EPERM: the handle is read-only; -ENOMEM: no
/// memory for the copy that BLKALIGN_O_STABLE_WRITES makes.
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

/// Reads at `offset` into the elements of `iov`, one after the other. Any
/// number of elements will do, also more than IOV_MAX; empty ones are fine,
/// and so is the same memory twice.
///
/// Returns as blkalign_pread(); -EINVAL also when iovcnt is negative, iov is
/// NULL and iovcnt is not 0, or an element is NULL and not empty.
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

/// Writes the elements of `iov` at `offset`, one after the other; else as
/// blkalign_pwrite().
///
/// Returns as blkalign_preadv(); -EPERM and -ENOMEM as blkalign_pwrite().
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

/// Makes `bytes` bytes at `offset` zeros, at any offset and length, by the
/// cheapest way that the storage has: it is told to (fallocate(2), a driver's
/// pwrite_zeroes) for the part made of whole
/// blocks, and written to at the edges. Storage that cannot be told is written
/// to, unless BLKALIGN_REQ_NO_FALLBACK.
///
/// `flags` are BLKALIGN_REQ_*; with BLKALIGN_REQ_MAY_UNMAP the storage may
/// deallocate.
///
/// Returns as blkalign_pwrite(); -ENOTSUP: BLKALIGN_REQ_NO_FALLBACK, and whole
/// blocks would have had to be written: nothing was.
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

/// Tells the storage that `bytes` bytes at `offset` are not needed any more:
/// advice. What is not a whole unit of blkalign_limits.discard_alignment stays
/// as it is, also at the edges; the rest may read as anything until it is
/// written. It does nothing, with success, without BLKALIGN_O_UNMAP and where
/// the storage does not know how.
///
/// Returns as blkalign_pwrite().
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_pdiscard(
    h: *mut blkalign_handle,
    offset: i64,
    bytes: i64,
) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { run_without_memory(h, Op::Discard, offset, bytes, 0) }
}

/// Makes durable every write that completed before this call, whichever handle
/// of the same object wrote it. After a flush has failed, every later flush of
/// the object fails too until it is opened anew: nobody knows what was lost.
///
/// Returns 0 or -errno: what the storage says; -EINVAL: h is NULL; -EDEADLK:
/// called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_flush(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { run_without_memory(h, Op::Flush, 0, 0, 0) }
}

/// Changes the length of the object to `length` bytes. What goes is gone; what
/// comes reads as zeros. Waits for the requests that it touches, and those
/// submitted later wait for it. Needs no BLKALIGN_O_RESIZE.
///
/// Returns 0 or -errno: what the storage says, and
/// -EINVAL   h is NULL, length out of range; a block device; a handle with a
///           window;
/// -EPERM    the handle is read-only;
/// -EFBIG    beyond RLIMIT_FSIZE, or what the file system can hold;
/// -ENOTSUP  a driver without truncate;
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_truncate(h: *mut blkalign_handle, length: i64) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { run_without_memory(h, Op::Truncate, length, 0, 0) }
}

/// Waits until every request of this handle that was submitted before has
/// called back, synchronous ones of other threads included. What any thread
/// holds back by blkalign_plug() is submitted first. What is submitted
/// meanwhile, by other threads or by callbacks, does not hold it up. With
/// BLKALIGN_COMPLETION_EVENTFD callbacks run in here. Any number of threads
/// may drain at once.
///
/// Returns 0 or -errno; -EINVAL: h is NULL; -EDEADLK: called inside a
/// callback. The results of the requests are the callbacks' business.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_drain(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| handle.drain().map(|()| 0)) as c_int }
}

/// As blkalign_drain(), for at most `timeout_ms` milliseconds. 0: it does not
/// wait, but what is plugged is submitted, callbacks that are due run with
/// BLKALIGN_COMPLETION_EVENTFD, and the result tells how things are. Negative:
/// it waits without end. A callback that runs in here may take longer.
///
/// Returns as blkalign_drain(); -ETIMEDOUT: something that was submitted before
/// has not called back yet. Nothing is lost by that: it will.
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
