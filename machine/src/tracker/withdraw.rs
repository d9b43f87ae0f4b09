//! What the tracker does for rare cases: it says whether a request would have to wait, before that
//! request is entered, and takes out requests that never ran.
//!
//! Example. Exclusive A, B and C claim [0, 8), [4, 12) and [8, 16), in this order: B waits for A,
//! and C for B. B is withdrawn. The record of C says that C waits for B alone, not what B waited
//! for, and nothing says whether C overlaps A. So the spans are built anew: A enters, then C, which
//! now meets nothing and may start. Had C claimed [6, 16), C would wait for A now.

use super::{Access, Claim, Entered, Record, Slot, Spans, Tracker};

impl<const CHUNK_MAX: usize> Tracker<CHUNK_MAX> {
    /// Whether a request with this claim would have to wait.
    pub fn conflicts(&self, claim: Claim) -> bool {
        self.spans.any(claim.start, claim.end, |span, crowds| match claim.access {
            Access::Exclusive => true,
            // A span names its last exclusive request also while that one waits, and also where
            // shared requests came after it.
            Access::Shared => span.last_exclusive(crowds).is_some(),
        })
    }

    /// Takes out requests that have not run, as if they had never been there. A request that waited
    /// for one of them waits instead for what that one waited for, where the two conflict. Requests
    /// that wait for no other any more are appended to `ready`, oldest first.
    pub fn withdraw(&mut self, slots: &[Slot], ready: &mut Vec<Slot>) {
        if let &[slot] = slots {
            if self.records[slot.index()].blockers == 0 {
                // This request waits for no other, so no request waits for another through it.
                return self.remove(slot, ready);
            }
        }
        if slots.is_empty() {
            return;
        }
        // The others enter again, in their order. A request that runs conflicts with none before
        // it, so it waits for none after that either.
        slots.iter().for_each(|&slot| self.records[slot.index()] = Record::default());
        self.spans = Spans::default();
        let mut others: Vec<(Slot, Record)> = (0..).map(Slot).zip(self.records.drain(..)).collect();
        self.records.resize_with(others.len(), Record::default);
        others.retain(|(_, record)| record.start < record.end);
        others.sort_unstable_by_key(|(_, record)| record.order);
        for (slot, Record { start, end, access, blockers, .. }) in others {
            let entered = self.insert(slot, Claim { start, end, access });
            let runs = blockers == 0;
            debug_assert!(entered == Entered::Free || !runs, "no request that runs comes to wait");
            if entered == Entered::Free && !runs {
                ready.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests;
