//! The end of a request of an overlay: which clusters it has made there; and for a flush, a write
//! with FUA and a fill: first their data become durable, then the map, and only then are they done.
//!
//! The map is saved by one request at a time (`Clusters::begin_save`). Others that need it wait for
//! that I/O, which needs nothing of theirs, and one of them saves what has come meanwhile.

use super::filling::{Filling, Window};
use crate::io::{Io, Op, Slot};
use crate::table::{discarded, Saving, Table};
use crate::ScratchPool;

pub struct Saver<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

/// Whether a request that has nothing at the storage any more is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Over,
    /// It has asked for more, or waits for the map.
    Stays,
    /// A fill has to enter for its next window.
    EntersAgain,
}

impl<Q: Clone, T, S: ScratchPool> Saver<'_, Q, T, S> {
    /// A flush starts: what has come by now will be durable when it is done.
    pub fn note_flush(&mut self, slot: Slot) {
        let Some(clusters) = self.table.overlay.as_ref().filter(|it| !it.is_all_saved()) else {
            return;
        };
        let mark = clusters.mark();
        self.table.entry(slot).overlaid().saving = Saving::Data(mark);
    }

    /// Nothing of the request is at the storage any more, and it has no error.
    pub fn settle(&mut self, slot: Slot) -> Settled {
        let entry = self.table.known(slot);
        let saving = entry.overlaid.as_ref().map_or(Saving::Not, |overlaid| overlaid.saving);
        match saving {
            Saving::Not => self.after_bytes(slot),
            Saving::Data(mark) => {
                let clusters = self.table.overlay.as_mut().expect("an overlay");
                clusters.note_durable(mark);
                let version = clusters.version();
                self.table.entry(slot).overlaid().saving = Saving::Map(version);
                self.wait_for_map(slot, version)
            }
            Saving::Map(version) => self.wait_for_map(slot, version),
        }
    }

    /// The bytes of the request have moved.
    fn after_bytes(&mut self, slot: Slot) -> Settled {
        if self.table.known(slot).request.op == Op::Populate {
            return match (Filling { table: self.table }).after_window(slot) {
                Window::Save => self.begin_saving(slot),
                Window::Next => Settled::EntersAgain,
                Window::None => Settled::Over,
            };
        }
        let changed = self.changed(slot);
        let Some(clusters) = &mut self.table.overlay else { return Settled::Over };
        let Some((start, end)) = changed else { return Settled::Over };
        clusters.note_there(start, end);
        let saved = clusters.is_saved(start, end);
        if self.is_durable(slot) && !saved {
            return self.begin_saving(slot);
        }
        Settled::Over
    }

    /// The bytes that the request has changed, or given the file on top for the first time.
    fn changed(&self, slot: Slot) -> Option<(u64, u64)> {
        let entry = self.table.known(slot);
        let (start, end) = match entry.request.op {
            Op::Write | Op::WriteZeroes => (entry.request.offset, entry.end()),
            // What the storage has not carried out leaves the bytes as they are.
            Op::Discard if entry.change.as_ref().is_some_and(|change| !change.left_out) => {
                let config = self.table.config_of(slot);
                let length = self.table.overlay.as_ref()?.length();
                discarded(&entry.request, config, config.last_block.min(length))
            }
            _ => return None,
        };
        (start < end).then_some((start, end))
    }

    /// Whether the request, or one that shares its I/O, has to be durable when it is done.
    fn is_durable(&self, slot: Slot) -> bool {
        let entry = self.table.known(slot);
        let fua = |slot: Slot| self.table.known(slot).request.flags.fua;
        fua(slot) || entry.members.iter().any(|&member| fua(member))
    }

    fn begin_saving(&mut self, slot: Slot) -> Settled {
        let mark = self.table.overlay.as_ref().expect("an overlay").mark();
        self.table.entry(slot).overlaid().saving = Saving::Data(mark);
        let id = self.table.next_part(slot);
        self.table.emit(slot, Io::new(id, Op::Flush, 0));
        Settled::Stays
    }

    /// The request is over once the map holds `version`; if no other request is saving, it does so.
    fn wait_for_map(&mut self, slot: Slot, version: u64) -> Settled {
        let clusters = self.table.overlay.as_mut().expect("an overlay");
        if clusters.holds(version) {
            return self.saved(slot);
        }
        clusters.waiters.push(slot);
        if let Some(pages) = clusters.begin_save() {
            let id = self.table.next_part(slot);
            let io = Io { map: Some(Box::new(pages)), ..Io::new(id, Op::SaveMap, 0) };
            self.table.emit(slot, io);
        }
        Settled::Stays
    }

    fn saved(&mut self, slot: Slot) -> Settled {
        let entry = self.table.entry(slot);
        entry.overlaid().saving = Saving::Not;
        if entry.request.op == Op::Populate
            && (Filling { table: self.table }).next_window(slot) == Window::Next
        {
            return Settled::EntersAgain;
        }
        Settled::Over
    }

    /// The I/O that saved the map is over. Returns who waited for it.
    pub fn map_saved(&mut self, done: bool) -> Vec<Slot> {
        let Some(clusters) = &mut self.table.overlay else { return Vec::new() };
        clusters.end_save(done);
        std::mem::take(&mut clusters.waiters)
    }
}
