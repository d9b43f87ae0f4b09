//! Requests that change the length of the object: truncates, and writes past the end on handles
//! that let them grow the object.
//!
//! Such a request keeps all others out from the end on, or from where the new end is if that is
//! less (`Extent::reshapes`). So only one such request runs at a time, and no other request runs
//! beside it there.
//!
//! A write past the end first makes the object longer, so that what it skips is zeros, then goes
//! the way of any write. If it fails the object gets its old length back. Only when it has
//! succeeded does the length that others see change.
//!
//! Other programs may change the storage's length, too. A request that takes the new length over
//! (`Op::Length`) is like a truncate that the storage has carried out already. When it enters, its
//! `offset` is what the length seems to be, and that decides whom it keeps out. Requests beyond
//! `offset` that are at the storage by then get what the storage answers. If the storage turns out
//! to be shorter still, the request enters once more and keeps all others out.
//!
//! Some storage has a length that is a multiple of its block (`QueueConfig::last_unit` 0). Such
//! storage is as long as the object needs. The bytes of its last block beyond the object's end are
//! kept zero, so that they are zeros when the object grows over them. If they could not be zeroed
//! (*dirty*), they are zeroed before the object grows again.
//!
//! Example, with such storage of blocks of 4096. An object of 10,000 bytes has storage of 12,288.
//! A truncate to 5,000: the storage is cut to 8,192, then [5,000, 8,192) is written with zeros. If
//! that write fails the object is 5,000 bytes long all the same, and dirty. Now a write of
//! [9,000, 9,100): [5,000, 8,192) is written with zeros, the storage made 12,288 bytes long, and
//! the write done; if that fails the storage gets its 8,192 bytes back.

use crate::extent::Extent;
use crate::io::{Io, Op, Segment, Segments, Slot};
use crate::splice::drop_front;
use crate::table::{Change, Phase, Step, Table, Zeroes};
use crate::ScratchPool;

/// Changes the length.
pub struct Resize<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub extent: &'a mut Extent,
}

/// What became of a length that the storage told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Over,
    /// The length is less than the request was prepared for.
    Shorter,
}

/// How far a truncate of the storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncate {
    Done,
    /// The truncate is at the storage.
    UnderWay,
}

/// How a request that changes the length ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindUp {
    Done,
    /// The storage is getting its old length back.
    Undoing,
}

impl<Q: Clone, T, S: ScratchPool> Resize<'_, Q, T, S> {
    // ----- what is to be done -----

    pub fn truncate_steps(&self, slot: Slot) -> Change {
        let (old, new) = (self.extent.length, self.table.known(slot).request.offset);
        let padded = self.padded(slot, new);
        let mut steps = Vec::new();
        if new > old {
            self.push_cleaning(slot, &mut steps);
        }
        steps.push(Step::Truncate { length: new, issued: false });
        if new < padded && new < old {
            steps.extend([Step::Zeroes(Zeroes::written(new, padded)), Step::Clean]);
        }
        self.push_first_block(slot, new, &mut steps);
        Change { length: Some(new), ..Change::of(&steps) }
    }

    /// For a write, or a zero write, past the end.
    pub fn extend_steps(&self, slot: Slot) -> Change {
        let entry = self.table.known(slot);
        let (start, new) = (entry.request.offset, entry.end());
        let mut steps = Vec::new();
        let op = entry.request.op;
        self.push_cleaning(slot, &mut steps);
        steps.push(Step::Truncate { length: new, issued: false });
        if op == Op::WriteZeroes {
            steps.push(Step::Zeroes(Zeroes::new(start, new)));
        }
        if op == Op::WriteZeroes || start >= self.table.config_of(slot).alignments.request {
            self.push_first_block(slot, new, &mut steps);
        }
        if op == Op::Write {
            steps.push(Step::Move);
        }
        Change { length: Some(new), ..Change::of(&steps) }
    }

    /// What is needed so that there is nothing but zeros beyond the end.
    fn push_cleaning(&self, slot: Slot, steps: &mut Vec<Step>) {
        let old = self.extent.length;
        if !self.extent.dirty {
            return;
        }
        steps.push(Step::Truncate { length: old, issued: false });
        let padded = self.padded(slot, old);
        if old < padded {
            steps.push(Step::Zeroes(Zeroes::written(old, padded)));
        }
        steps.push(Step::Clean);
    }

    /// A file that was empty gets a first block that is written: without allocated bytes a handle
    /// that opens it cannot try which alignments work.
    fn push_first_block(&self, slot: Slot, new: u64, steps: &mut Vec<Step>) {
        let config = self.table.config_of(slot);
        if self.extent.length == 0 && new > 0 && config.last_unit > 0 {
            steps.push(Step::Zeroes(Zeroes::written(0, new.min(config.alignments.request))));
        }
    }

    // ----- doing it -----

    /// Goes on with setting the storage's length to what an object of `length` needs.
    pub fn truncate(&mut self, slot: Slot, length: u64, issued: bool) -> Truncate {
        let padded = self.padded(slot, length);
        let exact = self.table.config_of(slot).last_unit > 0;
        if !issued && (exact || padded != self.extent.storage) {
            self.issue_truncate(slot, padded);
            return Truncate::UnderWay;
        }
        if self.table.known(slot).outstanding > 0 {
            return Truncate::UnderWay;
        }
        if exact || padded == length {
            self.extent.dirty &= length > self.extent.length;
        } else if length < self.extent.length {
            self.extent.dirty = true;
        }
        self.extent.follow(self.table, length);
        if let Some(change) = self.table.entry(slot).change.as_mut() {
            change.reached |= change.length == Some(length);
        }
        Truncate::Done
    }

    fn issue_truncate(&mut self, slot: Slot, padded: u64) {
        self.extent.storage = padded;
        let io = Io::new(self.table.next_part(slot), Op::Truncate, padded);
        self.table.emit(slot, io);
    }

    /// Nothing of a request that changes the length is at the storage any more: the new length
    /// holds, or the storage gets its old one back.
    pub fn wind_up(&mut self, slot: Slot) -> WindUp {
        let old = self.extent.length;
        let entry = self.table.entry(slot);
        let Some(Change { length: Some(new), reached, undoing, .. }) = entry.change.as_deref()
        else {
            return WindUp::Done;
        };
        let (new, reached, undoing) = (*new, *reached, *undoing);
        if entry.error.is_some() && reached && new < old {
            // Only the zeros behind the new end are missing.
            entry.error = None;
        }
        if entry.error.is_none() {
            self.extent.set_length(new);
            return WindUp::Done;
        }
        if !reached {
            return WindUp::Done;
        }
        if !undoing {
            entry.phase = Phase::Changing;
            entry.change.as_mut().expect("it changes the length").undoing = true;
            self.extent.dirty = true;
            let padded = self.padded(slot, old);
            if padded != self.extent.storage {
                self.issue_truncate(slot, padded);
                return WindUp::Undoing;
            }
        }
        let known = self.extent.storage != u64::MAX;
        self.extent.dirty = !(known && self.padded(slot, old) == old);
        self.extent.follow(self.table, old);
        WindUp::Done
    }

    /// The part of a read that lies beyond the end becomes zeros. The rest stays in the request,
    /// which reads it.
    pub fn fill_past_end(&mut self, slot: Slot) {
        let length = self.extent.length;
        let entry = self.table.entry(slot);
        let kept = length.saturating_sub(entry.request.offset);
        let bytes = entry.request.bytes - kept;
        entry.filled = bytes;
        entry.request.bytes = kept;
        let segments = split_off(&mut entry.request.segments, kept);
        entry.cursor.position = entry.end();
        entry.phase = Phase::Moving;
        let io = Io { bytes, segments, ..Io::new(self.table.next_part(slot), Op::Fill, 0) };
        self.table.emit(slot, io);
    }

    // ----- a length that others have changed -----

    pub fn ask_length(&mut self, slot: Slot) {
        let io = Io::new(self.table.next_part(slot), Op::Length, 0);
        self.table.emit(slot, io);
    }

    /// The storage has this length now. The object gets the same one, unless the storage is just as
    /// long as the object needs: then the object still ends inside the last block. If another
    /// program has moved the end, the bytes behind the old end are what that program left there.
    pub fn take_over(&mut self, slot: Slot, length: u64) -> Result<Taken, i32> {
        if length < self.table.known(slot).request.offset {
            return Ok(Taken::Shorter);
        }
        let exact = self.table.config_of(slot).last_unit > 0;
        if !exact && !length.is_multiple_of(self.table.largest_block()) {
            return Err(libc::EINVAL);
        }
        let believed = [length, u64::MAX].contains(&self.extent.storage);
        let ends_inside = !exact && believed && self.padded(slot, self.extent.length) == length;
        self.extent.storage = length;
        if !ends_inside {
            self.extent.dirty = false;
            self.extent.set_length(length);
            self.extent.follow(self.table, length);
        }
        Ok(Taken::Over)
    }

    fn padded(&self, slot: Slot, length: u64) -> u64 {
        self.extent.padded(self.table, slot, length)
    }
}

/// Takes off what lies behind the first `bytes` of a vector.
fn split_off(segments: &mut Segments, bytes: u64) -> Segments {
    let mut rest = segments.clone();
    drop_front(&mut rest, bytes);
    let mut left = bytes as usize;
    let kept = segments.iter().map_while(|&Segment { address, bytes }| {
        let bytes = bytes.min(left);
        left -= bytes;
        (bytes > 0).then_some(Segment { address, bytes })
    });
    *segments = kept.collect();
    rest
}
