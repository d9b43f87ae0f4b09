//! What holds up requests that have been in flight for long, for the log. Only looks: it costs
//! nothing until it is asked, then time in proportion to what is in flight.
//!
//! Example. A write A of [0, 512) is at the storage. A write B of [512, 1024) waits for A, and a
//! write C of [0, 4096) for B. Of all three A's I/O is what is waited for: `behind` is None of A,
//! and A of B and C.

use crate::io::{Op, Slot};
use crate::isolation::Isolation;
use crate::table::{Among, Entry, Phase, Table};
use crate::{QueueId, Request, RequestId};

/// Where a request stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// A plug holds it back.
    Plugged,
    /// A throttle holds it back.
    Throttled,
    /// The object is paused: see `pause.rs`.
    Paused,
    /// Its queue has as many requests at the storage as it may have.
    Queued,
    /// Its I/O was refused, and larger alignments are being looked for; or it waits until they are.
    Repaired,
    /// A notifier has been told of it, and has not answered.
    Announced,
    /// So many of its I/Os are at the storage.
    AtStorage(u32),
}

/// A request, or one that it waits for: what it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub op: Op,
    pub offset: u64,
    pub bytes: u64,
}

impl Asked {
    pub fn of<T>(request: &Request<T>) -> Asked {
        Asked { op: request.op, offset: request.offset, bytes: request.bytes }
    }
}

/// A request that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    pub id: RequestId,
    pub asked: Asked,
    /// The request that this one waits for in the end; None: it waits for no other.
    pub behind: Option<Asked>,
    /// Where that other request stays; where this one does, if it waits for no other.
    pub stay: Stay,
}

/// The fill of an overlay goes on for long, and nobody waits for it.
fn is_long<T>(entry: &Entry<T>) -> bool {
    entry.request.op == Op::Populate
}

/// Looks at requests.
pub struct Looking<'a, Q, T, S> {
    pub table: &'a Table<Q, T, S>,
    pub isolation: &'a Isolation,
    pub repair_under_way: bool,
}

impl<Q, T, S> Looking<'_, Q, T, S> {
    /// Requests of a queue that are no younger than `until`, the oldest first.
    pub fn late(&self, queue: QueueId, until: RequestId) -> Vec<Late> {
        let youngest = self.table.age(until);
        let its = |(_, entry): &(Slot, &Entry<T>)| {
            entry.queue == queue && self.table.age(entry.id) >= youngest && !is_long(entry)
        };
        let mut late: Vec<Late> =
            self.table.in_flight().filter(its).map(|(slot, _)| self.look_at(slot)).collect();
        late.sort_by_cached_key(|late| std::cmp::Reverse(self.table.age(late.id)));
        late
    }

    /// Requests of a queue that have I/O at the storage.
    pub fn at_storage(&self, queue: QueueId) -> Vec<(RequestId, Asked)> {
        let moves = |entry: &Entry<T>| match entry.phase {
            Phase::Member => self.table.known(entry.leader).outstanding > 0,
            _ => entry.outstanding > 0,
        };
        let its = self.table.in_flight().map(|(_, entry)| entry);
        let its = its.filter(|entry| entry.queue == queue && moves(entry) && !is_long(entry));
        its.map(|entry| (entry.id, asked(entry))).collect()
    }

    fn look_at(&self, slot: Slot) -> Late {
        let mut last = slot;
        // Each step leads to an earlier request, or from a member to its leader, so this ends.
        while let Some(next) = self.waits_for(last) {
            last = next;
        }
        let entry = self.table.known(slot);
        let behind = (last != slot).then(|| asked(self.table.known(last)));
        Late { id: entry.id, asked: asked(entry), behind, stay: self.stay(last) }
    }

    /// The request that the one with this id waits for itself.
    pub fn whom(&self, id: RequestId) -> Option<RequestId> {
        let (slot, _) = self.table.in_flight().find(|(_, entry)| entry.id == id)?;
        self.waits_for(slot).map(|other| self.table.known(other).id)
    }

    /// A request that this one waits for itself.
    fn waits_for(&self, slot: Slot) -> Option<Slot> {
        let entry = self.table.known(slot);
        match entry.phase {
            Phase::Member => Some(entry.leader),
            Phase::Waiting => Among::ALL.into_iter().find_map(|among| {
                let tracker = self.isolation.among(among);
                let blocks = |&(other, _): &(Slot, _)| tracker.holds_up(other, slot);
                let waits = entry.waits_among.contains(among);
                waits.then(|| self.table.in_flight().find(blocks)).flatten().map(|found| found.0)
            }),
            _ => None,
        }
    }

    fn stay(&self, slot: Slot) -> Stay {
        let entry = self.table.known(slot);
        match entry.phase {
            Phase::Plugged if self.is_held(slot, entry.queue) => Stay::Throttled,
            Phase::Plugged => Stay::Plugged,
            Phase::Announcing => Stay::Announced,
            _ if entry.outstanding > 0 => Stay::AtStorage(entry.outstanding),
            _ if self.repair_under_way => Stay::Repaired,
            _ if self.table.pauses > 0 => Stay::Paused,
            _ => Stay::Queued,
        }
    }

    fn is_held(&self, slot: Slot, queue: QueueId) -> bool {
        self.table.known_queue(queue).held.iter().any(|held| held.slot == slot)
    }
}

fn asked<T>(entry: &Entry<T>) -> Asked {
    let request = &entry.request;
    Asked { op: request.op, offset: request.offset, bytes: request.bytes + entry.filled }
}
