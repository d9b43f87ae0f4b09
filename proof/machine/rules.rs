//! What every single I/O must be like, whatever else is going on.

use std::ops::Range;

use super::ledger::{bit, Checked, Ledger, Set};
use super::memory::Memory;
use super::scenario::{inside, overlap, Scenario};
use crate::io::{Io, Lane, MemoryCopy, Op};
use crate::QueueConfig;

/// A write with a promise that the storage can keep through a loss of power leaves no unit of it
/// to chance: each unit that it covers lies in one I/O that is done at once.
pub fn check_atomic(io: &Io, scenario: &Scenario, number: usize) -> Checked {
    let plan = &scenario.plans[number];
    let (config, unit) = (&scenario.config[plan.queue], plan.asks.guest_block);
    let kept = unit > config.alignments.request
        && unit <= config.atomic_write_max.min(config.max_transfer)
        && plan.op == Op::Write
        && io.op == Op::Write
        && io.lane == Lane::Main
        && io.offset < plan.offset + plan.bytes
        && plan.offset < io.offset + io.bytes;
    // What a write past the end zeroes before is no request's data.
    let of_guest = |from: usize, bytes: usize| {
        plan.addresses.iter().any(|address| (from..from + bytes).contains(address))
    };
    let carries = io.segments.iter().any(|segment| of_guest(segment.address, segment.bytes))
        || io.copies.iter().any(|copy| of_guest(copy.from, copy.bytes));
    if !kept || !carries {
        return Ok(());
    }
    let end = io.offset + io.bytes;
    let whole = |at: u64| plan.offset <= at && at + unit <= plan.offset + plan.bytes;
    let torn = |at: u64| !at.is_multiple_of(unit) && whole(at - at % unit);
    // The last block of a file goes another way, and with it a part of its unit.
    let cut = config.last_unit == 0 && torn(end);
    // One block is done at once without being asked to.
    let at_once = io.atomic || io.bytes == config.alignments.request;
    if !at_once || torn(io.offset) || cut {
        return Err(format!("a unit of request {number} is torn: {io:x?}"));
    }
    Ok(())
}

/// Shape: what the storage of the queue takes.
pub fn check_shape(io: &Io, config: &QueueConfig, length: u64) -> Checked {
    let fail = |what: &str| Err(format!("{what}: {io:x?}"));
    if io.op == Op::Fill {
        return match io.segments.is_empty() || !io.copies.is_empty() {
            true => fail("fills nothing"),
            false => Ok(()),
        };
    }
    if matches!(io.op, Op::Flush | Op::Truncate | Op::Length) {
        if io.op == Op::Truncate
            && config.last_unit == 0
            && !io.offset.is_multiple_of(config.alignments.request)
        {
            return fail("misaligned on the disk");
        }
        return match io.bytes == 0 && io.segments.is_empty() && io.copies.is_empty() {
            true => Ok(()),
            false => fail("a flush moves bytes"),
        };
    }
    if matches!(io.op, Op::WriteZeroes | Op::Discard) {
        return check_dataless(io, config, length);
    }
    let natural = io.bytes.is_power_of_two() && io.offset.is_multiple_of(io.bytes);
    let fits = io.op == Op::Write && io.segments.len() == 1 && io.bytes <= config.atomic_write_max;
    if io.atomic && !(natural && fits) {
        return fail("nothing that can be written at once");
    }
    let sum: usize = io.segments.iter().map(|segment| segment.bytes).sum();
    if io.bytes == 0 || sum as u64 != io.bytes || io.segments.iter().any(|s| s.bytes == 0) {
        return fail("segments do not add up");
    }
    if io.segments.len() > config.max_segments {
        return fail("too many segments");
    }
    if io.bytes > config.max_transfer {
        return fail("too many bytes");
    }
    let end = io.offset + io.bytes;
    if end > length {
        return fail("passes the end");
    }
    match io.lane {
        Lane::LastBlock if io.offset < config.last_block => fail("last-block I/O too low"),
        Lane::LastBlock => Ok(()),
        Lane::Backing => fail("no overlay"),
        Lane::Main if end > config.last_block => fail("direct I/O in the last block"),
        Lane::Main => {
            let whole = config.alignments.request;
            let odd = |segment: &crate::io::Segment| {
                !segment.address.is_multiple_of(config.alignments.memory)
                    || !segment.bytes.is_multiple_of(config.alignments.segment)
            };
            if !io.offset.is_multiple_of(whole) || !io.bytes.is_multiple_of(whole) {
                return fail("misaligned on the disk");
            }
            match io.segments.iter().any(odd) {
                true => fail("misaligned in memory"),
                false => Ok(()),
            }
        }
    }
}

/// As `check_shape`, for I/O that moves no memory.
fn check_dataless(io: &Io, config: &QueueConfig, length: u64) -> Checked {
    let fail = |what: &str| Err(format!("{what}: {io:x?}"));
    let end = io.offset + io.bytes;
    let unit = match io.op {
        Op::Discard => config.discard_alignment,
        _ => config.alignments.request,
    };
    if io.bytes == 0 || !io.segments.is_empty() || !io.copies.is_empty() {
        return fail("no range, or memory");
    }
    if !io.offset.is_multiple_of(unit) || !io.bytes.is_multiple_of(unit) {
        return fail("misaligned on the disk");
    }
    if io.bytes > config.dataless_max.max(unit) {
        return fail("too many bytes");
    }
    match end > length.min(config.last_block) || io.lane != Lane::Main {
        true => fail("passes the end"),
        false => Ok(()),
    }
}

/// Range: a request's I/O keeps to the blocks that it touches, and a write reads its edges only.
pub fn check_range(io: &Io, scenario: &Scenario, ledger: &Ledger, number: usize) -> Checked {
    let plan = &scenario.plans[number];
    let range = io.offset..io.offset + io.bytes;
    if ledger.entries[number].shape.is_some() && io.op != Op::WriteZeroes {
        return check_reshaping(io, scenario, ledger, number);
    }
    match (plan.op, io.op) {
        (Op::Flush, Op::Flush) => Ok(()),
        (Op::Read, Op::Fill) => {
            let from = plan.offset.max(ledger.length);
            let filled = plan.offset + plan.bytes - from;
            let resize = scenario.config[plan.queue].resize;
            match io.bytes == filled && resize {
                true => Ok(()),
                false => Err(format!("read {number} fills other than {from}..: {io:x?}")),
            }
        }
        (Op::Read, Op::Read) | (Op::Write, Op::Write) => match inside(&range, &plan.padded) {
            true => Ok(()),
            false => Err(format!("I/O of request {number} beyond {:?}: {io:x?}", plan.padded)),
        },
        (Op::WriteZeroes, Op::WriteZeroes) | (Op::Discard, Op::Discard) => {
            let asked = plan.flags;
            if !inside(&range, &plan.whole) {
                return Err(format!("I/O of request {number} beyond {:?}: {io:x?}", plan.whole));
            }
            let unmap = io.may_unmap && !asked.may_unmap;
            match unmap || (io.op == Op::WriteZeroes && io.no_fallback != asked.no_fallback) {
                true => Err(format!("other flags than those of request {number}: {io:x?}")),
                false => Ok(()),
            }
        }
        (Op::WriteZeroes, Op::Write) => {
            let whole =
                !plan.whole.is_empty() && overlap(&range, &plan.whole) && plan.flags.no_fallback;
            match whole || !inside(&range, &plan.padded) {
                true => Err(format!("request {number} is not to write zeros here: {io:x?}")),
                false => Ok(()),
            }
        }
        (Op::Write | Op::WriteZeroes, Op::Read) => {
            let in_edge = |offset: u64| plan.edges.iter().flatten().any(|e| e.contains(&offset));
            match range.clone().all(in_edge) && io.copies.is_empty() {
                true => Ok(()),
                false => Err(format!("write {number} reads more than its edges: {io:x?}")),
            }
        }
        (op, _) => Err(format!("{op:?} request {number} issues {io:x?}")),
    }
}

/// What a request that changes the length does: it sets the storage's, moves its bytes, and writes
/// zeros beyond the end.
fn check_reshaping(io: &Io, scenario: &Scenario, ledger: &Ledger, number: usize) -> Checked {
    let plan = &scenario.plans[number];
    let new = if plan.op == Op::Truncate { plan.offset } else { plan.offset + plan.bytes };
    let fits = match io.op {
        _ if plan.op == Op::Length || io.op == Op::Length => plan.op == io.op,
        Op::Truncate => [new, ledger.length].iter().any(|&length| {
            let block = scenario.config.iter().map(|config| config.alignments.request).max();
            let exact = scenario.config[plan.queue].last_unit > 0;
            io.offset == if exact { length } else { length.next_multiple_of(block.unwrap_or(1)) }
        }),
        _ => {
            let block = scenario.config[plan.queue].alignments.request;
            io.offset >= plan.offset.min(ledger.length) & !(block - 1)
        }
    };
    match fits {
        true => Ok(()),
        false => Err(format!("request {number} touches more than it may: {io:x?}")),
    }
}

/// What a request may make zero.
pub fn may_zero(scenario: &Scenario, ledger: &Ledger, number: usize) -> Range<u64> {
    let plan = &scenario.plans[number];
    match (&ledger.entries[number].shape, plan.op) {
        (Some(_), Op::Write) => ledger.length..u64::MAX,
        (Some(_), _) => plan.offset.min(ledger.length)..u64::MAX,
        (None, Op::WriteZeroes) => plan.offset..plan.offset + plan.bytes,
        _ => 0..0,
    }
}

/// Memory: scratch that is taken, or exactly the guest memory that belongs to these bytes.
/// `addresses` are those of the I/O, byte by byte.
pub fn check_memory(
    io: &Io,
    addresses: &[usize],
    scenario: &Scenario,
    (number, sharers): (usize, Set),
    memory: &Memory,
    zeroes: bool,
) -> Checked {
    let plan = &scenario.plans[number];
    if io.op == Op::Fill {
        return match plan.addresses.ends_with(addresses) {
            true => Ok(()),
            false => Err(format!("fills other memory: {io:x?}")),
        };
    }
    let mut at = 0;
    for segment in &io.segments {
        if memory.is_guest(segment.address) {
            let start = io.offset + at as u64;
            let end = start + segment.bytes as u64;
            // What takes any byte copies, as the page cache does.
            let one = scenario.config[plan.queue].alignments.request == 1;
            let copied = io.lane == Lane::LastBlock || one;
            let of_this = &addresses[at..at + segment.bytes];
            if io.op == Op::Read && !plan.distinct && !copied && plan.names_twice(of_this) {
                return Err(format!("reads into memory that is named twice: {io:x?}"));
            }
            let theirs = plan.op == io.op
                && plan.offset <= start
                && end <= plan.offset + plan.bytes
                && of_this == &plan.addresses[(start - plan.offset) as usize..][..segment.bytes];
            if !theirs {
                return Err(format!(
                    "guest memory {:x?} is not what request {number} has for byte {start}: {io:x?}",
                    segment
                ));
            }
        } else if memory.is_zeros(segment.address, segment.bytes) {
            if !zeroes || io.op != Op::Write {
                return Err(format!("zeros for request {number}: {io:x?}"));
            }
        } else if !memory.is_taken(segment.address, segment.bytes) {
            return Err(format!("scratch that is not taken: {segment:x?} of {io:x?}"));
        }
        at += segment.bytes;
    }
    io.copies.iter().try_for_each(|copy| check_copy(io, copy, scenario, (sharers, zeroes), memory))
}

fn check_copy(
    io: &Io,
    copy: &MemoryCopy,
    scenario: &Scenario,
    (sharers, zeroes): (Set, bool),
    memory: &Memory,
) -> Checked {
    let (guest, scratch) = match io.op {
        Op::Read => (copy.to, copy.from),
        _ => (copy.from, copy.to),
    };
    let from_zeros = io.op == Op::Write && memory.is_zeros(copy.from, copy.bytes) && zeroes;
    // An edge that was read, brought together with the rest.
    let from_image = io.atomic && memory.is_taken(copy.from, copy.bytes);
    let theirs = from_zeros
        || from_image
        || (guest..guest + copy.bytes)
            .all(|at| scenario.owner_of_memory(at).is_some_and(|owner| sharers & bit(owner) != 0));
    if copy.bytes == 0 || !theirs {
        return Err(format!("copy with foreign memory: {copy:x?} of {io:x?}"));
    }
    match memory.is_taken(scratch, copy.bytes) {
        true => Ok(()),
        false => Err(format!("copy with scratch that is not taken: {copy:x?} of {io:x?}")),
    }
}
