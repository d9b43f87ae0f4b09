//! I/O that is kept for the thread that takes results in, which carries it out. EVENTFD: for the
//! next `poll` of the thread that submitted the I/O. SERIAL, CONCURRENT: for the job.
//!
//! Some storage knows no I/O that must not wait (zram, say). What a ring asks of such storage the
//! kernel hands to threads of its own. Two changes of thread take longer than a few I/Os do on
//! storage that is memory, on a virtual machine most of all. So a small batch is deferred until the
//! thread comes that takes results in. It is not carried out at once because submitting must not
//! block.
//!
//! A batch is deferred only if nothing of its handle is on its way. EVENTFD: and its thread was the
//! last one to poll and waited without a time limit, no thread sleeps in the ring, and there is no
//! eventfd, whose user expects a signal. Any other thread that comes to take results in, for a
//! synchronous call or another handle, brings what is deferred to the ring. SERIAL, CONCURRENT:
//! where as many jobs as there are processors take results in, larger batches are deferred, too,
//! and though others are on their way. If carrying out a batch took long, be the reason the storage
//! or a busy computer, the next batches go to the ring.

use std::collections::VecDeque;
use std::time::Duration;

use crate::driver::{Io, Op};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{processors, Instant, Mutex};

/// Most I/Os that are deferred, and most bytes: more are worth a thread of the kernel.
const IOS_MAX: usize = 8;
const BYTES_MAX: u64 = 64 << 10;
/// The same where all processors are busy with jobs that take results in. There a thread of the
/// kernel would only compete with these.
const CROWDED_IOS_MAX: usize = 64;
const CROWDED_BYTES_MAX: u64 = 512 << 10;
/// A batch that takes longer belongs on the ring.
const BATCH_TIME_MAX: Duration = Duration::from_micros(100);
/// How many batches go to the ring after one that took longer; and at most, if each that is tried
/// after these takes longer, too.
const SKIPPED_AFTER_SLOW: u32 = 16;
const SKIPPED_MAX: u32 = 1024;

/// SERIAL, CONCURRENT: jobs that are not asleep, of handles whose I/O may be deferred. Relaxed: a
/// hint.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

pub struct Deferred {
    /// The storage knows no I/O that must not wait, so that deferring is worth while.
    wanted: bool,
    /// The last `poll` waited without a time limit.
    patient: AtomicBool,
    /// How many batches still go to the ring.
    skip: AtomicU32,
    /// How many it will be after the next slow one.
    skip_next: AtomicU32,
    /// Nothing else is locked while this lock is held.
    ios: Mutex<VecDeque<Io>>,
    /// How many `ios` there are; written under their lock, read as a hint.
    count: AtomicUsize,
}

/// How long carrying out deferred I/O has taken, or running callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Quick,
    /// What is left, and the next batches, belong on the ring.
    Slow,
}

impl Deferred {
    pub fn new(wanted: bool) -> Deferred {
        // Asked while a handle opens: later the program may have given up its rights.
        processors();
        let (patient, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (skip, skip_next) = (AtomicU32::new(0), AtomicU32::new(SKIPPED_AFTER_SLOW));
        Deferred { wanted, patient, skip, skip_next, ios: Mutex::default(), count }
    }

    /// Relaxed, here and wherever `patient`, `skip` or `skip_next` is used: all are hints, and a
    /// wrong hint loses no I/O.
    pub fn set_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }

    /// The job that takes results in begins, or goes on after it has slept.
    pub fn note_awake(&self) {
        AWAKE.fetch_add(usize::from(self.wanted), Ordering::Relaxed);
    }

    /// It ends, or goes to sleep.
    pub fn note_asleep(&self) {
        AWAKE.fetch_sub(usize::from(self.wanted), Ordering::Relaxed);
    }

    /// Whether all processors are busy with such jobs.
    pub fn is_crowded(&self) -> bool {
        self.wanted && AWAKE.load(Ordering::Relaxed) >= processors()
    }

    /// Whether such a batch may be deferred.
    pub fn suits(&self, ios: &[Io]) -> bool {
        let (ios_max, bytes_max) = match self.is_crowded() {
            true => (CROWDED_IOS_MAX, CROWDED_BYTES_MAX),
            false => (IOS_MAX, BYTES_MAX),
        };
        let wanted = self.wanted && self.patient.load(Ordering::Relaxed);
        if !wanted || self.count() + ios.len() > ios_max {
            return false;
        }
        let skip = self.skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.skip.store(skip - 1, Ordering::Relaxed);
            return false;
        }
        let bytes: u64 = ios.iter().map(|io| io.bytes).sum();
        bytes <= bytes_max && ios.iter().all(|io| io.op != Op::Flush && !io.fua)
    }

    pub fn put(&self, ios: &mut Vec<Io>) {
        let mut deferred = self.ios.lock();
        deferred.extend(ios.drain(..));
        self.count.store(deferred.len(), Ordering::Relaxed);
    }

    /// The oldest of them.
    pub fn take_one(&self) -> Option<Io> {
        let mut deferred = self.ios.lock();
        let io = deferred.pop_front();
        self.count.store(deferred.len(), Ordering::Relaxed);
        io
    }

    /// Moves all of them to `ios`.
    pub fn take(&self, ios: &mut Vec<Io>) {
        let mut deferred = self.ios.lock();
        ios.extend(deferred.drain(..));
        self.count.store(0, Ordering::Relaxed);
    }

    /// For a thread that has deferred the I/Os itself, or that looks again anyway.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// For a thread about to sleep, which a hint is not enough for.
    pub fn has_any(&self) -> bool {
        !self.ios.lock().is_empty()
    }

    /// Looks how long it took to carry out what was deferred, since `begin`.
    pub fn look_at_pace(&self, begin: Instant) -> Pace {
        if begin.elapsed() <= BATCH_TIME_MAX {
            self.skip_next.store(SKIPPED_AFTER_SLOW, Ordering::Relaxed);
            return Pace::Quick;
        }
        let count = self.skip_next.load(Ordering::Relaxed);
        self.skip.store(count, Ordering::Relaxed);
        self.skip_next.store(SKIPPED_MAX.min(2 * count), Ordering::Relaxed);
        Pace::Slow
    }
}
