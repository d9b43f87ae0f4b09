//! Thread cancellation, as pthread_cancel(3) asks for it, is held off while the library runs. The
//! libc crate does not have it for Linux.
//!
//! A thread that is cancelled meanwhile acts on the cancel after the call, at its next cancellation
//! point. If the thread's cancel type is asynchronous, it acts at once when it may be cancelled
//! again. That is in the last lines of the call (or in the first, before cancellation is held off):
//! the thread is unwound through the function that C called. So that function, with `uncancelled`
//! inlined into it, has to be a plain frame: "C-unwind", with nothing to drop, so that the unwinder
//! finds nothing in it to run. Whatever has something to drop is in a frame of its own (`apart`),
//! which has returned by then.

use std::ffi::c_int;

const PTHREAD_CANCEL_DISABLE: c_int = 1;
const PTHREAD_CANCEL_DEFERRED: c_int = 0;

extern "C-unwind" {
    /// "C-unwind": to restore a thread's state may act on a cancel that came meanwhile.
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int;
    fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout_ms: c_int) -> c_int;
}

/// This thread cannot be cancelled from here on. Returns its state before.
#[inline(always)]
pub fn hold_off_cancel() -> c_int {
    let mut before = PTHREAD_CANCEL_DISABLE;
    // SAFETY: the argument is valid, and `before` can be written.
    unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut before) };
    before
}

/// Runs `body` with cancellation held off; after `body` the thread may end in here. Neither `body`
/// nor the caller may own what has to be dropped. Calls may nest.
#[inline(always)]
pub fn uncancelled<R: Copy>(body: impl FnOnce() -> R) -> R {
    let mut kind = PTHREAD_CANCEL_DEFERRED;
    // SAFETY: the argument is valid, and `kind` can be written.
    unsafe { pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &mut kind) };
    if kind != PTHREAD_CANCEL_DEFERRED {
        // A cancel may be under way: glibc (2.36) has marked the thread and is about to send it a
        // signal. The signal's handler looks at the cancel type alone, and every system call that
        // waits makes the type asynchronous for a while: so the thread would end inside the
        // library. A cancellation point without anything to do acts on the cancel, or waits for
        // that signal. It costs a system call, for threads of the asynchronous type only. SAFETY:
        // no descriptors, so nothing is read or written.
        unsafe { poll(std::ptr::null_mut(), 0, 0) };
    }
    let before = hold_off_cancel();
    let result = apart(body);
    // SAFETY: `before` is what the system said. With a deferred type nothing comes of it yet.
    unsafe { pthread_setcancelstate(before, std::ptr::null_mut()) };
    if kind != PTHREAD_CANCEL_DEFERRED {
        // SAFETY: `kind` is what the system said.
        unsafe { pthread_setcanceltype(kind, std::ptr::null_mut()) };
    }
    result
}

/// No panic gets here: the library's own are caught in `body`. "C" rather than "C-unwind" tells the
/// compiler that the caller has none to pass on.
#[inline(never)]
#[allow(improper_ctypes_definitions, reason = "C never calls it")]
extern "C" fn apart<R>(body: impl FnOnce() -> R) -> R {
    body()
}
