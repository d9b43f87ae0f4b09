//! Runs one schedule: hands events to the machine, carries out what it asks for, and holds every
//! action against the rules. Who decides what happens next is outside: `random.rs` by dice,
//! `exhaustive.rs` in every order.

use std::cell::RefCell;
use std::rc::Rc;

use super::ledger::{bit, members, Checked, Ledger, Set};
use super::memory::{initial, Label, Memory, Pool};
use super::model;
use super::rng::Rng;
use super::rules;
use super::scenario::{inside, Scenario};
use super::storage::{Flight, Outcome};
use super::subject::{SimAction, Subject};
use super::totals::{check_stats, Counts};
use crate::driver::{Io, IoId, Op};
use crate::request::{Action, Completion};

pub struct World<'a, S> {
    scenario: &'a Scenario,
    subject: S,
    memory: Rc<RefCell<Memory>>,
    disk: Vec<Label>,
    /// I/Os at the storage, oldest first.
    pub flights: Vec<Flight>,
    pub ledger: Ledger,
    /// The request of each machine slot whose I/O has been seen.
    slots: Vec<(u32, usize)>,
    /// The I/O that ended in this step: what is left of it may be asked for again.
    ended: Option<IoId>,
    /// Who completed in this step.
    gone: Vec<usize>,
    actions: Vec<SimAction>,
    rng: Rng,
    now: u64,
    pub counts: Counts,
    trace: bool,
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
            ended: None,
            gone: Vec::new(),
            actions: Vec::new(),
            rng: Rng::new(scenario.seed ^ 2),
            now: 0,
            counts: Counts::new(scenario.limits.len()),
            trace,
        }
    }

    pub fn can_submit(&self) -> bool {
        self.ledger.entries.len() < self.scenario.plans.len()
    }

    /// Submits the next request.
    pub fn submit(&mut self) -> Checked {
        self.now += 1;
        self.ended = None;
        let number = self.ledger.entries.len();
        let plan = &self.scenario.plans[number];
        trace!(
            self,
            "submit {number}: queue {} {:?} {}..{} {:x?}",
            plan.queue,
            plan.op,
            plan.offset,
            plan.offset + plan.bytes,
            plan.segments
        );
        self.ledger.submitted(self.scenario, self.now);
        let mut actions = std::mem::take(&mut self.actions);
        let request = self.scenario.request(number);
        let id = self.subject.submit(plan.queue, request, &mut actions);
        let last = number.checked_sub(1).map_or(0, |before| self.ledger.entries[before].id);
        if id <= last {
            return Err(format!("id {id} after id {last}"));
        }
        self.ledger.entries[number].id = id;
        self.process(actions)
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
        self.ended = Some(flight.io.id);
        let (number, io) = (flight.request, &flight.io);
        trace!(self, "ends {:?} {:?} of request {number}: {outcome:?}", io.op, io.id);
        let result = {
            let memory = &mut self.memory.borrow_mut();
            let owners = (number, flight.sharers);
            rules::check_memory(io, &flight.addresses, self.scenario, owners, memory)?;
            flight.end(outcome, &mut self.disk, memory, &mut self.rng)
        };
        check_neighbours(&flight)?;
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
        let stats = (0..self.scenario.limits.len()).map(|queue| self.subject.stats(queue));
        check_stats(self.scenario, &self.ledger, &mut self.counts, stats)?;
        self.counts.denied += u64::from(self.memory.borrow().denied);
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
    fn process(&mut self, mut actions: Vec<SimAction>) -> Checked {
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
            started |= self.issue(queue, io)?;
        }
        self.check_places(started)?;
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
                && self.scenario.may_merge(leader, number)
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
        }
        Ok(())
    }

    /// Takes an I/O that the machine asks for to the storage, and says whose it is.
    fn issue(&mut self, queue: usize, io: Io) -> Checked<Set> {
        rules::check_shape(&io, &self.scenario.limits[queue], self.scenario.length)?;
        let (leader, sharers) = self.owners(queue, &io)?;
        trace!(self, "  I/O of {:?}: {io:x?}", members(sharers).collect::<Vec<_>>());
        if self.flights.iter().any(|flight| flight.io.id == io.id) {
            return Err(format!("two I/Os with one name: {io:x?}"));
        }
        let mut addresses = Vec::with_capacity(io.bytes as usize);
        io.segments.iter().for_each(|s| addresses.extend(s.address..s.address + s.bytes));
        for number in members(sharers) {
            if number != leader && !self.scenario.may_merge(leader, number) {
                return Err(format!("requests {leader} and {number} share {io:x?}"));
            }
            self.issue_for(number, sharers, queue, &io)?;
        }
        let owners = (leader, sharers);
        rules::check_memory(&io, &addresses, self.scenario, owners, &self.memory.borrow())?;
        self.counts.issued(queue, io.op);
        let unit = self.scenario.unit;
        let mut flight = Flight::new(io, queue, leader, addresses, unit);
        flight.sharers = sharers;
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
        if !entry.errors.is_empty() && self.ended != Some(io.id) {
            return Err(format!("request {number} goes on after an error: {io:x?}"));
        }
        entry.outstanding += 1;
        Ok(())
    }

    /// Whose I/O this is, and who shares it: told by the guest memory that it names, and by its
    /// slot; and the first I/O of a slot that names only scratch is an edge read, or a flush, of
    /// the first request that can have one.
    fn owners(&mut self, queue: usize, io: &Io) -> Checked<(usize, Set)> {
        let memory = self.memory.borrow();
        let guest = io.segments.iter().map(|segment| segment.address);
        let guest = guest.chain(io.copies.iter().flat_map(|copy| [copy.from, copy.to]));
        let named = guest
            .filter(|&address| memory.is_guest(address))
            .filter_map(|address| self.scenario.owner_of_memory(address))
            .fold(0, |set, number| set | bit(number));
        let slot = io.id.slot;
        let bound = self.slots.iter().find(|(known, _)| *known == slot).map(|(_, number)| *number);
        let leader = match (members(named).next(), bound) {
            (Some(_), Some(bound)) if named & bit(bound) == 0 => {
                return Err(format!("slot {slot} is of request {bound}: {io:x?}"));
            }
            (_, Some(number)) | (Some(number), None) => number,
            (None, None) => members(self.ledger.in_flight)
                .filter(|&number| !self.slots.iter().any(|&(_, known)| known == number))
                .find(|&number| self.may_be_first(number, queue, io))
                .ok_or_else(|| format!("nobody's I/O: {io:x?}"))?,
        };
        if bound.is_none() {
            self.slots.push((slot, leader));
        }
        Ok((leader, named | bit(leader)))
    }

    fn may_be_first(&self, number: usize, queue: usize, io: &Io) -> bool {
        let plan = &self.scenario.plans[number];
        let range = io.offset..io.offset + io.bytes;
        plan.queue == queue
            && match io.op {
                Op::Flush => plan.op == Op::Flush,
                Op::Read => plan.op == Op::Write && inside(&range, &plan.padded),
                Op::Write => false,
            }
    }

    /// A request waits only for conflicting ones and for a place among its queue's `depth`, and
    /// places are given in order. `started`: who issued I/O just now.
    fn check_places(&self, started: Set) -> Checked {
        let entries = &self.ledger.entries;
        let idle = |number: &usize| entries[*number].outstanding == 0;
        for (queue, limits) in self.scenario.limits.iter().enumerate() {
            let here = members(self.ledger.in_flight)
                .filter(|&number| self.scenario.plans[number].queue == queue);
            let waiting = here.clone().filter(idle).filter(|&n| !self.ledger.is_blocked(n, 0));
            // Those that share an I/O share a place.
            let at_storage = here.filter(|number| !idle(number));
            let led = |number: usize| {
                self.flights
                    .iter()
                    .any(|flight| flight.request != number && flight.sharers & bit(number) != 0)
            };
            let active = at_storage.filter(|&number| !led(number)).count();
            if active > limits.depth {
                return Err(format!("{active} requests of queue {queue} at the storage"));
            }
            if active == limits.depth {
                let later = |&(first, other): &(usize, usize)| {
                    other > first && entries[other].ready_at > entries[first].ready_at
                };
                let here = |&number: &usize| self.scenario.plans[number].queue == queue;
                let others = || members(started).filter(here);
                let pair = waiting.flat_map(|first| others().map(move |other| (first, other)));
                if let Some((first, other)) = pair.clone().find(later) {
                    return Err(format!("request {other} overtakes {first}"));
                }
            } else if let Some(first) = waiting.clone().next() {
                return Err(format!("request {first} waits for nothing"));
            }
        }
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
