//! Runs one schedule: hands events to the machine, carries out what it asks for, and holds every
//! action against the rules. Who decides what happens next is outside: `random.rs` by dice,
//! `exhaustive.rs` in every order.

use std::cell::RefCell;
use std::rc::Rc;

use super::arrivals::{HeldBack, THREADS};
use super::isolated;
use super::joined::Joint;
use super::ledger::{bit, members, Checked, Ledger, Set};
use super::memory::{initial, Label, Memory, Pool, ZERO};
use super::model;
use super::rules;
use super::scenario::Scenario;
use super::storage::{Flight, Outcome};
use super::subject::{SimAction, Subject};
use super::totals::{check_stats, Counts};
use crate::io::{Io, IoId, Op, Slot};
use crate::proof::rng::Rng;
use crate::{Action, Completion, Stats};

pub struct World<'a, S> {
    /// As it is for the present length, and for the first.
    pub(super) scenario: &'a Scenario,
    pub(super) first: &'a Scenario,
    pub(super) subject: S,
    pub(super) memory: Rc<RefCell<Memory>>,
    pub(super) disk: Vec<Label>,
    /// How much of it there is.
    pub(super) storage: u64,
    /// Its length could not be changed once: it may be longer than it should be.
    pub(super) truncate_failed: bool,
    /// Its first bytes were written since it was empty.
    pub(super) first_written: bool,
    /// I/Os at the storage, oldest first.
    pub flights: Vec<Flight>,
    pub ledger: Ledger,
    /// The request of each machine slot whose I/O has been seen.
    pub(super) slots: Vec<(Slot, usize)>,
    /// The I/Os that ended in this step, and whose they were: what is left of them may be asked
    /// for again.
    pub(super) ended: Vec<(IoId, Set)>,
    /// I/Os that went out as one, and are to end as one.
    pub(super) joints: Vec<Joint>,
    /// Who completed in this step.
    pub(super) gone: Vec<usize>,
    pub(super) actions: Vec<SimAction>,
    /// The thread that does the next step.
    pub thread: usize,
    /// By queue and thread: how many plugs are open, and whom they hold back.
    pub(super) plugs: Vec<[u32; THREADS]>,
    /// The number of the batch that each plug holds back.
    pub(super) plug_batches: Vec<[u64; THREADS]>,
    pub(super) plugged: Vec<[Vec<usize>; THREADS]>,
    /// By queue: what a throttle holds back.
    pub(super) held: Vec<Vec<HeldBack>>,
    pub(super) batches: u64,
    /// Entered in this step, after all others had started.
    pub(super) latecomer: Option<usize>,
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub counts: Counts,
    /// Zero writes that the storage has refused, by `may_unmap` and `no_fallback`.
    pub(super) refused: [[bool; 2]; 2],
    pub(super) trace: bool,
}

macro_rules! trace {
    ($world:expr, $($words:tt)*) => {
        if $world.trace {
            eprintln!("{:4} {}", $world.now, format_args!($($words)*));
        }
    };
}

impl<'a, S: Subject> World<'a, S> {
    pub fn new(scenario: &'a Scenario, trace: bool, make: impl FnOnce(Pool) -> S) -> Self {
        let denied = scenario.faults.no_scratch_percent;
        let memory = Memory::new(scenario.guest.clone(), denied, scenario.seed ^ 1);
        let memory = Rc::new(RefCell::new(memory));
        World {
            scenario,
            first: scenario,
            subject: make(Pool(memory.clone())),
            memory,
            disk: (0..scenario.capacity)
                .map(|at| if at < scenario.length { initial(at) } else { ZERO })
                .collect(),
            storage: scenario.length,
            truncate_failed: false,
            first_written: scenario.length > 0,
            flights: Vec::new(),
            ledger: Ledger::new(scenario.length),
            slots: Vec::new(),
            ended: Vec::new(),
            joints: Vec::new(),
            gone: Vec::new(),
            actions: Vec::new(),
            thread: 0,
            plugs: vec![[0; THREADS]; scenario.config.len()],
            plug_batches: vec![[0; THREADS]; scenario.config.len()],
            plugged: vec![Default::default(); scenario.config.len()],
            held: vec![Vec::new(); scenario.config.len()],
            batches: 0,
            latecomer: None,
            rng: Rng::new(scenario.seed ^ 2),
            now: 0,
            counts: Counts::new(scenario.config.len()),
            refused: Default::default(),
            trace,
        }
    }

    /// What the disk holds at `offset`.
    pub fn byte(&self, offset: u64) -> Label {
        self.disk[offset as usize]
    }

    pub fn stats(&self, queue: usize) -> Option<Stats> {
        self.subject.stats(queue)
    }

    /// Lets some of the bytes of the I/O at `index` move.
    pub fn advance(&mut self, index: usize, percent: u64) -> Checked {
        self.now += 1;
        let Flight { io, request, .. } = &self.flights[index];
        trace!(self, "  moves {percent}% of {:?} {:?} of request {request}", io.op, io.id);
        let memory = &mut self.memory.borrow_mut();
        self.flights[index].advance(&mut self.disk, memory, percent, &mut self.rng);
        check_neighbours(&self.flights[index])
    }

    /// Lets one unit of those that have not moved yet move.
    pub fn advance_one(&mut self, index: usize, unit: usize) -> Checked {
        self.now += 1;
        let Flight { io, request, .. } = &self.flights[index];
        trace!(self, "  moves unit {unit} of {:?} {:?} of request {request}", io.op, io.id);
        let memory = &mut self.memory.borrow_mut();
        self.flights[index].advance_one(unit, &mut self.disk, memory);
        check_neighbours(&self.flights[index])
    }

    fn is_edge_read(&self, flight: &Flight) -> bool {
        flight.io.op == Op::Read && self.scenario.plans[flight.request].op != Op::Read
    }

    /// Ends the I/O at `index`.
    pub fn finish(&mut self, index: usize, outcome: Outcome) -> Checked {
        self.now += 1;
        let mut flight = self.flights.remove(index);
        self.ended = vec![(flight.io.id, flight.sharers)];
        self.latecomer = None;
        let (number, io) = (flight.request, &flight.io);
        trace!(self, "ends {:?} {:?} of request {number}: {outcome:?}", io.op, io.id);
        let mut result = {
            let memory = &mut self.memory.borrow_mut();
            let owners = (number, flight.sharers);
            let zeroes = !flight.zeroes.is_empty();
            rules::check_memory(io, &flight.addresses, self.scenario, owners, memory, zeroes)?;
            flight.end(outcome, &mut self.disk, memory, &mut self.rng)
        };
        check_neighbours(&flight)?;
        if let Some(joint) = flight.joint {
            return self.end_part(joint, outcome);
        }
        let block = self.scenario.config[flight.queue].alignments.request;
        self.first_written |= flight.io.op == Op::Write && flight.io.offset < block;
        if flight.io.op == Op::Truncate {
            self.first_written &= flight.io.offset > 0;
            self.note_truncate(&flight, outcome);
        }
        self.note_outcome(&flight, outcome);
        if flight.io.op == Op::Length && outcome == Outcome::Full {
            result = Ok(self.tell_length(number)?);
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.subject.io_done(flight.io, result, &mut actions);
        self.process(actions)
    }

    /// Everything is over: what must hold then.
    pub fn conclude(&mut self) -> Checked {
        if self.ledger.in_flight != 0 || !self.flights.is_empty() {
            let left: Vec<usize> = members(self.ledger.in_flight).collect();
            return Err(format!("requests {left:?} wait for ever"));
        }
        let taken = self.memory.borrow().taken_count();
        if taken > 0 {
            return Err(format!("{taken} pieces of scratch were not given back"));
        }
        if !self.memory.borrow().zeros_are_intact() {
            return Err("something has written to the zeros".into());
        }
        model::check_disk(self.scenario, &self.ledger, &self.disk)?;
        let plugged = self.plugged.iter().flatten().any(|plugged| !plugged.is_empty());
        if plugged || self.held.iter().any(|held| !held.is_empty()) {
            return Err("the schedule leaves requests held back".into());
        }
        self.counts.denied += u64::from(self.memory.borrow().denied);
        self.check_storage()?;
        let stats = (0..self.scenario.config.len()).map(|queue| self.subject.stats(queue));
        check_stats(self.scenario, &self.ledger, &mut self.counts, stats)?;
        self.subject.retire();
        Ok(())
    }

    fn note_outcome(&mut self, flight: &Flight, outcome: Outcome) {
        let edge = self.is_edge_read(flight);
        let block = self.scenario.config[flight.queue].alignments.request;
        let flush = flight.io.op == Op::Flush;
        let refused = is_refusal(&flight.io, outcome);
        if refused && flight.io.op == Op::WriteZeroes {
            let Io { may_unmap, no_fallback, .. } = flight.io;
            self.refused[usize::from(may_unmap)][usize::from(no_fallback)] = true;
        }
        match outcome {
            Outcome::Full => {}
            Outcome::Failed(_) if refused => self.counts.refused += 1,
            Outcome::Short(_) => self.counts.shorts += 1,
            Outcome::Failed(libc::EINTR) => self.counts.interrupts += 1,
            Outcome::Failed(_) => {
                self.counts.errors += 1;
                self.ledger.flush_failed |= flush;
            }
        }
        for number in members(flight.sharers) {
            let entry = &mut self.ledger.entries[number];
            entry.outstanding -= 1;
            entry.outstanding_zeroes -= u32::from(flight.io.op == Op::WriteZeroes);
            entry.asks_again |= refused && flight.io.op == Op::WriteZeroes;
            entry.wrote |= !refused && matches!(flight.io.op, Op::Write | Op::WriteZeroes);
            match outcome {
                _ if refused => {}
                Outcome::Full => entry.flushed |= flush,
                Outcome::Short(moved) => entry.stalls += u32::from(moved < block),
                Outcome::Failed(libc::EINTR) => entry.stalls += 1,
                Outcome::Failed(errno) => {
                    entry.errors.push(errno);
                    entry.edge_failed |= edge;
                }
            }
        }
    }

    /// Completions first: what an action list tells at one moment is true at that moment.
    pub(super) fn process(&mut self, mut actions: Vec<SimAction>) -> Checked {
        let mut asked = Vec::new();
        self.gone.clear();
        for action in actions.drain(..) {
            match action {
                Action::Complete(completion) => self.complete(completion)?,
                Action::Io(queue, io) => asked.push((queue, io)),
                Action::Stalled(_, io) => self.check_stalled(&io)?,
                Action::Probe(_, refusal) => return Err(format!("asks about {refusal:?}")),
                Action::Announce(_, what) => return Err(format!("announces {what:?}")),
            }
        }
        self.actions = actions;
        self.ledger.update_ready(self.now);
        let mut started: Set = 0;
        for (queue, io) in asked {
            started |= self.issue_joined(queue, io)?;
        }
        self.check_places(started)?;
        self.check_length()?;
        if let Some(number) = members(self.ledger.declined & !self.ledger.completed).next() {
            return Err(format!("NO_WAIT request {number} waits"));
        }
        match self.memory.borrow_mut().misuse.take() {
            Some(misuse) => Err(misuse),
            None => Ok(()),
        }
    }

    /// The machine gives up only what has just ended once more without having moved anything.
    fn check_stalled(&self, io: &Io) -> Checked {
        let just = self.ended.iter().find(|(id, _)| *id == io.id);
        let stalls = |number: usize| self.ledger.entries[number].stalls;
        match just.is_some_and(|&(_, owners)| members(owners).any(|number| stalls(number) > 1)) {
            true => Ok(()),
            false => Err(format!("gives up what has not stalled: {io:x?}")),
        }
    }

    fn complete(&mut self, done: Completion<usize>) -> Checked {
        let number = done.token;
        trace!(self, "completes {number}: {:?}", done.result);
        let denied = self.memory.borrow().denied;
        let entered = |number: usize| self.ledger.entries[number].admitted.map(|a| a.at);
        let led = self.gone.iter().any(|&leader| {
            entered(leader) < entered(number)
                && self.may_share(leader, number)
                && self.ledger.entries[leader].result == Some(done.result)
        });
        self.ledger.completed(self.scenario, number, done.result, denied, led)?;
        self.check_gave_up(number, done.result)?;
        let entry = &self.ledger.entries[number];
        if entry.shape.is_some() && entry.touched {
            self.follow(self.ledger.length);
        }
        self.gone.push(number);
        let plan = &self.scenario.plans[number];
        let offset = if plan.op == Op::Length { plan.offset } else { done.offset };
        let told = (done.id, done.op, offset, done.bytes);
        if told != (self.ledger.entries[number].id, plan.op, plan.offset, plan.bytes) {
            return Err(format!("completion of request {number} does not name it: {told:?}"));
        }
        self.slots.retain(|&(_, request)| request != number);
        if plan.op == Op::Read && done.result.is_ok() {
            model::check_read(self.scenario, &self.ledger, &self.memory.borrow(), number)?;
            isolated::check_torn(self.scenario, &self.ledger, &self.memory.borrow(), number)?;
        }
        Ok(())
    }

    /// Takes an I/O that the machine asks for to the storage, and says whose it is.
    pub(super) fn issue(&mut self, queue: usize, io: Io, joint: Option<usize>) -> Checked<Set> {
        rules::check_shape(&io, &self.scenario.config[queue], self.storage)?;
        let (leader, sharers) = self.owners(queue, &io)?;
        trace!(self, "  I/O of {:?}: {io:x?}", members(sharers).collect::<Vec<_>>());
        if self.flights.iter().any(|flight| flight.io.id == io.id) {
            return Err(format!("two I/Os with one name: {io:x?}"));
        }
        let mut addresses = Vec::with_capacity(io.bytes as usize);
        io.segments.iter().for_each(|s| addresses.extend(s.address..s.address + s.bytes));
        for number in members(sharers) {
            if number != leader && !self.may_share(leader, number) {
                return Err(format!("requests {leader} and {number} share {io:x?}"));
            }
            self.issue_for(number, sharers, &io)?;
        }
        self.check_sharing(&io, leader, sharers)?;
        self.check_beside(&io, sharers)?;
        let owners = (leader, sharers);
        let may_zero = rules::may_zero(self.scenario, &self.ledger, leader);
        let (memory, zeroes) = (&self.memory.borrow(), !may_zero.is_empty());
        rules::check_memory(&io, &addresses, self.scenario, owners, memory, zeroes)?;
        if joint.is_none() {
            self.counts.issued(queue, io.op);
        }
        let unit = self.scenario.unit;
        let mut flight = Flight::new(io, queue, leader, addresses, unit);
        flight.zeroes = may_zero;
        flight.sharers = sharers;
        flight.joint = joint;
        self.flights.push(flight);
        Ok(sharers)
    }

    /// Notes the I/O for one of those that share it.
    fn issue_for(&mut self, number: usize, sharers: Set, io: &Io) -> Checked {
        let plan = &self.scenario.plans[number];
        if self.ledger.in_flight & bit(number) == 0 {
            return Err(format!("I/O for request {number}, which is not in flight: {io:x?}"));
        }
        if self.ledger.is_blocked(number, sharers) {
            return Err(format!("request {number} does not wait for an earlier one: {io:x?}"));
        }
        rules::check_range(io, self.scenario, &self.ledger, number)?;
        if sharers == bit(number) {
            rules::check_atomic(io, self.scenario, number)?;
        }
        let entry = &mut self.ledger.entries[number];
        entry.touched = true;
        if matches!(io.op, Op::Write | Op::WriteZeroes | Op::Discard) {
            if entry.edge_failed {
                return Err(format!("request {number} writes though an edge read failed: {io:x?}"));
            }
            let shaped = entry.shape.is_some();
            if io.op == Op::Write && plan.flags.no_fallback && !plan.whole.is_empty() && !shaped {
                let zeroed = |at: u64| entry.issued[(at - plan.offset) as usize];
                if !plan.whole.clone().all(zeroed) || entry.outstanding_zeroes > 0 {
                    return Err(format!("request {number} writes before the middle: {io:x?}"));
                }
            }
            if plan.flags.fua && !io.fua {
                return Err(format!("FUA request {number} writes without it: {io:x?}"));
            }
            let start = io.offset.max(plan.offset) - plan.offset;
            let end = (io.offset + io.bytes).min(plan.offset + plan.bytes);
            let end = end.saturating_sub(plan.offset);
            if start < end && !entry.issued.is_empty() {
                entry.issued[start as usize..end as usize].fill(true);
            }
        }
        let resumed = self.ended.iter().any(|(id, _)| *id == io.id);
        if io.op == Op::WriteZeroes {
            if !resumed && self.refused[usize::from(io.may_unmap)][usize::from(io.no_fallback)] {
                return Err(format!("asks again for what was refused: {io:x?}"));
            }
            if !resumed && entry.outstanding_zeroes > 0 && !entry.wrote {
                return Err(format!("asks for more before the first is done: {io:x?}"));
            }
            entry.outstanding_zeroes += 1;
        }
        let undoes = io.op == Op::Truncate;
        if !entry.errors.is_empty() && !resumed && !undoes {
            return Err(format!("request {number} goes on after an error: {io:x?}"));
        }
        entry.outstanding += 1;
        Ok(())
    }
}

/// The storage does not do such a thing; the machine knows another way.
pub(super) fn is_refusal(io: &Io, outcome: Outcome) -> bool {
    match (io.op, outcome) {
        (Op::WriteZeroes, Outcome::Failed(errno)) => errno == libc::EOPNOTSUPP,
        (Op::Discard, Outcome::Failed(errno)) => errno == libc::EOPNOTSUPP || errno == libc::EINVAL,
        _ => false,
    }
}

/// A write may rewrite the bytes around its own only with what they are.
fn check_neighbours(flight: &Flight) -> Checked {
    match flight.changed_neighbour {
        None => Ok(()),
        Some(byte) => Err(format!("request {} changes its neighbour, byte {byte}", flight.request)),
    }
}
