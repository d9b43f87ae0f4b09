//! Requests that end before they have started: taken back by their owner, or refused because they
//! would have had to wait. Nothing of them has been read or written, and what the others wait for
//! is what it would be had they never come.

use super::change::Step;
use super::entering::slot_of;
use super::entry::Phase;
use super::machine::Machine;
use super::{Action, QueueId, RequestId, ScratchPool};
use crate::driver::Op;

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
        if entry.begun {
            return Err(libc::EBUSY);
        }
        match entry.phase {
            Phase::Held => self.queue(queue).held.retain(|&held| held != slot),
            Phase::Waiting => self.waiting -= 1,
            Phase::Queued => self.leave_line(queue, slot),
            Phase::Member => self.leave_leader(slot)?,
            Phase::Changing => {
                self.stop_asking(slot);
                return Err(libc::EBUSY);
            }
            Phase::Edges | Phase::Moving => return Err(libc::EBUSY),
        }
        self.withdraw(slot);
        self.end_unstarted(slot, libc::ECANCELED, actions);
        self.run(actions);
        Ok(())
    }

    /// A zero write or a discard that has a long way to go ends as soon as what it has asked of the
    /// storage already is over.
    fn stop_asking(&mut self, slot: u32) {
        let limits = self.limits_of(slot).clone();
        let entry = self.entry(slot);
        let step = entry.change.as_ref().and_then(|change| change.steps.last());
        let left = match step {
            Some(Step::Zeroes(zeroes)) => zeroes.left_to_ask(&limits),
            Some(Step::Discard { position, end }) => end - position,
            _ => 0,
        };
        if left > limits.endless && entry.error.is_none() {
            entry.error = Some(libc::ECANCELED);
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
        let next = members.remove(0);
        queued[at] = next;
        let next = self.entry(next);
        next.phase = Phase::Queued;
        next.members = members;
    }

    /// Its leader goes on without it, unless the I/O that they share is at the storage.
    fn leave_leader(&mut self, slot: u32) -> Result<(), i32> {
        let leads = |entry: &&mut super::entry::Entry<T>| entry.members.contains(&slot);
        let leader = self.entries.iter_mut().flatten().find(leads).expect("members have one");
        if leader.phase == Phase::Moving {
            return Err(libc::EBUSY);
        }
        leader.members.retain(|member| *member != slot);
        if leader.request.op == Op::Write {
            // What was counted when it joined: see `absorb_writes` and `begin_write`.
            let queue = leader.queue;
            let stats = &mut self.queue(queue).stats;
            stats.merged -= 1;
            stats.rmw -= 1;
            stats.rmw_reads_skipped -= 1;
        }
        Ok(())
    }
}
