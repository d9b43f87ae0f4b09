//! Signals are for the program's own threads: threads of the library block all signals but FAULTS.
//! And no call of the library raises a signal. To a thread that writes beyond RLIMIT_FSIZE Linux
//! sends SIGXFSZ, which ends the program, and answers EFBIG besides; that answer is enough.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::Errno;

/// Signals that a thread gets for what it does itself. Such a signal cannot wait: if the thread
/// blocks it Linux ends the process, and the program's handler never runs. A program may have such
/// a handler for memory that is gone (SIGBUS), for memory that it watches (SIGSEGV), or for its
/// sandbox (SIGSYS).
const FAULTS: [libc::c_int; 6] =
    [libc::SIGBUS, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// A thread's mask, which goes back to it when this is dropped.
struct Restore(libc::sigset_t);

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

/// `how`: SIG_BLOCK or SIG_SETMASK.
fn mask(how: libc::c_int, signals: &libc::sigset_t) -> Restore {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are valid; with such a `how` the call cannot fail, so `before` is filled in
    // afterwards.
    unsafe {
        libc::pthread_sigmask(how, signals, before.as_mut_ptr());
        Restore(before.assume_init())
    }
}

/// Runs `code` with every signal blocked but FAULTS; a thread started in it inherits that.
pub fn with_signals_blocked<R>(code: impl FnOnce() -> R) -> R {
    let mut all = MaybeUninit::uninit();
    // SAFETY: valid for writing; neither call can fail, so the set is filled in afterwards.
    let all = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        FAULTS.iter().for_each(|&fault| _ = libc::sigdelset(all.as_mut_ptr(), fault));
        all.assume_init()
    };
    // SIG_SETMASK, not SIG_BLOCK: the caller may block some of FAULTS.
    let _restore = mask(libc::SIG_SETMASK, &all);
    code()
}

thread_local! {
    /// This thread has all signals blocked but FAULTS, for as long as it lives.
    static BLOCKS_ALL: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this thread was started in `with_signals_blocked`.
pub fn this_thread_blocks_signals() {
    BLOCKS_ALL.set(true);
}

/// Runs a call that writes to a file or changes its length: beyond RLIMIT_FSIZE its EFBIG is all
/// that comes of it.
pub fn without_file_size_signal<R>(code: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
    without_signal(code, |result| matches!(result, Err(libc::EFBIG)))
}

/// As `without_file_size_signal`, for a call that may have begun several writes, and does not tell
/// of each.
pub fn without_any_file_size_signal<R>(code: impl FnOnce() -> R) -> R {
    without_signal(code, |_| true)
}

/// RLIMIT_FSIZE of this process; None: a filter does not let us ask.
pub fn file_size_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: valid for writing.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    (asked == 0).then_some(limit.rlim_cur)
}

/// `may_have_raised`: whether to look for the signal. The kernel sends the signal to the thread
/// that makes the call, where the signal is blocked and stays pending. This costs two system calls,
/// where getrlimit would be one. But the limit may change between getrlimit and the write, and a
/// sandbox may not allow getrlimit, while every sandbox allows rt_sigprocmask: without it no thread
/// can be started.
fn without_signal<R>(code: impl FnOnce() -> R, may_have_raised: impl FnOnce(&R) -> bool) -> R {
    if BLOCKS_ALL.get() {
        return code();
    }
    let signal = file_size_signal();
    let restore = mask(libc::SIG_BLOCK, &signal);
    // SAFETY: a set that the kernel has filled in.
    let blocked_before = unsafe { libc::sigismember(&restore.0, libc::SIGXFSZ) } == 1;
    if blocked_before && is_pending() {
        // The pending signal is the program's. One more of the same kind would change nothing.
        std::mem::forget(restore);
        return code();
    }
    let result = code();
    let none_is_left = !may_have_raised(&result) || take(&signal) == Taken::NoneIsLeft;
    if blocked_before || !none_is_left {
        // SIGXFSZ stays blocked: the caller had it so; or a filter did not let us take the signal,
        // which would end the program now.
        std::mem::forget(restore);
    }
    result
}

fn file_size_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: valid for writing; neither call can fail, so the set is filled in afterwards.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ);
        set.assume_init()
    }
}

/// What is known after an attempt to take a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    NoneIsLeft,
    /// A filter (seccomp) does not let us look.
    MayBeLeft,
}

fn is_pending() -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: valid for writing, and filled in if the call succeeds.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0
            && libc::sigismember(set.as_ptr(), libc::SIGXFSZ) == 1
    }
}

/// Takes a blocked signal off this thread, if one waits there.
fn take(signal: &libc::sigset_t) -> Taken {
    const KERNEL_SIGSET_BYTES: usize = 8;
    loop {
        let at_once = [0_u64; 2];
        // Not by the C library, where this is a place to be cancelled at.
        // SAFETY: a set of at least that many bytes; no siginfo; no time, however it is laid out.
        let taken = unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                std::ptr::from_ref(signal),
                std::ptr::null_mut::<libc::siginfo_t>(),
                at_once.as_ptr(),
                KERNEL_SIGSET_BYTES,
            )
        };
        match std::io::Error::last_os_error().raw_os_error() {
            _ if taken >= 0 => return Taken::NoneIsLeft,
            Some(libc::EAGAIN) => return Taken::NoneIsLeft,
            Some(libc::EINTR) => {}
            _ => return Taken::MayBeLeft,
        }
    }
}
