//! How a request comes into the machine: it gets a slot and an id, then its place in the order of
//! things, and, when it waits for nobody any more, one in the line for its queue's places.

use super::entry::{Entry, Phase};
use super::isolation::{Claim, WRITES};
use super::machine::Machine;
use super::splice;
use super::tracker::Access;
use super::{Action, QueueConfig, QueueId, Request, RequestId, ScratchPool};
use crate::io::Op;

/// An id is (sequence << SLOT_BITS) | slot: it leads to its request without a map. Sequences run
/// from 1 to SEQUENCE_MAX and start over then, so an id has 63 bits and is never 0.
const SLOT_BITS: u32 = 26;
const SEQUENCE_MAX: u64 = (1 << (63 - SLOT_BITS)) - 1;

/// Slots kept when nothing is in flight: what looks through all of them is not to pay for the
/// largest crowd that there ever was.
const SLOTS_KEPT_MAX: usize = 1024;

/// Where the request with this id is, or was.
pub(super) fn slot_of(id: RequestId) -> u32 {
    (id & ((1 << SLOT_BITS) - 1)) as u32
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// How many came after the request with this id.
    pub(super) fn age(&self, id: RequestId) -> u64 {
        (self.last_sequence + SEQUENCE_MAX - (id >> SLOT_BITS)) % SEQUENCE_MAX
    }

    pub(super) fn place(&mut self, queue: QueueId, request: Request<T>) -> u32 {
        let stats = &mut self.queue(queue).stats;
        stats.in_flight += 1;
        match request.op {
            Op::Read => stats.reads += 1,
            Op::Write => stats.writes += 1,
            Op::WriteZeroes => stats.write_zeroes += 1,
            Op::Discard => stats.discards += 1,
            Op::Truncate | Op::Length | Op::Fill => {}
            Op::Flush => stats.flushes += 1,
        }
        if self.free.len() == self.entries.len() && self.entries.len() > SLOTS_KEPT_MAX {
            (self.entries, self.free) = (Vec::new(), Vec::new());
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        assert!(slot < 1 << SLOT_BITS, "no machine has so many requests in flight");
        self.last_sequence = self.last_sequence % SEQUENCE_MAX + 1;
        let id = self.last_sequence << SLOT_BITS | u64::from(slot);
        self.entries[slot as usize] = Some(Entry::new(id, queue, request));
        slot
    }

    /// Enters a request into the order of things; whether it has to wait for somebody.
    pub(super) fn admit(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) -> bool {
        if self.needs_isolation(slot) {
            return self.admit_isolated(slot, actions);
        }
        if let Some(claim) = self.write_claim(slot) {
            self.claim(slot, WRITES, claim);
        }
        self.admitted(slot)
    }

    /// It has claimed what it claims: it waits, or it may start. Whether it waits.
    pub(super) fn admitted(&mut self, slot: u32) -> bool {
        let entry = self.entry(slot);
        if entry.waits_in == 0 {
            self.enqueue(slot);
            return false;
        }
        entry.phase = Phase::Waiting;
        self.waiting += 1;
        true
    }

    /// What a request claims among writes: its range if it is whole blocks, else, alone, all that
    /// it may read and write back.
    pub(super) fn write_claim(&self, slot: u32) -> Option<Claim> {
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        match entry.request.op {
            Op::Write if entry.request.bytes > 0 => {}
            Op::WriteZeroes | Op::Discard | Op::Truncate => return self.change_claim(slot),
            _ => return None,
        }
        let QueueConfig { granule, last_block, .. } = *self.config_of(slot);
        let (start, end) = (entry.request.offset, entry.end());
        let aligned = start.is_multiple_of(granule) && end.is_multiple_of(granule);
        if aligned && end <= last_block {
            return Some(Claim { start, end, access: Access::Shared });
        }
        let (start, end) = (splice::round_down(start, granule), end.next_multiple_of(granule));
        Some(Claim { start, end, access: Access::Exclusive })
    }

    pub(super) fn enqueue(&mut self, slot: u32) {
        let entry = self.entry(slot);
        let waited = std::mem::replace(&mut entry.phase, Phase::Queued) == Phase::Waiting;
        let queue = entry.queue;
        self.waiting -= usize::from(waited);
        self.queue(queue).queued.push_back(slot);
        self.runnable.push(queue);
    }

    /// These wait for nobody in `tracker` any more.
    pub(super) fn set_free(&mut self, waiters: &mut Vec<u32>, tracker: u8) {
        for waiter in waiters.drain(..) {
            let entry = self.entry(waiter);
            entry.waits_in &= !tracker;
            if entry.waits_in == 0 && entry.phase == Phase::Waiting {
                self.enqueue(waiter);
            }
        }
    }
}
