//! Which requests are in flight or waiting, and who waits for whom. Knows ranges and arrival order;
//! never I/O, memory or results. `isolation.rs` has one for each kind of conflict.
//!
//! A request waits only for conflicting requests that came before it, so no cycle can exist and
//! nobody is overtaken. Two ranges conflict when they overlap and one of them is exclusive.
//!
//! The offsets in use are kept as disjoint spans in order (`spans.rs`). A span names the last
//! exclusive request over it and the shared ones that came after that. A newcomer therefore
//! waits for the last ones only: these wait for their own predecessors. With exclusive A, then
//! shared S and T, then exclusive B over one block: S and T wait for A, B waits for S and T, and
//! from then on the span says just "B". One request costs two binary searches each way, plus what
//! it touches.
//!
//! Invariants: spans do not overlap; a span that names nobody does not exist; a span that names
//! a request lies inside that request's range.

mod withdraw;

use smallvec::SmallVec;

use super::spans::{Slot, Span, Spans};

/// Requests end below this.
pub(super) const BEYOND: u64 = u64::MAX - 1;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Conflicts with exclusive ones only: a write of whole blocks.
    #[default]
    Shared,
    /// Conflicts with every overlapping one: a read-modify-write.
    Exclusive,
}

type Slots = SmallVec<[Slot; 4]>;

#[derive(Debug, Default)]
struct Tracked {
    start: u64,
    end: u64,
    access: Access,
    /// Rises from one that comes to the next.
    order: u64,
    /// Requests that have to leave before this one may start.
    blockers: u32,
    /// Those that count this one among their blockers.
    dependents: Slots,
}

#[derive(Debug, Default)]
pub struct Tracker {
    spans: Spans,
    /// By slot; slots are small numbers that the caller reuses.
    tracked: Vec<Tracked>,
    last_order: u64,
}

impl Tracker {
    /// Takes in [start, end), which is not empty. True: it conflicts with nothing and may start.
    pub fn insert(&mut self, slot: Slot, start: u64, end: u64, access: Access) -> bool {
        assert!(start < end && end <= BEYOND);
        if self.tracked.len() <= slot as usize {
            self.tracked.resize_with(slot as usize + 1, Tracked::default);
        }
        debug_assert!(self.tracked[slot as usize].dependents.is_empty());
        self.last_order += 1;
        let order = self.last_order;
        let dependents = Slots::new();
        self.tracked[slot as usize] =
            Tracked { start, end, access, order, blockers: 0, dependents };
        let span = match access {
            Access::Exclusive => Span::exclusive(end, slot),
            Access::Shared => Span::shared(end, slot),
        };
        // Most ranges meet no other.
        let Err(span) = self.spans.insert_if_free(start, span) else { return true };
        self.spans.split_at(start);
        self.spans.split_at(end);
        match access {
            Access::Exclusive => self.insert_exclusive(slot, start, span),
            Access::Shared => self.insert_shared(slot, start, end),
        }
        self.tracked[slot as usize].blockers == 0
    }

    /// Takes `slot` out; those that waited for it alone are appended to `ready`, oldest first.
    pub fn remove(&mut self, slot: Slot, ready: &mut Vec<Slot>) {
        let Tracked { start, end, blockers, dependents, .. } =
            std::mem::take(&mut self.tracked[slot as usize]);
        debug_assert_eq!(blockers, 0, "a request leaves only after it ran");
        self.spans.forget(slot, start, end);
        for dependent in dependents {
            let waiting = &mut self.tracked[dependent as usize];
            waiting.blockers -= 1;
            if waiting.blockers == 0 {
                ready.push(dependent);
            }
        }
    }

    /// Those that may start as soon as `slot` leaves, oldest first.
    pub fn waiting_only_for(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        let dependents = self.tracked.get(slot as usize).map(|tracked| &tracked.dependents);
        let alone = |&dependent: &Slot| self.tracked[dependent as usize].blockers == 1;
        dependents.into_iter().flatten().copied().filter(alone)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn insert_exclusive(&mut self, slot: Slot, start: u64, span: Span) {
        let tracked = &mut self.tracked;
        self.spans.visit(start, span.end, |_, before| {
            for &predecessor in before.last_ones() {
                wait_for(tracked, slot, predecessor);
            }
        });
        self.spans.clear(start, span.end);
        self.spans.insert(start, span);
    }

    fn insert_shared(&mut self, slot: Slot, start: u64, end: u64) {
        let mut gaps: SmallVec<[(u64, u64); 4]> = SmallVec::new();
        let mut covered = start;
        let tracked = &mut self.tracked;
        self.spans.visit(start, end, |at, span| {
            if covered < at {
                gaps.push((covered, at));
            }
            if let Some(predecessor) = span.last_exclusive() {
                wait_for(tracked, slot, predecessor);
            }
            span.share(slot);
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

/// `slot` waits for `predecessor`, once, however many spans they share: all its waits are entered
/// during its own insertion, so an earlier one would be the last of the list.
fn wait_for(tracked: &mut [Tracked], slot: Slot, predecessor: Slot) {
    debug_assert_ne!(slot, predecessor);
    let dependents = &mut tracked[predecessor as usize].dependents;
    if dependents.last() != Some(&slot) {
        dependents.push(slot);
        tracked[slot as usize].blockers += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Access::{Exclusive, Shared};
    use super::*;

    fn left(tracker: &mut Tracker, slot: Slot) -> Vec<Slot> {
        let mut ready = Vec::new();
        tracker.remove(slot, &mut ready);
        ready
    }

    #[test]
    fn shared_ranges_never_wait_for_each_other() {
        let mut tracker = Tracker::default();
        assert!(tracker.insert(0, 0, 100, Shared));
        assert!(tracker.insert(1, 50, 150, Shared));
        assert!(tracker.insert(2, 0, 150, Shared));
        for slot in 0..3 {
            assert_eq!(left(&mut tracker, slot), []);
        }
        assert!(tracker.is_empty());
    }

    #[test]
    fn exclusive_ranges_form_a_chain_in_arrival_order() {
        let mut tracker = Tracker::default();
        assert!(tracker.insert(0, 0, 8, Exclusive));
        assert!(!tracker.insert(1, 4, 12, Exclusive));
        assert!(!tracker.insert(2, 0, 16, Exclusive));
        assert_eq!(left(&mut tracker, 0), [1]);
        assert_eq!(left(&mut tracker, 1), [2]);
        assert_eq!(left(&mut tracker, 2), []);
        assert!(tracker.is_empty());
    }

    #[test]
    fn a_waiting_exclusive_request_is_not_overtaken_by_shared_ones() {
        let mut tracker = Tracker::default();
        assert!(tracker.insert(0, 0, 8, Shared));
        assert!(!tracker.insert(1, 0, 8, Exclusive));
        assert!(!tracker.insert(2, 0, 8, Shared));
        assert!(tracker.insert(3, 8, 16, Shared));
        assert_eq!(left(&mut tracker, 0), [1]);
        assert_eq!(left(&mut tracker, 1), [2]);
        assert_eq!(left(&mut tracker, 2), []);
        assert_eq!(left(&mut tracker, 3), []);
        assert!(tracker.is_empty());
    }

    #[test]
    fn one_wait_is_counted_once_across_split_spans() {
        let mut tracker = Tracker::default();
        assert!(tracker.insert(0, 0, 30, Shared));
        assert!(tracker.insert(1, 10, 20, Shared));
        assert!(!tracker.insert(2, 0, 30, Exclusive));
        assert_eq!(left(&mut tracker, 0), []);
        assert_eq!(left(&mut tracker, 1), [2]);
        assert_eq!(left(&mut tracker, 2), []);
        assert!(tracker.is_empty());
    }

    #[test]
    fn agrees_with_a_list_of_all_requests() {
        struct Naive {
            slot: Slot,
            start: u64,
            end: u64,
            access: Access,
        }
        let mut seed = 1u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let mut tracker = Tracker::default();
            let mut list: Vec<Naive> = Vec::new();
            let mut running: Vec<Slot> = Vec::new();
            let may_run = |list: &[Naive], i: usize| {
                let me = &list[i];
                list[..i].iter().all(|other| {
                    let apart = other.end <= me.start || me.end <= other.start;
                    apart || (other.access == Shared && me.access == Shared)
                })
            };
            for slot in 0..40 {
                let start = random(20);
                let end = start + 1 + random(10);
                let access = if random(2) == 0 { Shared } else { Exclusive };
                list.push(Naive { slot, start, end, access });
                let free = tracker.insert(slot, start, end, access);
                assert_eq!(free, may_run(&list, list.len() - 1));
                if free {
                    running.push(slot);
                }
                if !running.is_empty() && random(2) == 0 {
                    let gone = running.swap_remove(random(running.len() as u64) as usize);
                    let at = list.iter().position(|r| r.slot == gone).unwrap();
                    let before: Vec<_> = (0..list.len()).map(|i| may_run(&list, i)).collect();
                    list.remove(at);
                    let mut before = before;
                    before.remove(at);
                    let expected: Vec<Slot> = (0..list.len())
                        .filter(|&i| !before[i] && may_run(&list, i))
                        .map(|i| list[i].slot)
                        .collect();
                    let mut ready = left(&mut tracker, gone);
                    running.extend(&ready);
                    ready.sort_unstable();
                    assert_eq!(ready, expected);
                }
            }
        }
    }
}
