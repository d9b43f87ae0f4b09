//! Tells the program of requests that are at the storage for longer than it wants. While a handle
//! has such a limit, and requests in flight, a job of the pool looks several times in that while
//! which requests are at the storage. Nothing is noted of single requests, so those that come back
//! in time cost nothing.
//!
//! Example, with a limit of 100 ms: looks come every 25 ms. A request that is there at 10 is seen at
//! 25, and told at 125, if it is still there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Endpoint, Work};
use crate::completion::as_callback;
use crate::driver::Op;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, Mutex};
use blkalign_machine::{Asked, RequestId};

/// Looks in one limit; and the least and the greatest time between two.
const LOOKS: u32 = 4;
const PERIOD_MIN: Duration = Duration::from_millis(1);
const PERIOD_MAX: Duration = Duration::from_millis(250);

/// A request that is at the storage for too long. `offset` counts from the start of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    pub id: RequestId,
    pub op: Op,
    pub offset: u64,
    pub bytes: u64,
}

pub type TooLongFn = Box<dyn Fn(&TooLong) + Send + Sync>;

/// Of one handle.
#[derive(Default)]
pub struct Timeout {
    /// There is a limit. Relaxed: who submits while one comes may miss it, see `set_timeout`.
    wanted: AtomicBool,
    /// A look is due at some time.
    due: AtomicBool,
    /// Nothing is taken while the lock is held.
    state: Mutex<State>,
    /// Held while the program's function runs, so that whoever sets another one can wait for that.
    calling: Mutex<()>,
}

#[derive(Default)]
struct State {
    limit: Option<(Duration, Arc<TooLongFn>)>,
    seen: Vec<Seen>,
}

/// A request that was at the storage at each look since `first`.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: RequestId,
    first: Instant,
    told: bool,
}

fn period(limit: Duration) -> Duration {
    (limit / LOOKS).clamp(PERIOD_MIN, PERIOD_MAX)
}

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

impl Timeout {
    fn limit(&self) -> Option<Duration> {
        self.state.lock().limit.as_ref().map(|(limit, _)| *limit)
    }

    /// Takes note of what is at the storage. What is to be told of now, by which function.
    fn note(&self, at_storage: &[(RequestId, Asked)], now: Instant) -> Option<Told> {
        let mut state = self.state.lock();
        let (limit, function) = state.limit.clone()?;
        let mut late = Vec::new();
        let seen = at_storage.iter().map(|&(id, asked)| {
            let before = state.seen.iter().find(|seen| seen.id == id).copied();
            let mut seen = before.unwrap_or(Seen { id, first: now, told: false });
            if !seen.told && now.saturating_duration_since(seen.first) >= limit {
                seen.told = true;
                late.push((id, asked));
            }
            seen
        });
        state.seen = seen.collect();
        (!late.is_empty()).then_some(Told { function, late })
    }
}

struct Told {
    function: Arc<TooLongFn>,
    late: Vec<(RequestId, Asked)>,
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
