//! The length of the object, and requests that change it: truncates, and writes past the end on
//! handles that let them grow the object.
//!
//! Such a request keeps everybody out from the end on, or from where the new end is if that is
//! less (`reshapes`), so there is one at a time, and nobody runs beside it who would care. It is
//! known when a request enters whether it may be one: the length that it will find is at least
//! `floor`, the least of the present length and of those that truncates before it will set. What
//! the length really is then a request looks up when it starts.
//!
//! A write past the end first makes the object longer, so that what it skips is zeros, then goes
//! the way of any write. If it fails the object gets its old length back. Only when it has
//! succeeded does the length that others see change.
//!
//! Others may change the storage's length, too. A request that looks it up anew (`Op::Length`) is
//! one that changes the length like a truncate, but that the storage has its new length already.
//! It says when it enters what the length seems to be, `offset`, which decides whom it keeps out;
//! whoever is beyond that at the storage first gets what the storage says. If it turns out that the
//! storage has become shorter still, it enters once more and keeps everybody out.
//!
//! Some storage has a length that is a multiple of its block (`QueueConfig::last_unit` 0): it is
//! as long as it has to be, and what its last block has beyond the end is kept zero, so that it is
//! zero when the object grows over it. If that could not be done (*dirty*) it is done before the
//! object grows again.

use smallvec::SmallVec;

use super::change::{Change, Step};
use super::entry::Phase;
use super::machine::Machine;
use super::splice;
use super::tracker::BEYOND;
use super::zeroes::Zeroes;
use super::{Action, QueueConfig, ScratchPool};
use crate::io::{Io, Op, Segment, Segments};

/// What became of a length that the storage told.
#[derive(Clone, Copy)]
enum Taken {
    Over,
    /// It is less than the request was prepared for.
    Shorter,
}

#[derive(Debug)]
pub(super) struct Extent {
    /// What others see.
    pub length: u64,
    /// No request that enters now will find the object shorter than this.
    pub floor: u64,
    /// What the lanes of all queues go by: ahead of `length` while a write makes the object longer.
    followed: u64,
    /// The new lengths that truncates in flight will set, and the least that will be found by
    /// those who look it up, by slot.
    truncates: Vec<(u32, u64)>,
    /// How long the storage is; u64::MAX: not known.
    storage: u64,
    /// There may be something else than zeros beyond the end.
    dirty: bool,
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

    fn set_length(&mut self, length: u64) {
        self.length = length;
        self.find_floor();
    }

    fn find_floor(&mut self) {
        let least = self.truncates.iter().map(|&(_, length)| length).min();
        self.floor = least.map_or(self.length, |least| least.min(self.length));
    }
}

/// The object has this length: its last, partial block takes another lane, and for all queues from
/// the same place on, whatever their own blocks. Else one queue would write there directly while
/// another uses the page cache. With blocks of 512 and 4096 bytes, and pages of 4096, an object of
/// 13,824 bytes (27 * 512) has its last block at 12,288 for both.
pub(super) fn follow<'a>(config: impl Iterator<Item = &'a mut QueueConfig>, length: u64) {
    let mut exact: SmallVec<[&mut QueueConfig; 8]> =
        config.filter(|its| its.last_unit > 0).collect();
    let block = exact.iter().map(|its| its.alignments.request).max().unwrap_or(1);
    let unit = exact.iter().map(|its| its.last_unit).max().unwrap_or(1).max(block);
    let partial = !length.is_multiple_of(block);
    let last_block = if partial { splice::round_down(length, unit) } else { u64::MAX };
    exact.iter_mut().for_each(|its| its.last_block = last_block);
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Where a request that may change the length keeps everybody out.
    pub(super) fn reshapes(&self, slot: u32) -> Option<(u64, u64)> {
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        let request = &entry.request;
        let grows = entry.end() > self.extent.floor && self.config_of(slot).resize;
        match request.op {
            Op::Truncate | Op::Length => {}
            Op::Write | Op::WriteZeroes if grows && request.bytes > 0 => {}
            _ => return None,
        }
        let units = self.queues.iter().flatten().map(|queue| &queue.config);
        let unit = units.map(|config| config.granule.max(config.last_unit)).max().unwrap_or(1);
        let from = request.offset.min(self.extent.floor);
        Some((splice::round_down(from, unit.max(request.guest_block)), BEYOND))
    }

    /// A request that reshapes the object has entered.
    pub(super) fn note_reshaping(&mut self, slot: u32) {
        let request = &self.entry(slot).request;
        if matches!(request.op, Op::Truncate | Op::Length) {
            let length = request.offset;
            self.extent.truncates.push((slot, length));
            self.extent.find_floor();
        }
    }

    /// A truncate is over, or was taken back.
    pub(super) fn forget_truncate(&mut self, slot: u32) {
        self.extent.truncates.retain(|&(other, _)| other != slot);
        self.extent.find_floor();
    }

    /// As before, for those that are in no tracker any more.
    pub(super) fn forget_withdrawn_truncates(&mut self) {
        let Machine { extent, entries, .. } = self;
        let is_tracked =
            |slot: u32| entries[slot as usize].as_ref().is_some_and(|it| it.tracked != 0);
        extent.truncates.retain(|&(slot, _)| is_tracked(slot));
        extent.find_floor();
    }

    /// All of them are to enter again.
    pub(super) fn forget_truncates(&mut self) {
        self.extent.truncates.clear();
        self.extent.find_floor();
    }

    /// How many bytes the storage has, at least.
    pub(super) fn storage_bytes(&self) -> u64 {
        match self.extent.storage {
            u64::MAX => self.extent.length,
            storage => storage,
        }
    }

    /// The limits of a queue are new: all follow the present length anew.
    pub(super) fn follow_again(&mut self) {
        self.follow(self.extent.followed);
    }

    fn follow(&mut self, length: u64) {
        self.extent.followed = length;
        follow(self.queues.iter_mut().flatten().map(|queue| &mut queue.config), length);
    }

    /// How long the storage has to be for an object of this length.
    fn padded(&self, slot: u32, length: u64) -> u64 {
        match self.config_of(slot).last_unit {
            0 => length.next_multiple_of(self.largest_block()),
            _ => length,
        }
    }

    fn largest_block(&self) -> u64 {
        let config = self.queues.iter().flatten().map(|queue| &queue.config);
        config.map(|config| config.alignments.request).max().unwrap_or(1)
    }

    pub(super) fn ask_length(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let io = Io::new(self.next_part(slot), Op::Length, 0);
        self.emit(slot, io, actions);
    }

    /// The storage has said how long it is, or why it can't.
    pub(super) fn length_told(
        &mut self,
        io: &Io,
        told: Result<u64, i32>,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        let slot = io.id.slot;
        let taken_over = told.and_then(|length| self.take_over(slot, length));
        self.part_done(io, taken_over.err());
        match taken_over {
            Ok(Taken::Shorter) => self.enter_for_all(slot, actions),
            Ok(Taken::Over) | Err(_) => self.go_on(slot, actions),
        }
        self.run(actions);
    }

    /// The storage has this length now; and so has the object, unless the storage is only as long
    /// as it has to be for an object that ends inside its last block. What lay behind that end, if
    /// others have moved it, is as they have left it.
    fn take_over(&mut self, slot: u32, length: u64) -> Result<Taken, i32> {
        if length < self.entry(slot).request.offset {
            return Ok(Taken::Shorter);
        }
        let exact = self.config_of(slot).last_unit > 0;
        if !exact && !length.is_multiple_of(self.largest_block()) {
            return Err(libc::EINVAL);
        }
        let believed = [length, u64::MAX].contains(&self.extent.storage);
        let ends_inside = !exact && believed && self.padded(slot, self.extent.length) == length;
        self.extent.storage = length;
        if !ends_inside {
            self.extent.dirty = false;
            self.extent.set_length(length);
            self.follow(length);
        }
        Ok(Taken::Over)
    }

    /// A request that has a place leaves it, and enters anew, behind all others: it keeps all of
    /// them out.
    fn enter_for_all(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        self.leave_trackers(slot);
        let entry = self.entry(slot);
        entry.request.offset = 0;
        (entry.tracked, entry.waits_in) = (0, 0);
        entry.phase = Phase::Queued;
        let queue = entry.queue;
        self.queue(queue).active -= 1;
        self.runnable.push(queue);
        self.admit(slot, actions);
    }

    pub(super) fn start_truncate(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let (old, new) = (self.extent.length, self.entry(slot).request.offset);
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
        self.begin_change(slot, Change { length: Some(new), ..Change::of(&steps) }, actions);
    }

    /// A request that has bytes beyond the end starts.
    pub(super) fn start_past_end(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let resize = self.config_of(slot).resize;
        let entry = self.entry(slot);
        match entry.request.op {
            // Somebody has made the object shorter since.
            _ if !resize => entry.error = Some(libc::EIO),
            Op::Read => self.read_past_end(slot, actions),
            Op::Write | Op::WriteZeroes => self.extend(slot, actions),
            _ => self.start_change(slot, actions),
        }
    }

    /// The part of a read that lies beyond the end is zeros, the rest is a read.
    fn read_past_end(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let length = self.extent.length;
        let entry = self.entry(slot);
        let kept = length.saturating_sub(entry.request.offset);
        let bytes = entry.request.bytes - kept;
        entry.filled = bytes;
        entry.request.bytes = kept;
        let segments = split_off(&mut entry.request.segments, kept);
        entry.cursor.position = entry.end();
        entry.phase = Phase::Moving;
        let io = Io { bytes, segments, ..Io::new(self.next_part(slot), Op::Fill, 0) };
        self.emit(slot, io, actions);
        if kept > 0 {
            self.begin_moving(slot, actions);
        }
    }

    fn extend(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let entry = self.entry(slot);
        let (start, new) = (entry.request.offset, entry.end());
        let mut steps = Vec::new();
        let op = entry.request.op;
        self.push_cleaning(slot, &mut steps);
        steps.push(Step::Truncate { length: new, issued: false });
        if op == Op::WriteZeroes {
            steps.push(Step::Zeroes(Zeroes::new(start, new)));
        }
        if op == Op::WriteZeroes || start >= self.config_of(slot).alignments.request {
            self.push_first_block(slot, new, &mut steps);
        }
        if op == Op::Write {
            steps.push(Step::Move);
        }
        self.begin_change(slot, Change { length: Some(new), ..Change::of(&steps) }, actions);
    }

    /// What is needed so that there is nothing but zeros beyond the end.
    fn push_cleaning(&self, slot: u32, steps: &mut Vec<Step>) {
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

    /// A file that was empty gets a first block that is written: without allocated bytes nobody
    /// who opens it can try which alignments work.
    fn push_first_block(&self, slot: u32, new: u64, steps: &mut Vec<Step>) {
        let config = self.config_of(slot);
        if self.extent.length == 0 && new > 0 && config.last_unit > 0 {
            steps.push(Step::Zeroes(Zeroes::written(0, new.min(config.alignments.request))));
        }
    }

    /// Goes on with setting the storage's length to what an object of `length` needs. True: done.
    pub(super) fn truncate(
        &mut self,
        slot: u32,
        length: u64,
        issued: bool,
        actions: &mut Vec<Action<Q, T>>,
    ) -> bool {
        let padded = self.padded(slot, length);
        let exact = self.config_of(slot).last_unit > 0;
        if !issued && (exact || padded != self.extent.storage) {
            self.issue_truncate(slot, padded, actions);
            return false;
        }
        if self.entry(slot).outstanding > 0 {
            return false;
        }
        if exact || padded == length {
            self.extent.dirty &= length > self.extent.length;
        } else if length < self.extent.length {
            self.extent.dirty = true;
        }
        self.follow(length);
        if let Some(change) = self.entry(slot).change.as_mut() {
            change.reached |= change.length == Some(length);
        }
        true
    }

    fn issue_truncate(&mut self, slot: u32, padded: u64, actions: &mut Vec<Action<Q, T>>) {
        self.extent.storage = padded;
        let io = Io::new(self.next_part(slot), Op::Truncate, padded);
        self.emit(slot, io, actions);
    }

    /// A truncate of the storage has failed.
    pub(super) fn truncate_failed(&mut self) {
        self.extent.storage = u64::MAX;
        self.extent.dirty = true;
    }

    pub(super) fn set_clean(&mut self) {
        self.extent.dirty = false;
    }

    /// Nothing of a request that changes the length is at the storage any more: the new length
    /// holds, or the storage gets its old one back. True: that is under way.
    pub(super) fn wind_up(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) -> bool {
        let old = self.extent.length;
        let entry = self.entry(slot);
        let Some(Change { length: Some(new), reached, undoing, .. }) = entry.change.as_deref()
        else {
            return false;
        };
        let (new, reached, undoing) = (*new, *reached, *undoing);
        if entry.error.is_some() && reached && new < old {
            // It is only the zeros behind the new end that are missing.
            entry.error = None;
        }
        if entry.error.is_none() {
            self.extent.set_length(new);
            return false;
        }
        if !reached {
            return false;
        }
        if !undoing {
            entry.phase = Phase::Changing;
            entry.change.as_mut().expect("it changes the length").undoing = true;
            self.extent.dirty = true;
            let padded = self.padded(slot, old);
            if padded != self.extent.storage {
                self.issue_truncate(slot, padded, actions);
                return true;
            }
        }
        let known = self.extent.storage != u64::MAX;
        self.extent.dirty = !(known && self.padded(slot, old) == old);
        self.follow(old);
        false
    }
}

/// Takes off what lies behind the first `bytes` of a vector.
fn split_off(segments: &mut Segments, bytes: u64) -> Segments {
    let mut rest = segments.clone();
    splice::drop_front(&mut rest, bytes);
    let mut left = bytes as usize;
    let kept = segments.iter().map_while(|&Segment { address, bytes }| {
        let bytes = bytes.min(left);
        left -= bytes;
        (bytes > 0).then_some(Segment { address, bytes })
    });
    *segments = kept.collect();
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alignments, Suspected};

    fn config(block: u64, last_unit: u64) -> QueueConfig {
        QueueConfig {
            alignments: Alignments { request: block, memory: 512, segment: 512 },
            max_transfer: 1 << 20,
            max_segments: 16,
            depth: 4,
            last_unit,
            last_block: 1,
            granule: block,
            copy_edges: false,
            suspected: Suspected::Nothing,
            no_flush: false,
            no_merge: false,
            resize: false,
            unmap: false,
            discard_alignment: block,
            dataless_max: 1 << 20,
            endless: u64::MAX,
            atomic_write_max: 0,
        }
    }

    /// Else one would use the page cache where another writes directly.
    #[test]
    fn the_last_block_of_all_queues_begins_at_one_place_whatever_their_own_blocks() {
        let at = |length| {
            let mut all = [config(512, 4096), config(4096, 4096), config(65536, 65536)];
            follow(all.iter_mut(), length);
            all.map(|its| its.last_block)
        };
        assert_eq!(at(98304), [65536; 3]);
        assert_eq!(at(131072), [u64::MAX; 3]);
        let mut two = [config(512, 4096), config(4096, 4096)];
        follow(two.iter_mut(), 13824);
        assert_eq!(two.map(|its| its.last_block), [12288; 2]);
        // Whose storage has whole blocks has no such lane.
        let mut padded = [config(512, 0)];
        follow(padded.iter_mut(), 1000);
        assert_eq!(padded[0].last_block, 1);
    }
}
