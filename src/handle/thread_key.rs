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
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_key_and_no_other_gets_it() {
        let mine = thread_key();
        let others: Vec<PlugKey> =
            (0..9).map(|_| std::thread::spawn(thread_key).join().unwrap()).collect();
        assert_eq!(thread_key(), mine);
        let mut all = [others.as_slice(), &[mine]].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
    }
}
