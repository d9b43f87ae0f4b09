//! Storage that has come to refuse what it took before: which larger alignments does it take now?
//! Trial reads around the place of the refusal tell, through the handle's own driver. The machine
//! sees to it that nothing else is at the storage meanwhile (`machine/src/repair.rs`).
//!
//! A trial is exactly as long as the request alignment that it tries, and its memory lies at an odd
//! multiple of the memory alignment. So no larger alignment is tried by chance.

use std::sync::Arc;

use super::{Actions, Endpoint};
use crate::completion::outside_callback;
use crate::driver::{Io, IoId, Op, Segment, Segments, Slot};
use crate::engine::{is_zero, ScratchCache};
use crate::log;
use crate::sync::mpsc;
use crate::sys::{caught, page_bytes};
use blkalign_machine::{Alignments, ProbeOutcome, RefusedIo, ScratchPool};

/// The largest block that is tried, as at open.
const TRIAL_MAX: u64 = 1 << 16;
/// The first block to be guessed.
const GUESS_MIN: u64 = 4096;

/// Looks for alignments that the storage takes, and tells the machine.
pub fn probe_again(endpoint: &Arc<Endpoint>, refused: &RefusedIo, actions: &mut Actions) {
    let found = caught(|| find_larger(refused, &mut |shape| try_out(endpoint, refused, shape)));
    let found = found.unwrap_or_else(|panic| {
        log::error!("{}: {panic}; the object takes no further I/O", endpoint.name);
        endpoint.node.poison();
        ProbeOutcome::NothingHelps
    });
    let Some(now) = endpoint.node.repaired(found, actions) else { return };
    let changed = now != refused.config.alignments;
    if changed {
        endpoint.alignments.set(now);
    }
    let RefusedIo { op, offset, errno, .. } = refused;
    let verb = if *op == Op::Read { "read" } else { "write" };
    let name = &endpoint.name;
    let refused =
        format!("{name}: the storage refuses an aligned {verb} at {offset} (errno {errno})");
    let how = match found {
        ProbeOutcome::NothingHelps => None,
        ProbeOutcome::Found(_) => Some(", which the storage accepts"),
        ProbeOutcome::Guessed(_) => {
            Some(": a guess, because the storage accepts reads of the old alignment")
        }
    };
    if let Some(how) = how.filter(|_| changed) {
        log::warning!("{refused}; {}{how}", words(now));
        return;
    }
    if *errno == libc::EINVAL {
        endpoint.alignments.settle();
    }
    log::warning!("{refused}, and larger alignments do not help; {}", words(now));
}

fn words(now: Alignments) -> String {
    format!(
        "request_alignment is now {}, mem_alignment {}, segment_alignment {}",
        now.request, now.memory, now.segment
    )
}

/// What a trial read shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    Refused,
    Taken,
    /// The read succeeds and brings zeros: perhaps no block was ever written there, and nothing
    /// below was asked for one.
    Blank,
}

/// The smallest alignments that the storage takes, none of them smaller than those that hold now.
/// `trial` carries out a trial. `NothingHelps`: the refusal has nothing to do with alignments.
fn find_larger(refused: &RefusedIo, trial: &mut dyn FnMut(Alignments) -> Trial) -> ProbeOutcome {
    let now = refused.config.alignments;
    if place(refused, now.request) + now.request > refused.storage {
        return ProbeOutcome::NothingHelps;
    }
    let first = trial(now);
    let works = &mut |shape| trial(shape) != Trial::Refused;
    if first != Trial::Refused {
        let wanted = Alignments { request: (2 * now.request).max(GUESS_MIN), ..now };
        return if writes_may_need_more(refused, first)
            && suits(refused, wanted.request)
            && works(wanted)
        {
            ProbeOutcome::Guessed(wanted)
        } else {
            ProbeOutcome::NothingHelps
        };
    }
    match smallest_working(refused, now, works) {
        // Storage that now refuses and now takes the same read has another reason than alignment.
        Some(found) if found != now && !works(now) => ProbeOutcome::Found(found),
        _ => ProbeOutcome::NothingHelps,
    }
}

/// Whether to guess at larger blocks for writes, where reads of the same shape succeed. After
/// EINVAL: yes. After EIO only where the read may have been one of a hole, which needs no disk: a
/// loop device of 512-byte sectors over a sparse file whose disk has larger ones (Linux 5.10)
/// reads its holes, and fails its writes. A page will do there; a larger guess would only be
/// for broken disks.
fn writes_may_need_more(refused: &RefusedIo, read: Trial) -> bool {
    let blank = read == Trial::Blank && refused.config.alignments.request < page_bytes();
    refused.op == Op::Write
        && (refused.errno == libc::EINVAL || blank && refused.errno == libc::EIO)
}

fn smallest_working(
    refused: &RefusedIo,
    now: Alignments,
    works: &mut dyn FnMut(Alignments) -> bool,
) -> Option<Alignments> {
    let smallest = |from: u64, to: u64, works: &mut dyn FnMut(u64) -> bool| {
        let sizes = std::iter::successors(Some(from), |size| Some(size * 2));
        sizes.take_while(|&size| size <= to).find(|&size| works(size))
    };
    // Memory at multiples of a page suits all storage that is known.
    let page = now.memory.max(page_bytes() as usize);
    let whole = |request: u64| Alignments {
        request,
        memory: page.max(request as usize),
        segment: request as usize,
    };
    let request = smallest(now.request, TRIAL_MAX, &mut |request| {
        suits(refused, request) && works(whole(request))
    })?;
    let whole = whole(request);
    let memory = smallest(now.memory as u64, whole.memory as u64, &mut |memory| {
        memory == whole.memory as u64 || works(Alignments { memory: memory as usize, ..whole })
    })?;
    let memory = memory as usize;
    let segment = smallest(now.segment as u64, request, &mut |segment| {
        segment == request || works(Alignments { memory, segment: segment as usize, ..whole })
    })?;
    Some(Alignments { memory, segment: segment as usize, ..whole })
}

/// Whether the storage can be used in blocks of so many bytes, and has one at that place.
fn suits(refused: &RefusedIo, request: u64) -> bool {
    let RefusedIo { config, storage, .. } = refused;
    let end = place(refused, request) + request;
    request <= TRIAL_MAX
        && request <= config.max_transfer
        && end <= *storage
        && (config.last_unit > 0 || storage.is_multiple_of(request))
}

/// Where to try blocks of so many bytes: where the I/O was refused. But a refused I/O that was to
/// make the object longer has given the old length back by now, and the storage may end before that
/// place. Then trials are made at the start of the storage.
fn place(refused: &RefusedIo, request: u64) -> u64 {
    let RefusedIo { config, offset, storage, .. } = refused;
    let now = config.alignments.request;
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

/// Reads as this shape says.
fn try_out(endpoint: &Arc<Endpoint>, refused: &RefusedIo, shape: Alignments) -> Trial {
    let lengths = elements(shape, refused.config.max_segments);
    let mut cache = ScratchCache::default();
    let room = shape.request as usize + 4 * shape.memory * lengths.len();
    let Some(memory) = cache.take(room, 2 * shape.memory) else { return Trial::Refused };
    let mut at = memory.address;
    let mut segments = Segments::new();
    for bytes in lengths {
        at = at.next_multiple_of(2 * shape.memory) + shape.memory;
        segments.push(Segment { address: at, bytes });
        at += bytes;
    }
    let offset = place(refused, shape.request);
    let id = IoId { slot: Slot::NONE, part: 0 };
    let io =
        Io { bytes: shape.request, segments: segments.clone(), ..Io::new(id, Op::Read, offset) };
    let result = carry_out(endpoint, io);
    // A driver in C may leave memory as it was; of such a driver EIO is not suspected.
    let trial = match result == Ok(shape.request) {
        false => Trial::Refused,
        true if refused.errno == libc::EIO && is_zero(&segments) => Trial::Blank,
        true => Trial::Taken,
    };
    cache.give(memory);
    trial
}

/// Carries out one I/O to its end.
fn carry_out(endpoint: &Arc<Endpoint>, io: Io) -> Result<u64, i32> {
    if !endpoint.driver.is_asynchronous(io.op) {
        return outside_callback(|| endpoint.driver.perform(&io));
    }
    let (answer, answered) = mpsc::channel();
    let done = Box::new(move |_, result| {
        // Sending cannot fail: the receiver waits for the result.
        let _ = answer.send(result);
    });
    outside_callback(|| endpoint.driver.start(io, done));
    answered.recv().unwrap_or(Err(libc::EIO))
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
