//! A request machine that is small instead of fast: everything is bounced, one I/O after the
//! other, conflicts by comparing with every request. It exists to be broken: `flaws.rs` puts one
//! mistake at a time into it and sees that the checker finds each.

use std::collections::HashMap;
use std::rc::Rc;

use super::flaws::Flaw;
use super::memory::Pool;
use super::scenario::Scenario;
use super::storage::Outcome;
use super::subject::{SimAction, Subject};
use super::world::is_refusal;
use crate::io::{Io, Op};
use crate::{Action, Completion, PlugKey, Request, RequestId};
use crate::{Scratch, ScratchPool, Stats};

const STALLS_MAX: u32 = 100;

pub struct Entry {
    pub id: RequestId,
    pub number: usize,
    pub active: bool,
    pub scratch: Option<Scratch>,
    /// I/Os still to be issued, last first.
    pub todo: Vec<Io>,
    /// Results that were short.
    pub stalls: u32,
    pub error: Option<i32>,
    /// A flaw: it is over, and others wait for it; or it waits for no other.
    pub ghost: bool,
    pub passes: bool,
    /// Held back by a throttle: the batch that it is meant for, if it came while plugged.
    pub batch: Option<u64>,
}

pub struct Reference {
    pub(super) scenario: Rc<Scenario>,
    pub(super) pool: Pool,
    pub(super) flaw: Flaw,
    pub(super) entries: Vec<Entry>,
    /// By queue; what is held back with the key of who holds it back.
    pub(super) plugs: Vec<HashMap<PlugKey, u32>>,
    pub(super) plugged: Vec<Vec<(PlugKey, Entry)>>,
    /// By queue: the number of the batch that each key holds back.
    pub(super) batches: Vec<HashMap<PlugKey, u64>>,
    /// By queue: what a throttle holds back.
    pub(super) held: Vec<Vec<(PlugKey, Entry)>>,
    pub(super) cancelling: bool,
    pub(super) last_id: RequestId,
    pub(super) flush_failed: Option<i32>,
    /// Zero writes that the storage has refused, by `no_fallback`; discards.
    pub(super) refused: [bool; 2],
    pub(super) refused_discard: bool,
}

impl Reference {
    pub fn new(pool: Pool, scenario: &Scenario, flaw: Flaw) -> Self {
        Reference {
            scenario: Rc::new(scenario.clone()),
            pool,
            flaw,
            entries: Vec::new(),
            plugs: vec![HashMap::new(); scenario.config.len()],
            batches: vec![HashMap::new(); scenario.config.len()],
            plugged: scenario.config.iter().map(|_| Vec::new()).collect(),
            held: scenario.config.iter().map(|_| Vec::new()).collect(),
            cancelling: false,
            last_id: 0,
            flush_failed: None,
            refused: [false; 2],
            refused_discard: false,
        }
    }

    pub(super) fn entry(&mut self, request: &Request<usize>) -> Entry {
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
            batch: None,
        }
    }

    /// The batch that the key holds back; None: it is not plugged.
    fn batch_of(&self, queue: usize, key: PlugKey) -> Option<u64> {
        let plugged = self.plugs[queue].get(&key).is_some_and(|&depth| depth > 0);
        plugged.then(|| self.batches[queue].get(&key).copied().unwrap_or(0))
    }

    pub(super) fn waits(&self, at: usize) -> bool {
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
    pub(super) fn run(&mut self, actions: &mut Vec<SimAction>) {
        if self.cancelling {
            return;
        }
        let mut at = 0;
        while at < self.entries.len() {
            let queue = self.scenario.plans[self.entries[at].number].queue;
            let active =
                |entry: &&Entry| entry.active && self.scenario.plans[entry.number].queue == queue;
            let places = self.scenario.config[queue].depth;
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

    pub(super) fn complete(&mut self, at: usize, actions: &mut Vec<SimAction>) {
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

impl Reference {
    fn submit_some_plugged(
        &mut self,
        queue: usize,
        whose: impl Fn(PlugKey) -> bool,
        actions: &mut Vec<SimAction>,
    ) {
        let all = std::mem::take(&mut self.plugged[queue]);
        let (mut plugged, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(key, _)| whose(*key));
        self.plugged[queue] = rest;
        if self.flaw == Flaw::PluggedEntersInReverse {
            plugged.reverse();
        }
        if self.flaw == Flaw::UnplugForgetsTheLast && plugged.len() > 1 {
            plugged.pop();
        }
        for (_, entry) in plugged {
            self.enter(entry, actions);
        }
        self.run(actions);
    }
}

impl Subject for Reference {
    const SHARES: bool = false;
    const RESIZES: bool = false;

    fn submit(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        let entry = self.entry(&request);
        let plugs = &self.plugs[queue];
        let plugged = match self.flaw {
            Flaw::PluggedStartsAtOnce => false,
            Flaw::PlugHoldsOthersBack => plugs.values().any(|&depth| depth > 0),
            _ => plugs.get(&key).is_some_and(|&depth| depth > 0),
        };
        if plugged {
            self.plugged[queue].push((key, entry));
        } else {
            self.enter(entry, actions);
            self.run(actions);
        }
        self.last_id
    }

    fn hold(&mut self, queue: usize, key: PlugKey, request: Request<usize>) -> RequestId {
        let mut entry = self.entry(&request);
        entry.batch = self.batch_of(queue, key);
        match self.flaw {
            Flaw::HeldIsPlugged => self.plugged[queue].push((key, entry)),
            _ => self.held[queue].push((key, entry)),
        }
        self.last_id
    }

    fn let_go(&mut self, queue: usize, last: RequestId, actions: &mut Vec<SimAction>) {
        let all = std::mem::take(&mut self.held[queue]);
        let goes = |entry: &Entry| match self.flaw {
            Flaw::LetsGoOneTooFew => entry.id < last,
            Flaw::LetsGoOfAll => true,
            _ => entry.id <= last,
        };
        let (mut gone, held): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, it)| goes(it));
        self.held[queue] = held;
        if self.flaw == Flaw::LetsGoInReverse {
            gone.reverse();
        }
        for (key, entry) in gone {
            let plugged = entry.batch.is_some() && entry.batch == self.batch_of(queue, key);
            if plugged && self.flaw != Flaw::LetGoPassesThePlug {
                self.plugged[queue].push((key, entry));
            } else {
                self.enter(entry, actions);
            }
        }
        self.run(actions);
    }

    fn plug(&mut self, queue: usize, key: PlugKey) {
        let depth = self.plugs[queue].entry(key).or_default();
        *depth += 1;
        *self.batches[queue].entry(key).or_default() += u64::from(*depth == 1);
    }

    fn unplug(&mut self, queue: usize, key: PlugKey, actions: &mut Vec<SimAction>) {
        let depth = self.plugs[queue].entry(key).or_default();
        *depth = depth.saturating_sub(1);
        if *depth == 0 || self.flaw == Flaw::PlugDoesNotNest {
            let all = self.flaw == Flaw::UnplugSubmitsOthers;
            self.submit_some_plugged(queue, |its| all || its == key, actions);
        }
    }

    fn submit_all_plugged(&mut self, queue: usize, actions: &mut Vec<SimAction>) {
        self.batches[queue].values_mut().for_each(|number| *number += 1);
        // A throttle may have let one go later than one that came after it.
        self.plugged[queue].sort_by_key(|(_, entry)| entry.id);
        self.submit_some_plugged(queue, |_| true, actions);
    }

    fn submit_now(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        let entry = self.entry(&request);
        *self.batches[queue].entry(key).or_default() += 1;
        if self.flaw == Flaw::NowOvertakesPlugged {
            self.enter(entry, actions);
            self.run(actions);
            self.submit_some_plugged(queue, |its| its == key, actions);
        } else {
            self.submit_some_plugged(queue, |its| its == key, actions);
            self.enter(entry, actions);
            self.run(actions);
        }
        self.last_id
    }

    fn io_done(&mut self, io: Io, result: Result<u64, i32>, actions: &mut Vec<SimAction>) {
        let Some(at) = self.entries.iter().position(|entry| entry.id as u32 == io.id.slot.0) else {
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
        self.take_back(queue, id, actions)
    }

    fn cancel_all(&mut self, queue: usize, actions: &mut Vec<SimAction>) -> usize {
        let plugged = self.held[queue].iter().chain(&self.plugged[queue]);
        let plugged = plugged.map(|(_, entry)| entry.id);
        let mut ids: Vec<RequestId> = match self.flaw {
            Flaw::CancelAllForgetsThePlugged => Vec::new(),
            _ => plugged.collect(),
        };
        let inside = self.entries.iter().filter(|entry| !entry.ghost);
        let its = inside.filter(|entry| self.scenario.plans[entry.number].queue == queue);
        ids.extend(its.map(|entry| entry.id));
        // Nobody starts before all are gone.
        self.cancelling = true;
        ids.retain(|&id| self.take_back(queue, id, actions).is_ok());
        self.cancelling = false;
        self.run(actions);
        ids.len()
    }

    fn length(&self) -> Option<u64> {
        None
    }

    fn stats(&self, _queue: usize) -> Option<Stats> {
        None
    }

    fn retire(&mut self) {}
}
