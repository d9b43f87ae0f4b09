//! This thread's last failure in words, as `blkalign_errmsg` gives it.

use std::cell::RefCell;
use std::ffi::c_char;
use std::io::Write;

use crate::sys::Error;

thread_local! {
    /// A C string, or empty when nothing has failed on this thread yet. The memory is used again
    /// for the next failure.
    static WORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Remembers `error` for this thread. A callback that is told a failure finds the words here, too:
/// `aio.rs` hands this function in with the callback.
pub fn remember(error: &Error) {
    // While a thread ends its words may be gone. Then no code on it can ask for them either.
    let _ = WORDS.try_with(|words| {
        let mut words = words.borrow_mut();
        words.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(words, "{error}");
        // A NUL inside would end the words early.
        words.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'?');
        words.push(0);
    });
}

/// Never NULL; valid until the next failure on this thread, or its end.
pub fn last() -> *const c_char {
    let words = WORDS.try_with(|words| {
        let words = words.borrow();
        if words.is_empty() {
            c"".as_ptr()
        } else {
            words.as_ptr().cast()
        }
    });
    words.unwrap_or(c"".as_ptr())
}

#[cfg(test)]
#[path = "errmsg_tests.rs"]
mod tests;
