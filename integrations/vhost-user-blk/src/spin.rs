//! How long a queue with nothing to do looks for requests by itself before it sleeps. To be woken
//! takes longer than a request to storage in memory does, on a virtual machine most of all; to
//! look uses a processor. So the time is learnt: where sleeps turn out short it grows, up to a
//! limit; where one is long it is over with looking, and an idle disk costs nothing.

use std::time::{Duration, Instant};

/// The first time that is looked for, once looking seems worth it.
const LEAST: Duration = Duration::from_micros(4);

pub struct Spin {
    most: Duration,
    window: Duration,
    /// Since when there is nothing to do.
    idle_since: Option<Instant>,
}

impl Spin {
    pub fn new(most: Duration) -> Spin {
        Spin { most, window: Duration::ZERO, idle_since: None }
    }

    /// There was something to do.
    pub fn worked(&mut self) {
        self.idle_since = None;
    }

    /// There is nothing to do at `now`. True: look again; false: sleep.
    pub fn looks_again(&mut self, now: Instant) -> bool {
        now - *self.idle_since.get_or_insert(now) < self.window
    }

    /// The sleep is over at `now`.
    pub fn slept(&mut self, now: Instant) {
        let Some(since) = self.idle_since.take() else { return };
        self.window = if now - since > self.most {
            Duration::ZERO
        } else {
            (self.window * 2).clamp(LEAST.min(self.most), self.most)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Idle for `idle` before there is work. How much of it was slept.
    fn idle(spin: &mut Spin, from: Instant, idle: Duration) -> Duration {
        let step = Duration::from_micros(1);
        let mut now = from;
        while now < from + idle {
            if !spin.looks_again(now) {
                spin.slept(from + idle);
                return from + idle - now;
            }
            now += step;
        }
        spin.worked();
        Duration::ZERO
    }

    #[test]
    fn short_waits_are_learnt_and_a_long_one_ends_it() {
        let us = Duration::from_micros;
        let now = Instant::now();
        let mut spin = Spin::new(us(32));
        assert_eq!(idle(&mut spin, now, us(20)), us(20), "nothing is known yet");
        assert_eq!(idle(&mut spin, now, us(20)), us(16));
        assert_eq!(idle(&mut spin, now, us(20)), us(12));
        assert_eq!(idle(&mut spin, now, us(20)), us(4));
        for _ in 0..3 {
            assert_eq!(idle(&mut spin, now, us(20)), us(0), "all of it is looked for");
        }
        assert_eq!(idle(&mut spin, now, us(1000)), us(968));
        assert_eq!(idle(&mut spin, now, us(1000)), us(1000), "and looked for no more");
    }

    #[test]
    fn without_a_limit_to_grow_to_it_never_looks() {
        let now = Instant::now();
        let mut spin = Spin::new(Duration::ZERO);
        for _ in 0..10 {
            let wait = Duration::from_nanos(1);
            assert_eq!(idle(&mut spin, now, wait), wait);
        }
    }
}
