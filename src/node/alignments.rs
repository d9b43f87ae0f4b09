//! The alignments that hold for a handle now: those found at open, or larger ones that a repair
//! (`repair.rs`) has found since.

use crate::driver::{Alignments, Io, Lane, Op};
use crate::probe::{Limits, Source};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Read by any thread without a lock. All relaxed: each value is a fact on its own.
#[derive(Default)]
pub struct CurrentAlignments {
    /// 0, here and below: the value found at open.
    request: AtomicU64,
    memory: AtomicUsize,
    segment: AtomicUsize,
    /// Larger values were no help once.
    settled: AtomicBool,
}

impl CurrentAlignments {
    pub fn set(&self, now: Alignments) {
        self.request.store(now.request, Ordering::Relaxed);
        self.memory.store(now.memory, Ordering::Relaxed);
        self.segment.store(now.segment, Ordering::Relaxed);
    }

    /// From now on EINVAL is no reason to try others.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Puts the values that hold now over those that were found at open.
    pub fn overlay(&self, limits: &mut Limits) {
        fn put<T: PartialEq + Default>(now: T, value: &mut T, source: &mut Source) {
            if now != T::default() && now != *value {
                *value = now;
                *source = Source::Trial;
            }
        }
        let Limits { alignments, sources, .. } = limits;
        let Alignments { request, memory, segment } = alignments;
        put(self.request.load(Ordering::Relaxed), request, &mut sources.request);
        put(self.memory.load(Ordering::Relaxed), memory, &mut sources.memory);
        put(self.segment.load(Ordering::Relaxed), segment, &mut sources.segment);
    }

    /// Whether an I/O that failed with this errno may be tried again with other alignments.
    pub fn may_change(&self, io: &Io, errno: i32) -> bool {
        errno == libc::EINVAL
            && io.lane == Lane::Main
            && matches!(io.op, Op::Read | Op::Write)
            && !self.settled.load(Ordering::Relaxed)
    }
}
