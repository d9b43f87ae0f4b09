//! What is known of every request of a schedule, and who came before whom.
//!
//! Sets of requests are bit masks: request n is bit n, and requests are submitted in the order of
//! their numbers. What is held back is admitted later; the order among requests is that of their
//! admission, which for one thread on one queue is the same.

use std::ops::Range;

use super::scenario::Scenario;
use crate::io::Op;
use crate::RequestId;

pub type Set = u32;
pub type Checked<T = ()> = Result<T, String>;

#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub id: RequestId,
    /// What it excludes others in, and whether all of them.
    pub tracked: Range<u64>,
    pub exclusive: bool,
    /// It may change the length: it is alone in this range.
    pub shape: Option<Range<u64>>,
    /// A truncate of the storage has failed for it.
    pub truncate_failed: bool,
    /// When it entered, and with which batch; None: it is held back.
    pub admitted: Option<Admission>,
    /// Writes that its own has to be shared with; known from its first I/O on.
    pub line: Option<Set>,
    /// It may be shared with fewer, too.
    pub loose: bool,
    /// Those that conflict with it and were in flight when it was admitted.
    pub blockers: Set,
    /// Those that were over when it was admitted.
    pub over: Set,
    /// Those that took their whole effect before it began: known once it is over.
    pub before: Set,
    pub result: Option<Result<(), i32>>,
    /// When it stopped waiting for others.
    pub ready_at: Option<u64>,
    pub outstanding: u32,
    /// Those among them that ask the storage to zero.
    pub outstanding_zeroes: u32,
    /// Which of its bytes a write I/O was issued for.
    pub issued: Vec<bool>,
    /// Errors that its I/Os ended with.
    pub errors: Vec<i32>,
    /// Something of it was written, or may have been.
    pub wrote: bool,
    /// One of its edge reads failed.
    pub edge_failed: bool,
    /// Results that moved no whole block and were no errors.
    pub stalls: u32,
    /// A flush I/O of it succeeded.
    pub flushed: bool,
    /// Any I/O of it was issued.
    pub touched: bool,
    /// NO_WAIT, and it would have had to wait.
    pub declined: bool,
    /// A cancel of it was accepted.
    pub cancelled: bool,
    /// It has found the storage shorter than it was prepared for.
    pub keeps_all_out: bool,
    /// A cancel of it came too late to take it back.
    pub stopped: bool,
    /// The storage cannot do a zero write that was asked for: what follows it is asked for again.
    pub asks_again: bool,
    /// A read that may share the I/O of another of its batch.
    pub shares: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Admission {
    pub at: u64,
    pub batch: u64,
}

#[derive(Debug, Default)]
pub struct Ledger {
    /// Of the object, as it is to be.
    pub length: u64,
    pub entries: Vec<Entry>,
    /// Admitted and not completed.
    pub in_flight: Set,
    /// Completed with success.
    pub succeeded: Set,
    pub completed: Set,
    /// Those that have to end because they would have to wait.
    pub declined: Set,
    /// A flush I/O has failed, on whatever queue.
    pub flush_failed: bool,
    /// Flushes admitted after a failed flush completed: they must fail.
    pub doomed: Set,
    flush_failure_told: bool,
    /// Requests that failed with ENOMEM.
    pub without_memory: u32,
}

pub fn bit(number: usize) -> Set {
    1 << number
}

pub fn members(set: Set) -> impl Iterator<Item = usize> + Clone {
    let mut rest = set;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let number = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            number
        })
    })
}

impl Ledger {
    /// `length`: of the object at first.
    pub fn new(length: u64) -> Ledger {
        Ledger { length, ..Ledger::default() }
    }

    /// Request `entries.len()` is about to be submitted.
    pub fn submitted(&mut self, scenario: &Scenario) {
        let plan = &scenario.plans[self.entries.len()];
        self.entries.push(Entry {
            issued: match plan.op {
                Op::Write | Op::WriteZeroes | Op::Discard => vec![false; plan.bytes as usize],
                _ => Vec::new(),
            },
            ..Entry::default()
        });
    }

    /// A submitted request is about to enter the order of things.
    pub fn admitted(&mut self, scenario: &Scenario, number: usize, batch: u64, now: u64) {
        let plan = &scenario.plans[number];
        let shape = self.shape_of(scenario, number);
        let entry = &mut self.entries[number];
        entry.shape = shape;
        entry.tracked = plan.tracked.clone();
        entry.exclusive = plan.exclusive;
        let blockers = members(self.in_flight)
            .filter(|&earlier| self.conflict(scenario, earlier, number))
            .fold(0, |set, earlier| set | bit(earlier));
        if plan.op == Op::Flush && self.flush_failure_told {
            self.doomed |= bit(number);
        }
        let declined = plan.asks.no_wait && blockers != 0;
        let entry = &mut self.entries[number];
        entry.declined = declined;
        entry.admitted = Some(Admission { at: now, batch });
        entry.blockers = blockers;
        entry.over = self.completed;
        entry.ready_at = (blockers == 0).then_some(now);
        match declined {
            true => self.declined |= bit(number),
            false => self.in_flight |= bit(number),
        }
    }

    /// A request in flight leaves, and enters behind all others; it keeps all of them out.
    pub fn enters_once_more(&mut self, scenario: &Scenario, number: usize, batch: u64, now: u64) {
        self.in_flight &= !bit(number);
        self.entries.iter_mut().for_each(|entry| entry.blockers &= !bit(number));
        self.entries[number].keeps_all_out = true;
        self.entries[number].touched = false;
        self.admitted(scenario, number, batch, now);
        self.update_ready(now);
    }

    /// Whether it has to wait for a request that is not one of `sharers`.
    pub fn is_blocked(&self, number: usize, sharers: Set) -> bool {
        self.entries[number].blockers & self.in_flight & !sharers != 0
    }

    /// Takes the request out; whether it may end with this result at this moment. `led`: a request
    /// that it may have been merged with has just ended in the same way.
    pub fn completed(
        &mut self,
        scenario: &Scenario,
        number: usize,
        result: Result<(), i32>,
        denied: u32,
        led: bool,
    ) -> Checked {
        if number >= self.entries.len() {
            return Err(format!("request {number} completes before it is submitted"));
        }
        if self.entries[number].admitted.is_none() && !self.entries[number].cancelled {
            return Err(format!("request {number} completes while it is held back"));
        }
        if self.entries[number].result.is_some() {
            return Err(format!("request {number} completes twice"));
        }
        if self.entries[number].outstanding > 0 {
            return Err(format!("request {number} completes with I/O outstanding"));
        }
        self.in_flight &= !bit(number);
        self.completed |= bit(number);
        let plan = &scenario.plans[number];
        let moves = plan.bytes > 0 || plan.op == Op::Truncate;
        let own = self.entries[number].errors.contains(&libc::ENOMEM);
        if let Some(expected) = self.ends_unstarted(number)? {
            if result != Err(expected) {
                return Err(format!("request {number} ends with {result:?}, not {expected}"));
            }
        } else if led && result.is_err() {
            // A failure before its own bytes were named by any I/O.
        } else if result == Err(libc::ENOMEM) && moves && !own {
            self.without_memory += 1;
            if self.without_memory > denied {
                return Err(format!("request {number} fails with ENOMEM out of nothing"));
            }
        } else {
            self.check_result(scenario, number, result)?;
        }
        self.note_length(scenario, number, result.is_ok());
        if result.is_ok() {
            self.succeeded |= bit(number);
        } else if scenario.plans[number].op == Op::Flush && !self.entries[number].cancelled {
            self.flush_failure_told = true;
        }
        let entry = &self.entries[number];
        let mut before = entry.over | entry.blockers;
        // Who waited for a request that did its work knows that the request's own predecessors
        // have done theirs. One that failed may have left early.
        for earlier in members(entry.blockers & self.succeeded) {
            before |= self.entries[earlier].before;
        }
        self.entries[number].before = before;
        self.entries[number].result = Some(result);
        Ok(())
    }

    /// What a request that must not start ends with.
    fn ends_unstarted(&self, number: usize) -> Checked<Option<i32>> {
        let entry = &self.entries[number];
        match (entry.declined, entry.cancelled) {
            (false, false) => Ok(None),
            _ if entry.touched => Err(format!("request {number} is not to start, and had I/O")),
            (true, _) => Ok(Some(libc::EBUSY)),
            _ => Ok(Some(libc::ECANCELED)),
        }
    }

    fn check_result(&self, scenario: &Scenario, number: usize, result: Result<(), i32>) -> Checked {
        let entry = &self.entries[number];
        let plan = &scenario.plans[number];
        let flush = plan.op == Op::Flush;
        let real_flush = flush && !scenario.config[plan.queue].no_flush;
        let mended = plan.op == Op::Truncate && plan.offset < self.length && !entry.truncate_failed;
        match result {
            Ok(()) if self.passes_end(scenario, number) && plan.op != Op::Discard => {
                Err(format!("request {number} succeeds beyond the end"))
            }
            Err(libc::EIO) if self.passes_end(scenario, number) && !entry.touched => Ok(()),
            Ok(()) if self.is_told_nonsense(scenario, number) => {
                Err(format!("request {number} takes a length that no request can have left"))
            }
            Ok(()) if mended => Ok(()),
            Ok(()) if !entry.errors.is_empty() => Err(format!(
                "request {number} succeeds though its I/O failed with {:?}",
                entry.errors
            )),
            Ok(()) if real_flush && self.doomed & bit(number) != 0 => {
                Err(format!("flush {number} succeeds after a flush has failed"))
            }
            Ok(()) if real_flush && !entry.flushed => {
                Err(format!("flush {number} succeeds without having flushed"))
            }
            Ok(()) => Ok(()),
            Err(libc::ENOTSUP) if plan.op == Op::WriteZeroes && plan.flags.no_fallback => {
                let whim = scenario.faults.whim_percent > 0;
                let nothing = !entry.wrote || whim;
                match !((nothing && !plan.whole.is_empty()) || entry.shape.is_some()) {
                    true => Err(format!("request {number} is refused, but has written")),
                    false => Ok(()),
                }
            }
            Err(libc::EINVAL) if self.is_told_nonsense(scenario, number) => Ok(()),
            Err(libc::ECANCELED) => {
                let long = matches!(plan.op, Op::WriteZeroes | Op::Discard);
                let left = plan.whole.clone().any(|at| !entry.issued[(at - plan.offset) as usize]);
                let left = left || entry.asks_again;
                match entry.stopped && long && (left || entry.shape.is_some()) {
                    true => Ok(()),
                    false => Err(format!("request {number} ends as if it had been taken back")),
                }
            }
            Err(errno) => {
                let own = entry.errors.contains(&errno);
                let stalled = errno == libc::EIO && entry.stalls > 1;
                let sticky = flush && self.flush_failed;
                match own || stalled || sticky {
                    true => Ok(()),
                    false => Err(format!("request {number} fails with {errno} out of nothing")),
                }
            }
        }
    }

    /// Notes who need not wait any more.
    pub fn update_ready(&mut self, now: u64) {
        for number in members(self.in_flight) {
            if self.entries[number].ready_at.is_none() && !self.is_blocked(number, 0) {
                self.entries[number].ready_at = Some(now);
            }
        }
    }
}
