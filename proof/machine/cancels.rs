//! Requests are taken back, at any moment, whatever they are doing.

use super::ledger::{bit, members, Checked};
use super::subject::Subject;
use super::world::World;
use crate::io::Op;

impl<S: Subject> World<'_, S> {
    /// Cancels request `number`, or `foreign`: names it wrongly, which changes nothing.
    pub fn cancel(&mut self, number: usize, foreign: bool) -> Checked {
        self.begin(&format_args!("cancels {number}{}", if foreign { ", wrongly" } else { "" }));
        let (mut id, mut queue) =
            (self.ledger.entries[number].id, self.scenario.plans[number].queue);
        let expected = if foreign { Err(libc::ENOENT) } else { self.may_cancel(number) };
        match self.scenario.config.len() {
            1 if foreign => id += 1 << 40,
            queues if foreign => queue = (queue + 1) % queues,
            _ => {}
        }
        if expected.is_ok() {
            self.note_cancelled(number);
        }
        let mut actions = std::mem::take(&mut self.actions);
        let answer = self.subject.cancel(queue, id, &mut actions);
        if answer != expected {
            return Err(format!("cancel of {number} is {answer:?}, not {expected:?}"));
        }
        // A zero write or a discard may end before it has asked for all of it.
        self.ledger.entries[number].stopped |= answer == Err(libc::EBUSY);
        if answer.is_err() && !actions.is_empty() {
            return Err(format!("a cancel that is refused causes {actions:x?}"));
        }
        self.process(actions)?;
        self.counts.cancelled += u64::from(answer.is_ok());
        self.counts.cancels_refused += u64::from(answer.is_err());
        match answer.is_ok() && self.ledger.entries[number].result.is_none() {
            true => Err(format!("cancelled request {number} does not complete")),
            false => Ok(()),
        }
    }

    /// Cancels whatever can be of a queue.
    pub fn cancel_all(&mut self, queue: usize) -> Checked {
        self.begin(&format_args!("cancels all of queue {queue}"));
        let its = |number: &usize| self.scenario.plans[*number].queue == queue;
        let all = 0..self.ledger.entries.len();
        let expected: Vec<usize> =
            all.filter(its).filter(|&number| self.may_cancel(number).is_ok()).collect();
        for number in (0..self.ledger.entries.len()).filter(its) {
            self.ledger.entries[number].stopped |= self.may_cancel(number) == Err(libc::EBUSY);
        }
        expected.iter().for_each(|&number| self.note_cancelled(number));
        let mut actions = std::mem::take(&mut self.actions);
        let count = self.subject.cancel_all(queue, &mut actions);
        if count != expected.len() {
            return Err(format!("{count} requests are cancelled instead of {expected:?}"));
        }
        self.process(actions)?;
        self.counts.cancelled += count as u64;
        self.counts.cancelled_together += count as u64;
        match expected.iter().find(|&&number| self.ledger.entries[number].result.is_none()) {
            Some(number) => Err(format!("cancelled request {number} does not complete")),
            None => Ok(()),
        }
    }

    /// What has to come of a cancel: who has I/O at the storage, alone or with others, stays.
    fn may_cancel(&self, number: usize) -> Result<(), i32> {
        let entry = &self.ledger.entries[number];
        match entry.result {
            Some(_) => Err(libc::ENOENT),
            None if entry.outstanding > 0 => Err(libc::EBUSY),
            None => Ok(()),
        }
    }

    fn note_cancelled(&mut self, number: usize) {
        let plan = &self.scenario.plans[number];
        self.ledger.entries[number].cancelled = true;
        let plugged = self.plugged[plan.queue].iter_mut();
        plugged.for_each(|plugged| plugged.retain(|&plugged| plugged != number));
        self.held[plan.queue].retain(|held| held.number != number);
        // Those that would have shared its read keep its place in line.
        if plan.op == Op::Read && self.ledger.entries[number].admitted.is_some() {
            let ready_at = self.ledger.entries[number].ready_at;
            for mate in members(self.mates(number)) {
                let waits = self.ledger.entries[mate].outstanding == 0;
                if waits && self.may_share(number, mate) {
                    let entry = &mut self.ledger.entries[mate];
                    entry.ready_at = entry.ready_at.min(ready_at);
                }
            }
        }
        // A leader that reads its edges goes on without it.
        for leader in members(self.ledger.in_flight) {
            let loose = self.ledger.entries[leader].loose;
            let Some(line) = &mut self.ledger.entries[leader].line else { continue };
            if *line & bit(number) != 0 {
                *line &= !bit(number);
                if loose {
                    continue;
                }
                let seen = &mut self.counts.seen[plan.queue];
                seen.merged -= 1;
                seen.rmw -= 1;
                seen.rmw_reads_skipped -= 1;
            }
        }
    }
}
