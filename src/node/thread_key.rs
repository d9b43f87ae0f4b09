//! Keys by which the request machine knows who plugs: threads, or a queue of the Rust interface. A
//! key is never given twice, not even when a thread has ended: what it has plugged stays its own.

use std::cell::Cell;
// The real atomics, also in the simulator: no schedule depends on this counter.
use std::sync::atomic::{AtomicU64, Ordering};

use blkalign_machine::PlugKey;

thread_local! {
    /// 0: the thread has no key yet. Without a destructor, so that it can be read to the thread's
    /// very end.
    static KEY: Cell<PlugKey> = const { Cell::new(0) };
}

/// The key of this thread.
pub fn thread_key() -> PlugKey {
    let key = KEY.get();
    if key != 0 {
        return key;
    }
    let key = new_key();
    KEY.set(key);
    key
}

/// A key that nobody has.
pub fn new_key() -> PlugKey {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // 2^64 keys are never used up. Relaxed: all that counts is that keys differ.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

#[cfg(test)]
#[path = "thread_key_tests.rs"]
mod tests;
