//! A clock that stands still unless the scheduler moves it.

use std::ops::Add;
use std::sync::OnceLock;
use std::time::Duration;

use super::scheduler;

/// As std's, of the simulation's clock on its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Instant {
        if let Some(now) = scheduler::now() {
            return Instant(Duration::from_nanos(now));
        }
        static BEGIN: OnceLock<std::time::Instant> = OnceLock::new();
        Instant(BEGIN.get_or_init(std::time::Instant::now).elapsed())
    }

    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }

    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_add(duration).map(Instant)
    }

    pub(super) fn nanos(&self) -> u64 {
        self.0.as_nanos() as u64
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(duration))
    }
}
