//! Tells the program of requests that are at the storage for longer than it wants. While a handle
//! has such a limit, and requests in flight, a job of the pool looks several times in that while
//! which requests are at the storage. Nothing is noted of single requests, so those that come back
//! in time cost nothing.
//!
//! Example, with a limit of 100 ms: looks come every 25 ms. A request that is there at 10 is seen
//! at 25, and told at 125, if it is still there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::limit::{period, Timeout, Told, TooLong, TooLongFn};
use super::{Endpoint, Work};
use crate::completion::as_callback;
use crate::sync::atomic::Ordering;
use crate::sync::Instant;

impl Endpoint {
    /// Another limit holds from now on, or none. When this returns the function of the limit before
    /// does not run any more; but inside a callback this does not wait for that.
    pub fn set_timeout(self: &Arc<Self>, limit: Option<(Duration, TooLongFn)>, may_wait: bool) {
        let timeout = &self.timeout;
        let limit = limit.map(|(limit, function)| (limit, Arc::new(function)));
        let wanted = limit.is_some();
        let before = {
            let mut state = timeout.state.lock();
            state.seen.clear();
            std::mem::replace(&mut state.limit, limit)
        };
        timeout.wanted.store(wanted, Ordering::Relaxed);
        if may_wait {
            drop(timeout.calling.lock());
        }
        drop(before);
        if !self.completions.is_drained() {
            self.watch_for_timeout();
        }
    }

    /// Called for each request, once it is counted. A look that is the last one says that none is
    /// due, and then looks whether a request is counted; both are SeqCst, so one sees the other.
    #[inline]
    pub fn watch_for_timeout(self: &Arc<Self>) {
        let Timeout { wanted, due, .. } = &self.timeout;
        if wanted.load(Ordering::Relaxed) && !due.load(Ordering::SeqCst) {
            self.order_look();
        }
    }

    #[cold]
    fn order_look(self: &Arc<Self>) {
        let Some(limit) = self.timeout.limit() else { return };
        if !self.timeout.due.swap(true, Ordering::SeqCst) {
            self.pool.push_later(period(limit), Work::Timeout(Arc::downgrade(self)));
        }
    }
}

/// One look.
pub fn look_for_timeouts(endpoint: &Weak<Endpoint>) {
    let Some(endpoint) = endpoint.upgrade() else { return };
    let timeout = &endpoint.timeout;
    let limit = timeout.limit().filter(|_| !endpoint.completions.is_drained());
    let Some(limit) = limit else {
        timeout.state.lock().seen.clear();
        timeout.due.store(false, Ordering::SeqCst);
        if !endpoint.completions.is_drained() {
            endpoint.watch_for_timeout();
        }
        return;
    };
    let at_storage = endpoint.node.at_storage(endpoint.id());
    if let Some(told) = timeout.note(&at_storage, Instant::now()) {
        tell(&endpoint, &told);
    }
    endpoint.pool.push_later(period(limit), Work::Timeout(Arc::downgrade(&endpoint)));
}

fn tell(endpoint: &Endpoint, told: &Told) {
    let _calling = endpoint.timeout.calling.lock();
    for (id, asked) in &told.late {
        // Set meanwhile: who has done so waits for `calling`, and hears nothing more.
        let current = endpoint.timeout.state.lock().limit.clone();
        if !current.is_some_and(|(_, function)| Arc::ptr_eq(&function, &told.function)) {
            return;
        }
        let offset = asked.offset.saturating_sub(endpoint.window_offset);
        let too_long = TooLong { id: *id, op: asked.op, offset, bytes: asked.bytes };
        as_callback(|| (told.function)(&too_long));
    }
}
