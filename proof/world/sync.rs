//! What `crate::sync` is in the simulator.

use std::os::fd::RawFd;
use std::time::Duration;

pub use super::lock::{Condvar, Mutex, MutexGuard, RwLock};
pub use super::outside_limits as on_time;
use super::system::is_readable;
use super::{block, fail, memory, now as scheduler_now, point, wake_all, Class, Key, Woken};
pub use super::{channel as mpsc, thread, time::Instant};

/// As the product's: enough for other threads to come between.
pub const SPINS: u32 = 3;

pub fn processors() -> usize {
    2
}

/// As the product's: a thread that comes to read the eventfd knows what this thread knows now.
pub fn signalling(eventfd: RawFd, write: impl FnOnce()) {
    point();
    memory::tell(Key::Readable(eventfd));
    write();
    wake_all(Key::Readable(eventfd));
}

/// As the product's.
pub fn clearing(eventfd: RawFd, read: impl FnOnce() -> bool) {
    point();
    if read() {
        memory::hear(Key::Readable(eventfd));
    }
}

/// As the product's. May return early, as system calls do.
pub fn waiting(eventfd: RawFd, timeout: Duration, sleep: impl FnOnce()) {
    let Some(now) = scheduler_now() else { return sleep() };
    point();
    let until = now.saturating_add(timeout.as_nanos() as u64);
    while !is_readable(eventfd) {
        if block(Key::Readable(eventfd), Some(until), Class::Library) == Woken::ByTime {
            return;
        }
    }
}

/// As the product's, and looked at.
pub fn must_hold(it_holds: impl FnOnce() -> bool, what: &str) {
    if !std::thread::panicking() && !it_holds() {
        fail(&format!("not so: {what}"));
    }
}

pub mod atomic {
    pub use std::sync::atomic::Ordering;

    pub use crate::proof::world::atomic::{
        AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize,
    };
}
