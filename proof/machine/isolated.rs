//! What requests are promised beside others: SERIALISING, NO_WAIT, and guest blocks, told from the
//! plan alone; and two looks at it that know nothing of who has to wait for whom.

use super::ledger::{bit, members, Checked, Ledger, Set};
use super::memory::{initial, source, Memory};
use super::scenario::{overlap, pad, Plan, Scenario};
use super::subject::Subject;
use super::world::World;
use crate::io::{Io, Op};

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    pub serialising: bool,
    pub no_wait: bool,
    /// 0: none.
    pub guest_block: u64,
}

impl Plan {
    /// Whether nothing that overlaps it may run beside it.
    pub fn excludes(&self) -> bool {
        self.asks.serialising && self.bytes > 0 && self.op != Op::Flush
    }

    /// What it may touch.
    fn reach(&self) -> std::ops::Range<u64> {
        match self.op {
            Op::Discard if !self.excludes() => self.whole.clone(),
            _ => self.range(),
        }
    }

    fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.bytes
    }
}

impl Scenario {
    /// The request added last asks for this.
    pub fn ask(&mut self, asks: Asks) {
        let plan = self.plans.last_mut().expect("a request was added");
        plan.asks = asks;
        let config = self.config[plan.queue].clone();
        plan.follow(&config);
    }

    /// Whether one has to wait because of a promise to one of them, or to both.
    pub fn conflict_in_isolation(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.plans[a], &self.plans[b]);
        if a.bytes == 0 || b.bytes == 0 || a.op == Op::Flush || b.op == Op::Flush {
            return false;
        }
        let keeps_out = |a: &Plan, b: &Plan| {
            a.excludes() && b.op == Op::Read && overlap(&a.tracked, &b.tracked)
        };
        let promised = a.asks.guest_block > 0 && b.asks.guest_block > 0;
        let both_read = (a.op, b.op) == (Op::Read, Op::Read);
        let units = |plan: &Plan| pad(&plan.range(), plan.asks.guest_block);
        keeps_out(a, b)
            || keeps_out(b, a)
            || (promised && !both_read && overlap(&units(a), &units(b)))
    }
}

impl<S: Subject> World<'_, S> {
    /// Whether reads of a batch that is about to enter may share I/O.
    pub(super) fn reads_may_share(&self, batch: &[usize]) -> bool {
        let excludes = |number: usize| self.scenario.plans[number].excludes();
        let reshaping = members(self.ledger.in_flight)
            .any(|number| self.ledger.entries[number].shape.is_some())
            || batch.iter().any(|&n| self.ledger.shape_of(self.scenario, n).is_some());
        !reshaping
            && !members(self.ledger.in_flight).any(excludes)
            && !batch.iter().any(|&n| excludes(n))
    }

    /// Whether it waits for another request for another reason than that both write.
    pub(super) fn is_kept_apart(&self, number: usize) -> bool {
        members(self.ledger.entries[number].blockers & self.ledger.in_flight)
            .any(|earlier| self.scenario.conflict_in_isolation(earlier, number))
    }

    /// Whether a request with a promise has had no scratch in this very step.
    pub(super) fn one_failed_just_now(&self) -> bool {
        let failed = |number: &usize| {
            let asks = self.scenario.plans[*number].asks;
            let promised = asks.serialising || asks.guest_block > 0;
            promised && self.ledger.entries[*number].result == Some(Err(libc::ENOMEM))
        };
        self.gone.iter().any(failed)
    }

    /// Nothing that overlaps a SERIALISING request is at the storage while that one is.
    pub(super) fn check_beside(&self, io: &Io, sharers: Set) -> Checked {
        let plan = |number: usize| &self.scenario.plans[number];
        for a in members(sharers) {
            for b in self.flights.iter().flat_map(|flight| members(flight.sharers & !sharers)) {
                let excludes = plan(a).excludes() || plan(b).excludes();
                if self.ledger.reshaping(self.scenario, a, b) {
                    return Err(format!("request {a} runs beside {b}: {io:x?}"));
                }
                if excludes && overlap(&plan(a).reach(), &plan(b).reach()) {
                    return Err(format!("request {a} runs beside {b}: {io:x?}"));
                }
            }
        }
        Ok(())
    }
}

/// A read with a guest block that has just completed: of each write with a guest block it has seen
/// all or nothing, unit by unit. Nothing: what it has seen instead was there before that write.
pub fn check_torn(scenario: &Scenario, ledger: &Ledger, memory: &Memory, number: usize) -> Checked {
    let read = &scenario.plans[number];
    if read.asks.guest_block == 0 || !read.distinct {
        return Ok(());
    }
    let label = |offset: u64| memory.get(read.address_at(offset));
    for (writer, write) in scenario.plans[..ledger.entries.len()].iter().enumerate() {
        let failed = matches!(ledger.entries[writer].result, Some(Err(_)));
        if write.op != Op::Write || write.asks.guest_block == 0 || !write.distinct || failed {
            continue;
        }
        let unit = read.asks.guest_block.min(write.asks.guest_block);
        let start = read.offset.max(write.offset);
        let end = (read.offset + read.bytes).min(write.offset + write.bytes);
        let seen = |offset: &u64| source(label(*offset)) == Some(writer);
        let before = ledger.entries[writer].over | ledger.entries[writer].blockers;
        let older = |offset: &u64| match source(label(*offset)) {
            // Zeros may have come later.
            None => label(*offset) == initial(*offset),
            Some(other) => before & bit(other) != 0,
        };
        let mut at = start;
        while at < end {
            let next = end.min((at + 1).next_multiple_of(unit));
            if (at..next).any(|o| seen(&o)) && (at..next).any(|o| !seen(&o) && older(&o)) {
                return Err(format!("read {number} sees a part of write {writer} in {at}..{next}"));
            }
            at = next;
        }
    }
    Ok(())
}
