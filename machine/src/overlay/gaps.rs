//! A write that covers only a part of an absent cluster: reads the rest from the backing object,
//! then makes the write one of whole clusters. Example: see `overlay/mod.rs`.

use crate::io::{Io, Lane, Op, Segment, Segments, Slot};
use crate::moving::EdgeReads;
use crate::table::{Asked, Table, Widening};
use crate::ScratchPool;

pub struct Gaps<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

impl<Q: Clone, T, S: ScratchPool> Gaps<'_, Q, T, S> {
    /// Reads the gaps of a write that starts, if it has any.
    pub fn read(&mut self, slot: Slot) -> EdgeReads {
        let Some(clusters) = &self.table.overlay else { return EdgeReads::NotNeeded };
        let entry = self.table.known(slot);
        let ((from, start), (end, to)) = clusters.gaps(entry.request.offset, entry.end());
        let (before, behind) = (start - from, to - end);
        if before + behind == 0 {
            return EdgeReads::NotNeeded;
        }
        let config = self.table.config_of(slot);
        let memory = config.alignments.memory;
        let unit = (config.alignments.request as usize).next_multiple_of(memory);
        // Whole blocks of the rest behind lie at addresses that the storage takes.
        let behind_at = (before as usize).next_multiple_of(unit) + end as usize % unit;
        let Some(scratch) = self.table.scratch.take(behind_at + behind as usize, memory) else {
            self.table.entry(slot).error = Some(libc::ENOMEM);
            return EdgeReads::Asked;
        };
        let address = scratch.address;
        let widening = Widening { scratch, before, behind, behind_at, asked: None };
        self.table.entry(slot).overlaid().widening = Some(widening);
        self.table.home(slot).stats.rmw += 1;
        for (offset, bytes, at) in [(from, before, 0), (end, behind, behind_at)] {
            if bytes > 0 {
                self.read_one(
                    slot,
                    offset,
                    Segment { address: address + at, bytes: bytes as usize },
                );
            }
        }
        EdgeReads::Asked
    }

    fn read_one(&mut self, slot: Slot, offset: u64, memory: Segment) {
        self.table.home(slot).stats.rmw_reads += 1;
        let io = Io {
            lane: Lane::Backing,
            into_scratch: true,
            bytes: memory.bytes as u64,
            segments: Segments::from_slice(&[memory]),
            ..Io::new(self.table.next_part(slot), Op::Read, offset)
        };
        self.table.emit(slot, io);
    }

    /// All gaps are there: the write becomes the wider one. False: there are none, or it is wide
    /// already.
    pub fn widen(&mut self, slot: Slot) -> bool {
        let entry = self.table.entry(slot);
        let Some(overlaid) = &mut entry.overlaid else { return false };
        let Some(widening) = overlaid.widening.as_mut().filter(|it| it.asked.is_none()) else {
            return false;
        };
        let Widening { before, behind, behind_at, .. } = *widening;
        let address = widening.scratch.address;
        let request = &mut entry.request;
        let segments = std::mem::take(&mut request.segments);
        let asked = Asked { offset: request.offset, bytes: request.bytes, segments };
        let gap = |at: usize, bytes: u64| {
            let segment = Segment { address: address + at, bytes: bytes as usize };
            (bytes > 0).then_some(segment)
        };
        let (first, last) = (gap(0, before), gap(behind_at, behind));
        request.segments = first.into_iter().chain(asked.segments.iter().copied()).collect();
        request.segments.extend(last);
        request.offset -= before;
        request.bytes += before + behind;
        widening.asked = Some(asked);
        true
    }

    /// The write is over, or starts anew: it is what was asked again, and its scratch goes back.
    pub fn narrow(&mut self, slot: Slot) {
        let entry = self.table.entry(slot);
        let widening = entry.overlaid.as_mut().and_then(|overlaid| overlaid.widening.take());
        let Some(Widening { scratch, asked, .. }) = widening else { return };
        if let Some(Asked { offset, bytes, segments }) = asked {
            (entry.request.offset, entry.request.bytes) = (offset, bytes);
            entry.request.segments = segments;
        }
        self.table.scratch.give(scratch);
    }
}
