//! How a thread of the library is started: it blocks signals, and holds off its own cancellation.

use crate::log;
use crate::sync::thread::{self, JoinHandle};
use crate::sys::{self, caught, Calls, Error, Outside};

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
