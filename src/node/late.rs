//! Since when requests of a handle have been in flight, as far as the log is to tell of late ones.
//! `watch.rs` looks every `PERIOD`. Each look leaves a mark: the time, and the youngest
//! request then. A request that is still in flight and no younger than a mark was in flight at that
//! time. So nothing is noted of single requests, and those that come back cost nothing.
//!
//! Example, in seconds since the first look. Request 7 is the youngest at 0; the looks at 2.5 and 5
//! find it still in flight. At 5 the mark of 0 is old enough: request 7 is told to have been in
//! flight for 5 s. It is told again at 10, 20, 40 and so on, and nothing else is said of it.

use std::time::Duration;

use crate::log::RateLimit;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Instant, Mutex};
use blkalign_machine::RequestId;

pub const PERIOD: Duration = Duration::from_millis(2500);
/// The first look comes earlier: from then on it is known since when a request is in flight.
pub const FIRST: Duration = Duration::from_millis(500);
/// A request that takes longer is late.
const LATE: Duration = Duration::from_secs(5);
/// Most marks that are kept: an hour and more of one request that hangs.
const MARKS_MAX: usize = 1500;

/// Of one handle.
#[derive(Default)]
pub struct LateWatch {
    /// A look is due at some time.
    pub due: AtomicBool,
    pub messages: RateLimit,
    /// Nothing is taken while the lock is held.
    pub marks: Mutex<Marks>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub when: Instant,
    pub youngest: RequestId,
}

/// From old to new.
#[derive(Debug, Default)]
pub struct Marks(Vec<Mark>);

impl Marks {
    pub fn add(&mut self, mark: Mark) {
        if self.0.len() == MARKS_MAX {
            // The oldest one tells since when the oldest request is in flight.
            self.0.remove(1);
        }
        self.0.push(mark);
    }

    pub fn newest(&self) -> Option<Mark> {
        self.0.last().copied()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The newest mark that makes a request late.
    pub fn late_at(&self, now: Instant) -> Option<Mark> {
        let late = |mark: &&Mark| now.saturating_duration_since(mark.when) >= LATE;
        self.0.iter().rev().find(late).copied()
    }

    /// How long a request has been in flight at least.
    pub fn waited(&self, id: RequestId, now: Instant) -> Duration {
        let first = self.0.iter().find(|mark| mark.youngest >= id);
        first.map_or(Duration::ZERO, |mark| now.saturating_duration_since(mark.when))
    }

    /// Marks that tell no more than a later one are of no use. `oldest`: of the late requests.
    pub fn forget(&mut self, oldest: Option<RequestId>, now: Instant) {
        let late = |mark: &Mark| now.saturating_duration_since(mark.when) >= LATE;
        self.0.retain(|mark| !late(mark) || oldest.is_some_and(|id| mark.youngest >= id));
    }
}

/// Whether it is time to tell of a request, if the look before this one was so long ago: after
/// `LATE`, twice as long, four times as long, and so on.
pub fn is_to_be_told(waited: Duration, since_last_look: Duration) -> bool {
    let step = |time: Duration| (time.as_millis() / LATE.as_millis()).checked_ilog2();
    step(waited) != step(waited.saturating_sub(since_last_look))
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;
