//! The one guard that every exported function runs in. Failures become -errno and words here, and
//! panics stop here: unwinding into C would be undefined, aborting would take the virtual machine
//! down. A panic may have left a read-modify-write half done, so its handle is poisoned.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use super::errmsg;
use super::types::blkalign_handle;
use crate::handle::Handle;
use crate::sys::Error;

thread_local! {
    /// How many guards this thread is inside of: they nest when a driver's function that runs on
    /// the submitting thread uses other handles.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic inside a guard was, for the words.
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `body` for no handle, or for one that is not there yet.
pub fn guard(body: impl FnOnce() -> Result<i64, Error>) -> i64 {
    finish(caught(body), None)
}

/// Runs `body` for the handle that C gave. NULL is -EINVAL.
///
/// # Safety
/// `handle` is NULL or came from a function of `open` and has not been closed.
pub unsafe fn guard_handle(
    handle: *mut blkalign_handle,
    body: impl FnOnce(&Handle) -> Result<i64, Error>,
) -> i64 {
    if handle.is_null() {
        return finish(Ok(Err(Error::new(libc::EINVAL, "the handle is NULL"))), None);
    }
    // SAFETY: a live handle is a `Box<Handle>` turned into a pointer.
    let handle = unsafe { &*handle.cast::<Handle>() };
    finish(caught(|| body(handle)), Some(handle))
}

fn finish(outcome: Result<Result<i64, Error>, Error>, handle: Option<&Handle>) -> i64 {
    let error = match outcome {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(panic) => {
            if let Some(handle) = handle {
                // Poisoning may meet what the panic left behind; nothing can be done about that.
                let _ = caught(|| handle.poison());
            }
            panic
        }
    };
    errmsg::remember(&error);
    -i64::from(error.errno)
}

/// The result of `body`, or its panic as an error.
fn caught<T>(body: impl FnOnce() -> T) -> Result<T, Error> {
    silence_panics();
    DEPTH.set(DEPTH.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(DEPTH.get() - 1);
    outcome.map_err(|panic| {
        let place = PANIC_PLACE.with(RefCell::take);
        Error::new(libc::EIO, format!("internal error: {} at {place}", message(panic)))
    })
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let other = match panic.downcast::<&str>() {
        Ok(text) => return (*text).to_owned(),
        Err(other) => other,
    };
    match other.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => {
            // Dropping what is neither may run code that panics again, outside of any guard.
            std::mem::forget(other);
            "a panic".to_owned()
        }
    }
}

/// A panic inside a guard is reported by -EIO and words, not on the caller's stderr; all others
/// go on to whoever was told of them before.
fn silence_panics() {
    static ONCE: Once = Once::new();
    // A panicking thread (a Rust program's destructor that calls us) must not change the hook.
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                return previous(info);
            }
            let place = info.location().map(|place| place.to_string()).unwrap_or_default();
            let _ = PANIC_PLACE.try_with(|slot| slot.replace(place));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn words() -> String {
        // SAFETY: a C string that lives until the next failure.
        unsafe { CStr::from_ptr(errmsg::last()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_eio_and_words() {
        assert_eq!(guard(|| panic!("edge {} lost", 7)), -i64::from(libc::EIO));
        let words = words();
        assert!(words.starts_with("internal error: edge 7 lost at src/capi/guard.rs:"), "{words}");
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn a_failure_becomes_its_errno() {
        assert_eq!(guard(|| Err(Error::new(libc::ENOSPC, "x"))), -i64::from(libc::ENOSPC));
        assert_eq!(words(), "x: No space left on device");
        assert_eq!(guard(|| Ok(5)), 5);
    }

    #[test]
    fn a_null_handle_is_invalid() {
        // SAFETY: NULL is allowed.
        let result = unsafe { guard_handle(std::ptr::null_mut(), |_| unreachable!()) };
        assert_eq!(result, -i64::from(libc::EINVAL));
        assert_eq!(words(), "the handle is NULL: Invalid argument");
    }
}
