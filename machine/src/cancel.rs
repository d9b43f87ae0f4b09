//! Requests that end before they have started: taken back by their owner, or refused because they
//! would have had to wait. Nothing of them has been read or written, and what the others wait for
//! is what it would be had they never come.

use std::cmp::Reverse;

use super::change::Step;
use super::entering::slot_of;
use super::entry::{Entry, Phase};
use super::machine::Machine;
use super::{Action, QueueId, RequestId, ScratchPool};
use crate::io::Op;

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Takes back a request that has not reached the storage. It completes with ECANCELED then.
    /// EBUSY: it is at the storage, and comes to its end; that may be ECANCELED, too, for a zero
    /// write or a discard that has a long way to go. ENOENT: no such request of this queue, or its result is
    /// decided.
    pub fn cancel(
        &mut self,
        queue: QueueId,
        id: RequestId,
        actions: &mut Vec<Action<Q, T>>,
    ) -> Result<(), i32> {
        let slot = slot_of(id);
        let entry = self.entries.get(slot as usize).and_then(Option::as_ref);
        let entry = entry.filter(|entry| entry.id == id && entry.queue == queue);
        let entry = entry.ok_or(libc::ENOENT)?;
        if !self.may_leave(entry) {
            self.stop_asking(slot);
            return Err(libc::EBUSY);
        }
        let leader = entry.leader;
        match entry.phase {
            Phase::Held => {
                let plugs = &mut self.queue(queue).plugs;
                plugs.iter_mut().for_each(|plug| plug.held.retain(|&held| held != slot));
            }
            Phase::Waiting => self.waiting -= 1,
            Phase::Queued => self.leave_line(queue, slot),
            Phase::Member => self.leave_leader(slot, leader),
            Phase::Edges | Phase::Moving | Phase::Changing => unreachable!("it may leave"),
        }
        self.withdraw(&[slot]);
        self.entry(slot).cancelled = true;
        self.end_unstarted(slot, libc::ECANCELED, actions);
        self.run(actions);
        Ok(())
    }

    /// A zero write or a discard that has a long way to go ends as soon as what it has asked of the
    /// storage already is over.
    fn stop_asking(&mut self, slot: u32) {
        let Entry { begun, phase, .. } = *self.known(slot);
        if begun || phase != Phase::Changing {
            return;
        }
        let config = self.config_of(slot).clone();
        let entry = self.entry(slot);
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

    /// As `cancel` for each request of the queue; how many are taken back. In one go, so that it
    /// costs no more than in proportion to what is there.
    pub fn cancel_all(&mut self, queue: QueueId, actions: &mut Vec<Action<Q, T>>) -> usize {
        let mine = |entry: &Option<Entry<T>>| entry.as_ref().is_some_and(|it| it.queue == queue);
        let all = (0..).zip(&self.entries).filter(|(_, entry)| mine(entry)).map(|(slot, _)| slot);
        let (mut gone, stay): (Vec<u32>, Vec<u32>) =
            all.partition(|&slot| self.may_leave(self.known(slot)));
        stay.iter().for_each(|&slot| self.stop_asking(slot));
        // In order of submission, as their callbacks will run.
        gone.sort_by_cached_key(|&slot| Reverse(self.age(self.known(slot).id)));
        // All of them are marked before any leaves: whoever leaves its leader looks whether that
        // one stays.
        gone.iter().for_each(|&slot| self.entry(slot).cancelled = true);
        let leaves = |entry: &Option<Entry<T>>| entry.as_ref().is_some_and(|it| it.cancelled);
        let home = self.queues[queue as usize].as_mut().expect("an open queue");
        home.plugs.iter_mut().for_each(|plug| plug.held.clear());
        home.queued.retain(|&slot| !leaves(&self.entries[slot as usize]));
        for &slot in &gone {
            let Entry { phase, leader, .. } = *self.known(slot);
            self.waiting -= usize::from(phase == Phase::Waiting);
            if phase == Phase::Member && !self.known(leader).cancelled {
                self.leave_leader(slot, leader);
            }
        }
        self.withdraw(&gone);
        for &slot in &gone {
            self.entry(slot).members.clear();
            self.end_unstarted(slot, libc::ECANCELED, actions);
        }
        self.run(actions);
        gone.len()
    }

    /// Whether a request can be taken back: nothing of it has reached the storage.
    fn may_leave(&self, entry: &Entry<T>) -> bool {
        !entry.begun
            && match entry.phase {
                Phase::Held | Phase::Waiting | Phase::Queued => true,
                // What it shares with its leader has not gone out.
                Phase::Member => self.known(entry.leader).phase != Phase::Moving,
                Phase::Edges | Phase::Moving | Phase::Changing => false,
            }
    }

    /// Completes a request that is in no tracker and nobody's member.
    pub(super) fn end_unstarted(&mut self, slot: u32, errno: i32, actions: &mut Vec<Action<Q, T>>) {
        let entry = self.entry(slot);
        debug_assert!(entry.outstanding == 0 && entry.members.is_empty() && entry.tracked == 0);
        entry.error = Some(errno);
        // It may have inherited one.
        if let Some(images) = entry.images.take() {
            self.scratch.give(images);
        }
        self.leave(slot, actions);
    }

    /// It wants no place any more. If reads share with it the next of them leads.
    fn leave_line(&mut self, queue: QueueId, slot: u32) {
        let mut members = std::mem::take(&mut self.entry(slot).members);
        let queued = &mut self.queue(queue).queued;
        let at = queued.iter().position(|&other| other == slot).expect("queued");
        if members.is_empty() {
            queued.remove(at);
            return;
        }
        let leader = members.remove(0);
        queued[at] = leader;
        members.iter().for_each(|&member| self.entry(member).leader = leader);
        let next = self.entry(leader);
        next.phase = Phase::Queued;
        next.members = members;
    }

    /// Its leader goes on without it.
    fn leave_leader(&mut self, slot: u32, leader: u32) {
        let leader = self.entry(leader);
        leader.members.retain(|member| *member != slot);
        if leader.request.op == Op::Write {
            // What was counted when it joined: see `absorb_writes` and `begin_write`.
            let queue = leader.queue;
            let stats = &mut self.queue(queue).stats;
            stats.merged -= 1;
            stats.rmw -= 1;
            stats.rmw_reads_skipped -= 1;
        }
    }
}
