//! Keeps a fault that strikes at each I/O from filling a log: of one kind of message at most
//! `BURST` are told in each `PERIOD`, and the next one says how many were left out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const BURST: u64 = 10;
const PERIOD: Duration = Duration::from_secs(5);

/// For one kind of message. The lock guards the counts; nothing is taken while it is held.
#[derive(Default)]
pub struct RateLimit(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// When the period began; None: nothing was said yet.
    since: Option<Instant>,
    /// Messages told in this period.
    said: u64,
    /// Messages left out, and not counted in a later message yet.
    left_out: u64,
}

impl RateLimit {
    /// Whether a message may be told now. If so: how many before it were left out.
    pub fn allows(&self) -> Option<u64> {
        self.allows_at(Instant::now())
    }

    /// How many messages were left out and not counted in a later message until now.
    pub fn left_out(&self) -> u64 {
        std::mem::take(&mut self.0.lock().left_out)
    }

    fn allows_at(&self, now: Instant) -> Option<u64> {
        let mut counts = self.0.lock();
        let begun = counts.since.is_some_and(|since| now.saturating_duration_since(since) < PERIOD);
        if !begun {
            counts.since = Some(now);
            counts.said = 0;
        }
        if counts.said == BURST {
            counts.left_out += 1;
            return None;
        }
        counts.said += 1;
        Some(std::mem::take(&mut counts.left_out))
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
