//! How requests come in: one by one, or held back by a plug until they enter as a batch.

use super::ledger::{members, Checked, Set};
use super::subject::{SimAction, Subject};
use super::world::World;
use crate::io::Op;
use crate::PlugKey;

/// Threads that submit, each with plugs of its own.
pub const THREADS: usize = 2;

/// What the machine knows a thread by.
pub fn key(thread: usize) -> PlugKey {
    7 + 1000 * thread as PlugKey
}

/// A request that a throttle holds back: by which thread it came, and the batch that it is meant
/// for, if the thread was plugged then.
#[derive(Clone)]
pub struct HeldBack {
    pub number: usize,
    thread: usize,
    batch: Option<u64>,
}

impl<S: Subject> World<'_, S> {
    pub fn can_submit(&self) -> bool {
        self.ledger.entries.len() < self.scenario.plans.len()
    }

    pub fn is_plugged(&self, queue: usize) -> bool {
        self.plugs[queue][self.thread] > 0
    }

    pub fn plug(&mut self, queue: usize) {
        let thread = self.thread;
        self.begin(&format_args!("thread {thread} plugs queue {queue}"));
        self.plugs[queue][thread] += 1;
        self.plug_batches[queue][thread] += u64::from(self.plugs[queue][thread] == 1);
        self.subject.plug(queue, key(thread));
    }

    pub fn unplug(&mut self, queue: usize) -> Checked {
        let thread = self.thread;
        self.begin(&format_args!("thread {thread} unplugs queue {queue}"));
        let plugs = &mut self.plugs[queue][thread];
        *plugs = plugs.saturating_sub(1);
        let batch = match *plugs {
            0 => self.admit_plugged(queue),
            _ => Vec::new(),
        };
        let mut actions = std::mem::take(&mut self.actions);
        self.subject.unplug(queue, key(thread), &mut actions);
        self.settle(&batch, actions)
    }

    /// As a drain does: what all threads hold back enters, the plugs stay.
    pub fn submit_all_plugged(&mut self, queue: usize) -> Checked {
        self.begin(&format_args!("submits what queue {queue} holds back"));
        let mut batch: Vec<usize> =
            self.plugged[queue].iter_mut().flat_map(|plugged| plugged.drain(..)).collect();
        batch.sort_unstable();
        self.plug_batches[queue].iter_mut().for_each(|number| *number += 1);
        self.admit_batch(&batch);
        let mut actions = std::mem::take(&mut self.actions);
        self.subject.submit_all_plugged(queue, &mut actions);
        self.settle(&batch, actions)
    }

    /// Submits the next request.
    pub fn submit(&mut self) -> Checked {
        let number = self.announce("submit");
        let queue = self.scenario.plans[number].queue;
        let plugged = self.is_plugged(queue);
        if !plugged {
            self.admit(&[number]);
        }
        let mut actions = std::mem::take(&mut self.actions);
        let key = key(self.thread);
        let id = self.subject.submit(queue, key, self.scenario.request(number), &mut actions);
        self.note_id(number, id)?;
        if plugged {
            self.plugged[queue][self.thread].push(number);
            return match actions.is_empty() {
                true => self.settle(&[], actions),
                false => Err(format!("request {number} is plugged and causes {actions:x?}")),
            };
        }
        self.settle(&[number], actions)
    }

    /// Submits the next request to a throttle, which holds it back.
    pub fn hold(&mut self) -> Checked {
        let number = self.announce("holds");
        let queue = self.scenario.plans[number].queue;
        let key = key(self.thread);
        let id = self.subject.hold(queue, key, self.scenario.request(number));
        self.note_id(number, id)?;
        let thread = self.thread;
        let batch = self.is_plugged(queue).then(|| self.plug_batches[queue][thread]);
        self.held[queue].push(HeldBack { number, thread, batch });
        self.counts.held += 1;
        Ok(())
    }

    /// The throttle lets the oldest `count` of those go that it holds back of a queue.
    pub fn let_go(&mut self, queue: usize, count: usize) -> Checked {
        self.begin(&format_args!("lets {count} go of queue {queue}"));
        let gone: Vec<HeldBack> = self.held[queue].drain(..count).collect();
        let Some(&HeldBack { number: last, .. }) = gone.last() else { return Ok(()) };
        let (plugged, batch): (Vec<_>, Vec<_>) = gone.into_iter().partition(|held| {
            let present = self.plug_batches[queue][held.thread];
            self.plugs[queue][held.thread] > 0 && held.batch == Some(present)
        });
        for HeldBack { number, thread, .. } in plugged {
            self.plugged[queue][thread].push(number);
        }
        let batch: Vec<usize> = batch.into_iter().map(|held| held.number).collect();
        self.admit_batch(&batch);
        let mut actions = std::mem::take(&mut self.actions);
        self.subject.let_go(queue, self.ledger.entries[last].id, &mut actions);
        self.settle(&batch, actions)
    }

    /// Lets all go of one queue, when nothing else can happen any more; whether any was held.
    pub fn let_go_of_one(&mut self) -> Checked<bool> {
        let held = self.held.iter().position(|held| !held.is_empty());
        let Some(queue) = held else { return Ok(false) };
        self.let_go(queue, self.held[queue].len()).map(|()| true)
    }

    /// Submits the next request, plugged or not; those that its thread holds back go first.
    pub fn submit_now(&mut self) -> Checked {
        let number = self.ledger.entries.len();
        let plan = &self.scenario.plans[number];
        let queue = plan.queue;
        let truncates =
            |&plugged: &usize| matches!(self.scenario.plans[plugged].op, Op::Truncate | Op::Length);
        if plan.asks.no_wait || self.plugged[queue].iter().flatten().any(truncates) {
            // Some of those that are plugged may be over before it enters: it need not wait then,
            // or finds another length.
            self.submit_all_plugged(queue)?;
        }
        self.announce("submit at once");
        self.plug_batches[queue][self.thread] += 1;
        let mut entered = self.admit_plugged(queue);
        self.admit(&[number]);
        self.latecomer = Some(number);
        let mut actions = std::mem::take(&mut self.actions);
        let key = key(self.thread);
        let id = self.subject.submit_now(queue, key, self.scenario.request(number), &mut actions);
        self.note_id(number, id)?;
        entered.push(number);
        self.settle(&entered, actions)
    }

    /// Unplugs one thread, when nothing else can happen any more; whether one was plugged.
    pub fn unplug_one(&mut self) -> Checked<bool> {
        for queue in 0..self.plugs.len() {
            for thread in 0..THREADS {
                if self.plugs[queue][thread] > 0 {
                    self.thread = thread;
                    return self.unplug(queue).map(|()| true);
                }
            }
        }
        Ok(false)
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

    fn admit_plugged(&mut self, queue: usize) -> Vec<usize> {
        let batch = std::mem::take(&mut self.plugged[queue][self.thread]);
        self.admit_batch(&batch);
        batch
    }

    fn admit_batch(&mut self, batch: &[usize]) {
        self.admit(batch);
        self.counts.batched += batch.len() as u64;
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
