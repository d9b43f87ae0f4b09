//! The next I/O of a read, or of a fill, where some clusters may be absent.

use super::Copying;
use crate::io::{Io, Lane, Op, Slot};
use crate::splice::{Direction, LaneLimits, LanePart};
use crate::table::Table;
use crate::{Alignments, ScratchPool};

pub struct Reading<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

/// What became of the next I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is asked for, or there was nothing to ask for; or there is no memory.
    Asked,
    /// It is one of the file on top, and ends there at the latest.
    OnTop(u64),
}

impl<Q: Clone, T, S: ScratchPool> Reading<'_, Q, T, S> {
    pub fn next(&mut self, slot: Slot) -> Next {
        let Some(clusters) = &self.table.overlay else { return Next::OnTop(u64::MAX) };
        let entry = self.table.known(slot);
        let (start, end) = (entry.request.offset, entry.end());
        let position = entry.cursor.position.max(start);
        let populates = entry.request.op == Op::Populate;
        let (there, until) = clusters.run(position, end);
        let keeps = populates || self.table.known_queue(entry.queue).keeps_reads;
        if there && !populates {
            return Next::OnTop(until);
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
        let part = LanePart {
            direction: Direction::Read,
            limits,
            start: entry.request.offset,
            end: until,
            elements: &entry.request.segments,
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
