//! Batches: what is submitted between `plug` and `unplug` is held back and then enters at once, so
//! that requests of one block find each other before the first of them starts.
//!
//! Whoever plugs has a key, and a plug holds back what comes with the same key. The machine knows
//! nothing of threads; its caller has a key for each of them.

use std::cmp::Reverse;

use super::entry::Phase;
use super::machine::Machine;
use super::merge::{partial_block, MEMBERS_MAX};
use super::{Action, PlugKey, QueueId, ScratchPool};
use crate::io::Op;

/// What one key holds back in one queue.
#[derive(Debug)]
pub(super) struct Plug {
    pub(super) key: PlugKey,
    /// How many `plug`s are open; at least 1.
    depth: u32,
    /// In order of submission.
    pub(super) held: Vec<u32>,
}

impl<Q> super::machine::Queue<Q> {
    /// As a rule nobody is plugged, and hardly ever more than a few are.
    pub(super) fn plug_of(&mut self, key: PlugKey) -> Option<&mut Plug> {
        self.plugs.iter_mut().find(|plug| plug.key == key)
    }
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Holds back what is submitted with this key from here on; nests.
    pub fn plug(&mut self, queue: QueueId, key: PlugKey) {
        let home = self.queue(queue);
        match home.plug_of(key) {
            Some(plug) => plug.depth += 1,
            None => {
                let held = std::mem::take(&mut home.spare_held);
                home.plugs.push(Plug { key, depth: 1, held });
            }
        }
    }

    /// The counterpart of `plug`: the outermost one submits what was held, as one batch. Without
    /// a `plug` it does nothing.
    pub fn unplug(&mut self, queue: QueueId, key: PlugKey, actions: &mut Vec<Action<Q, T>>) {
        let home = self.queue(queue);
        let Some(at) = home.plugs.iter().position(|plug| plug.key == key) else { return };
        home.plugs[at].depth -= 1;
        if home.plugs[at].depth == 0 {
            let held = home.plugs.swap_remove(at).held;
            self.submit_batch(queue, held, actions);
        }
    }

    /// Submits what the key holds back so far; its plugs stay.
    pub fn submit_held(&mut self, queue: QueueId, key: PlugKey, actions: &mut Vec<Action<Q, T>>) {
        let home = self.queue(queue);
        let spare = std::mem::take(&mut home.spare_held);
        match home.plug_of(key) {
            Some(plug) if !plug.held.is_empty() => {
                let held = std::mem::replace(&mut plug.held, spare);
                self.submit_batch(queue, held, actions);
            }
            _ => home.spare_held = spare,
        }
    }

    /// Submits what all keys hold back so far, as one batch, in order of submission.
    pub fn submit_all_held(&mut self, queue: QueueId, actions: &mut Vec<Action<Q, T>>) {
        let plugs = &mut self.queue(queue).plugs;
        let mut held: Vec<u32> = plugs.iter_mut().flat_map(|plug| plug.held.drain(..)).collect();
        held.sort_by_cached_key(|&slot| Reverse(self.age(self.known(slot).id)));
        self.submit_batch(queue, held, actions);
    }

    fn submit_batch(
        &mut self,
        queue: QueueId,
        mut held: Vec<u32>,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        if held.is_empty() {
            self.queue(queue).spare_held = held;
            return;
        }
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
        home.spare_held = held;
    }

    /// Lets the reads of a batch share I/O: those in one block follow the first of them.
    /// Not around a request that keeps readers out: one that comes after it must not go first.
    fn share_reads(&mut self, batch: &[u32]) {
        if self.keeps_readers_out(batch) {
            return;
        }
        for &slot in batch {
            let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
            let config = &self.queues[entry.queue as usize].as_ref().expect("open").config;
            let whole = entry.end() <= self.extent.floor;
            if entry.request.op != Op::Read || entry.request.guest_block > 0 || !whole {
                continue;
            }
            let Some(block) = partial_block(entry, config) else { continue };
            let leader = *self.read_leaders.entry(block).or_insert(slot);
            let joins = leader != slot && self.entry(leader).members.len() < MEMBERS_MAX;
            if joins {
                let member = self.entry(slot);
                (member.phase, member.leader) = (Phase::Member, leader);
                self.entry(leader).members.push(slot);
            }
        }
        self.read_leaders.clear();
    }
}
