//! Batches, and callbacks on the caller's own thread: plug, unplug, get_event_fd, poll.

use std::ffi::c_int;
use std::time::Duration;

use super::checks::invalid;
use super::guard::guard_handle;
use crate::handle::Handle;
use crate::header::blkalign_handle;

/// Holds back the asynchronous requests of this handle that this thread submits
/// from here on, until blkalign_unplug() submits them as one batch: one system
/// call where the storage can be asked for several things at once, writes that
/// share a block become one write (with nothing read where they cover it),
/// reads that share a block one read, and adjacent I/Os one. Nests. What other
/// threads submit is not held back.
///
/// A synchronous call first submits what its own thread has plugged, in order.
/// blkalign_drain() and blkalign_close() submit what all threads have, and
/// blkalign_cancel_all() takes it back; blkalign_poll() leaves it. What a
/// thread holds back when it ends stays so until one of these: unplug on the
/// thread that plugged. A callback that plugs unplugs before it returns, since
/// the next one may run on another thread.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_plug(h: *mut blkalign_handle) {
    let body = |handle: &Handle| {
        handle.plug();
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) };
}

/// Ends a blkalign_plug() of this thread; the outermost one submits what was
/// held back. Without a plug it does nothing.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_unplug(h: *mut blkalign_handle) {
    let body = |handle: &Handle| {
        handle.unplug();
        Ok(0)
    };
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, body) };
}

/// A descriptor for poll(2), epoll(7) and the like: while it is readable,
/// blkalign_poll() may have callbacks to run. It may be readable without
/// reason; do not read from it. It belongs to the handle and is closed with
/// it. A program that calls blkalign_poll() by itself needs none.
///
/// Returns the descriptor or -errno: -EINVAL: h is NULL, or was not opened
/// with BLKALIGN_COMPLETION_EVENTFD; what eventfd(2) says.
#[no_mangle]
pub unsafe extern "C-unwind" fn blkalign_get_event_fd(h: *mut blkalign_handle) -> c_int {
    // SAFETY: NULL or an open handle, as the header demands.
    unsafe { guard_handle(h, |handle| handle.event_fd().map(i64::from)) as c_int }
}

/// Runs callbacks that are due, on this thread, at most `max`, and none that
/// becomes due meanwhile, so it returns whatever others do. If none is due it
/// waits for one: `timeout_ms` milliseconds at most, not at all if 0, and
/// without end if negative. What callbacks submit goes out in batches, as if
/// between blkalign_plug() and blkalign_unplug(). Where it would wait without
/// end it may carry out I/O itself, on this thread.
///
/// Any thread may poll, several at once too: callbacks then run side by side.
/// It is fastest on the thread that submits.
///
/// Returns how many ran, 0 when the time was over, or -errno:
/// -EINVAL   h is NULL, or was not opened with BLKALIGN_COMPLETION_EVENTFD;
///           max is not greater than 0;
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
