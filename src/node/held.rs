//! EVENTFD, on storage that knows no I/O that must not wait (zram, say). What a ring asks of it the
//! kernel hands to threads of its own, and two changes of thread, on a virtual machine most of all,
//! take longer than a few I/Os do on storage that is memory. So a small batch of a thread that
//! will wait for it in `poll` is held back until it does, and carried out there, on that thread.
//! Submitting does not block: that is why it is not done at once.
//!
//! Held back is only what the last thread to poll submits, if it waited without end, nothing is
//! on its way, nobody sleeps in the ring, and there is no eventfd, whose user expects a signal.
//! Anybody else who takes results in, for a synchronous call or another handle, brings it to the
//! ring. Where a batch took long, which the storage or a busy machine may do, the next ones
//! go to the ring.

use std::time::Duration;

use crate::driver::{Io, Op};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Instant, Mutex};

/// Most I/Os that are held back, and most bytes: more are worth a thread of the kernel.
const IOS_MAX: usize = 8;
const BYTES_MAX: u64 = 64 << 10;
/// A batch that takes longer belongs on the ring.
const TIME_MAX: Duration = Duration::from_micros(100);
/// So many batches then go there.
const SKIP: u32 = 1000;

pub struct Held {
    /// The storage is one of those at all.
    wanted: bool,
    /// The last `poll` waited without end.
    patient: AtomicBool,
    /// So many batches still go to the ring.
    skip: AtomicU32,
    /// Nothing else is locked while it is held.
    ios: Mutex<Vec<Io>>,
    /// Whether there are any; written under the lock, read as a hint.
    any: AtomicBool,
}

impl Held {
    pub fn new(wanted: bool) -> Held {
        let (patient, any) = (AtomicBool::new(false), AtomicBool::new(false));
        Held { wanted, patient, skip: AtomicU32::new(0), ios: Mutex::default(), any }
    }

    /// All relaxed: hints.
    pub fn set_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }

    /// Whether a batch like that may be held back.
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
        let mut held = self.ios.lock();
        held.append(ios);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Moves all of them to `ios`.
    pub fn take(&self, ios: &mut Vec<Io>) {
        let mut held = self.ios.lock();
        ios.append(&mut held);
        self.any.store(false, Ordering::Relaxed);
    }

    /// For a thread that has put them there itself, or looks again anyway.
    pub fn may_have_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// For a thread about to sleep.
    pub fn has_any(&self) -> bool {
        !self.ios.lock().is_empty()
    }

    /// A batch was carried out since `begin`. True: quickly enough.
    pub fn was_quick(&self, begin: Instant) -> bool {
        let quick = begin.elapsed() <= TIME_MAX;
        if !quick {
            self.skip.store(SKIP, Ordering::Relaxed);
        }
        quick
    }
}
