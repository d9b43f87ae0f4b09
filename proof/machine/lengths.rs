//! The length of the object and of the storage, told from the outside: who may change it, and keeps
//! all others out for that; and what must hold of it.

use std::ops::Range;

use super::ledger::{members, Checked, Ledger};
use super::memory::ZERO;
use super::scenario::{overlap, Scenario};
use super::storage::{Flight, Outcome};
use super::subject::Subject;
use super::world::World;
use crate::io::Op;

impl Ledger {
    /// No request that enters now finds the object shorter.
    fn floor(&self, scenario: &Scenario) -> u64 {
        let least = |number: usize| self.least(scenario, number);
        members(self.in_flight).filter_map(least).fold(self.length, u64::min)
    }

    /// The least length that a request may set or find, if it is one that does.
    fn least(&self, scenario: &Scenario, number: usize) -> Option<u64> {
        let plan = &scenario.plans[number];
        match plan.op {
            Op::Truncate => Some(plan.offset),
            Op::Length if self.entries[number].keeps_all_out => Some(0),
            Op::Length => Some(plan.offset),
            _ => None,
        }
    }

    /// What the length is once a storage that had another one has told it.
    fn length_told(&self, scenario: &Scenario, number: usize) -> u64 {
        let plan = &scenario.plans[number];
        let exact = scenario.config[plan.queue].last_unit > 0;
        let ends_inside = !exact && plan.told == self.length.next_multiple_of(largest(scenario));
        if ends_inside {
            self.length
        } else {
            plan.told
        }
    }

    /// Whether the storage tells a length that it cannot have.
    pub(super) fn is_told_nonsense(&self, scenario: &Scenario, number: usize) -> bool {
        let plan = &scenario.plans[number];
        let exact = scenario.config[plan.queue].last_unit > 0;
        plan.op == Op::Length && !exact && !plan.told.is_multiple_of(largest(scenario))
    }

    /// Where a request that enters now is alone, because it may change the length.
    pub fn shape_of(&self, scenario: &Scenario, number: usize) -> Option<Range<u64>> {
        let plan = &scenario.plans[number];
        let floor = self.floor(scenario);
        let grows = scenario.config[plan.queue].resize
            && plan.bytes > 0
            && plan.offset + plan.bytes > floor
            && matches!(plan.op, Op::Write | Op::WriteZeroes);
        let least = self.least(scenario, number);
        if least.is_none() && !grows {
            return None;
        }
        let units = scenario.config.iter().map(|config| config.granule.max(config.last_unit));
        let unit = units.max().unwrap_or(1).max(plan.asks.guest_block);
        Some(least.unwrap_or(plan.offset).min(floor) & !(unit - 1)..u64::MAX)
    }

    pub fn conflict(&self, scenario: &Scenario, a: usize, b: usize) -> bool {
        self.conflict_among_writes(scenario, a, b) || scenario.conflict_in_isolation(a, b)
    }

    /// As the scenario's, with the claims that there were when each of them entered.
    pub fn conflict_among_writes(&self, scenario: &Scenario, a: usize, b: usize) -> bool {
        let counts = |number: usize| {
            let plan = &scenario.plans[number];
            (plan.op == Op::Write && plan.bytes > 0)
                || self.entries[number].exclusive
                || plan.excludes()
        };
        let (x, y) = (&self.entries[a], &self.entries[b]);
        let ordinary = counts(a) && counts(b) && (x.exclusive || y.exclusive);
        (ordinary && overlap(&x.tracked, &y.tracked)) || self.reshaping(scenario, a, b)
    }

    /// Whether one of them has to be alone because it may change the length.
    pub fn reshaping(&self, scenario: &Scenario, a: usize, b: usize) -> bool {
        let reach = |number: usize| {
            let (entry, plan) = (&self.entries[number], &scenario.plans[number]);
            match (&entry.shape, plan.op) {
                (Some(shape), _) => shape.clone(),
                (None, Op::Read) if !plan.excludes() => plan.offset..plan.offset + plan.bytes,
                (None, Op::Flush) => 0..0,
                (None, Op::Discard) if !entry.exclusive => 0..0,
                _ => entry.tracked.clone(),
            }
        };
        let shaped = |number: usize| self.entries[number].shape.is_some();
        let (x, y) = (reach(a), reach(b));
        (shaped(a) || shaped(b)) && !x.is_empty() && !y.is_empty() && overlap(&x, &y)
    }

    /// A request that may change the length is over.
    pub(super) fn note_length(&mut self, scenario: &Scenario, number: usize, done: bool) {
        let plan = &scenario.plans[number];
        if self.entries[number].shape.is_none() {
            return;
        }
        match done {
            true if plan.op == Op::Truncate => self.length = plan.offset,
            true if plan.op == Op::Length => self.length = self.length_told(scenario, number),
            true => self.length = self.length.max(plan.offset + plan.bytes),
            false => {
                // What it may have written beyond the end is never to be seen.
                let gone = self.length.saturating_sub(plan.offset) as usize;
                self.entries[number].issued.iter_mut().skip(gone).for_each(|byte| *byte = false);
            }
        }
    }

    /// Whether it passes the end, and may not.
    pub(super) fn passes_end(&self, scenario: &Scenario, number: usize) -> bool {
        let plan = &scenario.plans[number];
        let moves = plan.bytes > 0 && plan.op != Op::Flush;
        moves && !scenario.config[plan.queue].resize && plan.offset + plan.bytes > self.length
    }
}

fn largest(scenario: &Scenario) -> u64 {
    scenario.config.iter().map(|config| config.alignments.request).max().unwrap_or(1)
}

impl<S: Subject> World<'_, S> {
    /// The storage tells its length, which others have changed just now. If it is less than the
    /// request was prepared for they have not yet: the request has to enter once more first.
    pub(super) fn tell_length(&mut self, number: usize) -> Checked<u64> {
        let told = self.scenario.plans[number].told;
        if self.ledger.least(self.scenario, number).is_some_and(|least| told < least) {
            self.batches += 1;
            self.ledger.enters_once_more(self.scenario, number, self.batches, self.now);
            return Ok(told);
        }
        let reach = |flight: &Flight| flight.io.offset + flight.io.bytes > told;
        if let Some(beyond) = self.flights.iter().find(|flight| reach(flight)) {
            return Err(format!("{:x?} runs beside {number}, which finds {told}", beyond.io));
        }
        if !self.ledger.is_told_nonsense(self.scenario, number) {
            // What lay behind the object's end is what others make of it.
            self.disk[told.min(self.ledger.length) as usize..].fill(ZERO);
            self.storage = told;
            self.first_written = told > 0;
        }
        Ok(told)
    }

    pub(super) fn note_truncate(&mut self, flight: &Flight, outcome: Outcome) {
        match outcome {
            Outcome::Full => {
                let length = flight.io.offset;
                self.disk[length.min(self.storage) as usize..].fill(ZERO);
                self.storage = length;
                self.follow(length);
            }
            Outcome::Failed(libc::EINTR) => {}
            _ => {
                self.truncate_failed = true;
                self.ledger.entries[flight.request].truncate_failed = true;
            }
        }
    }

    /// The lanes go by this length.
    pub(super) fn follow(&mut self, length: u64) {
        if self.scenario.config.iter().any(|config| config.last_unit > 0) {
            self.scenario = self.first.at_length(length);
        }
    }

    /// The object is as long as it should be, and so is the storage.
    pub(super) fn check_length(&self) -> Checked {
        let ledger = self.ledger.length;
        match self.subject.length() {
            Some(length) if length != ledger => Err(format!("length is {length}, not {ledger}")),
            _ => Ok(()),
        }
    }

    /// A zero write that must not write zeros gives up only if the storage refused to zero, in
    /// whatever way.
    pub(super) fn check_gave_up(&self, number: usize, result: Result<(), i32>) -> Checked {
        let zeroes = self.scenario.plans[number].op == Op::WriteZeroes;
        let asked = self.refused[0].contains(&true);
        match zeroes && result == Err(libc::ENOTSUP) && !asked {
            true => Err(format!("request {number} gives up too early")),
            false => Ok(()),
        }
    }

    pub(super) fn check_storage(&self) -> Checked {
        let (length, storage) = (self.ledger.length, self.storage);
        let exact = self.scenario.config.iter().any(|config| config.last_unit > 0);
        let blocks = self.scenario.config.iter().map(|config| config.alignments.request);
        let padded = length.next_multiple_of(if exact { 1 } else { blocks.max().unwrap_or(1) });
        if storage != padded && !self.truncate_failed {
            return Err(format!("the storage has {storage} bytes for {length}"));
        }
        if exact && storage > 0 && !self.first_written && !self.truncate_failed {
            return Err("the first block of a file was never written".into());
        }
        let faultless = self.counts.errors + self.counts.shorts + self.counts.denied == 0;
        let padding = &self.disk[length as usize..storage.max(length) as usize];
        match faultless && padding.iter().any(|&label| label != ZERO) {
            true => Err(format!("what lies beyond {length} is not zero")),
            false => Ok(()),
        }
    }
}
