//! I/Os that the machine joins into one: taken apart again, so that each part is held against the
//! rules like any other. Some of them end one by one, which the machine must take as well; the
//! others end as one, moving all their bytes, or failing as one though parts of it did not.

use super::ledger::{bit, members, Checked, Set};
use super::rules;
use super::storage::Outcome;
use super::subject::Subject;
use super::world::World;
use crate::io::{Io, IoId, Op, Segment};

/// A joined I/O whose parts are at the storage.
#[derive(Debug)]
pub struct Joint {
    whole: Io,
    parts: Vec<(IoId, Set)>,
    left: usize,
    /// A part did not move all its bytes.
    torn: bool,
}

impl Joint {
    /// Whether a part that is over, though the whole is not, is led by another than `number`.
    pub fn leads(&self, number: usize) -> bool {
        let shared = |sharers: Set| sharers & bit(number) != 0;
        let first = |sharers: Set| members(sharers).next() == Some(number);
        self.left > 0 && self.parts.iter().any(|&(_, sharers)| shared(sharers) && !first(sharers))
    }
}

impl<S: Subject> World<'_, S> {
    /// Takes an I/O to the storage, in its parts if it is several.
    pub(super) fn issue_joined(&mut self, queue: usize, mut io: Io) -> Checked<Set> {
        if io.joined.is_empty() {
            return self.issue(queue, io, None);
        }
        rules::check_shape(&io, &self.scenario.config[queue], self.storage)?;
        check_parts(&io)?;
        self.counts.joined += 1;
        let parts = std::mem::take(&mut io.joined);
        let as_one = self.rng.percent(70);
        let joint = as_one.then_some(self.joints.len());
        let op = io.op;
        let extra = parts.len() as u64 - 1;
        if as_one {
            self.counts.issued(queue, op);
            let whole = Io { joined: parts.clone(), ..io };
            let left = parts.len();
            self.joints.push(Joint { whole, parts: Vec::new(), left, torn: false });
        } else {
            // The machine has counted one.
            self.counts.not_counted(queue, op, extra);
        }
        let mut started = 0;
        for part in parts {
            let id = part.id;
            let sharers = self.issue(queue, part, joint)?;
            if let Some(joint) = joint {
                self.joints[joint].parts.push((id, sharers));
            }
            started |= sharers;
        }
        Ok(started)
    }

    /// A part of a joined I/O is over; with the last one the whole is.
    pub(super) fn end_part(&mut self, joint: usize, outcome: Outcome) -> Checked {
        let moved_less = !matches!(outcome, Outcome::Full);
        let entry = &mut self.joints[joint];
        entry.torn |= moved_less;
        entry.left -= 1;
        if entry.left > 0 {
            return Ok(());
        }
        let (whole, torn) = (entry.whole.clone(), entry.torn);
        self.ended = std::mem::take(&mut entry.parts);
        for &(_, sharers) in &self.ended {
            for number in members(sharers) {
                self.ledger.entries[number].outstanding -= 1;
            }
        }
        let result = match torn {
            false => Ok(whole.bytes),
            true if self.rng.percent(50) => Err(libc::EIO),
            true => Ok(self.rng.between(0, whole.bytes - 1)),
        };
        let mut actions = std::mem::take(&mut self.actions);
        self.subject.io_done(whole, result, &mut actions);
        self.process(actions)
    }
}

/// The whole is its parts, side by side.
fn check_parts(whole: &Io) -> Checked {
    let fail = |what: &str| Err(format!("{what}: {whole:x?}"));
    if whole.op == Op::Flush || whole.joined.len() < 2 {
        return fail("nothing to join");
    }
    let mut offset = whole.offset;
    let bytes_of = |segments: &[Segment]| -> Vec<usize> {
        segments.iter().flat_map(|s| s.address..s.address + s.bytes).collect()
    };
    let mut memory = Vec::new();
    let mut copies = Vec::new();
    for part in &whole.joined {
        if (part.op, part.lane, part.fua) != (whole.op, whole.lane, whole.fua) {
            return fail("joins what differs");
        }
        if part.offset != offset || !part.joined.is_empty() {
            return fail("parts are not side by side");
        }
        offset += part.bytes;
        memory.extend(bytes_of(&part.segments));
        copies.extend(part.copies.iter().copied());
    }
    let same = memory == bytes_of(&whole.segments) && copies[..] == whole.copies[..];
    if !same || offset != whole.offset + whole.bytes {
        return fail("is not its parts");
    }
    Ok(())
}
