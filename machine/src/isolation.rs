//! What some requests are promised beside others, in addition to what `tracker` keeps apart for
//! every write. Three trackers, each with the same rules and the same order of arrival:
//!
//! - WRITES (`Machine::tracker`): writes of parts of blocks keep other writes out.
//! - GUESTS: requests with a guest block, over their ranges rounded out to it. Those that change
//!   bytes keep the others out, so a read sees all or nothing of a write to one guest block.
//! - BARRIERS: requests that *keep readers out* (`excludes_readers`), which keep writers out in
//!   WRITES; and all reads, shared, but only while there is somebody to keep them out. Reads that
//!   were there before the first of these are entered when it comes: nobody keeps them out then.
//!
//! A request may start when it waits in none of them. It waits only for those that came before it,
//! in each of them, so there is no cycle here either. GUESTS and BARRIERS are two, since a plain
//! read that runs beside a write with a guest block would otherwise have to be entered as one that
//! waits for it.
//!
//! NO_WAIT asks first: a request that would have to wait is never entered.

use super::entry::{Entry, Phase};
use super::machine::Machine;
use super::splice;
use super::tracker::{Access, Tracker};
use super::{Action, ScratchPool};
use crate::io::Op;

/// Bits of `Entry::tracked` and `Entry::waits_in`.
pub(super) const WRITES: u8 = 1;
pub(super) const GUESTS: u8 = 2;
pub(super) const BARRIERS: u8 = 4;
/// Of `Entry::tracked` alone: it keeps readers out.
pub(super) const EXCLUDES_READERS: u8 = 8;

/// What a request claims in one tracker: [start, end), not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub start: u64,
    pub end: u64,
    pub access: Access,
}

#[derive(Debug, Default)]
pub(super) struct Isolation {
    guests: Tracker,
    barriers: Tracker,
    /// Requests in `barriers` that keep readers out, waiting or not.
    excluding: usize,
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Whether more than `tracker` decides about this request; the common one pays this alone.
    pub(super) fn needs_isolation(&self, slot: u32) -> bool {
        let request = &self.known(slot).request;
        self.isolation.excluding > 0
            || request.guest_block > 0
            || request.flags.serialising
            || request.flags.no_wait
            || self.reshapes(slot).is_some()
    }

    /// The range in which no read and no write runs beside this request, if it wants that.
    /// Whatever this says of a request, `needs_isolation` must be true for it.
    pub(super) fn excludes_readers(&self, slot: u32) -> Option<(u64, u64)> {
        if let Some(range) = self.reshapes(slot) {
            return Some(range);
        }
        let request = &self.known(slot).request;
        if !request.flags.serialising || request.bytes == 0 || request.op == Op::Flush {
            return None;
        }
        let unit = self.config_of(slot).granule.max(request.guest_block);
        Some(rounded(self.known(slot), unit))
    }

    /// Enters a request for which more is to be asked; whether it has to wait.
    pub(super) fn admit_isolated(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) -> bool {
        let excludes = self.excludes_readers(slot).is_some();
        if excludes && self.isolation.excluding == 0 {
            self.enter_reads(slot);
        }
        let claims = self.claims(slot);
        if self.known(slot).request.flags.no_wait {
            let busy = |&(tracker, claim): &(u8, Option<Claim>)| {
                let conflicts = |Claim { start, end, access }| {
                    self.tracker_named(tracker).conflicts(start, end, access)
                };
                claim.is_some_and(conflicts)
            };
            if claims.iter().any(busy) {
                self.end_unstarted(slot, libc::EBUSY, actions);
                return false;
            }
        }
        for (tracker, claim) in claims {
            if let Some(claim) = claim {
                self.claim(slot, tracker, claim);
            }
        }
        if excludes {
            self.isolation.excluding += 1;
            self.entry(slot).tracked |= EXCLUDES_READERS;
            self.note_reshaping(slot);
        }
        self.admitted(slot)
    }

    /// Puts a request where those that come later can see it, behind those that came before.
    pub(super) fn claim(&mut self, slot: u32, tracker: u8, claim: Claim) {
        let Claim { start, end, access } = claim;
        let free = self.tracker_named_mut(tracker).insert(slot, start, end, access);
        let entry = self.entry(slot);
        entry.tracked |= tracker;
        entry.waits_in |= if free { 0 } else { tracker };
    }

    fn claims(&self, slot: u32) -> [(u8, Option<Claim>); 3] {
        let entry = self.known(slot);
        let request = &entry.request;
        let end = entry.end() + entry.filled;
        let reads = request.op == Op::Read && request.offset < end;
        let alone = |(start, end)| Claim { start, end, access: Access::Exclusive };
        let kept_out = self.excludes_readers(slot).map(alone);
        let writes = kept_out.or_else(|| self.write_claim(slot));
        let shared = Claim { start: request.offset, end, access: Access::Shared };
        let reader = (reads && self.isolation.excluding > 0).then_some(shared);
        let barriers = kept_out.or(reader);
        let moves =
            request.bytes > 0 && !matches!(request.op, Op::Flush | Op::Truncate | Op::Length);
        let guests = (moves && request.guest_block > 0).then(|| {
            let (start, end) = rounded(entry, request.guest_block);
            let access = if reads { Access::Shared } else { Access::Exclusive };
            Claim { start, end, access }
        });
        [(WRITES, writes), (GUESTS, guests), (BARRIERS, barriers)]
    }

    /// The first that keeps readers out is here, `newcomer`: so the reads that are there already
    /// have to be seen. They keep nobody out of anything that they wait for themselves.
    fn enter_reads(&mut self, newcomer: u32) {
        for slot in 0..self.entries.len() as u32 {
            let Some(entry) = self.entries[slot as usize].as_ref() else { continue };
            let reads = entry.request.op == Op::Read && entry.request.bytes + entry.filled > 0;
            let entered = entry.phase != Phase::Held && slot != newcomer;
            if !reads || !entered || entry.tracked & BARRIERS != 0 {
                continue;
            }
            let (start, end) = (entry.request.offset, entry.end() + entry.filled);
            self.claim(slot, BARRIERS, Claim { start, end, access: Access::Shared });
            debug_assert_eq!(self.known(slot).waits_in & BARRIERS, 0);
        }
    }

    /// Whether reads of this batch may have to wait for somebody that keeps them out.
    pub(super) fn keeps_readers_out(&self, batch: &[u32]) -> bool {
        self.isolation.excluding > 0
            || batch.iter().any(|&slot| self.excludes_readers(slot).is_some())
    }

    /// A request that was in these trackers is over.
    #[cold]
    pub(super) fn leave_isolation(&mut self, slot: u32, tracked: u8) {
        let mut freed = Vec::new();
        for tracker in [GUESTS, BARRIERS] {
            if tracked & tracker != 0 {
                self.tracker_named_mut(tracker).remove(slot, &mut freed);
                self.set_free(&mut freed, tracker);
            }
        }
        self.isolation.excluding -= usize::from(tracked & EXCLUDES_READERS != 0);
        self.forget_truncate(slot);
    }

    /// Requests that have not started are taken out of all trackers, as if they had never been
    /// there.
    pub(super) fn withdraw(&mut self, slots: &[u32]) {
        for tracker in [WRITES, GUESTS, BARRIERS] {
            let there = |&&slot: &&u32| self.known(slot).tracked & tracker != 0;
            let its: Vec<u32> = slots.iter().filter(there).copied().collect();
            let mut freed = Vec::new();
            self.tracker_named_mut(tracker).withdraw(&its, &mut freed);
            self.set_free(&mut freed, tracker);
        }
        for &slot in slots {
            let tracked = std::mem::take(&mut self.entry(slot).tracked);
            self.isolation.excluding -= usize::from(tracked & EXCLUDES_READERS != 0);
        }
        self.forget_withdrawn_truncates();
    }

    /// Whether nothing is left of those that were in flight.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let trackers = [WRITES, GUESTS, BARRIERS];
        self.waiting == 0
            && self.isolation.excluding == 0
            && trackers.iter().all(|&tracker| self.tracker_named(tracker).is_empty())
    }

    fn tracker_named(&self, tracker: u8) -> &Tracker {
        match tracker {
            WRITES => &self.tracker,
            GUESTS => &self.isolation.guests,
            _ => &self.isolation.barriers,
        }
    }

    fn tracker_named_mut(&mut self, tracker: u8) -> &mut Tracker {
        match tracker {
            WRITES => &mut self.tracker,
            GUESTS => &mut self.isolation.guests,
            _ => &mut self.isolation.barriers,
        }
    }
}

/// A request's range, rounded out to multiples of `unit`.
fn rounded<T>(entry: &Entry<T>, unit: u64) -> (u64, u64) {
    (splice::round_down(entry.request.offset, unit), entry.end().next_multiple_of(unit))
}
