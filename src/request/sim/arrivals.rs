//! How requests come in: one by one, or held back by a plug until they enter as a batch.

use super::ledger::{members, Checked, Set};
use super::subject::{SimAction, Subject};
use super::world::World;
use crate::driver::Op;

impl<S: Subject> World<'_, S> {
    pub fn can_submit(&self) -> bool {
        self.ledger.entries.len() < self.scenario.plans.len()
    }

    pub fn is_plugged(&self, queue: usize) -> bool {
        self.plugs[queue] > 0
    }

    pub fn plug(&mut self, queue: usize) {
        self.begin(&format_args!("plugs queue {queue}"));
        self.plugs[queue] += 1;
        self.subject.plug(queue);
    }

    pub fn unplug(&mut self, queue: usize) -> Checked {
        self.begin(&format_args!("unplugs queue {queue}"));
        self.plugs[queue] = self.plugs[queue].saturating_sub(1);
        let batch = match self.plugs[queue] {
            0 => self.admit_held(queue),
            _ => Vec::new(),
        };
        let mut actions = std::mem::take(&mut self.actions);
        self.subject.unplug(queue, &mut actions);
        self.settle(&batch, actions)
    }

    /// As a drain does: what is held back enters, the plug stays.
    pub fn submit_held(&mut self, queue: usize) -> Checked {
        self.begin(&format_args!("submits what queue {queue} holds back"));
        let batch = self.admit_held(queue);
        let mut actions = std::mem::take(&mut self.actions);
        self.subject.submit_held(queue, &mut actions);
        self.settle(&batch, actions)
    }

    /// Submits the next request.
    pub fn submit(&mut self) -> Checked {
        let number = self.announce("submit");
        let queue = self.scenario.plans[number].queue;
        let held = self.plugs[queue] > 0;
        if !held {
            self.admit(&[number]);
        }
        let mut actions = std::mem::take(&mut self.actions);
        let id = self.subject.submit(queue, self.scenario.request(number), &mut actions);
        self.note_id(number, id)?;
        if held {
            self.held[queue].push(number);
            return match actions.is_empty() {
                true => self.settle(&[], actions),
                false => Err(format!("request {number} is held and causes {actions:x?}")),
            };
        }
        self.settle(&[number], actions)
    }

    /// Submits the next request, plugged or not; who is held back goes first.
    pub fn submit_now(&mut self) -> Checked {
        let number = self.ledger.entries.len();
        let plan = &self.scenario.plans[number];
        let queue = plan.queue;
        let truncates =
            |&held: &usize| matches!(self.scenario.plans[held].op, Op::Truncate | Op::Length);
        if plan.asks.no_wait || self.held[queue].iter().any(truncates) {
            // Some of those that are held may be over before it enters: then it need not wait, or
            // finds another length.
            self.submit_held(queue)?;
        }
        self.announce("submit at once");
        let mut entered = self.admit_held(queue);
        self.admit(&[number]);
        self.latecomer = Some(number);
        let mut actions = std::mem::take(&mut self.actions);
        let id = self.subject.submit_now(queue, self.scenario.request(number), &mut actions);
        self.note_id(number, id)?;
        entered.push(number);
        self.settle(&entered, actions)
    }

    /// Somebody has to unplug when nothing else can happen any more; false: nobody has to.
    pub fn unplug_somebody(&mut self) -> Checked<bool> {
        match self.plugs.iter().position(|&plugs| plugs > 0) {
            Some(queue) => self.unplug(queue).map(|()| true),
            None => Ok(false),
        }
    }

    pub(super) fn begin(&mut self, what: &dyn std::fmt::Display) {
        self.now += 1;
        self.ended.clear();
        self.latecomer = None;
        if self.trace {
            eprintln!("{:4} {what}", self.now);
        }
    }

    fn announce(&mut self, how: &str) -> usize {
        let number = self.ledger.entries.len();
        let plan = &self.scenario.plans[number];
        let end = plan.offset + plan.bytes;
        self.begin(&format_args!(
            "{how} {number}: queue {} {:?} {}..{end} {:?} {:x?}",
            plan.queue, plan.op, plan.offset, plan.asks, plan.segments
        ));
        self.ledger.submitted(self.scenario);
        number
    }

    fn note_id(&mut self, number: usize, id: u64) -> Checked {
        let last = number.checked_sub(1).map_or(0, |before| self.ledger.entries[before].id);
        if id <= last {
            return Err(format!("id {id} after id {last}"));
        }
        self.ledger.entries[number].id = id;
        Ok(())
    }

    fn admit_held(&mut self, queue: usize) -> Vec<usize> {
        let batch = std::mem::take(&mut self.held[queue]);
        self.admit(&batch);
        self.counts.batched += batch.len() as u64;
        batch
    }

    /// These enter together, in this order.
    fn admit(&mut self, batch: &[usize]) {
        self.batches += 1;
        let share = self.reads_may_share(batch);
        for &number in batch {
            self.now += 1;
            self.ledger.admitted(self.scenario, number, self.batches, self.now);
            let plan = &self.scenario.plans[number];
            let here = plan.offset + plan.bytes <= self.ledger.length;
            self.ledger.entries[number].shares = share && plan.asks.guest_block == 0 && here;
        }
    }

    /// What the machine does when these have entered.
    fn settle(&mut self, entered: &[usize], actions: Vec<SimAction>) -> Checked {
        if entered.is_empty() && !actions.is_empty() {
            return Err(format!("nothing was submitted, and yet: {actions:x?}"));
        }
        self.process(actions)?;
        self.note_waits(entered);
        Ok(())
    }

    /// Who has to wait counts as one that waited; who may have been taken in by another of its
    /// batch may or may not.
    fn note_waits(&mut self, entered: &[usize]) {
        for &number in entered {
            if self.ledger.entries[number].declined || !self.ledger.is_blocked(number, 0) {
                continue;
            }
            let mates = self.mates(number);
            let foreign = self.ledger.is_blocked(number, mates);
            let led = members(mates).any(|mate| self.may_merge(mate, number));
            self.counts.waits_most += 1;
            self.counts.waits_least += u64::from(foreign || !led);
        }
    }

    /// Those in flight that entered with `number`.
    pub(super) fn mates(&self, number: usize) -> Set {
        let batch = |number: usize| self.ledger.entries[number].admitted.map(|a| a.batch);
        members(self.ledger.in_flight)
            .filter(|&other| other != number && batch(other) == batch(number))
            .fold(0, |set, other| set | super::ledger::bit(other))
    }
}
