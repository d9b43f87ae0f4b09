//! The way of one request through the storage: edges first, then its own bytes, I/O by I/O; what
//! came back short goes out again. Who may start and when is `machine.rs`'s business.

use super::atomic::{atomic_bytes, lay_out_atomic};
use super::entry::{Entry, Phase};
use super::machine::Machine;
use super::splice::{self, Direction, LaneLimits, LanePart, Layout};
use super::{Action, Alignments, QueueConfig, QueueId, Request, ScratchPool};
use crate::io::{Io, IoId, Lane, Op, Segment};

/// I/Os of one request at the storage at once.
pub(super) const PARTS_MAX: u32 = 8;
/// Scratch for bounces in one I/O, and in all I/Os of a request at once; each may be exceeded by
/// one block so that there is progress.
pub(super) const SCRATCH_PER_IO_MAX: usize = 256 << 10;
const SCRATCH_PER_REQUEST_MAX: usize = 1 << 20;
/// Results in a row that bring an I/O no further: a storage that is only interrupted, or short by
/// less than a block, is asked again; one that does nothing else is broken.
const STALLS_MAX: u32 = 100;
/// Those among them, in a row, that move not one byte. Whoever carries the I/O out has looked by
/// then whether the storage ends there.
const EMPTY_MAX: u32 = 8;

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    pub(super) fn issue_flush(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        self.emit(slot, Io::new(IoId { slot, part: 0 }, Op::Flush, 0), actions);
    }

    /// Takes in the writes that can be done with this one, and reads the edges if they have to
    /// be read.
    pub(super) fn begin_write(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        if self.block_of(slot).is_none() {
            return self.begin_edges(slot, actions);
        }
        self.absorb_writes(slot);
        let entry = self.entry(slot);
        let (queue, requests) = (entry.queue, 1 + entry.members.len() as u64);
        let inherited = entry.image_inherited;
        if requests > 1 && self.covers_block(slot) {
            self.queue(queue).stats.rmw_reads_skipped += requests;
            if !inherited && self.take_image(slot).is_none() {
                self.entry(slot).error = Some(libc::ENOMEM);
                return;
            }
            return self.begin_moving(slot, actions);
        }
        self.queue(queue).stats.rmw += requests - 1;
        self.queue(queue).stats.rmw_reads_skipped += requests - 1;
        if inherited {
            self.queue(queue).stats.rmw += 1;
            self.queue(queue).stats.rmw_reads_skipped += 1;
            return self.begin_moving(slot, actions);
        }
        self.begin_edges(slot, actions);
    }

    /// Reads the edges of a write; nothing is written before all of them are there.
    fn begin_edges(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let entry = self.entry(slot);
        entry.phase = Phase::Edges;
        let (start, end) = (entry.request.offset, entry.end());
        if self.read_edges(slot, start, end, actions) {
            self.count_rmw(slot);
        } else {
            self.begin_moving(slot, actions);
        }
    }

    /// Its edges are being read, if there is memory for them.
    pub(super) fn count_rmw(&mut self, slot: u32) {
        let entry = self.entry(slot);
        if entry.error.is_none() {
            let queue = entry.queue;
            self.queue(queue).stats.rmw += 1;
        }
    }

    /// Reads the blocks of which [start, end) covers only a part. False: there are none.
    pub(super) fn read_edges(
        &mut self,
        slot: u32,
        start: u64,
        end: u64,
        actions: &mut Vec<Action<Q, T>>,
    ) -> bool {
        let config = self.config_of(slot);
        let (block, memory) = (config.alignments.request, config.alignments.memory);
        let together_max = if config.max_segments > 1 { config.max_transfer } else { 0 };
        let end = end.min(config.last_block);
        let head = start < end && !start.is_multiple_of(block);
        let tail = start < end && !end.is_multiple_of(block);
        if !head && !tail {
            return false;
        }
        let head_at = splice::round_down(start, block);
        let tail_at = splice::round_down(end, block);
        let two = head && tail && head_at != tail_at;
        let stride = (block as usize).next_multiple_of(memory);
        let bytes = if two { 2 * stride } else { stride };
        let Some(images) = self.scratch.take(bytes, memory) else {
            self.entry(slot).error = Some(libc::ENOMEM);
            return true;
        };
        let first = images.address;
        let second = if two { first + stride } else { first };
        let entry = self.entry(slot);
        entry.images = Some(images);
        entry.head_image = head.then_some(first);
        entry.tail_image = tail.then_some(second);
        let touching = two && tail_at - head_at == block;
        if touching && 2 * block <= together_max {
            self.read_edge(slot, head_at, &[first, second], block, actions);
            return true;
        }
        self.read_edge(slot, if head { head_at } else { tail_at }, &[first], block, actions);
        if two {
            self.read_edge(slot, tail_at, &[second], block, actions);
        }
        true
    }

    /// The edges are written: their memory goes back.
    pub(super) fn give_images(&mut self, slot: u32) {
        let entry = self.entry(slot);
        entry.head_image = None;
        entry.tail_image = None;
        if let Some(images) = entry.images.take() {
            self.scratch.give(images);
        }
    }

    fn read_edge(
        &mut self,
        slot: u32,
        offset: u64,
        images: &[usize],
        block: u64,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        let mut layout = Layout::default();
        for &image in images {
            layout.push(image, block as usize);
        }
        let queue = self.entry(slot).queue;
        self.queue(queue).stats.rmw_reads += 1;
        let io = Io {
            into_scratch: true,
            bytes: block * images.len() as u64,
            segments: layout.segments,
            ..Io::new(self.next_part(slot), Op::Read, offset)
        };
        self.emit(slot, io, actions);
    }

    pub(super) fn begin_moving(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let config = self.config_of(slot);
        let (block, last_block) = (config.alignments.request, config.last_block);
        self.entry(slot).phase = Phase::Moving;
        let entry = self.entry(slot);
        if let (false, Some(image)) = (entry.members.is_empty(), entry.block_image()) {
            return self.issue_shared(slot, image, actions);
        }
        let start = entry.request.offset;
        entry.cursor.position =
            if start < last_block { splice::round_down(start, block) } else { start };
        self.issue(slot, actions);
    }

    /// Issues as many of the request's I/Os as may be at the storage at once.
    pub(super) fn issue(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        loop {
            let entry = self.entry(slot);
            let done = entry.cursor.position >= entry.end();
            let full =
                entry.outstanding >= PARTS_MAX || entry.scratch_bytes() >= SCRATCH_PER_REQUEST_MAX;
            if done || full || entry.error.is_some() {
                return;
            }
            self.issue_next(slot, actions);
        }
    }

    fn issue_next(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let id = self.next_part(slot);
        let entry = self.entries[slot as usize].as_mut().expect("a request in flight");
        let config = &self.queues[entry.queue as usize].as_ref().expect("an open queue").config;
        let offset = entry.cursor.position;
        let atomic = atomic_bytes(entry, config);
        let (lane, mut layout) = match atomic {
            None => lay_out(entry, config),
            Some(bytes) => (Lane::Main, lay_out_atomic(entry, config, bytes)),
        };
        if layout.scratch_bytes > 0 {
            let Some(scratch) = self.scratch.take(layout.scratch_bytes, config.alignments.memory)
            else {
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
        self.emit(slot, io, actions);
    }

    pub(super) fn next_part(&mut self, slot: u32) -> IoId {
        let entry = self.entry(slot);
        let part = entry.parts_issued;
        entry.parts_issued += 1;
        IoId { slot, part }
    }

    pub(super) fn emit(&mut self, slot: u32, io: Io, actions: &mut Vec<Action<Q, T>>) {
        let entry = self.entry(slot);
        entry.outstanding += 1;
        let queue = entry.queue;
        self.reissue(queue, io, actions);
    }

    pub(super) fn reissue(&mut self, queue: QueueId, io: Io, actions: &mut Vec<Action<Q, T>>) {
        let queue = self.queue(queue);
        match io.op {
            Op::Read => queue.stats.storage_reads += 1,
            Op::Write | Op::WriteZeroes => queue.stats.storage_writes += 1,
            Op::Discard | Op::Truncate | Op::Length | Op::Flush | Op::Fill => {}
        }
        actions.push(Action::Io(queue.owner.clone(), io));
    }

    /// A short or interrupted I/O (`moved` None): asks for the rest, from a place where the storage
    /// takes it. Gives the I/O back if the storage has moved nothing too often.
    pub(super) fn resume(
        &mut self,
        mut io: Io,
        moved: Option<u64>,
        actions: &mut Vec<Action<Q, T>>,
    ) -> Option<Io> {
        let is_empty = moved == Some(0);
        let moved = moved.unwrap_or(0);
        let config = self.config_of(io.id.slot);
        let (block, memory) = match io.lane {
            Lane::Main => (config.alignments.request, config.alignments.memory),
            Lane::LastBlock => (1, 1),
        };
        let mut done = match io.op {
            Op::Discard => moved / config.discard_alignment * config.discard_alignment,
            _ => splice::round_down(moved, block),
        };
        while done > 0 && !splice::address_at(&io.segments, done).is_multiple_of(memory) {
            done -= block;
        }
        if io.atomic {
            // All of it again, or it would not be at once.
            done = 0;
        }
        let entry = self.entry(io.id.slot);
        entry.stalls = if done > 0 { 0 } else { entry.stalls + 1 };
        entry.empties = if is_empty { entry.empties + 1 } else { 0 };
        if entry.stalls > STALLS_MAX || entry.empties > EMPTY_MAX {
            return Some(io);
        }
        self.put_back(&io);
        io.offset += done;
        io.bytes -= done;
        splice::drop_front(&mut io.segments, done);
        let queue = self.entry(io.id.slot).queue;
        self.reissue(queue, io, actions);
        None
    }

    /// One I/O less at the storage; its first failure is the request's.
    pub(super) fn part_done(&mut self, io: &Io, error: Option<i32>) {
        let entry = self.entries[io.id.slot as usize].as_mut().expect("a request in flight");
        entry.outstanding -= 1;
        if let Some(at) = entry.parts.iter().position(|(part, _)| *part == io.id.part) {
            self.scratch.give(entry.parts.swap_remove(at).1);
        }
        entry.error = entry.error.or(error);
        (entry.stalls, entry.empties) = (0, 0);
        match io.op {
            Op::Flush => {
                self.flush_failed = self.flush_failed.or(error);
                entry.error = self.flush_failed;
            }
            Op::Truncate if error.is_some() => self.truncate_failed(),
            _ => {}
        }
    }
}

/// The next I/O of a request, from its cursor on.
fn lay_out<T>(entry: &mut Entry<T>, config: &QueueConfig) -> (Lane, Layout) {
    let request = &mut entry.request;
    let end = request.offset + request.bytes;
    let direction = match request.op {
        Op::Write => Direction::Write,
        _ => Direction::Read,
    };
    let main = entry.cursor.position < config.last_block;
    let lane = if main { Lane::Main } else { Lane::LastBlock };
    if main && whole_request_fits(request, config) {
        let segments = std::mem::take(&mut request.segments);
        entry.cursor.position = end;
        return (lane, Layout { bytes: request.bytes, segments, ..Layout::default() });
    }
    let part = LanePart {
        direction,
        limits: if main { main_limits(config) } else { last_block_limits(config) },
        start: request.offset,
        end: if main { end.min(config.last_block) } else { end },
        elements: &request.segments,
        head_image: entry.head_image.filter(|_| main),
        tail_image: entry.tail_image.filter(|_| main),
        scratch_max: SCRATCH_PER_IO_MAX,
    };
    let layout = part.next_io(&mut entry.cursor);
    (lane, layout)
}

/// The common case, decided without laying anything out: the guest's vector is one that the
/// storage takes as it is.
fn whole_request_fits<T>(request: &Request<T>, config: &QueueConfig) -> bool {
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
