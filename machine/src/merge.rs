//! Requests that share one I/O. Sub-block writes that queue up behind a busy block, or stand
//! together in a batch, become *members* of the first of them, their *leader*: their bytes are
//! laid over the leader's image of the block in order of submission, the block is written once,
//! and each completes by itself with the result of that write. Sub-block reads of one batch that
//! lie in one block share the leader's read; no read joins an I/O issued before it arrived.
//!
//! Members stay in the tracker until the leader is done, so everybody else sees the order that
//! there was. A write joins only if it waits for nobody but the member before it: what lies
//! between them in the order of submission cannot overlap either.
//!
//! When such a write is done and another is in line, the image is made to hold the whole block as
//! the storage has it, and that one inherits it instead of reading the block again.

use super::entry::{Entry, Phase};
use super::isolation::{EXCLUDES_READERS, WRITES};
use super::machine::Machine;
use super::splice;
use super::{Action, QueueConfig, ScratchPool};
use crate::io::{Io, MemoryCopies, MemoryCopy, Op, Segment, Segments};

/// Most requests that join one leader.
pub(super) const MEMBERS_MAX: usize = 255;

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Takes in the writes that wait for `leader`, or for the last of its members, alone.
    pub(super) fn absorb_writes(&mut self, leader: u32) {
        let mut last = self.entry(leader).members.last().copied().unwrap_or(leader);
        while self.entry(leader).members.len() < MEMBERS_MAX {
            let Some(next) = self.next_in_line(last, leader) else { return };
            let member = self.entry(next);
            debug_assert_eq!(member.phase, Phase::Waiting);
            (member.phase, member.leader) = (Phase::Member, leader);
            let entry = self.entry(leader);
            entry.members.push(next);
            let queue = entry.queue;
            self.waiting -= 1;
            self.queue(queue).stats.merged += 1;
            last = next;
        }
    }

    /// The write that waits only for `last` and lies in the same block as `leader`.
    fn next_in_line(&self, last: u32, leader: u32) -> Option<u32> {
        let block = self.block_of(leader)?;
        let queue = self.entries[leader as usize].as_ref()?.queue;
        self.tracker.waiting_only_for(last).find(|&slot| {
            let other = self.entries[slot as usize].as_ref();
            let in_line = |entry: &Entry<T>| entry.queue == queue && entry.waits_in == WRITES;
            other.is_some_and(in_line) && self.block_of(slot) == Some(block)
        })
    }

    /// The block in which a write may be merged with others: it covers a part of just this one.
    pub(super) fn block_of(&self, slot: u32) -> Option<u64> {
        let entry = self.entries[slot as usize].as_ref()?;
        let config = &self.queues[entry.queue as usize].as_ref()?.config;
        let merges = entry.request.op == Op::Write
            && !config.no_merge
            && entry.tracked & EXCLUDES_READERS == 0
            && entry.end() <= self.extent.length;
        if merges {
            partial_block(entry, config)
        } else {
            None
        }
    }

    /// Whether the leader and its members write every byte of their block.
    pub(super) fn covers_block(&self, leader: u32) -> bool {
        let entry = self.entries[leader as usize].as_ref().expect("a request in flight");
        let block = self.config_of(leader).alignments.request;
        let whole: u64 = self.sharers(entry, leader).map(|entry| entry.request.bytes).sum();
        if whole < block {
            return false;
        }
        let range = |entry: &Entry<T>| (entry.request.offset, entry.end());
        let mut ranges: Vec<_> = self.sharers(entry, leader).map(range).collect();
        ranges.sort_unstable();
        let start = splice::round_down(entry.request.offset, block);
        let covered =
            ranges.iter().fold(
                start,
                |covered, &(start, end)| {
                    if start <= covered {
                        covered.max(end)
                    } else {
                        covered
                    }
                },
            );
        covered == start + block
    }

    /// The leader, then its members in order.
    fn sharers<'a>(
        &'a self,
        entry: &'a Entry<T>,
        leader: u32,
    ) -> impl Iterator<Item = &'a Entry<T>> {
        std::iter::once(leader)
            .chain(entry.members.iter().copied())
            .map(|slot| self.entries[slot as usize].as_ref().expect("a request in flight"))
    }

    /// Issues the one I/O of a leader with members; its image of the block is `image`.
    pub(super) fn issue_shared(
        &mut self,
        leader: u32,
        image: usize,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        let block = self.config_of(leader).alignments.request;
        let entry = self.entries[leader as usize].as_ref().expect("a request in flight");
        let op = entry.request.op;
        let offset = splice::round_down(entry.request.offset, block);
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
        let id = self.next_part(leader);
        let entry = self.entry(leader);
        entry.cursor.position = entry.end();
        entry.bounced = true;
        entry.image_is_whole = op == Op::Write;
        let io = Io { fua, bytes: block, segments, copies, ..Io::new(id, op, offset) };
        self.emit(leader, io, actions);
    }

    /// Reads the block that a leader of reads and its members lie in.
    pub(super) fn read_shared(&mut self, leader: u32, actions: &mut Vec<Action<Q, T>>) {
        match self.take_image(leader) {
            Some(image) => self.issue_shared(leader, image, actions),
            None => self.entry(leader).error = Some(libc::ENOMEM),
        }
    }

    /// Scratch for one block, as the image of the request's only one.
    pub(super) fn take_image(&mut self, slot: u32) -> Option<usize> {
        let config = self.config_of(slot);
        let (bytes, alignment) = (config.alignments.request as usize, config.alignments.memory);
        let image = self.scratch.take(bytes, alignment)?;
        let address = image.address;
        let entry = self.entry(slot);
        entry.images = Some(image);
        entry.head_image = Some(address);
        Some(address)
    }

    /// A write to one block is done: the next in line gets its image, if it can start at once.
    pub(super) fn bequeath_image(&mut self, slot: u32) {
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        let Some(image) = entry.block_image() else { return };
        if entry.request.op != Op::Write || entry.error.is_some() {
            return;
        }
        let last = entry.members.last().copied().unwrap_or(slot);
        // Images are held by requests with a place at the storage; this one's becomes free.
        let home = self.queues[entry.queue as usize].as_ref().expect("an open queue");
        if !home.queued.is_empty() {
            return;
        }
        let Some(block) = partial_block(entry, &home.config) else { return };
        let heir = self.tracker.waiting_only_for(last).find(|&heir| {
            let other = self.entries[heir as usize].as_ref();
            other.is_some_and(|other| other.queue == entry.queue && other.waits_in == WRITES)
                && self.block_of(heir) == Some(block)
        });
        let Some(heir) = heir else { return };
        if !entry.image_is_whole {
            // What went out straight from the guest's memory, which is still the request's own.
            let mut at = image + (entry.request.offset - block) as usize;
            for &Segment { address, bytes } in &entry.request.segments {
                self.scratch.copy(MemoryCopy { from: address, to: at, bytes });
                at += bytes;
            }
        }
        let images = self.entry(slot).images.take();
        let heir = self.entry(heir);
        heir.images = images;
        heir.head_image = Some(image);
        heir.image_inherited = true;
    }
}

/// The block that a request covers only a part of, if it touches no other.
pub(super) fn partial_block<T>(entry: &Entry<T>, config: &QueueConfig) -> Option<u64> {
    let block = config.alignments.request;
    let (start, end) = (entry.request.offset, entry.end());
    let at = splice::round_down(start, block);
    let part_of_one = start < end && end <= at + block && end - start < block;
    (part_of_one && end <= config.last_block).then_some(at)
}
