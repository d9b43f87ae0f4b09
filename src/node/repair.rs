//! Storage that has come to refuse what it took: which larger alignments it takes now, found by
//! trial reads around the place of the refusal, through the handle's own driver. Nothing else is at
//! the storage meanwhile. `machine/src/repair.rs` has the rest.
//!
//! A trial is exactly as long as the request alignment that it tries, and its memory lies at an odd
//! multiple of the memory alignment, so that nothing larger is tried by chance.

use std::sync::Arc;

use super::{Actions, Queue};
use crate::completion::outside_callback;
use crate::driver::{Io, IoId, Lane, Op, Segment, Segments};
use crate::engine::ScratchCache;
use crate::log;
use crate::probe::{Limits, Source};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::mpsc;
use crate::sys::caught;
use blkalign_machine::{Alignments, Refusal, ScratchPool};

/// The largest block that is tried, as at open.
const TRIAL_MAX: u64 = 1 << 16;
/// Memory at multiples of it suits whatever is known; and it is the first block to be guessed.
const PAGE: u64 = 4096;

/// The alignments of a queue, for whoever asks. All relaxed: facts on their own.
#[derive(Default)]
pub struct Present {
    /// 0: as at open.
    request: AtomicU32,
    mem: AtomicU32,
    segment: AtomicU32,
    /// Larger values were no help once.
    settled: AtomicBool,
}

impl Present {
    fn set(&self, now: Alignments) {
        self.request.store(u32::try_from(now.request).unwrap_or(0), Ordering::Relaxed);
        self.mem.store(u32::try_from(now.mem).unwrap_or(0), Ordering::Relaxed);
        self.segment.store(u32::try_from(now.segment).unwrap_or(0), Ordering::Relaxed);
    }

    /// Puts them over what was found at open.
    pub fn overlay(&self, limits: &mut Limits) {
        let put = |now: &AtomicU32, value: &mut u32, source: &mut Source| {
            let now = now.load(Ordering::Relaxed);
            if now != 0 && now != *value {
                *value = now;
                *source = Source::Trial;
            }
        };
        let Limits { request_alignment, mem_alignment, segment_alignment, .. } = limits;
        put(&self.request, request_alignment, &mut limits.request_alignment_source);
        put(&self.mem, mem_alignment, &mut limits.mem_alignment_source);
        put(&self.segment, segment_alignment, &mut limits.segment_alignment_source);
    }

    /// Whether an I/O that failed so may be tried again with others.
    pub fn may_change(&self, io: &Io, errno: i32) -> bool {
        errno == libc::EINVAL
            && io.lane == Lane::Main
            && matches!(io.op, Op::Read | Op::Write)
            && !self.settled.load(Ordering::Relaxed)
    }
}

/// Looks for alignments that the storage takes, and tells the machine.
pub fn probe_again(queue: &Arc<Queue>, refusal: &Refusal, actions: &mut Actions) {
    let found = caught(|| find_larger(refusal, &mut |shape| read(queue, refusal, shape)));
    let found = found.unwrap_or_else(|panic| {
        log::error!("{}: {panic}; the object takes no further I/O", queue.name);
        queue.node.poison();
        None
    });
    let before = refusal.limits.alignments();
    let Some(now) = queue.node.repaired(found, actions) else { return };
    let changed = |now: &Alignments| Alignments { guessed: false, ..*now } != before;
    if changed(&now) {
        queue.alignments.set(now);
    }
    let Refusal { op, offset, errno, .. } = refusal;
    let verb = if *op == Op::Read { "read" } else { "write" };
    let name = &queue.name;
    let refused =
        format!("{name}: the storage refuses an aligned {verb} at {offset} (errno {errno})");
    if found.is_some() && changed(&now) {
        log::warning!(
            "{refused}; {}{}",
            words(now),
            if found.is_some_and(|it| it.guessed) {
                ": a guess, because the storage accepts reads of the old alignment"
            } else {
                ", which the storage accepts"
            }
        );
        return;
    }
    if *errno == libc::EINVAL {
        queue.alignments.settled.store(true, Ordering::Relaxed);
    }
    log::warning!("{refused}, and larger alignments do not help; {}", words(now));
}

fn words(now: Alignments) -> String {
    format!(
        "request_alignment is now {}, mem_alignment {}, segment_alignment {}",
        now.request, now.mem, now.segment
    )
}

/// The smallest alignments that the storage takes, none smaller than those that hold. `works`:
/// carries out a trial. None: they are no matter of alignment.
fn find_larger(refusal: &Refusal, works: &mut dyn FnMut(Alignments) -> bool) -> Option<Alignments> {
    let now = refusal.limits.alignments();
    if place(refusal, now.request) + now.request > refusal.storage {
        return None;
    }
    if works(now) {
        // Writes may need more than reads.
        let wanted = Alignments { request: (2 * now.request).max(PAGE), guessed: true, ..now };
        let writes = refusal.op == Op::Write && refusal.errno == libc::EINVAL;
        return (writes && suits(refusal, wanted.request) && works(wanted)).then_some(wanted);
    }
    let smallest = |from: u64, to: u64, works: &mut dyn FnMut(u64) -> bool| {
        let sizes = std::iter::successors(Some(from), |size| Some(size * 2));
        sizes.take_while(|&size| size <= to).find(|&size| works(size))
    };
    let page = now.mem.max(PAGE as usize);
    let whole = |request: u64| Alignments {
        request,
        mem: page.max(request as usize),
        segment: request as usize,
        guessed: false,
    };
    let request = smallest(now.request, TRIAL_MAX, &mut |request| {
        suits(refusal, request) && works(whole(request))
    })?;
    let whole = whole(request);
    let mem = smallest(now.mem as u64, whole.mem as u64, &mut |mem| {
        mem == whole.mem as u64 || works(Alignments { mem: mem as usize, ..whole })
    })?;
    let mem = mem as usize;
    let segment = smallest(now.segment as u64, request, &mut |segment| {
        segment == request || works(Alignments { mem, segment: segment as usize, ..whole })
    })?;
    let found = Alignments { mem, segment: segment as usize, ..whole };
    // What fails and works by turns is no matter of alignment either.
    (found != now && !works(now)).then_some(found)
}

/// Whether the storage can be used in blocks of so many bytes, and has one at that place.
fn suits(refusal: &Refusal, request: u64) -> bool {
    let Refusal { limits, storage, .. } = refusal;
    let end = place(refusal, request) + request;
    request <= TRIAL_MAX
        && request <= limits.max_transfer
        && end <= *storage
        && (limits.last_unit > 0 || storage.is_multiple_of(request))
}

/// Where to try blocks of so many bytes: where the I/O was refused; but if that made the object
/// longer the storage has its old length back by now and may end before, so at its start.
fn place(refusal: &Refusal, request: u64) -> u64 {
    let Refusal { limits, offset, storage, .. } = refusal;
    let now = limits.request_alignment;
    let is_there = offset / now * now + now <= *storage;
    if is_there {
        offset / request * request
    } else {
        0
    }
}

/// Lengths of the elements of a trial.
fn elements(shape: Alignments, segments_max: usize) -> Vec<usize> {
    let (bytes, segment) = (shape.request as usize, shape.segment);
    match bytes.saturating_sub(2 * segment) {
        _ if segment >= bytes || segments_max == 1 => vec![bytes],
        0 => vec![segment; 2],
        _ if segments_max == 2 => vec![segment, bytes - segment],
        rest => vec![segment, rest, segment],
    }
}

/// Whether a read of this shape succeeds.
fn read(queue: &Arc<Queue>, refusal: &Refusal, shape: Alignments) -> bool {
    let lengths = elements(shape, refusal.limits.max_segments);
    let mut cache = ScratchCache::default();
    let room = shape.request as usize + 4 * shape.mem * lengths.len();
    let Some(memory) = cache.take(room, 2 * shape.mem) else { return false };
    let mut at = memory.address;
    let mut segments = Segments::new();
    for bytes in lengths {
        at = at.next_multiple_of(2 * shape.mem) + shape.mem;
        segments.push(Segment { address: at, bytes });
        at += bytes;
    }
    let offset = place(refusal, shape.request);
    let id = IoId { slot: u32::MAX, part: 0 };
    let io = Io { bytes: shape.request, segments, ..Io::new(id, Op::Read, offset) };
    let result = carry_out(queue, io);
    cache.give(memory);
    result == Ok(shape.request)
}

/// Carries out one I/O to its end.
fn carry_out(queue: &Arc<Queue>, io: Io) -> Result<u64, i32> {
    if !queue.driver.is_asynchronous(io.op) {
        return outside_callback(|| queue.driver.perform(&io));
    }
    let (answer, answered) = mpsc::channel();
    let done = Box::new(move |_, result| {
        // The receiver waits for it.
        let _ = answer.send(result);
    });
    outside_callback(|| queue.driver.start(io, done));
    answered.recv().unwrap_or(Err(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use blkalign_machine::{QueueLimits, Suspected};

    fn refusal(op: Op, errno: i32) -> Refusal {
        let limits = QueueLimits {
            request_alignment: 512,
            mem_alignment: 4,
            segment_alignment: 512,
            max_transfer: 1 << 20,
            max_segments: 16,
            depth: 4,
            last_unit: 0,
            last_block: u64::MAX,
            granule: 512,
            copy_edges: false,
            suspected: Suspected::Invalid,
            no_flush: false,
            no_merge: false,
            resize: false,
            unmap: false,
            discard_alignment: 512,
            dataless_max: 1 << 20,
            atomic_write_max: 0,
            endless: 0,
        };
        Refusal { op, offset: 12800, errno, limits, storage: 1 << 20 }
    }

    /// What is found, and by how many trials.
    fn found(
        refusal: &Refusal,
        mut works: impl FnMut(Alignments) -> bool,
    ) -> (Option<(u64, usize, usize)>, u32) {
        let mut trials = 0;
        let found = find_larger(refusal, &mut |shape| {
            trials += 1;
            works(shape)
        });
        (found.map(|it| (it.request, it.mem, it.segment)), trials)
    }

    #[test]
    fn the_smallest_that_works_is_found_for_each_alignment() {
        let refusal = refusal(Op::Read, libc::EINVAL);
        let of = |request: u64, mem: usize, segment: usize| {
            let works =
                |it: Alignments| it.request >= request && it.mem >= mem && it.segment >= segment;
            found(&refusal, works).0
        };
        assert_eq!(of(4096, 4, 512), Some((4096, 4, 512)));
        assert_eq!(of(512, 512, 512), Some((512, 512, 512)));
        assert_eq!(of(2048, 64, 1024), Some((2048, 64, 1024)));
        assert_eq!(of(65536, 65536, 65536), Some((65536, 65536, 65536)));
        assert_eq!(of(131072, 4, 512), None);
    }

    #[test]
    fn a_read_that_is_refused_where_such_reads_work_is_no_matter_of_alignment() {
        assert_eq!(found(&refusal(Op::Read, libc::EINVAL), |_| true), (None, 1));
        assert_eq!(found(&refusal(Op::Write, libc::EIO), |_| true), (None, 1));
    }

    #[test]
    fn a_write_that_is_refused_where_reads_work_doubles_its_block() {
        let mut refusal = refusal(Op::Write, libc::EINVAL);
        let mut guesses = Vec::new();
        while let (Some((request, ..)), _) = found(&refusal, |_| true) {
            refusal.limits.request_alignment = request;
            guesses.push(request);
        }
        assert_eq!(guesses, [4096, 8192, 16384, 32768, 65536]);
    }

    #[test]
    fn storage_that_refuses_everything_is_asked_a_few_times() {
        let (larger, trials) = found(&refusal(Op::Read, libc::EINVAL), |_| false);
        assert_eq!(larger, None);
        assert!(trials < 20, "{trials}");
    }

    #[test]
    fn what_fails_only_once_is_left_as_it_is() {
        let mut first = true;
        let works = |_| !std::mem::replace(&mut first, false);
        assert_eq!(found(&refusal(Op::Read, libc::EIO), works).0, None);
    }

    #[test]
    fn blocks_that_the_object_is_no_multiple_of_or_that_pass_its_end_are_not_tried() {
        let mut short = refusal(Op::Read, libc::EINVAL);
        short.storage = 14336;
        let works = |it: Alignments| {
            assert!(it.request <= 2048);
            it.request >= 4096
        };
        assert_eq!(found(&short, works).0, None);
        short.limits.last_unit = 4096;
        short.storage = 16000;
        assert_eq!(found(&short, |it| it.request >= 2048).0, Some((2048, 4, 512)));
        assert_eq!(found(&short, |it| it.request >= 4096).0, None);
    }

    #[test]
    fn a_trial_reads_what_the_storage_has_though_the_object_was_longer() {
        // A write that made the object longer was refused, and has given the length back.
        let mut shrunk = refusal(Op::Write, libc::EINVAL);
        shrunk.storage = 8192;
        assert_eq!(found(&shrunk, |it| it.request >= 4096).0, Some((4096, 4, 512)));
        for request in [512, 4096, 8192] {
            assert!(place(&shrunk, request) + request <= shrunk.storage);
        }
        shrunk.storage = 0;
        assert_eq!(found(&shrunk, |_| true), (None, 0));
    }

    #[test]
    fn a_trial_has_short_elements_at_both_ends() {
        let of = |segment, most| {
            let shape = Alignments { request: 4096, mem: 512, segment, guessed: false };
            elements(shape, most)
        };
        assert_eq!(of(512, 16), [512, 3072, 512]);
        assert_eq!(of(512, 2), [512, 3584]);
        assert_eq!(of(2048, 16), [2048, 2048]);
        assert_eq!(of(4096, 16), [4096]);
        assert_eq!(of(512, 1), [4096]);
    }
}
