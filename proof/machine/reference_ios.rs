//! The I/Os of the reference machine: what one request does, step by step.

use std::ops::Range;

use super::flaws::Flaw;
use super::reference::Reference;
use super::scenario::inside;
use crate::io::{Io, IoId, Lane, MemoryCopies, MemoryCopy, Op, Segment, Segments, Slot};
use crate::ScratchPool;

impl Reference {
    /// All I/Os of a request: edges, then whole blocks, then the last block.
    pub(super) fn plan_ios(&mut self, at: usize) {
        let number = self.entries[at].number;
        let plan = &self.scenario.plans[number];
        let config = &self.scenario.config[plan.queue];
        if plan.op == Op::Flush && config.no_flush {
            return;
        }
        if plan.op == Op::Flush {
            if self.flush_failed.is_some() && self.flaw != Flaw::FailedFlushForgotten {
                self.entries[at].error = self.flush_failed;
            } else {
                let io = self.io(at, Op::Flush, Lane::Main, 0, 0, 0);
                self.entries[at].todo.push(io);
            }
            return;
        }
        if plan.bytes == 0 {
            return;
        }
        if plan.op == Op::Discard {
            return self.plan_discard(at);
        }
        // One block an I/O, each at a place in scratch that the storage takes.
        let block = config.alignments.request;
        let stride = (block as usize).next_multiple_of(config.alignments.memory);
        let end = plan.padded.end;
        let blocks = (end - plan.padded.start).div_ceil(block) as usize;
        let Some(scratch) = self.pool.take(blocks * stride, config.alignments.memory) else {
            self.entries[at].error = Some(libc::ENOMEM);
            return;
        };
        let mut place = self.entries[at].scratch.insert(scratch).address;
        let (mut ios, mut reads) = (Vec::new(), Vec::new());
        let mut offset = plan.padded.start;
        while offset < end {
            let main = offset < config.last_block || self.flaw == Flaw::LastBlockIsDirect;
            let lane = if main { Lane::Main } else { Lane::LastBlock };
            let bytes = if main { block } else { block.min(end - offset) };
            let op = self.way(at, offset, bytes);
            ios.push(self.io(at, op, lane, offset, bytes, place));
            let edge = |edge: &Range<u64>| main && edge.start == offset;
            let head = plan.edges[0].as_ref().is_some_and(edge);
            let tail = plan.edges[1].as_ref().is_some_and(edge);
            if head || (tail && self.flaw != Flaw::NoTailRead) {
                reads.push(self.io(at, Op::Read, lane, offset, bytes, place));
            }
            place += stride;
            offset += bytes;
        }
        if plan.op == Op::WriteZeroes && self.flaw != Flaw::EdgesBeforeTheMiddle {
            ios.sort_by_key(|io| !plan.whole.contains(&io.offset));
        }
        if ios.iter().any(|io| self.must_not_write(at, io)) {
            self.entries[at].error = Some(libc::ENOTSUP);
            return;
        }
        reads.append(&mut ios);
        reads.reverse();
        self.entries[at].todo = reads;
    }

    /// What becomes of a block: zero writes ask the storage to zero it, unless it has refused.
    pub(super) fn way(&self, at: usize, offset: u64, bytes: u64) -> Op {
        let plan = &self.scenario.plans[self.entries[at].number];
        let whole = inside(&(offset..offset + bytes), &plan.whole)
            || self.flaw == Flaw::ZeroesRoundedOutwards;
        let refused = self.refused[usize::from(plan.flags.no_fallback)] || self.refused[0];
        match plan.op {
            Op::WriteZeroes if whole && !refused => Op::WriteZeroes,
            Op::WriteZeroes => Op::Write,
            op => op,
        }
    }

    pub(super) fn must_not_write(&self, at: usize, io: &Io) -> bool {
        let plan = &self.scenario.plans[self.entries[at].number];
        plan.flags.no_fallback && io.op == Op::Write && plan.whole.contains(&io.offset)
    }

    pub(super) fn plan_discard(&mut self, at: usize) {
        let plan = &self.scenario.plans[self.entries[at].number];
        let unit = self.scenario.config[plan.queue].discard_alignment;
        let mut range = plan.whole.clone();
        if self.flaw == Flaw::DiscardRoundedOutwards {
            let end = (plan.offset + plan.bytes).next_multiple_of(unit);
            range = plan.offset - plan.offset % unit..end.min(self.scenario.length);
        }
        while !range.is_empty() && !self.refused_discard {
            let io = self.io(at, Op::Discard, Lane::Main, range.start, unit, 0);
            self.entries[at].todo.push(io);
            range.start += unit;
        }
    }

    /// The storage refuses to zero, or to discard: what is done instead. None: an error.
    pub(super) fn instead(&mut self, at: usize, io: &Io) -> Option<()> {
        if io.op == Op::Discard {
            if self.flaw == Flaw::RefusedDiscardIsAFailure {
                return None;
            }
            self.refused_discard = true;
            self.entries[at].todo.clear();
            return Some(());
        }
        let plan = &self.scenario.plans[self.entries[at].number];
        let quick = plan.flags.no_fallback;
        self.refused[usize::from(quick)] = true;
        if quick && self.flaw != Flaw::ZeroesWithoutFallback {
            return None;
        }
        if self.flaw != Flaw::RefusedZeroesAreDone {
            let io = self.written(at, io);
            self.entries[at].todo.push(io);
        }
        Some(())
    }

    /// What the storage has refused to others it is not asked either.
    pub(super) fn heed_refusal(&mut self, at: usize) {
        let entry = &self.entries[at];
        let quick = self.scenario.plans[entry.number].flags.no_fallback;
        let refused = self.refused[usize::from(quick)] || self.refused[0];
        let Some(io) = entry.todo.last().filter(|io| refused && io.op == Op::WriteZeroes) else {
            return;
        };
        if quick && self.flaw != Flaw::ZeroesWithoutFallback {
            self.entries[at].error = Some(libc::ENOTSUP);
            return;
        }
        let io = self.written(at, io);
        self.entries[at].todo.pop();
        self.entries[at].todo.push(io);
    }

    /// Zeros that are written instead, from this block's place in scratch.
    pub(super) fn written(&self, at: usize, io: &Io) -> Io {
        let entry = &self.entries[at];
        let plan = &self.scenario.plans[entry.number];
        let config = &self.scenario.config[plan.queue];
        let step = (config.alignments.request as usize).next_multiple_of(config.alignments.memory);
        let base = entry.scratch.as_ref().map_or(0, |scratch| scratch.address);
        let block = (io.offset - plan.padded.start) / io.bytes;
        self.io(at, Op::Write, Lane::Main, io.offset, io.bytes, base + block as usize * step)
    }

    pub(super) fn io(
        &self,
        at: usize,
        op: Op,
        lane: Lane,
        offset: u64,
        bytes: u64,
        address: usize,
    ) -> Io {
        let entry = &self.entries[at];
        let plan = &self.scenario.plans[entry.number];
        let mut copies = MemoryCopies::new();
        let zeroes = plan.op == Op::WriteZeroes;
        let guest = matches!(plan.op, Op::Read | Op::Write);
        if zeroes && op == Op::Write {
            // As often as it takes: the pool may say no.
            let mut pool = self.pool.clone();
            let zeros = std::iter::repeat_with(|| pool.zeros(bytes as usize, 1));
            let zeros = zeros.flatten().next().map_or(0, |zeros| zeros.address);
            let start = offset.max(plan.offset);
            let to = address + (start - offset) as usize;
            let bytes = (offset + bytes).min(plan.offset + plan.bytes) - start;
            copies.push(MemoryCopy { from: zeros, to, bytes: bytes as usize });
        }
        for byte in offset..offset + if guest { bytes } else { 0 } {
            if op == plan.op && plan.covers(byte) {
                let scratch = address + (byte - offset) as usize;
                let guest = plan.address_at(byte);
                let (from, to) = if op == Op::Read { (scratch, guest) } else { (guest, scratch) };
                match copies.last_mut() {
                    Some(MemoryCopy { from: f, to: t, bytes })
                        if *f + *bytes == from && *t + *bytes == to =>
                    {
                        *bytes += 1
                    }
                    _ => copies.push(MemoryCopy { from, to, bytes: 1 }),
                }
            }
        }
        if self.flaw == Flaw::CopiesOneByteLess {
            copies.last_mut().into_iter().for_each(|copy| copy.bytes -= 1);
            copies.retain(|copy| copy.bytes > 0);
        }
        let segment = Segment { address, bytes: bytes as usize };
        let dataless = matches!(op, Op::WriteZeroes | Op::Discard);
        let segments = if bytes > 0 && !dataless { vec![segment].into() } else { Segments::new() };
        let fua = plan.flags.fua && self.flaw != Flaw::FuaForgotten;
        let id = IoId {
            slot: Slot(entry.id as u32),
            part: (offset * 2) as u32 + (op == Op::Read) as u32,
        };
        let no_fallback = plan.flags.no_fallback && op == Op::WriteZeroes;
        Io { lane, fua, no_fallback, bytes, segments, copies, ..Io::new(id, op, offset) }
    }
}
