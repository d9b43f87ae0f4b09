//! The program's log.

use std::ffi::CStr;
use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::log::set_hook;
pub use crate::log::Level as LogLevel;

/// Sets the function that gets the messages of the library, for the whole process: those of `level`
/// and of the more severe levels, each one line of text without its newline. It replaces the
/// function that was set before; when this returns, no call of that is running. The library itself
/// never prints.
///
/// Any thread may call `hook`, several at a time, also inside calls of the library. What `hook`
/// itself does with the library leaves no messages. `hook` must not wait for a disk or a queue. A
/// panic of it ends with the message.
///
/// ```
/// use blkalign::{set_log, LogLevel};
/// set_log(LogLevel::Warning, |level, message| eprintln!("{level:?}: {message}"));
/// ```
pub fn set_log(level: LogLevel, hook: impl Fn(LogLevel, &str) + Send + Sync + 'static) {
    let call = move |level, message: &CStr| {
        let tell = AssertUnwindSafe(|| hook(level, &message.to_string_lossy()));
        // What a panic carries may panic again when it is dropped.
        catch_unwind(tell).unwrap_or_else(std::mem::forget);
    };
    set_hook(Some((level, Box::new(call))));
}
