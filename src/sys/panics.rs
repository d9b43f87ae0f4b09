//! A panic of the library is a fault of the library: it is caught before it reaches the program,
//! put into words, and not printed. A panic of the program's own code (a callback, a driver's
//! function, the log), or on a thread that does not call the library, is the program's business. A
//! Rust program, which may share its panic hook with us, hears of such panics as if the library
//! were not there. A hook that the program sets after its first call of the library hears of the
//! library's panics, too.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use super::Error;

thread_local! {
    /// This thread is in the library's own code.
    static OURS: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic of ours was, for the words.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Restore(bool);

impl Restore {
    fn and_set(ours: bool) -> Restore {
        Restore(OURS.replace(ours))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        OURS.set(self.0);
    }
}

/// The result of the library's own `body`, or its panic as an error, EIO. Calls may nest.
pub fn caught<T>(body: impl FnOnce() -> T) -> Result<T, Error> {
    set_hook_once();
    let ours = Restore::and_set(true);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    drop(ours);
    outcome.map_err(|panic| {
        let place = PLACE.try_with(RefCell::take).unwrap_or_default();
        Error::new(libc::EIO, format!("internal error: {} at {place}", message(panic)))
    })
}

/// Runs code of the program: a panic in it is not the library's.
pub fn outside<T>(body: impl FnOnce() -> T) -> T {
    let _theirs = Restore::and_set(false);
    body()
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let other = match panic.downcast::<&str>() {
        Ok(text) => return (*text).to_owned(),
        Err(other) => other,
    };
    match other.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => {
            // To drop a payload that is neither may run code that panics again, which nothing
            // catches.
            std::mem::forget(other);
            "a panic".to_owned()
        }
    }
}

/// Keeps panics that `caught` catches from being printed; all others go on to the hook before ours.
fn set_hook_once() {
    static ONCE: Once = Once::new();
    // A panicking thread (a Rust program's destructor that calls us) must not change the hook.
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !OURS.get() {
                return previous(info);
            }
            let place = info.location().map(|place| place.to_string()).unwrap_or_default();
            let _ = PLACE.try_with(|slot| slot.replace(place));
        }));
    });
}

#[cfg(test)]
#[path = "panics_tests.rs"]
mod tests;
