//! How a thread of the library is started: it blocks signals, holds off its own cancellation, and
//! runs the program's hook (`hook.rs`) before anything else.

use std::cell::Cell;

use super::hook::run_hook;
use crate::log;
use crate::sync::thread::{self, JoinHandle};
use crate::sys::{self, caught, Calls, Error, Outside};

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of the library. All others are the program's, which may be forbidden to
/// start threads.
pub fn is_ours() -> bool {
    OURS.get()
}

/// Starts a thread that runs `body`. `what` says in messages what the thread is. ENOMEM: the system
/// gives none.
pub fn start_thread(
    calls: &'static dyn Calls,
    name: &str,
    what: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let builder = thread::Builder::new().name(name.to_owned());
    let body = move || {
        sys::this_thread_blocks_signals();
        // A callback can name this thread (pthread_self), and must not be able to cancel it.
        sys::hold_off_cancel();
        OURS.set(true);
        run_hook();
        if let Err(panic) = caught(body) {
            log::error!("{what} has ended: {panic}");
        }
    };
    let admitted = calls.admit(Outside::Thread);
    let thread = admitted
        .map_err(std::io::Error::from_raw_os_error)
        .and_then(|()| sys::with_signals_blocked(|| builder.spawn(body)));
    thread.map_err(|e| {
        // The system says EAGAIN, which would tell the caller to try again.
        Error::new(libc::ENOMEM, format!("starting {what}: {e}"))
    })
}
