//! What threads meet at: locks, atomics, threads themselves and the clock, under one name, so that
//! the simulator (`crate::proof::library`) can put its own in their place. In every other build
//! these are parking_lot's and the standard library's own, and nothing stands between.
//!
//! Not from here, since no schedule depends on it: the log's lock, and the locks of image locks,
//! which are held when handles open and close only.

use std::os::fd::RawFd;
use std::time::Duration;

pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

pub use std::{sync::mpsc, thread, time::Instant};

/// Runs code that by design waits for the end of a time limit. To the simulator any other wait that
/// ends for no other reason than its time limit is a lost wake-up.
#[inline(always)]
pub fn on_time<R>(code: impl FnOnce() -> R) -> R {
    code()
}

/// How often a thread looks for results before it goes to sleep: some tens of microseconds.
pub const SPINS: u32 = 2000;

/// How many processors this process may use, as it was when this was asked first.
pub fn processors() -> usize {
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Makes an eventfd readable. To the simulator that is a moment at which other threads may run, and
/// it wakes those that wait for the eventfd.
#[inline(always)]
pub fn signalling(_eventfd: RawFd, write: impl FnOnce()) {
    write();
}

/// Makes an eventfd not readable; `read` says whether it was readable until then. The thread that
/// has read it knows all that was done before the write, as the simulator checks.
#[inline(always)]
pub fn clearing(_eventfd: RawFd, read: impl FnOnce() -> bool) {
    read();
}

/// Waits until an eventfd is readable, for `timeout` at most. `sleep` does so.
#[inline(always)]
pub fn waiting(_eventfd: RawFd, _timeout: Duration, sleep: impl FnOnce()) {
    sleep();
}

/// States what always holds. Only the simulator looks: no product pays for the question.
#[inline(always)]
pub fn must_hold(_it_holds: impl FnOnce() -> bool, _what: &str) {}

pub mod atomic {
    pub use std::sync::atomic::Ordering;
    pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize};
}
