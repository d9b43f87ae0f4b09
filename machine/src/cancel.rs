//! Requests that end before they have started, taken back by their owner. Nothing of them has been
//! read or written, and the other requests wait only for what they would wait for without them.
//!
//! Example, with blocks of 4096. A write A of [0, 512) reads its block. B, [512, 1024), is its
//! member, C, [0, 8192), waits for B. B is cancelled: A goes on without it, and C waits for A. A
//! cannot be cancelled (EBUSY): its I/O is at the storage, though nothing is written yet.

use std::cmp::Reverse;

use crate::extent::Extent;
use crate::io::{Op, Slot};
use crate::isolation::Isolation;
use crate::leaving::Leaving;
use crate::table::{slot_of, Entry, Phase, Queue, Step, Table};
use crate::{QueueId, RequestId, ScratchPool};

/// Takes requests back, and sees all that they may be in.
pub struct Cancelling<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a mut Isolation,
    pub extent: &'a mut Extent,
}

/// How far away from the storage a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Nothing of it has reached the storage: it can be taken back.
    Here,
    AtStorage,
}

impl<Q: Clone, T, S: ScratchPool> Cancelling<'_, Q, T, S> {
    /// As `Machine::cancel`.
    pub fn cancel(&mut self, queue: QueueId, id: RequestId) -> Result<(), i32> {
        let slot = slot_of(id);
        let entry = self.table.get(slot).filter(|entry| entry.id == id && entry.queue == queue);
        let entry = entry.ok_or(libc::ENOENT)?;
        if self.reach(entry) == Reach::AtStorage {
            if entry.request.op == Op::Populate {
                return self.stop_filling(slot);
            }
            self.stop_asking(slot);
            return Err(libc::EBUSY);
        }
        let leader = entry.leader;
        match entry.phase {
            Phase::Plugged => {
                let Queue { plugs, held, .. } = self.table.queue(queue);
                plugs.iter_mut().for_each(|plug| plug.plugged.retain(|&other| other != slot));
                held.retain(|its| its.slot != slot);
            }
            Phase::Waiting => self.table.waiting -= 1,
            Phase::Queued => self.leave_line(queue, slot),
            Phase::Member => self.leave_leader(slot, leader),
            Phase::Announcing | Phase::Edges | Phase::Moving | Phase::Changing => {
                unreachable!("a notifier is asked, or it is at the storage")
            }
        }
        self.withdraw(&[slot]);
        self.table.entry(slot).cancelled = true;
        self.leaving().end_unstarted(slot, libc::ECANCELED);
        Ok(())
    }

    /// A zero write or a discard that has more than `endless` left to ask for asks for no more: it
    /// ends as soon as its I/Os at the storage are over.
    fn stop_asking(&mut self, slot: Slot) {
        let Entry { begun, phase, .. } = *self.table.known(slot);
        if begun || phase != Phase::Changing {
            return;
        }
        let config = self.table.config_of(slot).clone();
        let entry = self.table.entry(slot);
        let step = entry.change.as_ref().and_then(|change| change.steps.last());
        let left = match step {
            Some(Step::Zeroes(zeroes)) => zeroes.left_to_ask(&config),
            Some(Step::Discard { position, end }) => end - position,
            _ => 0,
        };
        if left > config.endless && entry.error.is_none() {
            entry.error = Some(libc::ECANCELED);
            entry.cancelled = true;
        }
    }

    /// A fill copies nothing more, and ends when what it has at the storage is over.
    fn stop_filling(&mut self, slot: Slot) -> Result<(), i32> {
        let entry = self.table.entry(slot);
        if entry.error.is_some() {
            return Err(libc::ENOENT);
        }
        (entry.error, entry.cancelled) = (Some(libc::ECANCELED), true);
        Ok(())
    }

    /// As `Machine::cancel_all`.
    pub fn cancel_all(&mut self, queue: QueueId) -> usize {
        let mine = self.table.in_flight().filter(|(_, entry)| entry.queue == queue);
        let (mut gone, stay): (Vec<Slot>, Vec<Slot>) = mine
            .map(|(slot, _)| slot)
            .partition(|&slot| self.reach(self.table.known(slot)) == Reach::Here);
        let mut stopped = 0;
        for &slot in &stay {
            match self.table.known(slot).request.op {
                Op::Populate => stopped += usize::from(self.stop_filling(slot).is_ok()),
                _ => self.stop_asking(slot),
            }
        }
        // In order of submission, as their callbacks will run.
        gone.sort_by_cached_key(|&slot| Reverse(self.table.age(self.table.known(slot).id)));
        // All of them are marked before any leaves: a member that leaves looks whether its leader
        // stays.
        gone.iter().for_each(|&slot| self.table.entry(slot).cancelled = true);
        let Table { queues, entries, .. } = &mut *self.table;
        let home = queues[queue as usize].as_mut().expect("an open queue");
        home.plugs.iter_mut().for_each(|plug| plug.plugged.clear());
        home.held.clear();
        home.queued.retain(|&slot| !entries[slot.index()].cancelled);
        for &slot in &gone {
            let Entry { phase, leader, .. } = *self.table.known(slot);
            self.table.waiting -= usize::from(phase == Phase::Waiting);
            if phase == Phase::Member && !self.table.known(leader).cancelled {
                self.leave_leader(slot, leader);
            }
        }
        self.withdraw(&gone);
        for &slot in &gone {
            self.table.entry(slot).members.clear();
            self.leaving().end_unstarted(slot, libc::ECANCELED);
        }
        gone.len() + stopped
    }

    /// Takes requests out of all trackers.
    fn withdraw(&mut self, slots: &[Slot]) {
        self.isolation.withdraw(self.table, slots);
        self.extent.forget_untracked_truncates(self.table);
    }

    fn reach(&self, entry: &Entry<T>) -> Reach {
        match entry.phase {
            _ if entry.begun => Reach::AtStorage,
            Phase::Plugged | Phase::Waiting | Phase::Queued => Reach::Here,
            Phase::Member => match self.table.known(entry.leader).phase {
                Phase::Moving => Reach::AtStorage,
                // The I/O that it shares with its leader has not gone out.
                _ => Reach::Here,
            },
            // A notifier has been told that it will change bytes.
            Phase::Announcing => Reach::AtStorage,
            Phase::Edges | Phase::Moving | Phase::Changing => Reach::AtStorage,
        }
    }

    /// A queued request wants no place any more. If reads share its I/O, the next of them becomes
    /// their leader, and gets its place in the line.
    fn leave_line(&mut self, queue: QueueId, slot: Slot) {
        let mut members = std::mem::take(&mut self.table.entry(slot).members);
        let queued = &mut self.table.queue(queue).queued;
        let at = queued.iter().position(|&other| other == slot).expect("queued");
        if members.is_empty() {
            queued.remove(at);
            return;
        }
        let leader = members.remove(0);
        queued[at] = leader;
        members.iter().for_each(|&member| self.table.entry(member).leader = leader);
        let next = self.table.entry(leader);
        next.phase = Phase::Queued;
        next.members = members;
    }

    /// The leader of a member goes on without it.
    fn leave_leader(&mut self, slot: Slot, leader: Slot) {
        let leader = self.table.entry(leader);
        leader.members.retain(|member| *member != slot);
        let (home, writes) = (leader.queue, leader.request.op == Op::Write);
        if writes {
            // What was counted when it joined: see `absorb_writes` and `begin_write`.
            let queue = self.table.known(slot).queue;
            self.table.riding -= usize::from(queue != home);
            let stats = &mut self.table.queue(queue).stats;
            stats.merged -= 1;
            stats.rmw -= 1;
            stats.rmw_reads_skipped -= 1;
        }
    }

    fn leaving(&mut self) -> Leaving<'_, Q, T, S> {
        Leaving { table: self.table, isolation: self.isolation, extent: self.extent }
    }
}
