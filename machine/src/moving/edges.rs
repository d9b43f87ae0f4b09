//! The blocks that a write covers only in part: they are read into scratch, their *images*, before
//! anything is written.
//!
//! Example, with blocks of 4096: a write of [1000, 9000) has the head [0, 4096) and the tail
//! [8192, 12288), which are read by two I/Os at once. A write of [1000, 5000) has edges that touch:
//! [0, 8192) is read by one I/O, into two images. A write of [1000, 2000) has one image, which is
//! head and tail.

use crate::io::{Io, Op, Slot};
use crate::splice::{round_down, Layout};
use crate::table::Table;
use crate::ScratchPool;

/// Reads edges: it sees the table alone.
pub struct Edges<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

/// What became of the wish to read a request's edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeReads {
    /// The request covers whole blocks.
    NotNeeded,
    /// The reads are asked for; or there is no memory for them, and ENOMEM is the request's error.
    Asked,
}

impl<Q: Clone, T, S: ScratchPool> Edges<'_, Q, T, S> {
    /// Reads the blocks of which [start, end) covers only a part.
    pub fn read(&mut self, slot: Slot, start: u64, end: u64) -> EdgeReads {
        let config = self.table.config_of(slot);
        let (block, memory) = (config.alignments.request, config.alignments.memory);
        let together_max = if config.max_segments > 1 { config.max_transfer } else { 0 };
        let end = end.min(config.last_block);
        let head = start < end && !start.is_multiple_of(block);
        let tail = start < end && !end.is_multiple_of(block);
        if !head && !tail {
            return EdgeReads::NotNeeded;
        }
        let head_at = round_down(start, block);
        let tail_at = round_down(end, block);
        let two = head && tail && head_at != tail_at;
        let stride = (block as usize).next_multiple_of(memory);
        let bytes = if two { 2 * stride } else { stride };
        let Some(images) = self.table.scratch.take(bytes, memory) else {
            self.table.entry(slot).error = Some(libc::ENOMEM);
            return EdgeReads::Asked;
        };
        let first = images.address;
        let second = if two { first + stride } else { first };
        let entry = self.table.entry(slot);
        entry.images = Some(images);
        entry.head_image = head.then_some(first);
        entry.tail_image = tail.then_some(second);
        let touching = two && tail_at - head_at == block;
        if touching && 2 * block <= together_max {
            self.read_one(slot, head_at, &[first, second], block);
            return EdgeReads::Asked;
        }
        self.read_one(slot, if head { head_at } else { tail_at }, &[first], block);
        if two {
            self.read_one(slot, tail_at, &[second], block);
        }
        EdgeReads::Asked
    }

    fn read_one(&mut self, slot: Slot, offset: u64, images: &[usize], block: u64) {
        let mut layout = Layout::default();
        for &image in images {
            layout.push(image, block as usize);
        }
        self.table.home(slot).stats.rmw_reads += 1;
        let io = Io {
            into_scratch: true,
            bytes: block * images.len() as u64,
            segments: layout.segments,
            ..Io::new(self.table.next_part(slot), Op::Read, offset)
        };
        self.table.emit(slot, io);
    }

    /// Counts a write whose edges are being read, if there was memory for them.
    pub fn count_rmw(&mut self, slot: Slot) {
        if self.table.known(slot).error.is_none() {
            self.table.home(slot).stats.rmw += 1;
        }
    }

    /// Scratch for one block, as the image of the request's only one.
    pub fn take_image(&mut self, slot: Slot) -> Option<usize> {
        let config = self.table.config_of(slot);
        let (bytes, alignment) = (config.alignments.request as usize, config.alignments.memory);
        let image = self.table.scratch.take(bytes, alignment)?;
        let address = image.address;
        let entry = self.table.entry(slot);
        entry.images = Some(image);
        entry.head_image = Some(address);
        Some(address)
    }

    /// The edges are written: their memory goes back.
    pub fn give_images(&mut self, slot: Slot) {
        let entry = self.table.entry(slot);
        entry.head_image = None;
        entry.tail_image = None;
        if let Some(images) = entry.images.take() {
            self.table.scratch.give(images);
        }
    }
}
