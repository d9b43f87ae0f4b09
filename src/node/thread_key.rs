//! Keys by which the request machine knows the threads that plug. A key is never given to a second
//! thread, not even when the first has ended: what that thread has plugged stays its own.

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
    static LAST: AtomicU64 = AtomicU64::new(0);
    let key = KEY.get();
    if key != 0 {
        return key;
    }
    // 2^64 keys are never used up. Relaxed: all that counts is that keys differ.
    let key = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    KEY.set(key);
    key
}

#[cfg(test)]
#[path = "thread_key_tests.rs"]
mod tests;
