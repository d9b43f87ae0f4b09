//! Batches: what is submitted between `plug` and `unplug` is held back and then enters at once, so
//! that requests of one block find each other before the first of them starts.

use super::entry::Phase;
use super::machine::Machine;
use super::merge::{partial_block, MEMBERS_MAX};
use super::{Action, QueueId, ScratchPool};
use crate::driver::Op;

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Holds back what is submitted from here on; nests.
    pub fn plug(&mut self, queue: QueueId) {
        self.queue(queue).plugged += 1;
    }

    /// The counterpart of `plug`: the outermost one submits what was held, as one batch. Without
    /// a `plug` it does nothing.
    pub fn unplug(&mut self, queue: QueueId, actions: &mut Vec<Action<Q, T>>) {
        let home = self.queue(queue);
        home.plugged = home.plugged.saturating_sub(1);
        if home.plugged == 0 {
            self.submit_held(queue, actions);
        }
    }

    /// Submits what is held back so far, plugged or not.
    pub fn submit_held(&mut self, queue: QueueId, actions: &mut Vec<Action<Q, T>>) {
        if self.queue(queue).held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.queue(queue).held);
        self.share_reads(&held);
        for &slot in &held {
            if self.entry(slot).phase == Phase::Held {
                self.admit(slot, actions);
            }
        }
        let first = actions.len();
        self.run(actions);
        self.join(first, actions);
        // Those that a leader of this batch took in did not wait.
        let waits = |&slot: &u32| {
            let entry = self.entries[slot as usize].as_ref();
            entry.is_some_and(|entry| entry.phase == Phase::Waiting)
        };
        let waits = held.iter().filter(|&slot| waits(slot)).count() as u64;
        let home = self.queue(queue);
        home.stats.waits += waits;
        held.clear();
        home.held = held;
    }

    /// Lets the reads of a batch share I/O: those in one block follow the first of them.
    /// Not around a request that keeps readers out: one that comes after it must not go first.
    fn share_reads(&mut self, batch: &[u32]) {
        if self.keeps_readers_out(batch) {
            return;
        }
        for &slot in batch {
            let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
            let limits = &self.queues[entry.queue as usize].as_ref().expect("open").limits;
            let whole = entry.end() <= self.extent.floor;
            if entry.request.op != Op::Read || entry.request.guest_block > 0 || !whole {
                continue;
            }
            let Some(block) = partial_block(entry, limits) else { continue };
            let leader = *self.read_leaders.entry(block).or_insert(slot);
            let joins = leader != slot && self.entry(leader).members.len() < MEMBERS_MAX;
            if joins {
                self.entry(slot).phase = Phase::Member;
                self.entry(leader).members.push(slot);
            }
        }
        self.read_leaders.clear();
    }
}
