//! Runs one schedule: hands events to the machine, carries out what it asks for, and holds every
//! action against the rules. Who decides what happens next is outside: `random.rs` by dice,
//! `exhaustive.rs` in every order.

use std::cell::RefCell;
use std::rc::Rc;

use super::isolated;
use super::joined::Joint;
use super::ledger::{bit, members, Checked, Ledger, Set};
use super::memory::{initial, Label, Memory, Pool};
use super::model;
use super::rng::Rng;
use super::rules;
use super::scenario::Scenario;
use super::storage::{Flight, Outcome};
use super::subject::{SimAction, Subject};
use super::totals::{check_stats, Counts};
use crate::driver::{Io, IoId, Op};
use crate::request::{Action, Completion, Stats};

pub struct World<'a, S> {
    pub(super) scenario: &'a Scenario,
    pub(super) subject: S,
    pub(super) memory: Rc<RefCell<Memory>>,
    disk: Vec<Label>,
    /// I/Os at the storage, oldest first.
    pub flights: Vec<Flight>,
    pub ledger: Ledger,
    /// The request of each machine slot whose I/O has been seen.
    pub(super) slots: Vec<(u32, usize)>,
    /// The I/Os that ended in this step, and whose they were: what is left of them may be asked
    /// for again.
    pub(super) ended: Vec<(IoId, Set)>,
    /// I/Os that went out as one, and are to end as one.
    pub(super) joints: Vec<Joint>,
    /// Who completed in this step.
    pub(super) gone: Vec<usize>,
    pub(super) actions: Vec<SimAction>,
    /// By queue: how many plugs are open, and whom they hold back.
    pub(super) plugs: Vec<u32>,
    pub(super) held: Vec<Vec<usize>>,
    pub(super) batches: u64,
    /// Entered in this step, after everybody else had started.
    pub(super) latecomer: Option<usize>,
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub counts: Counts,
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
            subject: make(Pool(memory.clone())),
            memory,
            disk: (0..scenario.length).map(initial).collect(),
            flights: Vec::new(),
            ledger: Ledger::default(),
            slots: Vec::new(),
            ended: Vec::new(),
            joints: Vec::new(),
            gone: Vec::new(),
            actions: Vec::new(),
            plugs: vec![0; scenario.limits.len()],
            held: vec![Vec::new(); scenario.limits.len()],
            batches: 0,
            latecomer: None,
            rng: Rng::new(scenario.seed ^ 2),
            now: 0,
            counts: Counts::new(scenario.limits.len()),
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
        flight.io.op != self.scenario.plans[flight.request].op
    }

    /// Ends the I/O at `index`.
    pub fn finish(&mut self, index: usize, outcome: Outcome) -> Checked {
        self.now += 1;
        let mut flight = self.flights.remove(index);
        self.ended = vec![(flight.io.id, flight.sharers)];
        self.latecomer = None;
        let (number, io) = (flight.request, &flight.io);
        trace!(self, "ends {:?} {:?} of request {number}: {outcome:?}", io.op, io.id);
        let result = {
            let memory = &mut self.memory.borrow_mut();
            let owners = (number, flight.sharers);
            rules::check_memory(io, &flight.addresses, self.scenario, owners, memory)?;
            flight.end(outcome, &mut self.disk, memory, &mut self.rng)
        };
        check_neighbours(&flight)?;
        if let Some(joint) = flight.joint {
            return self.end_part(joint, outcome);
        }
        self.note_outcome(&flight, outcome);
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
        model::check_disk(self.scenario, &self.ledger, &self.disk)?;
        if self.held.iter().any(|held| !held.is_empty()) {
            return Err("the schedule leaves requests held back".into());
        }
        self.counts.denied += u64::from(self.memory.borrow().denied);
        let stats = (0..self.scenario.limits.len()).map(|queue| self.subject.stats(queue));
        check_stats(self.scenario, &self.ledger, &mut self.counts, stats)?;
        self.subject.retire();
        Ok(())
    }

    fn note_outcome(&mut self, flight: &Flight, outcome: Outcome) {
        let edge = self.is_edge_read(flight);
        let block = self.scenario.limits[flight.queue].request_alignment;
        let flush = flight.io.op == Op::Flush;
        match outcome {
            Outcome::Full => {}
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
            match outcome {
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
            }
        }
        self.actions = actions;
        self.ledger.update_ready(self.now);
        let mut started: Set = 0;
        for (queue, io) in asked {
            started |= self.issue_joined(queue, io)?;
        }
        self.check_places(started)?;
        if let Some(number) = members(self.ledger.declined & !self.ledger.completed).next() {
            return Err(format!("NO_WAIT request {number} waits"));
        }
        match self.memory.borrow_mut().misuse.take() {
            Some(misuse) => Err(misuse),
            None => Ok(()),
        }
    }

    fn complete(&mut self, done: Completion<usize>) -> Checked {
        let number = done.token;
        trace!(self, "completes {number}: {:?}", done.result);
        let denied = self.memory.borrow().denied;
        let led = self.gone.iter().any(|&leader| {
            leader < number
                && self.may_share(leader, number)
                && self.ledger.entries[leader].result == Some(done.result)
        });
        self.ledger.completed(self.scenario, number, done.result, denied, led)?;
        self.gone.push(number);
        let plan = &self.scenario.plans[number];
        let told = (done.id, done.op, done.offset, done.bytes);
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
        rules::check_shape(&io, &self.scenario.limits[queue], self.scenario.length)?;
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
            self.issue_for(number, sharers, queue, &io)?;
        }
        self.check_sharing(&io, leader, sharers)?;
        self.check_beside(&io, sharers)?;
        let owners = (leader, sharers);
        rules::check_memory(&io, &addresses, self.scenario, owners, &self.memory.borrow())?;
        if joint.is_none() {
            self.counts.issued(queue, io.op);
        }
        let unit = self.scenario.unit;
        let mut flight = Flight::new(io, queue, leader, addresses, unit);
        flight.sharers = sharers;
        flight.joint = joint;
        self.flights.push(flight);
        Ok(sharers)
    }

    /// Notes the I/O for one of those that share it.
    fn issue_for(&mut self, number: usize, sharers: Set, queue: usize, io: &Io) -> Checked {
        let plan = &self.scenario.plans[number];
        if self.ledger.in_flight & bit(number) == 0 || plan.queue != queue {
            return Err(format!("I/O for request {number}, which is not in flight there: {io:x?}"));
        }
        if self.ledger.is_blocked(number, sharers) {
            return Err(format!("request {number} does not wait for an earlier one: {io:x?}"));
        }
        rules::check_range(io, self.scenario, number)?;
        let entry = &mut self.ledger.entries[number];
        entry.touched = true;
        if io.op == Op::Write {
            if entry.edge_failed {
                return Err(format!("request {number} writes though an edge read failed: {io:x?}"));
            }
            if plan.fua && !io.fua {
                return Err(format!("FUA request {number} writes without it: {io:x?}"));
            }
            let start = io.offset.max(plan.offset) - plan.offset;
            let end = (io.offset + io.bytes).min(plan.offset + plan.bytes) - plan.offset;
            entry.issued[start as usize..end as usize].fill(true);
        }
        let resumed = self.ended.iter().any(|(id, _)| *id == io.id);
        if !entry.errors.is_empty() && !resumed {
            return Err(format!("request {number} goes on after an error: {io:x?}"));
        }
        entry.outstanding += 1;
        Ok(())
    }
}

/// A write may rewrite the bytes around its own only with what they are.
fn check_neighbours(flight: &Flight) -> Checked {
    match flight.changed_neighbour {
        None => Ok(()),
        Some(byte) => Err(format!("request {} changes its neighbour, byte {byte}", flight.request)),
    }
}
