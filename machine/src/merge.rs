//! Requests that share one I/O. Sub-block writes that queue up behind a busy block, or stand
//! together in a batch, become *members* of the first of them, their *leader*: their bytes are
//! laid over the leader's image of the block in order of submission, the block is written once,
//! and each completes by itself with the result of that write. Sub-block reads of one batch that
//! lie in one block share the leader's read; no read joins an I/O issued before it arrived.
//!
//! Members stay in the tracker until the leader is done, so all others see the order that there
//! was. A write joins only if it waits for the member before it and for no other request: so no
//! request that came between the two conflicts with it.
//!
//! When such a write is done and another is in line, the image is made to hold the whole block as
//! the storage has it, and the next write inherits it instead of reading the block again.
//!
//! Queues of one object share I/O where their alignments agree: a leader of one queue may have
//! members and an heir of others. The I/O goes the way of the leader's queue; a member rides, and
//! takes no place of its own queue.
//!
//! Example, with blocks of 4096. Writes A [0, 512), B [512, 1024), C [3584, 4608) and D [0, 512)
//! come in this order while the block is idle. A starts and reads the block. B, C and D wait, each
//! for the one before it. When A is done B inherits its image and starts: C waits for B alone, but
//! lies in two blocks, so B has no members, and goes out by itself. Had C been [1024, 2048), C and
//! D would be members of B: the image of A, under the bytes of B, C and D, goes out as one write of
//! [0, 4096), and all three complete with its result.

use crate::io::{Io, MemoryCopies, MemoryCopy, Op, Segment, Segments, Slot};
use crate::moving::Edges;
use crate::splice::round_down;
use crate::table::{AmongSet, Entry, Phase, Standing, Table};
use crate::tracker::Tracker;
use crate::{QueueConfig, QueueId, ScratchPool};

/// Most requests that join one leader.
pub const MEMBERS_MAX: usize = 255;

/// Most images that requests hold while they are announced, and have no place.
const IMAGES_KEPT_MAX: usize = 64;

/// Brings requests together, and sees which writes wait for which.
pub struct Merger<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    /// Which writes wait for which.
    pub writes: &'a Tracker,
    /// Of the object.
    pub length: u64,
}

impl<Q: Clone, T, S: ScratchPool> Merger<'_, Q, T, S> {
    /// Makes members of the writes that wait for `leader` alone, or for its last member alone.
    pub fn absorb_writes(&mut self, leader: Slot) {
        let mut last = self.table.entry(leader).members.last().copied().unwrap_or(leader);
        while self.table.entry(leader).members.len() < MEMBERS_MAX {
            let Some(next) = self.follower(last, leader).filter(|&slot| !self.is_staged(slot))
            else {
                return;
            };
            let home = self.table.known(leader).queue;
            let member = self.table.entry(next);
            debug_assert_eq!(member.phase, Phase::Waiting);
            (member.phase, member.leader) = (Phase::Member, leader);
            let guest = member.queue != home;
            self.table.entry(leader).members.push(next);
            self.table.waiting -= 1;
            self.table.riding += usize::from(guest);
            self.table.home(next).stats.merged += 1;
            last = next;
        }
    }

    /// Whether the request is not past the notifiers: it must not join another yet.
    fn is_staged(&self, slot: Slot) -> bool {
        self.table.known(slot).announced.standing == Standing::Before
    }

    /// The write that waits only for `last` and lies in the same block as `leader`.
    pub fn follower(&self, last: Slot, leader: Slot) -> Option<Slot> {
        let block = self.block_of(leader)?;
        self.next_to(last, self.table.known(leader).queue, block)
    }

    /// The write to a part of this block that waits only for `last`, and may share I/O with
    /// requests of this queue.
    #[inline(always)]
    fn next_to(&self, last: Slot, queue: QueueId, block: u64) -> Option<Slot> {
        self.writes.waiting_only_for(last).find(|&slot| {
            let other = self.table.known(slot);
            other.waits_among == AmongSet::WRITES
                && self.shares_with(queue, other.queue)
                && self.block_of(slot) == Some(block)
        })
    }

    /// Whether requests of two queues may share I/O: each would cut and align it in the same way,
    /// and claims as much, so that of those in line each waits for one alone. Both lead to the same
    /// object.
    fn shares_with(&self, queue: QueueId, other: QueueId) -> bool {
        let shape = |queue: QueueId| {
            let config = &self.table.known_queue(queue).config;
            (config.alignments, config.granule)
        };
        queue == other || shape(queue) == shape(other)
    }

    /// The block in which a write may be merged with others: it covers a part of just this one.
    pub fn block_of(&self, slot: Slot) -> Option<u64> {
        let entry = self.table.known(slot);
        let config = &self.table.known_queue(entry.queue).config;
        let merges = entry.request.op == Op::Write
            && !config.no_merge
            && !entry.excludes_readers
            && entry.announced.keeps_out.is_none()
            && entry.end() <= self.length;
        if merges {
            partial_block(entry, config)
        } else {
            None
        }
    }

    /// Whether the leader and its members write every byte of their block.
    pub fn covers_block(&self, leader: Slot) -> bool {
        let entry = self.table.known(leader);
        let block = self.table.config_of(leader).alignments.request;
        let whole: u64 = self.sharers(entry, leader).map(|entry| entry.request.bytes).sum();
        if whole < block {
            return false;
        }
        let range = |entry: &Entry<T>| (entry.request.offset, entry.end());
        let mut ranges: Vec<_> = self.sharers(entry, leader).map(range).collect();
        ranges.sort_unstable();
        let start = round_down(entry.request.offset, block);
        let extend = |covered: u64, &(start, end): &(u64, u64)| {
            if start <= covered {
                covered.max(end)
            } else {
                covered
            }
        };
        let covered = ranges.iter().fold(start, extend);
        covered == start + block
    }

    /// The leader, then its members in order.
    fn sharers<'a>(
        &'a self,
        entry: &'a Entry<T>,
        leader: Slot,
    ) -> impl Iterator<Item = &'a Entry<T>> {
        std::iter::once(leader)
            .chain(entry.members.iter().copied())
            .map(|slot| self.table.known(slot))
    }

    /// Issues the one I/O of a leader with members; its image of the block is `image`.
    pub fn issue_shared(&mut self, leader: Slot, image: usize) {
        let block = self.table.config_of(leader).alignments.request;
        let entry = self.table.known(leader);
        let op = entry.request.op;
        let offset = round_down(entry.request.offset, block);
        let mut fua = false;
        let mut copies = MemoryCopies::new();
        for sharer in self.sharers(entry, leader) {
            fua |= sharer.request.flags.fua;
            let mut at = image + (sharer.request.offset - offset) as usize;
            for &Segment { address, bytes } in &sharer.request.segments {
                let (from, to) = if op == Op::Write { (address, at) } else { (at, address) };
                copies.push(MemoryCopy { from, to, bytes });
                at += bytes;
            }
        }
        let mut segments = Segments::new();
        segments.push(Segment { address: image, bytes: block as usize });
        let id = self.table.next_part(leader);
        let entry = self.table.entry(leader);
        entry.cursor.position = entry.end();
        entry.bounced = true;
        entry.image_is_whole = op == Op::Write;
        let io = Io { fua, bytes: block, segments, copies, ..Io::new(id, op, offset) };
        self.table.emit(leader, io);
    }

    /// Reads the block that a leader of reads and its members lie in.
    pub fn read_shared(&mut self, leader: Slot) {
        match (Edges { table: self.table }).take_image(leader) {
            Some(image) => self.issue_shared(leader, image),
            None => self.table.entry(leader).error = Some(libc::ENOMEM),
        }
    }

    /// Only a request with a place may hold an image. An heir of the same queue gets the place that
    /// a request of `home` gives up, an heir of another queue one of its own that is free; unless
    /// others are queued for that place.
    fn has_place(&self, heir: Slot, home: QueueId) -> bool {
        let id = self.table.known(heir).queue;
        let queue = self.table.known_queue(id);
        queue.queued.is_empty() && (id == home || queue.active < queue.places)
    }

    /// A write to one block is done: the next in line gets its image, if it can start at once.
    pub fn bequeath_image(&mut self, slot: Slot) {
        let entry = self.table.known(slot);
        let Some(image) = entry.block_image() else { return };
        if entry.request.op != Op::Write || entry.error.is_some() {
            return;
        }
        let last = entry.members.last().copied().unwrap_or(slot);
        let home = self.table.known_queue(entry.queue);
        let Some(block) = partial_block(entry, &home.config) else { return };
        let Some(heir) = self.next_to(last, entry.queue, block) else { return };
        // A write that has to be announced first gets its place later.
        let waits = self.is_staged(heir);
        let may_keep = waits && self.table.images_kept < IMAGES_KEPT_MAX;
        if !may_keep && (waits || !self.has_place(heir, entry.queue)) {
            return;
        }
        if !entry.image_is_whole {
            // A lone write. Of a driver's object its bytes may have gone out straight from the
            // guest's memory, and are not in the image yet. Of a file they are there
            // (`copy_edges`), and are copied once more. The guest's memory may be read: the request
            // is not complete.
            let Table { entries, scratch, .. } = &mut *self.table;
            let request = &entries[slot.index()].request;
            let mut at = image + (request.offset - block) as usize;
            for &Segment { address, bytes } in &request.segments {
                scratch.copy(MemoryCopy { from: address, to: at, bytes });
                at += bytes;
            }
        }
        let images = self.table.entry(slot).images.take();
        self.table.images_kept += usize::from(waits);
        let heir = self.table.entry(heir);
        heir.announced.keeps_image = waits;
        heir.images = images;
        heir.head_image = Some(image);
        heir.image_inherited = true;
    }
}

/// The block that a request covers only a part of, if it touches no other.
pub fn partial_block<T>(entry: &Entry<T>, config: &QueueConfig) -> Option<u64> {
    part_of_block(entry.request.offset, entry.end(), config)
}

/// As `partial_block`, for the range [start, end).
#[inline]
pub fn part_of_block(start: u64, end: u64, config: &QueueConfig) -> Option<u64> {
    let block = config.alignments.request;
    let at = round_down(start, block);
    let part_of_one = start < end && end <= at + block && end - start < block;
    (part_of_one && end <= config.last_block).then_some(at)
}
