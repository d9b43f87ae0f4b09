//! Tells the program what happens inside the library, if it has asked for that. One hook for the
//! whole process; without one a message costs a relaxed load, and nothing is put into words.
//! The library itself never prints.
//!
//! ```ignore
//! log::warning!("{name}: threads instead of io_uring: {error}");
//! ```
//!
//! The hook is the program's code: write messages only where no lock of the library is held. The
//! lock here guards which hook it is, and is not held while it runs.

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
    /// It happened, but not in the way that was wanted, or is in danger.
    Warning = 2,
    /// What an operator wants to find in a log afterwards.
    Info = 3,
    /// What whoever looks for a fault wants to know.
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
/// Whoever calls the hook has a reference of its own meanwhile.
static HOOK: Mutex<Option<Arc<Hook>>> = Mutex::new(None);
/// One of these references is gone.
static RETURNED: Condvar = Condvar::new();

thread_local! {
    /// This thread is in the hook: what it would say now would lead into the hook again.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Has `function` told each message of `level` and more severe ones from here on; None: nobody.
/// When this returns no call of the hook before is under way, nor will one begin; inside a hook
/// it does not wait for that.
pub fn set_hook(hook: Option<(Level, HookFn)>) {
    let level = hook.as_ref().map_or(0, |(level, _)| *level as u32);
    let hook = hook.map(|(level, function)| Arc::new(Hook { level, function }));
    let mut current = HOOK.lock();
    let before = std::mem::replace(&mut *current, hook);
    LEVEL.store(level, Ordering::Relaxed);
    let Some(before) = before.filter(|_| !INSIDE.get()) else { return };
    while Arc::strong_count(&before) > 1 {
        RETURNED.wait(&mut current);
    }
}

/// Whether anybody wants to hear messages of that level.
pub fn wants(level: Level) -> bool {
    // Relaxed: a thread that sees a change late says, or does not say, one message more.
    LEVEL.load(Ordering::Relaxed) >= level as u32
}

/// Calls the hook; the macros do it. A message from inside the hook is lost.
pub fn tell(level: Level, words: fmt::Arguments<'_>) {
    if INSIDE.get() {
        return;
    }
    let hook = HOOK.lock().clone();
    let Some(hook) = hook.filter(|hook| hook.level >= level) else { return };
    let message = one_line(&words.to_string());
    INSIDE.set(true);
    outside(|| (hook.function)(level, &message));
    INSIDE.set(false);
    // Under the lock: whoever waits for this reference to go has looked before, or looks later.
    let current = HOOK.lock();
    drop(hook);
    drop(current);
    RETURNED.notify_all();
}

/// A path may contain anything, such as what looks like the next line of a log.
fn one_line(words: &str) -> CString {
    let harmless = |c: char| if c.is_control() { '?' } else { c };
    CString::new(words.chars().map(harmless).collect::<String>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, Receiver};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// There is one hook, and tests run side by side: each takes its turn, and hears what the
    /// others happen to say, too.
    static TURN: Mutex<()> = Mutex::new(());

    fn heard(level: Level) -> Receiver<(Level, String)> {
        let (say, said) = channel();
        let function = move |level, words: &CStr| {
            let _ = say.send((level, words.to_str().unwrap().to_owned()));
        };
        set_hook(Some((level, Box::new(function))));
        said
    }

    /// What was said from here on, of what begins with "t:".
    fn ours(said: &Receiver<(Level, String)>) -> Vec<(Level, String)> {
        said.try_iter().filter(|(_, words)| words.starts_with("t:")).collect()
    }

    fn say_all() {
        error!("t: {}", 1);
        warning!("t: {}", 2);
        info!("t: {}", 3);
        debug!("t: {}", 4);
    }

    #[test]
    fn a_hook_hears_its_level_and_what_is_more_severe() {
        let _turn = TURN.lock();
        let levels = [Level::Error, Level::Warning, Level::Info, Level::Debug];
        for wanted in levels {
            let said = heard(wanted);
            say_all();
            let said: Vec<Level> = ours(&said).into_iter().map(|(level, _)| level).collect();
            assert_eq!(said, levels[..wanted as usize]);
        }
        set_hook(None);
        let put_into_words = Cell::new(false);
        error!("{}", {
            put_into_words.set(true);
            "t: nobody hears this"
        });
        assert!(!put_into_words.get());
    }

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        let _turn = TURN.lock();
        let said = heard(Level::Error);
        error!("t: a\nb\0c\x1b[1md\u{9b}é");
        set_hook(None);
        assert_eq!(ours(&said), [(Level::Error, "t: a?b?c?[1md?é".to_owned())]);
    }

    #[test]
    fn a_message_from_inside_the_hook_is_lost() {
        let _turn = TURN.lock();
        let (say, said) = channel();
        set_hook(Some((
            Level::Error,
            Box::new(move |level, words| {
                error!("t: again");
                let _ = say.send((level, words.to_str().unwrap().to_owned()));
            }),
        )));
        error!("t: once");
        error!("t: twice");
        set_hook(None);
        let said: Vec<String> = ours(&said).into_iter().map(|(_, words)| words).collect();
        assert_eq!(said, ["t: once", "t: twice"]);
    }

    #[test]
    fn whoever_takes_a_hook_away_waits_for_its_calls_to_return() {
        let _turn = TURN.lock();
        let (entered, inside) = channel();
        let (leave, left) = channel::<()>();
        let (entered, left) = (Mutex::new(entered), Mutex::new(left));
        let function = move |_: Level, words: &CStr| {
            if words.to_bytes() == b"t: slow" {
                entered.lock().send(()).unwrap();
                let _ = left.lock().recv();
            }
        };
        set_hook(Some((Level::Error, Box::new(function))));
        let speaker = thread::spawn(|| error!("t: slow"));
        inside.recv().unwrap();
        let (done, is_done) = channel();
        let taker = thread::spawn(move || {
            set_hook(None);
            done.send(()).unwrap();
        });
        let early = is_done.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "it did not wait");
        leave.send(()).unwrap();
        is_done.recv_timeout(Duration::from_secs(10)).expect("it waits for nothing");
        speaker.join().unwrap();
        taker.join().unwrap();
    }

    #[test]
    fn a_hook_may_take_itself_away() {
        let _turn = TURN.lock();
        let (say, said) = channel();
        set_hook(Some((
            Level::Error,
            Box::new(move |_, words| {
                set_hook(None);
                let _ = say.send((Level::Error, words.to_str().unwrap().to_owned()));
            }),
        )));
        error!("t: once");
        error!("t: never");
        assert_eq!(ours(&said).len(), 1);
    }
}
