//! Whole absent clusters on their way up: read from the backing object into scratch, then written
//! to the file from there. Whoever asks for that keeps all writes out of these clusters.

use crate::io::{Io, Lane, MemoryCopies, MemoryCopy, Op, Segment, Segments, Slot};
use crate::splice::{advance, round_down};
use crate::table::{Entry, Piece, Table};
use crate::ScratchPool;

pub struct Copying<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

impl<Q: Clone, T, S: ScratchPool> Copying<'_, Q, T, S> {
    /// Asks for the absent clusters from the one with `offset` on, as far as one piece goes and at
    /// most to the one in which [.., until) ends. A read gets its bytes of them. Returns where the
    /// piece ends.
    pub fn begin(&mut self, slot: Slot, offset: u64, until: u64) -> u64 {
        let clusters = self.table.overlay.as_ref().expect("an overlay");
        let start = clusters.start_of(offset);
        let end = clusters.end_of(until).min(start + clusters.piece);
        let memory = self.table.config_of(slot).alignments.memory;
        let Some(scratch) = self.table.scratch.take((end - start) as usize, memory) else {
            self.table.entry(slot).error = Some(libc::ENOMEM);
            return end;
        };
        let id = self.table.next_part(slot);
        let entry = self.table.entry(slot);
        let whole = Segment { address: scratch.address, bytes: (end - start) as usize };
        let copies = copies_to_guest(entry, start, end, scratch.address);
        entry.bounced |= !copies.is_empty();
        let piece = Piece { start, end, scratch, parts: vec![id.part], failed: false };
        entry.overlaid().pieces.push(piece);
        let io = Io {
            lane: Lane::Backing,
            into_scratch: true,
            bytes: end - start,
            segments: Segments::from_slice(&[whole]),
            copies,
            ..Io::new(id, Op::Read, start)
        };
        self.table.emit(slot, io);
        end
    }

    /// Has the clusters copied up that [start, end) covers only in part, if they are absent.
    pub fn copy_gaps(&mut self, slot: Slot) {
        let clusters = self.table.overlay.as_ref().expect("an overlay");
        let entry = self.table.known(slot);
        let ((from, start), (end, to)) = clusters.gaps(entry.request.offset, entry.end());
        let mut copied = from;
        if from < start {
            copied = self.begin(slot, from, from + 1);
        }
        if end < to && copied < to {
            self.begin(slot, end, to);
        }
    }

    /// An I/O of a piece is over: after the read comes the write, after that the clusters are
    /// there.
    pub fn io_over(&mut self, io: &Io, error: Option<i32>) {
        let slot = io.id.slot;
        let entry = self.table.entry(slot);
        let given_up = entry.error.is_some();
        let Some(overlaid) = &mut entry.overlaid else { return };
        let of_it = |piece: &Piece| piece.parts.contains(&io.id.part);
        let Some(at) = overlaid.pieces.iter().position(of_it) else { return };
        let piece = &mut overlaid.pieces[at];
        piece.parts.retain(|part| *part != io.id.part);
        piece.failed |= error.is_some();
        if io.op == Op::Read && !piece.failed && !given_up {
            return self.write(slot, at);
        }
        if !piece.parts.is_empty() {
            return;
        }
        let Piece { start, end, scratch, failed, .. } = overlaid.pieces.swap_remove(at);
        if io.op == Op::Write && !failed {
            overlaid.unsaved_bytes += end - start;
            self.table.overlay.as_mut().expect("an overlay").note_there(start, end);
        }
        self.table.scratch.give(scratch);
    }

    /// A write of a piece has failed, and that is no error of the request.
    pub fn give_up(&mut self, io: &Io) {
        let overlaid = self.table.entry(io.id.slot).overlaid();
        let its = overlaid.pieces.iter_mut().find(|piece| piece.parts.contains(&io.id.part));
        its.into_iter().for_each(|piece| piece.failed = true);
    }

    /// Writes a piece that has been read; only its last bytes may lie in the last block.
    fn write(&mut self, slot: Slot, at: usize) {
        let config = self.table.config_of(slot);
        let last_block = config.last_block;
        // Each part begins where block and memory do. (Of storage that moves less at once than its
        // memory alignment there is none with files on it.)
        let unit = config.alignments.request.max(config.alignments.memory as u64);
        let most = round_down(config.max_transfer, unit).max(unit);
        let overlaid = self.table.entry(slot).overlaid();
        let Piece { start, end, ref scratch, .. } = overlaid.pieces[at];
        let address = scratch.address;
        let mut offset = start;
        while offset < end {
            let main = offset < last_block;
            let bound = if main { end.min(last_block) } else { end };
            let bytes = (bound - offset).min(most);
            let memory = address + (offset - start) as usize;
            let segment = Segment { address: memory, bytes: bytes as usize };
            let id = self.table.next_part(slot);
            self.table.entry(slot).overlaid().pieces[at].parts.push(id.part);
            let io = Io {
                lane: if main { Lane::Main } else { Lane::LastBlock },
                bytes,
                segments: Segments::from_slice(&[segment]),
                ..Io::new(id, Op::Write, offset)
            };
            self.table.emit(slot, io);
            offset += bytes;
        }
    }
}

/// The bytes of a read that lie in [start, end), which is in scratch at `address`. Moves the cursor
/// behind them.
fn copies_to_guest<T>(entry: &mut Entry<T>, start: u64, end: u64, address: usize) -> MemoryCopies {
    let mut copies = MemoryCopies::new();
    let request = &entry.request;
    if request.op != Op::Read {
        return copies;
    }
    let from = start.max(request.offset);
    let mut left = end.min(request.offset + request.bytes) - from;
    let mut at = address + (from - start) as usize;
    let cursor = &mut entry.cursor;
    while left > 0 {
        let Segment { address, bytes } = request.segments[cursor.element];
        let piece = ((bytes - cursor.skip) as u64).min(left);
        copies.push(MemoryCopy { from: at, to: address + cursor.skip, bytes: piece as usize });
        advance(&request.segments, cursor, piece);
        (at, left) = (at + piece as usize, left - piece);
    }
    copies
}
