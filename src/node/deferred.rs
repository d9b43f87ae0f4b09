//! EVENTFD: I/O that is kept for the next `poll` of the thread that submitted it.
//!
//! Some storage knows no I/O that must not wait (zram, say). What a ring asks of such storage the
//! kernel hands to threads of its own. Two changes of thread take longer than a few I/Os do on
//! storage that is memory, on a virtual machine most of all. So a small batch of a thread that will
//! wait for the batch in `poll` is deferred until that thread polls, and carried out there.
//! It is not carried out at once because submitting must not block.
//!
//! A batch is deferred only if its thread was the last one to poll and waited without a time limit,
//! nothing is on its way, no thread sleeps in the ring, and there is no eventfd, whose user expects
//! a signal. Any other thread that comes to take results in, for a synchronous call or another
//! handle, brings what is deferred to the ring. If carrying out a batch took long, be the reason
//! the storage or a busy computer, the next batches go to the ring.

use std::time::Duration;

use crate::driver::{Io, Op};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Instant, Mutex};

/// Most I/Os that are deferred, and most bytes: more are worth a thread of the kernel.
const IOS_MAX: usize = 8;
const BYTES_MAX: u64 = 64 << 10;
/// A batch that takes longer belongs on the ring.
const BATCH_TIME_MAX: Duration = Duration::from_micros(100);
/// How many batches go to the ring after one that took longer.
const SKIPPED_AFTER_SLOW: u32 = 1000;

pub struct Deferred {
    /// The storage knows no I/O that must not wait, so that deferring is worth while.
    wanted: bool,
    /// The last `poll` waited without a time limit.
    patient: AtomicBool,
    /// How many batches still go to the ring.
    skip: AtomicU32,
    /// Nothing else is locked while this lock is held.
    ios: Mutex<Vec<Io>>,
    /// Whether there are any `ios`; written under their lock, read as a hint.
    any: AtomicBool,
}

/// How long carrying out deferred I/O has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Quick,
    /// What is left, and the next batches, belong on the ring.
    Slow,
}

impl Deferred {
    pub fn new(wanted: bool) -> Deferred {
        let (patient, any) = (AtomicBool::new(false), AtomicBool::new(false));
        Deferred { wanted, patient, skip: AtomicU32::new(0), ios: Mutex::default(), any }
    }

    /// Relaxed, here and wherever `patient` or `skip` is used: both are hints, and a wrong hint
    /// loses no I/O.
    pub fn set_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }

    /// Whether such a batch may be deferred.
    pub fn suits(&self, ios: &[Io]) -> bool {
        if !self.wanted || !self.patient.load(Ordering::Relaxed) || ios.len() > IOS_MAX {
            return false;
        }
        let skip = self.skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.skip.store(skip - 1, Ordering::Relaxed);
            return false;
        }
        let bytes: u64 = ios.iter().map(|io| io.bytes).sum();
        bytes <= BYTES_MAX && ios.iter().all(|io| io.op != Op::Flush && !io.fua)
    }

    pub fn put(&self, ios: &mut Vec<Io>) {
        let mut deferred = self.ios.lock();
        deferred.append(ios);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Moves all of them to `ios`.
    pub fn take(&self, ios: &mut Vec<Io>) {
        let mut deferred = self.ios.lock();
        ios.append(&mut deferred);
        self.any.store(false, Ordering::Relaxed);
    }

    /// For a thread that has deferred the I/Os itself, or that looks again anyway.
    pub fn may_have_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// For a thread about to sleep, which a hint is not enough for.
    pub fn has_any(&self) -> bool {
        !self.ios.lock().is_empty()
    }

    /// Looks how long it took to carry out what was deferred, since `begin`.
    pub fn look_at_pace(&self, begin: Instant) -> Pace {
        if begin.elapsed() <= BATCH_TIME_MAX {
            return Pace::Quick;
        }
        self.skip.store(SKIPPED_AFTER_SLOW, Ordering::Relaxed);
        Pace::Slow
    }
}
