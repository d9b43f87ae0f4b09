//! Tells the program what happens inside the library, if it has asked for that. One hook for the
//! whole process; without one a message costs a relaxed load, and nothing is put into words.
//! The library itself never prints.
//!
//! ```ignore
//! log::warning!("{name}: threads instead of io_uring: {error}");
//! ```
//!
//! The hook is the program's code: write messages only where no lock of the library is held. The
//! lock here guards which hook it is, and is not held while it runs, or is dropped.

mod rate;

pub use rate::RateLimit;

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::sys::outside;

/// How much a message matters, most first: the numbers of `BLKALIGN_LOG_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Something that the program wanted did not happen.
    Error = 1,
    /// What the program wanted happened, but in another way, or is in danger.
    Warning = 2,
    /// What an operator wants to find in a log afterwards.
    Info = 3,
    /// What helps to find a fault.
    Debug = 4,
}

/// `$level`, then as for `format!`.
macro_rules! message {
    ($level:expr, $($words:tt)+) => {
        if $crate::log::wants($level) {
            $crate::log::tell($level, format_args!($($words)+));
        }
    };
}

macro_rules! error {
    ($($words:tt)+) => { $crate::log::message!($crate::log::Level::Error, $($words)+) };
}

macro_rules! warning {
    ($($words:tt)+) => { $crate::log::message!($crate::log::Level::Warning, $($words)+) };
}

macro_rules! info {
    ($($words:tt)+) => { $crate::log::message!($crate::log::Level::Info, $($words)+) };
}

macro_rules! debug {
    ($($words:tt)+) => { $crate::log::message!($crate::log::Level::Debug, $($words)+) };
}

#[allow(unused_imports, reason = "one for each level, whether or not it is in use")]
pub(crate) use {debug, error, info, message, warning};

pub type HookFn = Box<dyn Fn(Level, &CStr) + Send + Sync>;

struct Hook {
    level: Level,
    function: HookFn,
}

/// The level of the hook, 0 without one. A hint that may be seen late: what counts is in `HOOK`.
static LEVEL: AtomicU32 = AtomicU32::new(0);
/// A thread that calls the hook has a reference of its own meanwhile.
static HOOK: Mutex<Option<Arc<Hook>>> = Mutex::new(None);
/// One of these references is gone.
static RETURNED: Condvar = Condvar::new();

thread_local! {
    /// This thread is in the hook: what it would say now would lead into the hook again.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// From here on the hook's function gets each message of its level and of more severe levels; None:
/// no function does. When this returns no call of the earlier hook is under way, nor will one
/// begin. Inside a hook this function does not wait for that.
pub fn set_hook(hook: Option<(Level, HookFn)>) {
    let level = hook.as_ref().map_or(0, |(level, _)| *level as u32);
    let hook = hook.map(|(level, function)| Arc::new(Hook { level, function }));
    let mut current = HOOK.lock();
    let before = std::mem::replace(&mut *current, hook);
    LEVEL.store(level, Ordering::Relaxed);
    while before.as_ref().is_some_and(|before| !INSIDE.get() && Arc::strong_count(before) > 1) {
        RETURNED.wait(&mut current);
    }
    drop(current);
    // What the hook owns is the program's, too, and may use the library when it goes.
    drop(before);
}

/// Whether there is a hook for messages of that level.
pub fn wants(level: Level) -> bool {
    // Relaxed: a thread that sees a change late tells one message too many or too few.
    LEVEL.load(Ordering::Relaxed) >= level as u32
}

/// Calls the hook; to be used by way of the macros. A message from inside the hook is lost.
pub fn tell(level: Level, words: fmt::Arguments<'_>) {
    if INSIDE.get() {
        return;
    }
    let hook = HOOK.lock().clone();
    let Some(hook) = hook.filter(|hook| hook.level >= level) else { return };
    let message = one_line(&words.to_string());
    INSIDE.set(true);
    outside(|| (hook.function)(level, &message));
    // Under the lock: a thread in `set_hook` that waits for this reference to go has either seen it
    // and sleeps, so that it is woken below, or looks after it is gone.
    let current = HOOK.lock();
    let last = Arc::into_inner(hook);
    drop(current);
    RETURNED.notify_all();
    // Not under the lock: see `set_hook`.
    outside(|| drop(last));
    INSIDE.set(false);
}

/// A path may contain anything, such as what looks like the next line of a log.
fn one_line(words: &str) -> CString {
    let harmless = |c: char| if c.is_control() { '?' } else { c };
    CString::new(words.chars().map(harmless).collect::<String>()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
