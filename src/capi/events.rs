//! Batches, and callbacks on the caller's own thread: plug, unplug, get_event_fd, poll.

use std::ffi::c_int;
use std::time::Duration;

use super::checks::invalid;
use super::guard::guard_handle;
use crate::handle::Handle;
use crate::header::blkalign_handle;

/// Holds back the asynchronous requests that this thread submits to this
/// handle, until blkalign_unplug() submits them as one batch. A batch costs one
/// system call where the storage allows that. Writes of a batch that share a
/// block become one write, reads that share a block become one read, and
/// adjacent I/Os become one I/O. Calls nest. Requests of other threads are not
/// held back.
///
/// A synchronous call first submits what its own thread holds back.
/// blkalign_drain() and blkalign_close() submit what all threads hold back, and
/// blkalign_cancel_all() cancels it; blkalign_poll() leaves it alone. A thread
/// must call blkalign_unplug() before it ends, and a callback before it
/// returns: see blkalign(7), "Batches".
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_plug(h: *mut blkalign_handle) {
    let body = |handle: &Handle| {
        handle.plug();
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) };
}

/// Ends one call of blkalign_plug() on this thread. The outermost call submits
/// the requests that were held back. Without a preceding blkalign_plug() the
/// call does nothing.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_unplug(h: *mut blkalign_handle) {
    let body = |handle: &Handle| {
        handle.unplug();
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) };
}

/// Returns a descriptor for poll(2), epoll(7) and the like. While the
/// descriptor is readable, blkalign_poll() may have callbacks to run. It may
/// also be readable without a callback. Do not read from the descriptor. It
/// belongs to the handle and is closed with the handle. A program that calls
/// blkalign_poll() without waiting for the descriptor does not need it.
///
/// Returns the descriptor or -errno: any error of eventfd(2), and
/// -EINVAL   `h` is NULL, or was not opened with BLKALIGN_COMPLETION_EVENTFD.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_get_event_fd(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| handle.event_fd().map(i64::from)) as c_int }
}

/// Runs up to `max` callbacks that are due, on this thread. Callbacks that
/// become due during the call do not prolong it. If no callback is due, the
/// call waits for one: at most `timeout_ms` milliseconds, not at all if 0,
/// without a time limit if negative. Without a time limit the call may also
/// carry out I/O of the handle on this thread. Requests that callbacks submit
/// go out in batches, as between blkalign_plug() and blkalign_unplug().
///
/// Any number of threads may poll a handle at once; callbacks then run in
/// parallel. Polling is fastest on the thread that submits.
///
/// Returns how many callbacks ran, 0 if the time is over, or -errno:
/// -EINVAL   `h` is NULL, or was not opened with BLKALIGN_COMPLETION_EVENTFD;
///           `max` is not greater than 0;
/// -EDEADLK  called inside a callback.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_poll(
    h: *mut blkalign_handle,
    max: c_int,
    timeout_ms: c_int,
) -> c_int {
    let body = |handle: &Handle| {
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        match usize::try_from(max) {
            Ok(max) if max > 0 => handle.poll(max, timeout).map(|ran| ran as i64),
            _ => Err(invalid("max must be greater than 0")),
        }
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) as c_int }
}
