//! The limit of time of one handle, and which of its requests were seen at the storage. Knows
//! neither the handle nor its node: `timeout.rs` looks.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::Op;
use crate::sync::atomic::AtomicBool;
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
    pub wanted: AtomicBool,
    /// A look is due at some time.
    pub due: AtomicBool,
    /// Nothing is taken while the lock is held.
    pub state: Mutex<State>,
    /// Held while the program's function runs, so that whoever sets another one can wait for that.
    pub calling: Mutex<()>,
}

#[derive(Default)]
pub struct State {
    pub limit: Option<(Duration, Arc<TooLongFn>)>,
    pub seen: Vec<Seen>,
}

/// A request that was at the storage at each look since `first`.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    id: RequestId,
    first: Instant,
    told: bool,
}

pub fn period(limit: Duration) -> Duration {
    (limit / LOOKS).clamp(PERIOD_MIN, PERIOD_MAX)
}

impl Timeout {
    pub fn limit(&self) -> Option<Duration> {
        self.state.lock().limit.as_ref().map(|(limit, _)| *limit)
    }

    /// Takes note of what is at the storage. What is to be told of now, by which function.
    pub fn note(&self, at_storage: &[(RequestId, Asked)], now: Instant) -> Option<Told> {
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

/// What is to be told, by which function.
pub struct Told {
    pub function: Arc<TooLongFn>,
    pub late: Vec<(RequestId, Asked)>,
}
