//! One token bucket. Tokens come at `rate` a second, and stay up to `burst`. What costs more than
//! `burst` goes when the bucket is full, and leaves a debt: so it goes at the rate, too.
//!
//! The level counts in billionths of a token, so that a nanosecond brings `rate` of them and
//! nothing is ever rounded. Example: a rate of 1000 a second with a burst of 100. The bucket is
//! full, 150 tokens are taken: the level is -50. After 50 ms it is 0, after 51 ms one token can be
//! taken again, after 150 ms the bucket is full.

use super::Nanos;

const BILLION: i128 = 1_000_000_000;
/// Who waits may be woken so late without losing tokens.
const LATE: i128 = 10_000_000;

/// What one bucket allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketLimits {
    /// Tokens a second; 0: no limit.
    pub rate: u64,
    /// Tokens that may be taken at once after a pause; 0: a tenth of the rate, at least 1.
    pub burst: u64,
}

#[derive(Debug)]
pub struct Bucket {
    rate: i128,
    /// In billionths of a token.
    burst: i128,
    level: i128,
    /// When the level was that.
    at: Nanos,
    /// A request waits for tokens of this bucket.
    awaited: bool,
}

impl Bucket {
    /// A full one.
    pub fn new(limits: BucketLimits, now: Nanos) -> Bucket {
        let burst = match limits.burst {
            0 => (limits.rate / 10).max(1),
            burst => burst,
        };
        let burst = i128::from(burst) * BILLION;
        Bucket { rate: i128::from(limits.rate), burst, level: burst, at: now, awaited: false }
    }

    pub fn is_limited(&self) -> bool {
        self.rate > 0
    }

    /// Other limits hold from now on. What is in the bucket stays. So does what is owed; but where
    /// the rate gets lower only up to a second's tokens: a debt made at a high rate is not to be
    /// paid off at a low one for hours.
    pub fn set(&mut self, limits: BucketLimits, now: Nanos) {
        self.fill(now);
        let Bucket { rate: before, level, .. } = *self;
        *self = Bucket::new(limits, now);
        if before > 0 {
            let owed_max = if self.rate < before { self.rate * BILLION } else { i128::MAX };
            self.level = level.clamp(-owed_max, self.burst);
        }
    }

    /// Takes `tokens`, if they are there.
    pub fn take(&mut self, tokens: u64, now: Nanos) -> bool {
        self.fill(now);
        let there = self.level >= self.needed(tokens);
        self.awaited = !there;
        if there {
            self.level -= i128::from(tokens) * BILLION;
        }
        there
    }

    /// What was taken is not needed after all.
    pub fn give_back(&mut self, tokens: u64) {
        self.level += i128::from(tokens) * BILLION;
    }

    /// Nobody waits for tokens of this bucket any more.
    pub fn forsake(&mut self) {
        self.awaited = false;
    }

    /// When `tokens` can be taken, if nobody else takes any.
    pub fn when(&self, tokens: u64, now: Nanos) -> Nanos {
        let missing = self.needed(tokens) - self.level;
        let from_at = if missing <= 0 { 0 } else { (missing + self.rate - 1) / self.rate };
        self.at.saturating_add(Nanos::try_from(from_at).unwrap_or(Nanos::MAX)).max(now)
    }

    fn needed(&self, tokens: u64) -> i128 {
        (i128::from(tokens) * BILLION).min(self.burst)
    }

    fn fill(&mut self, now: Nanos) {
        // At one moment several requests may go one after the other, and share what has come.
        if now <= self.at {
            return;
        }
        let passed = i128::from(now - self.at);
        self.at = now;
        let late = if self.awaited { self.rate * LATE } else { 0 };
        let most = self.burst.saturating_add(late);
        self.level = self.level.saturating_add(self.rate.saturating_mul(passed)).min(most);
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
