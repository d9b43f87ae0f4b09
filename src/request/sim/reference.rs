//! A request machine that is small instead of fast: everything is bounced, one I/O after the
//! other, conflicts by comparing with every request. It exists to be broken: `flaws.rs` puts one
//! mistake at a time into it and sees that the checker finds each.

use std::ops::Range;
use std::rc::Rc;

use super::memory::Pool;
use super::scenario::{inside, Scenario};
use super::storage::Outcome;
use super::subject::{SimAction, Subject};
use super::world::is_refusal;
use crate::driver::{Copies, Copy, Io, IoId, Lane, Op, Segment, Segments};
use crate::request::{Action, Completion, Request, RequestId, Scratch, ScratchPool, Stats};

const STALLS_MAX: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    NoWait,
    NoWaitForOtherQueues,
    NoTailRead,
    IgnoredEdgeError,
    CompletesBeforeItsLastWrite,
    CompletesTwice,
    NeverCompletes,
    CopiesOneByteLess,
    ShortWriteNotResumed,
    ShortReadNotResumed,
    ResumesMisaligned,
    ScratchLeaked,
    ScratchGivenTooEarly,
    NoDepthLimit,
    ReadsWait,
    LastBlockIsDirect,
    IgnoredWriteError,
    FailedFlushForgotten,
    InterruptedFlushIsDone,
    FuaForgotten,
    HeldStartsAtOnce,
    HeldEntersInReverse,
    NowOvertakesHeld,
    PlugDoesNotNest,
    UnplugForgetsTheLast,
    EdgesBeforeTheMiddle,
    DiscardRoundedOutwards,
    RefusedZeroesAreDone,
    RefusedZeroesAskedAgain,
    ZeroesNotExclusive,
    ZeroesRoundedOutwards,
    ZeroesWithoutFallback,
    RefusedDiscardIsAFailure,
    SerialisingIgnored,
    SerialisingExcludesWritesOnly,
    GuestBlocksIgnored,
    NoWaitWaits,
    NoWaitIsBusyForNothing,
    NoWaitLeavesATrace,
    CancelsAtTheStorage,
    CancelForgetsTheCallback,
    CancelledStillExcludes,
    CancelLetsOthersPass,
    CancelIsBusyWhileWaiting,
    CancelsForOtherQueues,
}

struct Entry {
    id: RequestId,
    number: usize,
    active: bool,
    scratch: Option<Scratch>,
    /// I/Os still to be issued, last first.
    todo: Vec<Io>,
    /// Results that were short.
    stalls: u32,
    error: Option<i32>,
    /// A flaw: it is over, and others wait for it; or it waits for nobody.
    ghost: bool,
    passes: bool,
}

pub struct Reference {
    scenario: Rc<Scenario>,
    pool: Pool,
    flaw: Flaw,
    entries: Vec<Entry>,
    /// By queue.
    plugged: Vec<u32>,
    held: Vec<Vec<Entry>>,
    last_id: RequestId,
    flush_failed: Option<i32>,
    /// Zero writes that the storage has refused, by `no_fallback`; discards.
    refused: [bool; 2],
    refused_discard: bool,
}

impl Reference {
    pub fn new(pool: Pool, scenario: &Scenario, flaw: Flaw) -> Self {
        Reference {
            scenario: Rc::new(scenario.clone()),
            pool,
            flaw,
            entries: Vec::new(),
            plugged: vec![0; scenario.limits.len()],
            held: scenario.limits.iter().map(|_| Vec::new()).collect(),
            last_id: 0,
            flush_failed: None,
            refused: [false; 2],
            refused_discard: false,
        }
    }

    fn entry(&mut self, request: &Request<usize>) -> Entry {
        self.last_id += 1;
        Entry {
            id: self.last_id,
            number: request.token,
            active: false,
            scratch: None,
            todo: Vec::new(),
            stalls: 0,
            error: None,
            ghost: false,
            passes: false,
        }
    }

    fn waits(&self, at: usize) -> bool {
        let number = self.entries[at].number;
        let plan = |number: usize| &self.scenario.plans[number];
        if self.entries[at].passes {
            return false;
        }
        self.entries[..at].iter().any(|earlier| {
            let other_queue = plan(earlier.number).queue != plan(number).queue;
            let (a, b) = (plan(earlier.number), plan(number));
            match self.flaw {
                Flaw::NoWait => false,
                Flaw::NoWaitForOtherQueues if other_queue => false,
                Flaw::ZeroesNotExclusive if b.op == Op::WriteZeroes => false,
                Flaw::SerialisingIgnored if a.excludes() || b.excludes() => false,
                Flaw::SerialisingExcludesWritesOnly if a.excludes() || b.excludes() => {
                    self.scenario.conflict_among_writes(earlier.number, number)
                }
                Flaw::GuestBlocksIgnored if a.asks.guest_block > 0 => {
                    self.scenario.conflict_among_writes(earlier.number, number)
                }
                Flaw::ReadsWait if b.op == Op::Read && a.exclusive => {
                    a.tracked.start < b.offset + b.bytes && b.offset < a.tracked.end
                }
                _ => self.scenario.conflict(earlier.number, number),
            }
        })
    }

    /// Starts what can start, oldest first.
    fn run(&mut self, actions: &mut Vec<SimAction>) {
        let mut at = 0;
        while at < self.entries.len() {
            let queue = self.scenario.plans[self.entries[at].number].queue;
            let active =
                |entry: &&Entry| entry.active && self.scenario.plans[entry.number].queue == queue;
            let places = self.scenario.limits[queue].depth;
            let full = self.entries.iter().filter(active).count() >= places;
            let full = full && self.flaw != Flaw::NoDepthLimit;
            if self.entries[at].active || self.entries[at].ghost || full || self.waits(at) {
                at += 1;
                continue;
            }
            self.entries[at].active = true;
            self.plan_ios(at);
            self.go_on(at, actions);
            at = 0;
        }
    }

    /// All I/Os of a request: edges, then whole blocks, then the last block.
    fn plan_ios(&mut self, at: usize) {
        let number = self.entries[at].number;
        let plan = &self.scenario.plans[number];
        let limits = &self.scenario.limits[plan.queue];
        if plan.op == Op::Flush && limits.no_flush {
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
        let block = limits.request_alignment;
        let stride = (block as usize).next_multiple_of(limits.mem_alignment);
        let end = plan.padded.end;
        let blocks = (end - plan.padded.start).div_ceil(block) as usize;
        let Some(scratch) = self.pool.take(blocks * stride, limits.mem_alignment) else {
            self.entries[at].error = Some(libc::ENOMEM);
            return;
        };
        let mut place = self.entries[at].scratch.insert(scratch).address;
        let (mut ios, mut reads) = (Vec::new(), Vec::new());
        let mut offset = plan.padded.start;
        while offset < end {
            let main = offset < limits.last_block || self.flaw == Flaw::LastBlockIsDirect;
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
    fn way(&self, at: usize, offset: u64, bytes: u64) -> Op {
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

    fn must_not_write(&self, at: usize, io: &Io) -> bool {
        let plan = &self.scenario.plans[self.entries[at].number];
        plan.flags.no_fallback && io.op == Op::Write && plan.whole.contains(&io.offset)
    }

    fn plan_discard(&mut self, at: usize) {
        let plan = &self.scenario.plans[self.entries[at].number];
        let unit = self.scenario.limits[plan.queue].discard_alignment;
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
    fn instead(&mut self, at: usize, io: &Io) -> Option<()> {
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
    fn heed_refusal(&mut self, at: usize) {
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
    fn written(&self, at: usize, io: &Io) -> Io {
        let entry = &self.entries[at];
        let plan = &self.scenario.plans[entry.number];
        let limits = &self.scenario.limits[plan.queue];
        let step = (limits.request_alignment as usize).next_multiple_of(limits.mem_alignment);
        let base = entry.scratch.as_ref().map_or(0, |scratch| scratch.address);
        let block = (io.offset - plan.padded.start) / io.bytes;
        self.io(at, Op::Write, Lane::Main, io.offset, io.bytes, base + block as usize * step)
    }

    fn io(&self, at: usize, op: Op, lane: Lane, offset: u64, bytes: u64, address: usize) -> Io {
        let entry = &self.entries[at];
        let plan = &self.scenario.plans[entry.number];
        let mut copies = Copies::new();
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
            copies.push(Copy { from: zeros, to, bytes: bytes as usize });
        }
        for byte in offset..offset + if guest { bytes } else { 0 } {
            if op == plan.op && plan.covers(byte) {
                let scratch = address + (byte - offset) as usize;
                let guest = plan.address_at(byte);
                let (from, to) = if op == Op::Read { (scratch, guest) } else { (guest, scratch) };
                match copies.last_mut() {
                    Some(Copy { from: f, to: t, bytes })
                        if *f + *bytes == from && *t + *bytes == to =>
                    {
                        *bytes += 1
                    }
                    _ => copies.push(Copy { from, to, bytes: 1 }),
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
        let id =
            IoId { slot: entry.id as u32, part: (offset * 2) as u32 + (op == Op::Read) as u32 };
        let no_fallback = plan.flags.no_fallback && op == Op::WriteZeroes;
        Io { lane, fua, no_fallback, bytes, segments, copies, ..Io::new(id, op, offset) }
    }

    fn go_on(&mut self, at: usize, actions: &mut Vec<SimAction>) {
        if self.flaw != Flaw::RefusedZeroesAskedAgain {
            self.heed_refusal(at);
        }
        let entry = &mut self.entries[at];
        let queue = self.scenario.plans[entry.number].queue;
        let next = if entry.error.is_none() { entry.todo.pop() } else { None };
        if let Some(io) = next {
            let last = entry.todo.is_empty() && io.op == Op::Write;
            if entry.todo.is_empty() && self.flaw == Flaw::ScratchGivenTooEarly {
                entry.scratch.take().into_iter().for_each(|scratch| self.pool.give(scratch));
            }
            actions.push(Action::Io(queue, io));
            if !(last && self.flaw == Flaw::CompletesBeforeItsLastWrite) {
                return;
            }
        }
        if self.flaw == Flaw::NeverCompletes && self.entries[at].id % 16 == 15 {
            return;
        }
        self.complete(at, actions);
    }

    fn complete(&mut self, at: usize, actions: &mut Vec<SimAction>) {
        let entry = self.entries.remove(at);
        if let (Some(scratch), false) = (entry.scratch, self.flaw == Flaw::ScratchLeaked) {
            self.pool.give(scratch);
        }
        let Request { op, offset, bytes, token, .. } = self.scenario.request(entry.number);
        let result = match entry.error {
            Some(errno) => Err(errno),
            None => Ok(()),
        };
        if result == Err(libc::ECANCELED) && self.flaw == Flaw::CancelForgetsTheCallback {
            return;
        }
        let times = if self.flaw == Flaw::CompletesTwice && entry.id % 8 == 7 { 2 } else { 1 };
        for _ in 0..times {
            let id = entry.id;
            let done = Completion { id, token, op, offset, bytes, result };
            actions.push(Action::Complete(done));
        }
    }

    /// Enters a request, unless it is one that does not wait and would have to.
    fn enter(&mut self, entry: Entry, actions: &mut Vec<SimAction>) {
        let no_wait = self.scenario.plans[entry.number].asks.no_wait;
        let others = !self.entries.is_empty();
        self.entries.push(entry);
        let at = self.entries.len() - 1;
        let busy = match self.flaw {
            Flaw::NoWaitWaits => false,
            Flaw::NoWaitIsBusyForNothing => others,
            _ => self.waits(at),
        };
        if no_wait && busy {
            self.end_unstarted(at, libc::EBUSY, self.flaw == Flaw::NoWaitLeavesATrace, actions);
        }
    }

    fn end_unstarted(&mut self, at: usize, errno: i32, ghost: bool, actions: &mut Vec<SimAction>) {
        self.entries[at].error = Some(errno);
        let (id, number) = (self.entries[at].id, self.entries[at].number);
        self.complete(at, actions);
        if ghost {
            let entry = self.entry(&self.scenario.request(number));
            self.last_id -= 1;
            self.entries.insert(at, Entry { id, ghost, ..entry });
        }
    }

    /// What is left of a short I/O, if anything.
    fn rest(&self, mut io: Io, moved: u64) -> Option<Io> {
        let given_up = match io.op {
            Op::Write => self.flaw == Flaw::ShortWriteNotResumed,
            Op::Read => self.flaw == Flaw::ShortReadNotResumed,
            _ => false,
        };
        if moved == io.bytes || given_up {
            return None;
        }
        if self.flaw == Flaw::ResumesMisaligned && !io.segments.is_empty() {
            io.offset += moved;
            io.bytes -= moved;
            io.segments[0].address += moved as usize;
            io.segments[0].bytes -= moved as usize;
        }
        Some(io)
    }
}

impl Subject for Reference {
    const SHARES: bool = false;
    const RESIZES: bool = false;

    fn submit(
        &mut self,
        queue: usize,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        let entry = self.entry(&request);
        if self.plugged[queue] > 0 && self.flaw != Flaw::HeldStartsAtOnce {
            self.held[queue].push(entry);
        } else {
            self.enter(entry, actions);
            self.run(actions);
        }
        self.last_id
    }

    fn plug(&mut self, queue: usize) {
        self.plugged[queue] += 1;
    }

    fn unplug(&mut self, queue: usize, actions: &mut Vec<SimAction>) {
        self.plugged[queue] = self.plugged[queue].saturating_sub(1);
        if self.plugged[queue] == 0 || self.flaw == Flaw::PlugDoesNotNest {
            self.submit_held(queue, actions);
        }
    }

    fn submit_held(&mut self, queue: usize, actions: &mut Vec<SimAction>) {
        if self.flaw == Flaw::HeldEntersInReverse {
            self.held[queue].reverse();
        }
        if self.flaw == Flaw::UnplugForgetsTheLast && self.held[queue].len() > 1 {
            self.held[queue].pop();
        }
        for entry in std::mem::take(&mut self.held[queue]) {
            self.enter(entry, actions);
        }
        self.run(actions);
    }

    fn submit_now(
        &mut self,
        queue: usize,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        let entry = self.entry(&request);
        if self.flaw == Flaw::NowOvertakesHeld {
            self.enter(entry, actions);
            self.run(actions);
            self.submit_held(queue, actions);
        } else {
            self.submit_held(queue, actions);
            self.enter(entry, actions);
            self.run(actions);
        }
        self.last_id
    }

    fn io_done(&mut self, io: Io, result: Result<u64, i32>, actions: &mut Vec<SimAction>) {
        let Some(at) = self.entries.iter().position(|entry| entry.id as u32 == io.id.slot) else {
            return;
        };
        let number = self.entries[at].number;
        let queue = self.scenario.plans[number].queue;
        let edge = io.op == Op::Read && self.scenario.plans[number].op != Op::Read;
        let ignored = (edge && self.flaw == Flaw::IgnoredEdgeError)
            || (io.op == Op::Write && self.flaw == Flaw::IgnoredWriteError);
        match result {
            Err(libc::EINTR) => {
                let done = io.op == Op::Flush && self.flaw == Flaw::InterruptedFlushIsDone;
                if !done {
                    return actions.push(Action::Io(queue, io));
                }
            }
            Err(errno) => {
                if is_refusal(&io, Outcome::Failed(errno)) {
                    if self.instead(at, &io).is_none() {
                        self.entries[at].error = Some(errno);
                    }
                } else if !ignored {
                    self.entries[at].error = Some(errno);
                }
                if io.op == Op::Flush {
                    self.flush_failed = Some(errno);
                }
            }
            Ok(moved) => {
                if let Some(rest) = self.rest(io, moved) {
                    self.entries[at].stalls += 1;
                    if self.entries[at].stalls < STALLS_MAX {
                        return actions.push(Action::Io(queue, rest));
                    }
                    self.entries[at].error = Some(libc::EIO);
                }
            }
        }
        self.go_on(at, actions);
        self.run(actions);
    }

    fn cancel(
        &mut self,
        queue: usize,
        id: RequestId,
        actions: &mut Vec<SimAction>,
    ) -> Result<(), i32> {
        let any = self.flaw == Flaw::CancelsForOtherQueues;
        let home = |entry: &Entry| self.scenario.plans[entry.number].queue;
        let is_it = |entry: &Entry| entry.id == id && (any || home(entry) == queue);
        let held = self.held.iter().flatten().find(|entry| is_it(entry)).map(home);
        if let Some(home) = held {
            let at = self.held[home].iter().position(|entry| entry.id == id);
            let entry = self.held[home].remove(at.expect("held"));
            self.entries.push(entry);
            self.end_unstarted(self.entries.len() - 1, libc::ECANCELED, false, actions);
            return Ok(());
        }
        let at = self.entries.iter().position(is_it).filter(|&at| !self.entries[at].ghost);
        let at = at.ok_or(libc::ENOENT)?;
        let busy = match self.flaw {
            Flaw::CancelsAtTheStorage => false,
            Flaw::CancelIsBusyWhileWaiting => self.entries[at].active || self.waits(at),
            _ => self.entries[at].active,
        };
        if busy {
            return Err(libc::EBUSY);
        }
        if self.flaw == Flaw::CancelLetsOthersPass {
            let number = self.entries[at].number;
            let conflict = |other: &Entry| self.scenario.conflict(number, other.number);
            let behind: Vec<usize> =
                (at + 1..self.entries.len()).filter(|&i| conflict(&self.entries[i])).collect();
            behind.into_iter().for_each(|i| self.entries[i].passes = true);
        }
        let ghost = self.flaw == Flaw::CancelledStillExcludes;
        self.end_unstarted(at, libc::ECANCELED, ghost, actions);
        self.run(actions);
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        None
    }

    fn stats(&self, _queue: usize) -> Option<Stats> {
        None
    }

    fn retire(&mut self) {}
}
