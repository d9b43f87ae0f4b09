//! The way of one request's bytes through the storage, I/O by I/O; what came back short goes out
//! again. Which requests may start, and when, is not decided here.

mod atomic;
mod edges;

pub use edges::{EdgeReads, Edges};

use crate::io::{Io, IoId, Lane, Op, Segment, Slot};
use crate::overlay::{Next, Reading};
use crate::splice::{address_at, drop_front, round_down};
use crate::splice::{Direction, LaneLimits, LanePart, Layout, Part};
use crate::table::{Entry, Table};
use crate::twice::Twice;
use crate::{Alignments, QueueConfig, Request, ScratchPool};
use atomic::{atomic_bytes, lay_out_atomic};

/// I/Os of one request at the storage at once.
pub const PARTS_MAX: u32 = 8;
/// Scratch for bounces in one I/O, and in all I/Os of a request at once. So that there is progress,
/// one I/O may have one block more, and a request one I/O more.
const SCRATCH_PER_IO_MAX: usize = 256 << 10;
const SCRATCH_PER_REQUEST_MAX: usize = 1 << 20;
const SCRATCH_PER_FILL_MAX: usize = 4 << 20;
/// Most results in a row that bring an I/O no further. Storage that is interrupted, or moves less
/// than a block, is asked again; storage that does so every time is broken.
const STALLS_MAX: u8 = 100;
/// Most of these results in a row that moved not one byte. Before it hands such a result in, the
/// machine's caller has looked whether the storage ends there (`ENDS_EARLY`).
const EMPTY_MAX: u8 = 8;

/// Moves bytes: it sees the table alone.
pub struct Mover<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

/// What became of an I/O that has not moved all its bytes.
pub enum Resumed {
    /// The rest of it is asked for.
    Asked,
    /// The storage has moved nothing of this I/O too often.
    Stalled(Io),
}

impl<Q: Clone, T, S: ScratchPool> Mover<'_, Q, T, S> {
    pub fn flush(&mut self, slot: Slot) {
        self.table.emit(slot, Io::new(IoId { slot, part: 0 }, Op::Flush, 0));
    }

    /// Issues as many of the request's I/Os as may be at the storage at once.
    pub fn issue(&mut self, slot: Slot) {
        loop {
            let entry = self.table.entry(slot);
            let done = entry.cursor.position >= entry.end();
            // Two I/Os at once would copy into the same memory at once.
            let parts_max = if entry.twice.is_empty() { PARTS_MAX } else { 1 };
            let most = match entry.request.op {
                Op::Populate => SCRATCH_PER_FILL_MAX,
                _ => SCRATCH_PER_REQUEST_MAX,
            };
            let full = entry.outstanding >= parts_max || entry.scratch_bytes() >= most;
            if done || full || entry.error.is_some() {
                return;
            }
            self.issue_next(slot);
        }
    }

    fn issue_next(&mut self, slot: Slot) {
        let Some(part) = self.on_top(slot) else { return };
        let id = self.table.next_part(slot);
        let entry = &mut self.table.entries[slot.index()];
        let queue = self.table.queues[entry.queue as usize].as_ref().expect("an open queue");
        let config = &queue.config;
        let offset = entry.cursor.position;
        let atomic = atomic_bytes(entry, config);
        let (lane, mut layout) = match atomic {
            None => lay_out(entry, config, part),
            Some(bytes) => (Lane::Main, lay_out_atomic(entry, config, bytes)),
        };
        if layout.scratch_bytes > 0 {
            let memory = config.alignments.memory;
            let Some(scratch) = self.table.scratch.take(layout.scratch_bytes, memory) else {
                entry.error = Some(libc::ENOMEM);
                return;
            };
            layout.place(scratch.address);
            entry.parts.push((id.part, scratch));
        }
        entry.bounced |= !layout.copies.is_empty();
        let own = layout.copies.is_empty() && layout.segments.len() == 1;
        let io = Io {
            lane,
            registered: entry.request.flags.registered && own,
            fua: entry.request.flags.fua,
            atomic: atomic.is_some(),
            bytes: layout.bytes,
            segments: layout.segments,
            copies: layout.copies,
            ..Io::new(id, entry.request.op, offset)
        };
        self.table.emit(slot, io);
    }

    /// The part of the request in which the next I/O goes by the handle's own lanes. None: it has
    /// gone another way.
    #[inline]
    fn on_top(&mut self, slot: Slot) -> Option<Part> {
        let reads = matches!(self.table.known(slot).request.op, Op::Read | Op::Populate);
        if !reads || self.table.overlay.is_none() {
            return Some(Part::ALL);
        }
        match (Reading { table: self.table }).next(slot) {
            Next::Asked => None,
            Next::OnTop(part) => Some(part),
        }
    }

    /// A short or interrupted I/O (`moved` None): asks for the rest, from a place where the storage
    /// takes it. Example, with blocks of 4096: of a read of [0, 16384) the storage moves 5000
    /// bytes. 4096 of them count, if the memory after these suits the storage, and [4096, 16384) is
    /// asked for.
    pub fn resume(&mut self, mut io: Io, moved: Option<u64>) -> Resumed {
        let is_empty = moved == Some(0);
        let moved = moved.unwrap_or(0);
        let config = self.table.config_of(io.id.slot);
        let (block, memory) = match io.lane {
            Lane::Backing => (1, 1),
            Lane::Main => (config.alignments.request, config.alignments.memory),
            Lane::LastBlock => (1, 1),
        };
        let mut done = match io.op {
            Op::Discard => moved / config.discard_alignment * config.discard_alignment,
            _ => round_down(moved, block),
        };
        while done > 0 && !address_at(&io.segments, done).is_multiple_of(memory) {
            done -= block;
        }
        if io.atomic {
            // All of it goes out again: in two parts it would not be all or nothing.
            done = 0;
        }
        let entry = self.table.entry(io.id.slot);
        entry.stalls = if done > 0 { 0 } else { entry.stalls + 1 };
        entry.empties = if is_empty { entry.empties + 1 } else { 0 };
        if entry.stalls > STALLS_MAX || entry.empties > EMPTY_MAX {
            return Resumed::Stalled(io);
        }
        self.put_back(&io);
        io.offset += done;
        io.bytes -= done;
        drop_front(&mut io.segments, done);
        let queue = self.table.entry(io.id.slot).queue;
        self.table.reissue(queue, io);
        Resumed::Asked
    }

    /// One I/O less at the storage; the first I/O that fails gives the request its error.
    #[inline(always)]
    pub fn part_done(&mut self, io: &Io, error: Option<i32>) {
        let entry = &mut self.table.entries[io.id.slot.index()];
        entry.outstanding -= 1;
        if let Some(at) = entry.parts.iter().position(|(part, _)| *part == io.id.part) {
            self.table.scratch.give(entry.parts.swap_remove(at).1);
        }
        entry.error = entry.error.or(error);
        (entry.stalls, entry.empties) = (0, 0);
    }

    /// Gives a request its vector back if that went into the I/O as it was (`whole_request_fits`):
    /// the request may need it again.
    pub fn put_back(&mut self, io: &Io) {
        let entry = self.table.entry(io.id.slot);
        if io.op == entry.request.op && entry.request.segments.is_empty() {
            entry.request.segments = io.segments.clone();
        }
    }
}

/// The next I/O of a request, from its cursor on, inside `part`.
pub fn lay_out<T>(entry: &mut Entry<T>, config: &QueueConfig, part: Part) -> (Lane, Layout) {
    let request = &mut entry.request;
    let end = (request.offset + request.bytes).min(part.until);
    let direction = match request.op {
        Op::Write => Direction::Write,
        _ => Direction::Read,
    };
    let main = entry.cursor.position < config.last_block;
    let lane = if main { Lane::Main } else { Lane::LastBlock };
    // Storage that takes any byte moves the bytes one after the other.
    let nothing = Twice::default();
    let one_by_one = !main || config.alignments.request == 1;
    let bounced = if one_by_one { &nothing } else { &entry.twice };
    let rest = end == request.offset + request.bytes;
    let whole = rest && entry.cursor.position <= request.offset && bounced.is_empty();
    if main && whole && whole_request_fits(request, config) {
        let segments = std::mem::take(&mut request.segments);
        entry.cursor.position = end;
        return (lane, Layout { bytes: request.bytes, segments, ..Layout::default() });
    }
    let part = LanePart {
        direction,
        limits: if main { main_limits(config) } else { last_block_limits(config) },
        start: request.offset.max(part.from),
        end: if main { end.min(config.last_block) } else { end },
        elements: &request.segments,
        bounced,
        head_image: entry.head_image.filter(|_| main),
        tail_image: entry.tail_image.filter(|_| main),
        scratch_max: SCRATCH_PER_IO_MAX,
    };
    let layout = part.next_io(&mut entry.cursor);
    (lane, layout)
}

/// The common case, decided without laying anything out: the guest's vector is one that the
/// storage takes as it is. Not asked here: whether a read names memory twice.
#[inline]
pub fn whole_request_fits<T>(request: &Request<T>, config: &QueueConfig) -> bool {
    let end = request.offset + request.bytes;
    let taken = |segment: &Segment| {
        segment.address.is_multiple_of(config.alignments.memory)
            && segment.bytes.is_multiple_of(config.alignments.segment)
    };
    request.offset.is_multiple_of(config.alignments.request)
        && end.is_multiple_of(config.alignments.request)
        && end <= config.last_block
        && request.bytes <= config.max_transfer
        && request.segments.len() <= config.max_segments
        && request.segments.iter().all(taken)
}

fn main_limits(config: &QueueConfig) -> LaneLimits {
    LaneLimits {
        alignments: config.alignments,
        max_transfer: config.max_transfer,
        max_segments: config.max_segments,
        copy_edges: config.copy_edges,
    }
}

fn last_block_limits(config: &QueueConfig) -> LaneLimits {
    let alignments = Alignments { request: 1, memory: 1, segment: 1 };
    LaneLimits { alignments, ..main_limits(config) }
}
