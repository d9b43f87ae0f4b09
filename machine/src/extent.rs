//! How long the object is, for those inside and outside the machine, and where its last block
//! begins. `resize.rs` has the requests that change it.
//!
//! When a request enters it must be known whether the request may change the length. The length
//! that it will find is at least `floor`: the least of the present length and of the lengths that
//! earlier truncates will set. The real length is looked up when the request starts. Example: the
//! object has 10,000 bytes, and a truncate to 6,000 waits. A write of [7,000, 8,000) enters. It may
//! find an object of 6,000 bytes, and make it longer. So the write reshapes the object, though at
//! present it lies inside.

use smallvec::SmallVec;

use crate::io::{Op, Slot};
use crate::splice::round_down;
use crate::table::Table;
use crate::tracker::BEYOND;
use crate::QueueConfig;

#[derive(Debug)]
pub struct Extent {
    /// The length that callers see, and requests that start.
    pub length: u64,
    /// No request that enters now will find the object shorter than this.
    pub floor: u64,
    /// The length that the lanes of all queues go by: ahead of `length` while a write makes the
    /// object longer.
    followed: u64,
    /// By slot: the length that a truncate in flight will set, or the least that a request in
    /// flight which asks the storage for its length (`Op::Length`) will accept.
    truncates: Vec<(Slot, u64)>,
    /// How long the storage is; u64::MAX: not known.
    pub storage: u64,
    /// There may be something else than zeros beyond the end.
    pub dirty: bool,
}

impl Extent {
    pub fn new(length: u64) -> Extent {
        Extent {
            length,
            floor: length,
            followed: length,
            truncates: Vec::new(),
            storage: length,
            dirty: false,
        }
    }

    pub fn set_length(&mut self, length: u64) {
        self.length = length;
        self.find_floor();
    }

    fn find_floor(&mut self) {
        let least = self.truncates.iter().map(|&(_, length)| length).min();
        self.floor = least.map_or(self.length, |least| least.min(self.length));
    }

    /// How many bytes the storage has, at least.
    pub fn storage_bytes(&self) -> u64 {
        match self.storage {
            u64::MAX => self.length,
            storage => storage,
        }
    }

    /// A truncate of the storage has failed: its length may be the old one, the new one or another.
    pub fn truncate_failed(&mut self) {
        self.storage = u64::MAX;
        self.dirty = true;
    }

    // ----- requests that reshape the object -----

    /// Where a request that may change the length keeps all others out.
    pub fn reshapes<Q, T, S>(&self, table: &Table<Q, T, S>, slot: Slot) -> Option<(u64, u64)> {
        let entry = table.known(slot);
        let request = &entry.request;
        let grows = || entry.end() > self.floor && table.config_of(slot).resize;
        match request.op {
            Op::Truncate | Op::Length => {}
            Op::Write | Op::WriteZeroes if request.bytes > 0 && grows() => {}
            _ => return None,
        }
        let units = table.open_queues().map(|queue| &queue.config);
        let unit = units.map(|config| config.granule.max(config.last_unit)).max().unwrap_or(1);
        let from = request.offset.min(self.floor);
        Some((round_down(from, unit.max(request.guest_block)), BEYOND))
    }

    /// A request that reshapes the object has entered.
    pub fn note_reshaping<Q, T, S>(&mut self, table: &Table<Q, T, S>, slot: Slot) {
        let request = &table.known(slot).request;
        if matches!(request.op, Op::Truncate | Op::Length) {
            self.truncates.push((slot, request.offset));
            self.find_floor();
        }
    }

    /// A truncate is over.
    pub fn forget_truncate(&mut self, slot: Slot) {
        self.truncates.retain(|&(other, _)| other != slot);
        self.find_floor();
    }

    /// Requests were taken back, and are tracked nowhere any more.
    pub fn forget_untracked_truncates<Q, T, S>(&mut self, table: &Table<Q, T, S>) {
        let is_tracked =
            |slot: Slot| table.get(slot).is_some_and(|entry| !entry.tracked.is_empty());
        self.truncates.retain(|&(slot, _)| is_tracked(slot));
        self.find_floor();
    }

    /// All requests are to enter again: each truncate will be noted anew.
    pub fn forget_truncates(&mut self) {
        self.truncates.clear();
        self.find_floor();
    }

    // ----- the last block -----

    /// All lanes go by this length from now on.
    pub fn follow<Q, T, S>(&mut self, table: &mut Table<Q, T, S>, length: u64) {
        self.followed = length;
        follow(table.open_queues_mut().map(|queue| &mut queue.config), length);
    }

    /// The limits of a queue are new: all lanes follow the present length anew.
    pub fn follow_again<Q, T, S>(&mut self, table: &mut Table<Q, T, S>) {
        self.follow(table, self.followed);
    }

    /// How long the storage has to be for an object of this length.
    pub fn padded<Q, T, S>(&self, table: &Table<Q, T, S>, slot: Slot, length: u64) -> u64 {
        match table.config_of(slot).last_unit {
            0 => length.next_multiple_of(table.largest_block()),
            _ => length,
        }
    }
}

/// The object has this length: its last, partial block takes another lane, and for all queues from
/// the same place on, whatever their own blocks. Else one queue would write there directly while
/// another uses the page cache. With blocks of 512 and 4096 bytes, and pages of 4096, an object of
/// 13,824 bytes (27 * 512) has its last block at 12,288 for both.
pub fn follow<'a>(config: impl Iterator<Item = &'a mut QueueConfig>, length: u64) {
    let mut exact: SmallVec<[&mut QueueConfig; 8]> =
        config.filter(|its| its.last_unit > 0).collect();
    let block = exact.iter().map(|its| its.alignments.request).max().unwrap_or(1);
    let unit = exact.iter().map(|its| its.last_unit).max().unwrap_or(1).max(block);
    let partial = !length.is_multiple_of(block);
    let last_block = if partial { round_down(length, unit) } else { u64::MAX };
    exact.iter_mut().for_each(|its| its.last_block = last_block);
}

#[cfg(test)]
mod tests;
