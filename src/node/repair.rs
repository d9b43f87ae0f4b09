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
use crate::engine::ScratchCache;
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
    let found = caught(|| find_larger(refused, &mut |shape| read(endpoint, refused, shape)));
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

/// The smallest alignments that the storage takes, none of them smaller than those that hold now.
/// `works` carries out a trial. `NothingHelps`: the refusal has nothing to do with alignments.
fn find_larger(refused: &RefusedIo, works: &mut dyn FnMut(Alignments) -> bool) -> ProbeOutcome {
    let now = refused.config.alignments;
    if place(refused, now.request) + now.request > refused.storage {
        return ProbeOutcome::NothingHelps;
    }
    if works(now) {
        // Writes may need more than reads.
        let wanted = Alignments { request: (2 * now.request).max(GUESS_MIN), ..now };
        let writes = refused.op == Op::Write && refused.errno == libc::EINVAL;
        return if writes && suits(refused, wanted.request) && works(wanted) {
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

/// Whether a read of this shape succeeds.
fn read(endpoint: &Arc<Endpoint>, refused: &RefusedIo, shape: Alignments) -> bool {
    let lengths = elements(shape, refused.config.max_segments);
    let mut cache = ScratchCache::default();
    let room = shape.request as usize + 4 * shape.memory * lengths.len();
    let Some(memory) = cache.take(room, 2 * shape.memory) else { return false };
    let mut at = memory.address;
    let mut segments = Segments::new();
    for bytes in lengths {
        at = at.next_multiple_of(2 * shape.memory) + shape.memory;
        segments.push(Segment { address: at, bytes });
        at += bytes;
    }
    let offset = place(refused, shape.request);
    let id = IoId { slot: Slot::NONE, part: 0 };
    let io = Io { bytes: shape.request, segments, ..Io::new(id, Op::Read, offset) };
    let result = carry_out(endpoint, io);
    cache.give(memory);
    result == Ok(shape.request)
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
