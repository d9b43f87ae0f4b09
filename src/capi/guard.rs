//! The one guard that every exported function runs in. Failures become -errno and words here, and
//! panics stop here: unwinding into C would be undefined, and aborting would take the virtual
//! machine down. A panic may have left a read-modify-write half done, so the handle is poisoned.
//!
//! Thread cancellation (pthread_cancel) is held off in the guard. It would unwind through the
//! library's frames, and leave other threads waiting for what this thread was about to do.
//! `sys/cancel.rs` says what that asks of an exported function: the function is "C-unwind", and has
//! nothing to drop.

use super::errmsg;
use crate::handle::Handle;
use crate::header::blkalign_handle;
use crate::log;
use crate::sys::{caught, uncancelled, Error};

/// Runs `body` for no handle, or for one that is not there yet.
#[inline(always)]
pub fn guard(body: impl FnOnce() -> Result<i64, Error>) -> i64 {
    uncancelled(|| {
        let outcome = caught(body).unwrap_or_else(|panic| {
            log::error!("{panic}");
            Err(panic)
        });
        finish(outcome)
    })
}

/// As `guard`, for what opens a handle: a failure goes to the log, too.
#[inline(always)]
pub fn guard_open(body: impl FnOnce() -> Result<i64, Error>) -> i64 {
    guard(|| log_failed_open(body()))
}

pub fn log_failed_open(result: Result<i64, Error>) -> Result<i64, Error> {
    result.inspect_err(|error| log::error!("open failed: {error}"))
}

/// Runs `body` for the handle that C gave. NULL is -EINVAL.
///
/// # Safety
/// `handle` is NULL or came from a function of `open` and has not been closed.
#[inline(always)]
pub unsafe fn guard_handle(
    handle: *mut blkalign_handle,
    body: impl FnOnce(&Handle) -> Result<i64, Error>,
) -> i64 {
    uncancelled(|| {
        if handle.is_null() {
            return finish(Err(Error::new(libc::EINVAL, "the handle is NULL")));
        }
        // SAFETY: a live handle is a `Box<Handle>` turned into a pointer.
        let handle = unsafe { &*handle.cast::<Handle>() };
        finish(handle.guarded(body))
    })
}

fn finish(outcome: Result<i64, Error>) -> i64 {
    outcome.unwrap_or_else(|error| {
        errmsg::remember(&error);
        -i64::from(error.errno)
    })
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
