//! How long the requests of a handle took: a histogram for each kind. Nothing is counted, and no
//! clock is read, until the program asks for a histogram the first time.
//!
//! Buckets are *log-linear*: each power of two nanoseconds has `STEPS` buckets of one width, and
//! below `STEPS` each nanosecond has one. So the greatest time of a bucket is at most an eighth
//! above its least one. An example: 1000 ns is 0b1111101000, the highest bit is 9, the three bits
//! below are 111; so the bucket is (9 - 2) * 8 + 7 = 63, which holds 960 to 1023 ns.

use once_cell::sync::OnceCell;

use crate::driver::Op;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::Instant;

/// Buckets of each power of two; a power of two itself.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// The last bucket holds all from about 34 minutes on.
pub const BUCKETS: usize = 312;

/// Of one handle. Relaxed everywhere: counts of their own, on which nothing depends.
#[derive(Default)]
pub struct Latency {
    wanted: AtomicBool,
    kinds: OnceCell<Box<Kinds>>,
}

struct Kinds {
    /// Times count from here.
    start: Instant,
    /// By `place_of`.
    histograms: [Histogram; 5],
}

struct Histogram {
    total_ns: AtomicU64,
    max_ns: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// A histogram as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyCounts {
    pub total_ns: u64,
    pub max_ns: u64,
    pub buckets: [u64; BUCKETS],
}

/// When a request began; 0: nobody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Began(u64);

fn place_of(op: Op) -> Option<usize> {
    match op {
        Op::Read => Some(0),
        Op::Write => Some(1),
        Op::WriteZeroes => Some(2),
        Op::Discard => Some(3),
        Op::Flush => Some(4),
        Op::Truncate | Op::Length | Op::Fill | Op::Populate | Op::SaveMap => None,
    }
}

impl Latency {
    #[inline]
    pub fn begin(&self) -> Began {
        match self.wanted.load(Ordering::Relaxed) {
            true => self.begin_now(),
            false => Began(0),
        }
    }

    #[cold]
    fn begin_now(&self) -> Began {
        Began(self.kinds.get().map_or(0, |kinds| kinds.now().max(1)))
    }

    /// A request is over. What was taken back is not counted.
    #[inline]
    pub fn note(&self, op: Op, began: Began, result: Result<(), i32>) {
        if began != Began(0) && result != Err(libc::ECANCELED) {
            self.note_now(op, began);
        }
    }

    #[cold]
    fn note_now(&self, op: Op, Began(began): Began) {
        let Some((kinds, place)) = self.kinds.get().zip(place_of(op)) else { return };
        kinds.histograms[place].note(kinds.now().saturating_sub(began));
    }

    /// Counts from now on, if it has not yet. What was counted so far; None: requests of that kind
    /// are not counted.
    pub fn counts(&self, op: Op) -> Option<LatencyCounts> {
        let kinds = self.kinds.get_or_init(Kinds::new);
        self.wanted.store(true, Ordering::Relaxed);
        Some(kinds.histograms[place_of(op)?].counts())
    }
}

impl Kinds {
    fn new() -> Box<Kinds> {
        let histograms = std::array::from_fn(|_| Histogram::new());
        Box::new(Kinds { start: Instant::now(), histograms })
    }

    fn now(&self) -> u64 {
        let passed = Instant::now().saturating_duration_since(self.start).as_nanos();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

impl Histogram {
    fn new() -> Histogram {
        let buckets = [const { AtomicU64::new(0) }; BUCKETS];
        Histogram { total_ns: AtomicU64::new(0), max_ns: AtomicU64::new(0), buckets }
    }

    fn note(&self, ns: u64) {
        self.total_ns.fetch_add(ns, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
        self.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> LatencyCounts {
        LatencyCounts {
            total_ns: self.total_ns.load(Ordering::Relaxed),
            max_ns: self.max_ns.load(Ordering::Relaxed),
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
        }
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let highest = ns.ilog2();
    let step = (ns >> (highest - STEP_BITS)) % STEPS;
    let bucket = u64::from(highest - STEP_BITS + 1) * STEPS + step;
    (bucket as usize).min(BUCKETS - 1)
}

/// The greatest time that falls into a bucket.
pub fn bucket_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket + 1 >= BUCKETS as u64 {
        return u64::MAX;
    }
    if bucket < STEPS {
        return bucket;
    }
    let (power, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step + 1) << power) - 1
}

impl LatencyCounts {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time that so many of a thousand requests did not exceed: at most an eighth too much, and
    /// never more than the longest.
    pub fn quantile(&self, of_thousand: u64) -> u64 {
        let count = self.count();
        // Rounded up: of 10 requests 990 of a thousand are 10.
        let rank = (count.saturating_mul(of_thousand)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return bucket_end(at).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

#[cfg(test)]
#[path = "latency_tests.rs"]
mod tests;
