//! Which requests are in flight or waiting, and who waits for whom. Knows ranges and the order of
//! arrival; never I/O, memory or results. `isolation.rs` has a tracker for each kind of conflict.
//!
//! A request waits only for conflicting requests that came before it, so no cycle can exist and
//! no request is overtaken. Two ranges conflict when they overlap and one of them is exclusive.
//!
//! The offsets in use are kept as disjoint spans in order (`spans.rs`). A span names the last
//! exclusive request over it and the shared requests that came after that one. A newcomer waits
//! for the last ones only: these wait for their own predecessors. A request costs two binary
//! searches when it comes and two when it leaves, plus what it touches.
//!
//! Example. Four requests come one after the other; the spans after each of them:
//!
//! ```text
//!  A exclusive [0, 8192)       [0, 8192) last A
//!  S shared    [0, 4096)       [0, 4096) last S after A      [4096, 8192) last A
//!  T shared    [0, 12288)      [0, 4096) last S, T after A   [4096, 8192) last T after A
//!                              [8192, 12288) last T
//!  B exclusive [0, 4096)       [0, 4096) last B              the others as before
//! ```
//!
//! S and T wait for A, each with one blocker; B waits for S and T, with two. B does not name A: it
//! waits for A through S and T. When A leaves, S and T run side by side; when both have left, B.
//!
//! Invariants: spans do not overlap; a span that names no request does not exist; a span that
//! names a request lies inside that request's range.

mod spans;
#[cfg(test)]
mod tests;
mod withdraw;

use smallvec::SmallVec;

use crate::io::Slot;
use spans::{Crowds, Span, Spans};

/// The end of a claim that has no end. No request ends beyond it.
pub const BEYOND: u64 = u64::MAX - 1;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Conflicts with exclusive ones only: a write of whole blocks.
    #[default]
    Shared,
    /// Conflicts with every overlapping one: a read-modify-write.
    Exclusive,
}

/// What a request claims in one tracker: [start, end), not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub start: u64,
    pub end: u64,
    pub access: Access,
}

/// What became of a claim that was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The claim conflicts with none that came before.
    Free,
    /// Requests that came before have to leave first.
    Waits,
}

type Slots = SmallVec<[Slot; 4]>;

/// One request as its tracker knows it.
#[derive(Debug, Default)]
struct Record {
    start: u64,
    end: u64,
    access: Access,
    /// Rises from one request that comes to the next.
    order: u64,
    /// Requests that have to leave before this one may start.
    blockers: u32,
    /// Requests that count this one among their blockers.
    dependents: Slots,
}

/// `CHUNK_MAX`: see `spans.rs`.
#[derive(Debug, Default)]
pub struct Tracker<const CHUNK_MAX: usize = { spans::CHUNK_MAX }> {
    spans: Spans<CHUNK_MAX>,
    /// By slot; slots are small numbers that the caller reuses.
    records: Vec<Record>,
    last_order: u64,
}

impl<const CHUNK_MAX: usize> Tracker<CHUNK_MAX> {
    /// Takes in a claim of the request in `slot`, which has none here.
    pub fn insert(&mut self, slot: Slot, claim: Claim) -> Entered {
        let Claim { start, end, access } = claim;
        assert!(start < end && end <= BEYOND);
        self.record(slot, claim);
        let span = match access {
            Access::Exclusive => Span::exclusive(end, slot),
            Access::Shared => Span::shared(end, slot),
        };
        // Most ranges meet no other.
        let Err(span) = self.spans.insert_if_free(start, span) else { return Entered::Free };
        // Most of the others are writes of parts of one block: the same range again.
        let records = &mut self.records;
        let wait_for_all = |same: &Span, crowds: &Crowds| {
            for &predecessor in same.last_ones(crowds) {
                wait_for(records, slot, predecessor);
            }
        };
        if access == Access::Exclusive && self.spans.replace(start, span, wait_for_all) {
            return Entered::Waits;
        }
        self.spans.split_at(start);
        self.spans.split_at(end);
        match access {
            Access::Exclusive => self.insert_exclusive(slot, start, span),
            Access::Shared => self.insert_shared(slot, start, end),
        }
        match self.records[slot.index()].blockers {
            0 => Entered::Free,
            _ => Entered::Waits,
        }
    }

    /// As `insert`, but only if the claim overlaps no other: then it is `Free`. Returns whether it
    /// was taken in.
    #[inline]
    pub fn insert_where_free(&mut self, slot: Slot, claim: Claim) -> bool {
        let Claim { start, end, access } = claim;
        assert!(start < end && end <= BEYOND);
        let span = match access {
            Access::Exclusive => Span::exclusive(end, slot),
            Access::Shared => Span::shared(end, slot),
        };
        let free = self.spans.insert_if_free(start, span).is_ok();
        if free {
            self.record(slot, claim);
        }
        free
    }

    /// Notes a request that waits for none so far.
    #[inline]
    fn record(&mut self, slot: Slot, claim: Claim) {
        let Claim { start, end, access } = claim;
        if self.records.len() <= slot.index() {
            self.records.resize_with(slot.index() + 1, Record::default);
        }
        self.last_order += 1;
        let record = &mut self.records[slot.index()];
        debug_assert!(record.dependents.is_empty() && record.blockers == 0);
        (record.start, record.end, record.access) = (start, end, access);
        record.order = self.last_order;
    }

    /// Takes `slot` out; requests that waited for it alone are appended to `ready`, oldest first.
    pub fn remove(&mut self, slot: Slot, ready: &mut Vec<Slot>) {
        let record = &mut self.records[slot.index()];
        debug_assert_eq!(record.blockers, 0, "a request leaves only after it ran");
        let (start, end) = (record.start, record.end);
        // A record of no request has an empty range, and nobody waits for it.
        (record.start, record.end) = (0, 0);
        let dependents = match record.dependents.is_empty() {
            true => Slots::new(),
            false => std::mem::take(&mut record.dependents),
        };
        self.spans.forget(slot, start, end);
        for dependent in dependents {
            let waiting = &mut self.records[dependent.index()];
            waiting.blockers -= 1;
            if waiting.blockers == 0 {
                ready.push(dependent);
            }
        }
    }

    /// Whether a request waits for `slot`, with others or alone.
    pub fn has_dependents(&self, slot: Slot) -> bool {
        self.records.get(slot.index()).is_some_and(|record| !record.dependents.is_empty())
    }

    /// Requests that may start as soon as `slot` leaves, oldest first.
    pub fn waiting_only_for(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        let dependents = self.records.get(slot.index()).map(|record| &record.dependents);
        let alone = |&dependent: &Slot| self.records[dependent.index()].blockers == 1;
        dependents.into_iter().flatten().copied().filter(alone)
    }

    /// Whether `waiter` waits for `slot` itself, not only by way of others.
    pub fn holds_up(&self, slot: Slot, waiter: Slot) -> bool {
        let record = self.records.get(slot.index());
        record.is_some_and(|record| record.dependents.contains(&waiter))
    }

    fn insert_exclusive(&mut self, slot: Slot, start: u64, span: Span) {
        let records = &mut self.records;
        self.spans.visit(start, span.end, |_, before, crowds| {
            for &predecessor in before.last_ones(crowds) {
                wait_for(records, slot, predecessor);
            }
        });
        self.spans.clear(start, span.end);
        self.spans.insert(start, span);
    }

    fn insert_shared(&mut self, slot: Slot, start: u64, end: u64) {
        let mut gaps: SmallVec<[(u64, u64); 4]> = SmallVec::new();
        let mut covered = start;
        let records = &mut self.records;
        self.spans.visit(start, end, |at, span, crowds| {
            if covered < at {
                gaps.push((covered, at));
            }
            if let Some(predecessor) = span.last_exclusive(crowds) {
                wait_for(records, slot, predecessor);
            }
            span.share(slot, crowds);
            covered = span.end;
        });
        if covered < end {
            gaps.push((covered, end));
        }
        for (at, end) in gaps {
            self.spans.insert(at, Span::shared(end, slot));
        }
    }
}

/// `slot` waits for `predecessor`, once, however many spans they share: all waits of `slot` are
/// entered during its own insertion, so an earlier wait would be the last of the list.
fn wait_for(records: &mut [Record], slot: Slot, predecessor: Slot) {
    debug_assert_ne!(slot, predecessor);
    let dependents = &mut records[predecessor.index()].dependents;
    if dependents.last() != Some(&slot) {
        dependents.push(slot);
        records[slot.index()].blockers += 1;
    }
}
