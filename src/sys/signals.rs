//! Signals are for the program's own threads: those of the library block all of them.

use std::mem::MaybeUninit;

/// Runs `code` with every signal blocked; a thread started in it inherits that.
pub fn with_signals_blocked<R>(code: impl FnOnce() -> R) -> R {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set was filled in by the kernel; this thread's mask goes back to it.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are valid for writing; sigfillset and pthread_sigmask with a constant
    // `how` cannot fail, so both are filled in afterwards.
    let _restore = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Restore(before.assume_init())
    };
    code()
}
