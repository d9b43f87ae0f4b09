//! The throttle that a handle has, if it has one.

use std::sync::Arc;

use super::Handle;
use crate::node::{dispatch, with_actions};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::Mutex;
use crate::sys::Error;
use crate::throttle::{Counts, Membership, Throttle};

/// The lock guards which throttle it is. While it is held a throttle's lock may be taken.
#[derive(Default)]
pub struct Throttled {
    /// Whether there is one, or one is being left: then who submits waits for the lock. Relaxed:
    /// who submits while a throttle comes may miss it; and what one has let go is in the machine
    /// before another thread sees that there is none, and gets the machine's lock.
    throttled: AtomicBool,
    membership: Mutex<Option<Arc<Membership>>>,
    counts: Arc<Counts>,
}

impl Throttled {
    #[inline]
    pub fn is_throttled(&self) -> bool {
        self.throttled.load(Ordering::Relaxed)
    }

    #[inline]
    pub fn membership(&self) -> Option<Arc<Membership>> {
        if !self.is_throttled() {
            return None;
        }
        self.membership.lock().clone()
    }

    /// How many requests were held, and for how many nanoseconds.
    pub fn counts(&self) -> (u64, u64) {
        let Counts { throttled, throttled_ns } = &*self.counts;
        (throttled.load(Ordering::Relaxed), throttled_ns.load(Ordering::Relaxed))
    }
}

impl Handle {
    /// Requests from now on keep to the limits of `throttle`; what another one holds goes at once.
    /// ENOMEM: the system gives no thread for the timer; nothing has changed.
    pub fn set_throttle(&self, throttle: Option<&Arc<Throttle>>) -> Result<(), Error> {
        let Throttled { throttled, membership, counts } = &self.throttled;
        let join = |its| Membership::join(its, &self.endpoint, counts).map(Arc::new);
        let next = throttle.map(join).transpose()?;
        let before = with_actions(|actions| {
            let mut membership = membership.lock();
            let is_throttled = next.is_some();
            if is_throttled {
                throttled.store(true, Ordering::Relaxed);
            }
            let before = std::mem::replace(&mut *membership, next);
            // Before anything can be submitted to the next one, or to the machine itself: requests
            // keep their order.
            before.iter().for_each(|its| its.leave(actions));
            throttled.store(is_throttled, Ordering::Relaxed);
            drop(membership);
            dispatch(actions);
            before
        });
        // Perhaps the last that needed the timer's thread: this waits for its end.
        drop(before);
        Ok(())
    }
}
