//! The way of one write that starts: first which others share its I/O, then its edges, then its
//! bytes. A read has no edges to be read before, so it begins at `begin_moving`.

use crate::io::Slot;
use crate::merge::Merger;
use crate::moving::{EdgeReads, Edges, Mover};
use crate::overlay::Gaps;
use crate::splice::round_down;
use crate::table::{Phase, Table};
use crate::tracker::Tracker;
use crate::{ScratchPool, Stats};

/// Starts writes, and sees which others wait for them.
pub struct Writing<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    /// Which writes wait for which.
    pub writes: &'a Tracker,
    /// Of the object.
    pub length: u64,
}

impl<Q: Clone, T, S: ScratchPool> Writing<'_, Q, T, S> {
    /// Takes in the writes that can be done with this one, and reads the edges if they have to
    /// be read.
    pub fn begin_write(&mut self, slot: Slot) {
        if self.table.is_unsettled() && self.gaps().read(slot) == EdgeReads::Asked {
            self.table.entry(slot).phase = Phase::Edges;
            return;
        }
        if self.merger().block_of(slot).is_none() {
            return self.begin_edges(slot);
        }
        if self.writes.has_dependents(slot) {
            self.merger().absorb_writes(slot);
        }
        self.table.note_image_not_kept(slot);
        let entry = self.table.entry(slot);
        let (alone, inherited) = (entry.members.is_empty(), entry.image_inherited);
        if !alone && self.merger().covers_block(slot) {
            self.table.home(slot).stats.rmw_reads_skipped += 1;
            self.count_members(slot, |stats| stats.rmw_reads_skipped += 1);
            if !inherited && self.edges().take_image(slot).is_none() {
                self.table.entry(slot).error = Some(libc::ENOMEM);
                return;
            }
            return self.begin_moving(slot);
        }
        self.count_members(slot, |stats| {
            stats.rmw += 1;
            stats.rmw_reads_skipped += 1;
        });
        if inherited {
            let stats = &mut self.table.home(slot).stats;
            stats.rmw += 1;
            stats.rmw_reads_skipped += 1;
            return self.begin_moving(slot);
        }
        self.begin_edges(slot);
    }

    /// Counts each member of a leader in the queue that the member came by.
    fn count_members(&mut self, leader: Slot, count: impl Fn(&mut Stats)) {
        let Table { entries, queues, .. } = &mut *self.table;
        for &member in &entries[leader.index()].members {
            let queue = entries[member.index()].queue as usize;
            let queue = queues[queue].as_mut().expect("an open queue");
            count(&mut queue.stats);
        }
    }

    /// Reads the edges of a write; nothing is written before all of them are there.
    fn begin_edges(&mut self, slot: Slot) {
        let entry = self.table.entry(slot);
        entry.phase = Phase::Edges;
        let (start, end) = (entry.request.offset, entry.end());
        match self.edges().read(slot, start, end) {
            EdgeReads::Asked => self.edges().count_rmw(slot),
            EdgeReads::NotNeeded => self.begin_moving(slot),
        }
    }

    /// All that had to be read before the write is there.
    pub fn after_edges(&mut self, slot: Slot) {
        if self.gaps().widen(slot) {
            let entry = self.table.known(slot);
            let (start, end) = (entry.request.offset, entry.end());
            // A block of a cluster that is there, at the other end of the request.
            if self.edges().read(slot, start, end) == EdgeReads::Asked {
                return;
            }
        }
        self.begin_moving(slot);
    }

    /// The request's own bytes are next. A read begins here: its edges go through scratch as a part
    /// of its I/O (`splice.rs`).
    pub fn begin_moving(&mut self, slot: Slot) {
        let config = self.table.config_of(slot);
        let (block, last_block) = (config.alignments.request, config.last_block);
        let entry = self.table.entry(slot);
        entry.phase = Phase::Moving;
        if let (false, Some(image)) = (entry.members.is_empty(), entry.block_image()) {
            return self.merger().issue_shared(slot, image);
        }
        let start = entry.request.offset;
        entry.cursor.position = if start < last_block { round_down(start, block) } else { start };
        Mover { table: self.table }.issue(slot);
    }

    fn gaps(&mut self) -> Gaps<'_, Q, T, S> {
        Gaps { table: self.table }
    }

    fn edges(&mut self) -> Edges<'_, Q, T, S> {
        Edges { table: self.table }
    }

    fn merger(&mut self) -> Merger<'_, Q, T, S> {
        Merger { table: self.table, writes: self.writes, length: self.length }
    }
}
