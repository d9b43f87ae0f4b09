//! How a request gets its place in the order of things: what it claims among the others, and
//! whether it has to wait for some of them. `isolation.rs` says who is kept apart from whom.

use crate::extent::Extent;
use crate::io::{Op, Slot};
use crate::isolation::Isolation;
use crate::splice::round_down;
use crate::table::{discarded, Among, Entry, Phase, Standing, Table};
use crate::tracker::{Access, Claim, Entered};
use crate::QueueConfig;

/// Enters requests, and sees all that decides about them.
pub struct Entering<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a mut Isolation,
    pub extent: &'a mut Extent,
}

/// What became of a request that was to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The request waits for no other: it is in the line for its queue's places.
    Queued,
    Waits,
    /// The request would have to wait, and is NO_WAIT: it has claimed nothing.
    Busy,
}

impl<Q, T, S> Entering<'_, Q, T, S> {
    /// Enters a request into the order of things.
    pub fn admit(&mut self, slot: Slot) -> Admission {
        if self.isolation.has_stages() && self.enters_in_stages(slot) {
            return self.admit_staged(slot);
        }
        if self.needs_isolation(slot) {
            return self.admit_isolated(slot);
        }
        if let Some(claim) = self.write_claim(slot) {
            self.claim(slot, Among::Writes, claim);
        }
        self.admitted(slot)
    }

    /// The request has made all its claims: it waits, or it may start.
    fn admitted(&mut self, slot: Slot) -> Admission {
        let entry = self.table.entry(slot);
        if entry.waits_among.is_empty() {
            self.table.enqueue(slot);
            return Admission::Queued;
        }
        entry.phase = Phase::Waiting;
        self.table.waiting += 1;
        Admission::Waits
    }

    /// Whether more than the tracker of writes decides about this request; the common request pays
    /// for this question alone.
    fn needs_isolation(&self, slot: Slot) -> bool {
        let request = &self.table.known(slot).request;
        self.isolation.excluding > 0
            || request.guest_block > 0
            || request.flags.serialising
            || request.flags.no_wait
            || self.extent.reshapes(self.table, slot).is_some()
    }

    /// Enters a request for which more is to be asked.
    fn admit_isolated(&mut self, slot: Slot) -> Admission {
        let excludes = self.excludes_readers(slot).is_some();
        if excludes && self.isolation.excluding == 0 {
            self.enter_reads(slot);
        }
        let claims = self.claims(slot);
        if self.table.known(slot).request.flags.no_wait {
            let busy = |&(among, claim): &(Among, Option<Claim>)| {
                claim.is_some_and(|claim| self.isolation.among(among).conflicts(claim))
            };
            if claims.iter().any(busy) {
                return Admission::Busy;
            }
        }
        for (among, claim) in claims {
            if let Some(claim) = claim {
                self.claim(slot, among, claim);
            }
        }
        if excludes {
            self.isolation.excluding += 1;
            self.table.entry(slot).excludes_readers = true;
            self.extent.note_reshaping(self.table, slot);
        }
        self.admitted(slot)
    }

    /// Puts a request where those that come later can see it, behind those that came before.
    fn claim(&mut self, slot: Slot, among: Among, claim: Claim) {
        let entered = self.isolation.among_mut(among).insert(slot, claim);
        let entry = self.table.entry(slot);
        entry.tracked.insert(among);
        if entered == Entered::Waits {
            entry.waits_among.insert(among);
        }
    }

    // ----- in two stages: see `announce/mod.rs` -----

    /// Whether the request keeps writes out, or is one, and has not been past the notifiers.
    fn enters_in_stages(&self, slot: Slot) -> bool {
        let entry = self.table.known(slot);
        let claims = match entry.request.op {
            Op::Write | Op::WriteZeroes | Op::Discard => entry.request.bytes > 0,
            Op::Truncate | Op::Length => true,
            Op::Read => entry.request.flags.serialising && entry.request.bytes > 0,
            // A fill is among the writes only, so it has but one stage.
            Op::Flush | Op::Fill | Op::Populate | Op::SaveMap => false,
        };
        claims && entry.announced.standing != Standing::Past
    }

    /// The first stage: the request is among the writes only.
    #[cold]
    fn admit_staged(&mut self, slot: Slot) -> Admission {
        if self.table.known(slot).request.flags.no_wait {
            if self.would_wait(slot) {
                return Admission::Busy;
            }
            // NO_WAIT speaks of the moment when the request came.
            self.table.entry(slot).request.flags.no_wait = false;
        }
        let keeps_out = self.excludes_readers(slot);
        let alone = |(start, end)| Claim { start, end, access: Access::Exclusive };
        if let Some(claim) = keeps_out.map(alone).or_else(|| self.write_claim(slot)) {
            self.claim(slot, Among::Writes, claim);
        }
        self.isolation.staged += 1;
        let entry = self.table.entry(slot);
        (entry.announced.standing, entry.announced.keeps_out) = (Standing::Before, keeps_out);
        if keeps_out.is_some() {
            self.extent.note_reshaping(self.table, slot);
        }
        if self.table.known(slot).announced.asked {
            return self.admit_asked(slot);
        }
        self.admitted(slot)
    }

    /// Whether a request that enters in stages would have to wait for another.
    fn would_wait(&self, slot: Slot) -> bool {
        let entry = self.table.known(slot);
        let (start, end) = (entry.request.offset, entry.end());
        let turn = (start < end).then_some(Claim { start, end, access: Access::Exclusive });
        let busy = |(among, claim): (Among, Option<Claim>)| {
            claim.is_some_and(|claim| self.isolation.among(among).conflicts(claim))
        };
        self.claims(slot).into_iter().chain([(Among::Turns, turn)]).any(busy)
    }

    /// A request that enters anew while a notifier is being asked keeps its turn.
    fn admit_asked(&mut self, slot: Slot) -> Admission {
        let (start, end) = self.table.known(slot).announced.turn;
        self.claim(slot, Among::Turns, Claim { start, end, access: Access::Exclusive });
        self.table.entry(slot).phase = Phase::Announcing;
        Admission::Waits
    }

    /// The second stage: the request is past the notifiers.
    pub fn admit_rest(&mut self, slot: Slot) -> Admission {
        let entry = self.table.entry(slot);
        entry.phase = Phase::Queued;
        let excludes = entry.announced.keeps_out.is_some();
        if excludes && self.isolation.excluding == 0 {
            self.enter_reads(slot);
        }
        for (among, claim) in self.rest_of_claims(slot) {
            if let Some(claim) = claim {
                self.claim(slot, among, claim);
            }
        }
        if excludes {
            self.isolation.excluding += 1;
            self.table.entry(slot).excludes_readers = true;
        }
        self.admitted(slot)
    }

    /// As `admit_rest`, for a request that waits among the writes; but if it would come to wait
    /// elsewhere, too, or keeps readers out, nothing happens. Returns whether it was taken in.
    pub fn claim_rest_where_free(&mut self, slot: Slot) -> bool {
        let entry = self.table.known(slot);
        if entry.request.guest_block == 0 && entry.announced.keeps_out.is_none() {
            return true;
        }
        let claims = self.rest_of_claims(slot);
        let busy = |&(among, claim): &(Among, Option<Claim>)| {
            claim.is_some_and(|claim| self.isolation.among(among).conflicts(claim))
        };
        if self.table.known(slot).announced.keeps_out.is_some() || claims.iter().any(busy) {
            return false;
        }
        for (among, claim) in claims {
            if let Some(claim) = claim {
                self.claim(slot, among, claim);
            }
        }
        true
    }

    /// What a request claims in its second stage.
    fn rest_of_claims(&self, slot: Slot) -> [(Among, Option<Claim>); 2] {
        let [_, guests, _] = self.claims(slot);
        let keeps_out = self.table.known(slot).announced.keeps_out;
        let alone = |(start, end)| Claim { start, end, access: Access::Exclusive };
        [guests, (Among::Barriers, keeps_out.map(alone))]
    }

    // ----- what a request claims -----

    /// The range in which no read and no write runs beside this request, if it keeps readers out.
    /// Where this gives a range, `needs_isolation` must be true.
    fn excludes_readers(&self, slot: Slot) -> Option<(u64, u64)> {
        if let Some(range) = self.extent.reshapes(self.table, slot) {
            return Some(range);
        }
        let request = &self.table.known(slot).request;
        // A fill keeps writes out, and no reads.
        let keeps_none_out = request.bytes == 0 || matches!(request.op, Op::Flush | Op::Populate);
        if !request.flags.serialising || keeps_none_out {
            return None;
        }
        let unit = self.table.config_of(slot).granule.max(request.guest_block);
        let cluster = self.table.overlay.as_ref().filter(|_| self.table.is_unsettled());
        let unit = unit.max(cluster.map_or(1, |clusters| clusters.cluster()));
        Some(rounded(self.table.known(slot), unit))
    }

    fn claims(&self, slot: Slot) -> [(Among, Option<Claim>); 3] {
        let entry = self.table.known(slot);
        let request = &entry.request;
        let end = entry.end() + entry.filled;
        let reads = request.op == Op::Read && request.offset < end;
        let alone = |(start, end)| Claim { start, end, access: Access::Exclusive };
        let kept_out = self.excludes_readers(slot).map(alone);
        let writes = kept_out.or_else(|| self.write_claim(slot));
        let shared = Claim { start: request.offset, end, access: Access::Shared };
        let reader = (reads && self.isolation.excluding > 0).then_some(shared);
        let barriers = kept_out.or(reader);
        let moves = request.bytes > 0
            && matches!(request.op, Op::Read | Op::Write | Op::WriteZeroes | Op::Discard);
        let guests = (moves && request.guest_block > 0).then(|| {
            let (start, end) = rounded(entry, request.guest_block);
            let access = if reads { Access::Shared } else { Access::Exclusive };
            Claim { start, end, access }
        });
        [(Among::Writes, writes), (Among::Guests, guests), (Among::Barriers, barriers)]
    }

    /// What a request claims among the writes: a write of whole granules before the last block its
    /// range, shared; any other write its range rounded out to the granule, exclusive.
    fn write_claim(&self, slot: Slot) -> Option<Claim> {
        if let Some(claim) = self.cluster_claim(slot) {
            return Some(claim);
        }
        let entry = self.table.known(slot);
        match entry.request.op {
            Op::Write if entry.request.bytes > 0 => {}
            Op::WriteZeroes | Op::Discard | Op::Truncate => return self.change_claim(slot),
            _ => return None,
        }
        let QueueConfig { granule, last_block, .. } = *self.table.config_of(slot);
        let (start, end) = (entry.request.offset, entry.end());
        let aligned = start.is_multiple_of(granule) && end.is_multiple_of(granule);
        if aligned && end <= last_block {
            return Some(Claim { start, end, access: Access::Shared });
        }
        let (start, end) = rounded(entry, granule);
        Some(Claim { start, end, access: Access::Exclusive })
    }

    /// As `write_claim`, for what writes whole clusters though it was asked for a part of them, or
    /// for a read: the clusters, exclusive.
    fn cluster_claim(&self, slot: Slot) -> Option<Claim> {
        let clusters = self.table.overlay.as_ref().filter(|_| self.table.is_unsettled())?;
        let entry = self.table.known(slot);
        let (start, end) = (entry.request.offset, entry.end());
        if start >= end || end > clusters.length() {
            return None;
        }
        let keeps = || self.table.known_queue(entry.queue).keeps_reads;
        let takes = match entry.request.op {
            Op::Write | Op::WriteZeroes => clusters.has_gaps(start, end),
            Op::Read => keeps() && !self.isolation.has_stages() && !clusters.is_there(start, end),
            Op::Populate => true,
            _ => false,
        };
        let granule = self.table.config_of(slot).granule;
        let from = round_down(clusters.start_of(start), granule);
        let to = clusters.end_of(end).next_multiple_of(granule);
        takes.then_some(Claim { start: from, end: to, access: Access::Exclusive })
    }

    /// As `write_claim`, for what is not a plain write.
    fn change_claim(&self, slot: Slot) -> Option<Claim> {
        let config = self.table.config_of(slot);
        let entry = self.table.known(slot);
        let (start, end) = match entry.request.op {
            Op::Discard => discarded(&entry.request, config, u64::MAX),
            _ => (entry.request.offset, entry.end()),
        };
        let (from, to) = (round_down(start, config.granule), end);
        let to = to.next_multiple_of(config.granule);
        (start < end).then_some(Claim { start: from, end: to, access: Access::Exclusive })
    }

    // ----- reads and those that keep them out -----

    /// `newcomer` is the first request that keeps readers out, so the reads in flight have to be
    /// entered before it. None of these reads comes to wait: no request among the barriers was
    /// there before them.
    fn enter_reads(&mut self, newcomer: Slot) {
        for slot in (0..self.table.entries.len() as u32).map(Slot) {
            let Some(entry) = self.table.get(slot) else { continue };
            let reads = entry.request.op == Op::Read && entry.request.bytes + entry.filled > 0;
            let staged = entry.announced.standing == Standing::Before;
            let entered = entry.phase != Phase::Plugged && !staged && slot != newcomer;
            if !reads || !entered || entry.tracked.contains(Among::Barriers) {
                continue;
            }
            let (start, end) = (entry.request.offset, entry.end() + entry.filled);
            self.claim(slot, Among::Barriers, Claim { start, end, access: Access::Shared });
            debug_assert!(!self.table.known(slot).waits_among.contains(Among::Barriers));
        }
    }

    /// Whether reads of this batch may have to wait for a request that keeps them out.
    pub fn keeps_readers_out(&self, batch: &[Slot]) -> bool {
        self.isolation.excluding > 0
            || batch.iter().any(|&slot| self.excludes_readers(slot).is_some())
    }
}

/// A request's range, rounded out to multiples of `unit`.
fn rounded<T>(entry: &Entry<T>, unit: u64) -> (u64, u64) {
    (round_down(entry.request.offset, unit), entry.end().next_multiple_of(unit))
}
