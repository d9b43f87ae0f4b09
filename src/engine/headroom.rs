//! Whether there is memory left for what callers ask for. A request that has been taken in must
//! come to its end, and on the way there is no place to say that memory is short. So a submission
//! that finds little memory left is refused, while nothing has happened yet.
//!
//! Most of what a request costs lies in lists that grow, and do not shrink again. So the system is
//! asked only when a handle has more in flight than ever before, or brings data or vectors that are
//! copied; and then once for each `STEP` bytes of that. A thread of the pool, whose stack is large,
//! is started only where enough is left besides.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::could_map;

/// What must be left, whatever is in flight: for threads, words of errors, I/O that starts.
const LEAST: usize = 4 << 20;
/// And for each request in flight: more than all lists together grow by when they are full.
const REQUEST: usize = 1 << 10;
const STEP: usize = 256 << 10;

/// The stack of a thread, and what it allocates besides.
const THREAD: usize = 3 << 20;

/// What the requests of all handles may need. Relaxed, here and below: each number is a hint on its
/// own, and no other memory depends on it.
static NEEDED: AtomicUsize = AtomicUsize::new(0);

/// What one handle has asked for.
#[derive(Default)]
pub struct Headroom {
    /// The most requests in flight so far.
    most: AtomicUsize,
    /// Bytes since the system was asked last.
    claimed: AtomicUsize,
}

/// Whether one more thread leaves enough.
pub fn allows_thread() -> bool {
    could_map(LEAST + THREAD + NEEDED.load(Ordering::Relaxed))
}

impl Headroom {
    /// Whether one more request may come in, `pending` of them being in flight with it; `bytes`:
    /// what is copied for it.
    pub fn allows(&self, pending: usize, bytes: usize) -> bool {
        let grows = pending > self.most.load(Ordering::Relaxed);
        if !grows && bytes == 0 {
            return true;
        }
        let claim = bytes.saturating_add(if grows { REQUEST } else { 0 });
        let claimed = self.claimed.load(Ordering::Relaxed).saturating_add(claim);
        if claimed >= STEP && !could_map(LEAST + NEEDED.load(Ordering::Relaxed)) {
            return false;
        }
        self.claimed.store(if claimed >= STEP { 0 } else { claimed }, Ordering::Relaxed);
        if grows {
            let before = self.most.fetch_max(pending, Ordering::Relaxed);
            NEEDED.fetch_add(REQUEST * pending.saturating_sub(before), Ordering::Relaxed);
        }
        true
    }
}

impl Drop for Headroom {
    fn drop(&mut self) {
        NEEDED.fetch_sub(REQUEST * self.most.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
