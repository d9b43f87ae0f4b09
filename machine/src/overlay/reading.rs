//! The next I/O of a read, or of a fill, where some clusters may be absent.

use super::Copying;
use crate::io::{Io, Lane, Op, Slot};
use crate::splice::{round_down, Direction, LaneLimits, LanePart, Part};
use crate::table::{Among, Table};
use crate::twice::Twice;
use crate::{Alignments, ScratchPool};

pub struct Reading<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

/// What became of the next I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is asked for, or there was nothing to ask for; or there is no memory.
    Asked,
    /// It is one of the file on top, in this part of the request.
    OnTop(Part),
}

impl<Q: Clone, T, S: ScratchPool> Reading<'_, Q, T, S> {
    pub fn next(&mut self, slot: Slot) -> Next {
        let Some(clusters) = &self.table.overlay else { return Next::OnTop(Part::ALL) };
        let entry = self.table.known(slot);
        let (start, end) = (entry.request.offset, entry.end());
        let position = entry.cursor.position.max(start);
        let populates = entry.request.op == Op::Populate;
        let (there, until) = clusters.run(position, end);
        let keeps = populates
            || (self.table.known_queue(entry.queue).keeps_reads
                && entry.tracked.contains(Among::Writes));
        if there && !populates {
            return self.on_top(slot, Part { from: position, until });
        }
        if there {
            self.table.entry(slot).cursor.position = until;
        } else if keeps {
            let end = Copying { table: self.table }.begin(slot, position, until);
            self.table.entry(slot).cursor.position = end;
        } else {
            self.read_absent(slot, position, until);
        }
        Next::Asked
    }

    /// The next I/O goes to the file on top. The one before may have read a part of a block of what
    /// was absent then.
    fn on_top(&mut self, slot: Slot, part: Part) -> Next {
        let config = self.table.config_of(slot);
        let (block, last_block) = (config.alignments.request, config.last_block);
        let from = if part.from < last_block { round_down(part.from, block) } else { part.from };
        self.table.entry(slot).cursor.position = from;
        Next::OnTop(part)
    }

    /// Reads [position, until) from the backing object, or as much of it as one I/O takes.
    fn read_absent(&mut self, slot: Slot, position: u64, until: u64) {
        let id = self.table.next_part(slot);
        let entry = &mut self.table.entries[slot.index()];
        let queue = self.table.queues[entry.queue as usize].as_ref().expect("an open queue");
        let alignments = Alignments { request: 1, memory: 1, segment: 1 };
        let limits = LaneLimits {
            alignments,
            max_transfer: queue.config.max_transfer,
            max_segments: queue.config.max_segments,
            copy_edges: false,
        };
        entry.cursor.position = position;
        let nothing = Twice::default();
        let part = LanePart {
            direction: Direction::Read,
            limits,
            start: entry.request.offset,
            end: until,
            elements: &entry.request.segments,
            // The backing handle sees to memory that is named twice.
            bounced: &nothing,
            head_image: None,
            tail_image: None,
            scratch_max: 0,
        };
        let layout = part.next_io(&mut entry.cursor);
        let io = Io {
            lane: Lane::Backing,
            bytes: layout.bytes,
            segments: layout.segments,
            ..Io::new(id, Op::Read, position)
        };
        self.table.emit(slot, io);
    }
}
