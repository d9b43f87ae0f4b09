//! The program's hook for threads of the library: set_thread_hook.

use std::ffi::{c_int, c_void};

use super::guard::guard;
use crate::engine::{set_thread_hook, ThreadHookFn};

/// Runs on a thread that the library has just started, before anything else
/// does. The thread has its name, which begins with "blkalign", and blocks
/// signals. The function may change the name, the processors, the priority, the
/// control group, and install a filter of system calls for the thread
/// (docs/SANDBOX.md says what the thread needs). It must return, must not throw
/// or longjmp, and must not call the library, except for blkalign_version().
pub type blkalign_thread_fn = Option<extern "C" fn(opaque: *mut c_void)>;

/// The hook and what belongs to it.
struct CHook {
    function: extern "C" fn(*mut c_void),
    opaque: *mut c_void,
}

// SAFETY: the contract of `blkalign_set_thread_hook` is that the hook may be called on any thread,
// with the opaque pointer; the library never looks behind it.
unsafe impl Send for CHook {}
// SAFETY: as above.
unsafe impl Sync for CHook {}

impl CHook {
    fn call(&self) {
        (self.function)(self.opaque);
    }
}

/// Sets the function that each thread of the library runs first, for the whole
/// process, also on several threads at once. It replaces the function that was
/// set before. NULL: none, as at the start. Threads that run already are left
/// alone, so set the hook before the first open.
///
/// Threads start while blkalign_open() and its kin run, which return after the
/// hook has; later ones are started by threads of the library. The function
/// runs on threads of the pool ("blkalign-work") and of throttles
/// ("blkalign-timer"). Threads that the kernel starts for io_uring are not the
/// library's. See blkalign(7), "Sandboxes".
///
/// When the call returns, no call of the earlier hook is running or will begin,
/// so that its `opaque` may be freed.
///
/// Returns 0 or -errno:
/// -EDEADLK  the call comes from inside a hook.
#[no_mangle]
pub extern "C-unwind" fn blkalign_set_thread_hook(
    hook: blkalign_thread_fn,
    opaque: *mut c_void,
) -> c_int {
    guard(|| {
        let hook = hook.map(|function| {
            let hook = CHook { function, opaque };
            Box::new(move || hook.call()) as ThreadHookFn
        });
        set_thread_hook(hook)?;
        Ok(0)
    }) as c_int
}
