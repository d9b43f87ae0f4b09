//! The common request, on a short way: a read or a write that is one I/O and conflicts with
//! nothing. It starts when it enters, and is over when its I/O is: no line for a place, no edges to
//! read before, no members. Everything else goes the long way. To all others a request on the short
//! way looks like one that has gone the long way to the same point.
//!
//! Example, with blocks of 4096: a write of [8192, 16384) from memory that suits the storage claims
//! its range, shared; no span is there yet, and the queue has a place free. It gets that place, and
//! its I/O is the request itself. A write of [8192, 8704) beside it goes the long way, and waits. A
//! read of [8192, 8704) goes the short way: it is one I/O of the block, into scratch.

use crate::extent::Extent;
use crate::io::{Io, IoId, Op, Segments, Slot};
use crate::isolation::Isolation;
use crate::merge::part_of_block;
use crate::moving::{lay_out, whole_request_fits};
use crate::splice::{round_down, Part};
use crate::table::{Among, AmongSet, Phase, Queue, Table};
use crate::tracker::{Access, Claim};
use crate::twice::each_once;
use crate::{QueueConfig, QueueId, Request, Scratch, ScratchPool};

/// Starts and ends common requests.
pub struct ShortWay<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a mut Isolation,
    pub extent: &'a Extent,
}

/// Whether a request has gone the short way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Taken,
    /// The request goes the long way, from here on.
    NotOpen,
}

/// What the I/O of a common request moves.
enum Shape {
    /// The request's own memory, as it is.
    Whole,
    /// A read of a part of a block: the block, into scratch.
    PartOfBlock(Scratch),
}

impl<Q: Clone, T, S: ScratchPool> ShortWay<'_, Q, T, S> {
    /// Takes a request in and starts it, if it is a common one. Gives its I/O, which counts as
    /// asked for: the caller does it. Else the token comes back.
    #[inline(always)]
    pub fn enter_for_caller(
        &mut self,
        id: QueueId,
        request: &mut Request<()>,
        token: T,
    ) -> Result<Io, T> {
        let slot = self.table.vacancy();
        let Some(shape) = self.claim(id, slot, request) else { return Err(token) };
        let segments = std::mem::take(&mut request.segments);
        let Request { op, flags, guest_block, offset, bytes, .. } = *request;
        let empty = Segments::new();
        let request = Request { op, flags, guest_block, offset, bytes, token, segments: empty };
        self.table.place(id, request);
        Ok(self.begin(slot, shape, segments))
    }

    /// As `enter_for_caller`, but the I/O is among the actions. Else the request has its slot, and
    /// nothing else has happened.
    #[inline(always)]
    pub fn enter(&mut self, id: QueueId, mut request: Request<T>) -> (Slot, Passage) {
        let slot = self.table.vacancy();
        let Some(shape) = self.claim(id, slot, &request) else {
            return (self.table.place(id, request), Passage::NotOpen);
        };
        let segments = std::mem::take(&mut request.segments);
        self.table.place(id, request);
        let io = self.begin(slot, shape, segments);
        self.table.put_io(slot, io);
        (slot, Passage::Taken)
    }

    /// As `enter`, for a request that has its slot already.
    #[inline]
    pub fn start(&mut self, slot: Slot) -> Passage {
        if self.table.is_unsettled()
            && !is_like_any_file(self.table, &self.table.entries[slot.index()].request)
        {
            return Passage::NotOpen;
        }
        let Table { entries, queues, scratch, .. } = &mut *self.table;
        let entry = &mut entries[slot.index()];
        let queue = queues[entry.queue as usize].as_ref().expect("an open queue");
        let request = &entry.request;
        debug_assert!(entry.twice.is_empty());
        let Some(shape) = claim(self.isolation, self.extent, scratch, queue, slot, request) else {
            return Passage::NotOpen;
        };
        let segments = std::mem::take(&mut entry.request.segments);
        let io = self.begin(slot, shape, segments);
        self.table.put_io(slot, io);
        Passage::Taken
    }

    #[inline(always)]
    fn claim<X>(&mut self, id: QueueId, slot: Slot, request: &Request<X>) -> Option<Shape> {
        if self.table.is_unsettled() && !is_like_any_file(self.table, request) {
            return None;
        }
        let Table { queues, scratch, .. } = &mut *self.table;
        let queue = queues[id as usize].as_ref().expect("an open queue");
        claim(self.isolation, self.extent, scratch, queue, slot, request)
    }

    /// The request in this slot, whose vector is `segments`, has claimed what it needs.
    #[inline(always)]
    fn begin(&mut self, slot: Slot, shape: Shape, segments: Segments) -> Io {
        let entry = &mut self.table.entries[slot.index()];
        let queue = self.table.queues[entry.queue as usize].as_mut().expect("an open queue");
        let Request { op, flags, offset, bytes, .. } = entry.request;
        if op == Op::Write {
            entry.tracked = AmongSet::WRITES;
        }
        (entry.phase, entry.on_short_way) = (Phase::Moving, true);
        (entry.parts_issued, entry.outstanding) = (1, 1);
        queue.active += 1;
        queue.count_io(op);
        let id = IoId { slot, part: 0 };
        match shape {
            Shape::Whole => {
                entry.cursor.position = offset + bytes;
                let registered = flags.registered && segments.len() == 1;
                Io { registered, fua: flags.fua, bytes, segments, ..Io::new(id, op, offset) }
            }
            Shape::PartOfBlock(scratch) => {
                let block = round_down(offset, queue.config.alignments.request);
                entry.cursor.position = block;
                entry.request.segments = segments;
                let (_, mut layout) = lay_out(entry, &queue.config, Part::ALL);
                layout.place(scratch.address);
                entry.parts.push((0, scratch));
                entry.bounced = true;
                Io {
                    bytes: layout.bytes,
                    segments: layout.segments,
                    copies: layout.copies,
                    ..Io::new(id, op, block)
                }
            }
        }
    }

    /// Ends a request whose only I/O has moved all its bytes. `Taken`: its slot waits for
    /// `Table::complete` or `Table::end`, and the caller runs what may start now.
    #[inline(always)]
    pub fn leave(&mut self, io: &Io) -> Passage {
        let slot = io.id.slot;
        let Table { entries, queues, scratch, runnable, .. } = &mut *self.table;
        let entry = &mut entries[slot.index()];
        let tracked = entry.tracked;
        // Since it started it may have been entered among the barriers.
        if !entry.on_short_way || !(tracked.is_empty() || tracked == AmongSet::WRITES) {
            entry.on_short_way = false;
            return Passage::NotOpen;
        }
        debug_assert!(entry.outstanding == 1 && entry.error.is_none());
        entry.outstanding = 0;
        if entry.bounced {
            entry.request.segments = Segments::new();
            entry.parts.drain(..).for_each(|(_, piece)| scratch.give(piece));
        }
        let id = entry.queue;
        let queue = queues[id as usize].as_mut().expect("an open queue");
        queue.active -= 1;
        // While a repair is under way there are no places, and a request that leaves may be the one
        // that the repair waits for.
        if !queue.queued.is_empty() || queue.places == 0 {
            runnable.push(id);
        }
        if tracked == AmongSet::WRITES {
            self.isolation.remove(self.table, slot, Among::Writes);
        }
        Passage::Taken
    }
}

/// Whether a request touches only clusters of an overlay that are there, and saved if it has to be
/// durable.
#[cold]
fn is_like_any_file<Q, T, S, X>(table: &Table<Q, T, S>, request: &Request<X>) -> bool {
    let Some(clusters) = &table.overlay else { return true };
    let (start, end) = (request.offset, request.offset + request.bytes);
    end <= clusters.length()
        && clusters.is_there(start, end)
        && (!request.flags.fua || clusters.is_saved(start, end))
}

/// Claims for a request what it needs, if it is a common one: its range among the writes, and
/// scratch. None: nothing has been claimed.
#[inline(always)]
fn claim<Q, X, S: ScratchPool>(
    isolation: &mut Isolation,
    extent: &Extent,
    scratch: &mut S,
    queue: &Queue<Q>,
    slot: Slot,
    request: &Request<X>,
) -> Option<Shape> {
    let config = &queue.config;
    let asks_for_more = request.guest_block > 0
        || request.flags.serialising
        || (request.op == Op::Write && isolation.has_stages())
        || request.flags.no_wait
        || isolation.excluding > 0;
    let (start, end) = (request.offset, request.offset + request.bytes);
    // The length is never below the floor: so the request lies inside, and reshapes nothing.
    let moves = matches!(request.op, Op::Read | Op::Write) && start < end;
    let has_place = queue.active < queue.places && queue.queued.is_empty();
    if asks_for_more || !moves || end > extent.floor || !has_place {
        return None;
    }
    if !whole_request_fits(request, config) {
        return claim_part(scratch, config, request);
    }
    if request.op == Op::Read && !each_once(&request.segments) {
        return None;
    }
    if request.op == Op::Write {
        let whole = start.is_multiple_of(config.granule) && end.is_multiple_of(config.granule);
        let claim = Claim { start, end, access: Access::Shared };
        if !whole || !isolation.among_mut(Among::Writes).insert_where_free(slot, claim) {
            return None;
        }
    }
    Some(Shape::Whole)
}

/// As `claim`, for a read of a part of a block. If there is no scratch the long way says so.
#[inline]
fn claim_part<X, S: ScratchPool>(
    scratch: &mut S,
    config: &QueueConfig,
    request: &Request<X>,
) -> Option<Shape> {
    let end = request.offset + request.bytes;
    if request.op != Op::Read || !config.copy_edges {
        return None;
    }
    part_of_block(request.offset, end, config)?;
    let alignments = config.alignments;
    scratch.take(alignments.request as usize, alignments.memory).map(Shape::PartOfBlock)
}

#[cfg(test)]
mod tests;
