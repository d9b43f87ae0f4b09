//! The program's hook: a function that each thread of the library runs first, for the whole process.
//! There the program gives the thread a name, processors, a filter of system calls.
//!
//! The lock guards which function it is. It is held for reading while the function runs, so that
//! whoever sets another one waits for running calls.

use std::cell::Cell;

use parking_lot::RwLock;

use crate::sys::{outside, Error};

pub type ThreadHookFn = Box<dyn Fn() + Send + Sync>;

static HOOK: RwLock<Option<ThreadHookFn>> = RwLock::new(None);

thread_local! {
    /// This thread is in the hook.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// From here on each new thread of the library runs `hook` first; None: nothing. When this returns
/// no call of the earlier hook is under way. EDEADLK inside a hook.
pub fn set_thread_hook(hook: Option<ThreadHookFn>) -> Result<(), Error> {
    if INSIDE.get() {
        return Err(Error::new(libc::EDEADLK, "the thread hook cannot be changed inside the hook"));
    }
    let before = std::mem::replace(&mut *HOOK.write(), hook);
    // What the hook owns is the program's.
    outside(|| drop(before));
    Ok(())
}

/// On a thread of the library that has just started.
pub fn run_hook() {
    let hook = HOOK.read_recursive();
    let Some(hook) = &*hook else { return };
    INSIDE.set(true);
    outside(hook);
    INSIDE.set(false);
}
