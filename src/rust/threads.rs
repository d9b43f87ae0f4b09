//! The program's hook for threads of the library.

use std::panic::{catch_unwind, AssertUnwindSafe};

use super::Error;

/// Sets the function that each thread of the library runs first, for the whole process: it may give
/// the thread a name, processors, a control group, a filter of system calls. It replaces the
/// function that was set before; when this returns, no call of that is running. Threads that run
/// already are left alone, so set the hook before the first open.
///
/// Several threads may run `hook` at once. It must not use the library. A panic of it ends with the
/// call, and the thread goes on.
///
/// # Errors
///
/// EDEADLK: the call comes from inside a hook.
///
/// ```
/// blkalign::set_thread_hook(|| {
///     // Say: pin this thread to the processors that are for I/O.
///     let _name = std::thread::current().name().map(str::to_owned);
/// })?;
/// # Ok::<(), blkalign::Error>(())
/// ```
pub fn set_thread_hook(hook: impl Fn() + Send + Sync + 'static) -> Result<(), Error> {
    let call = move || {
        // What a panic carries may panic again when it is dropped.
        catch_unwind(AssertUnwindSafe(&hook)).unwrap_or_else(std::mem::forget);
    };
    Ok(crate::engine::set_thread_hook(Some(Box::new(call)))?)
}
