//! One request inside the machine: what it was asked, how far it is, what it holds.

use smallvec::SmallVec;

use super::among::AmongSet;
use super::change::Change;
use crate::io::{Op, Slot};
use crate::splice::Cursor;
use crate::{QueueId, Request, RequestId, Scratch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A throttle or a plug holds it back: no other request sees it.
    Plugged,
    /// Conflicting requests that came before it have not left yet.
    Waiting,
    /// May start as soon as its queue's depth allows.
    Queued,
    /// Its edge blocks are being read; nothing is written yet.
    Edges,
    /// Its own bytes are moving.
    Moving,
    /// The request is more than a movement of bytes: see `changing.rs`.
    Changing,
    /// Another request, its leader, moves its bytes with its own: see `merge.rs`.
    Member,
}

#[derive(Debug)]
pub struct Entry<T> {
    pub id: RequestId,
    pub queue: QueueId,
    pub request: Request<T>,
    pub phase: Phase,
    /// The trackers that it is in, and those of them in which it waits: see `isolation.rs`.
    pub tracked: AmongSet,
    pub waits_among: AmongSet,
    /// The request is tracked among the barriers as one that keeps readers out.
    pub excludes_readers: bool,
    pub cursor: Cursor,
    /// Images of the edge blocks, and where the head's and the tail's are.
    pub images: Option<Scratch>,
    pub head_image: Option<usize>,
    pub tail_image: Option<usize>,
    /// The image needs no reading: it came from the write before, whole.
    pub image_inherited: bool,
    /// The image surely has every byte of the block as it is written. Without members the bytes of
    /// the write may go out from the guest's memory instead.
    pub image_is_whole: bool,
    /// Requests that share this one's I/O, in order of submission.
    pub members: SmallVec<[Slot; 8]>,
    /// I/Os at the storage, and the scratch that each of them holds.
    pub outstanding: u32,
    pub parts: SmallVec<[(u32, Scratch); 2]>,
    pub parts_issued: u32,
    /// Results in a row that moved no whole block, though they were not failures.
    pub stalls: u8,
    /// Results in a row, among those of `stalls`, that moved not one byte.
    pub empties: u8,
    /// At least one guest byte was copied.
    pub bounced: bool,
    /// Phase::Changing: what is left to be done.
    pub change: Option<Box<Change>>,
    /// Bytes of a read that lay beyond the end; they are not in `request` any more.
    pub filled: u64,
    /// Some of its bytes may have moved before it was started again: see `repair.rs`.
    pub begun: bool,
    /// Phase::Member: the request that moves its bytes.
    pub leader: Slot,
    /// Its owner has taken the request back.
    pub cancelled: bool,
    pub error: Option<i32>,
}

impl<T> Entry<T> {
    #[inline(always)]
    pub fn new(id: RequestId, queue: QueueId, request: Request<T>) -> Entry<T> {
        let bounced = request.flags.copied;
        Entry {
            id,
            queue,
            request,
            phase: Phase::Queued,
            tracked: AmongSet::NONE,
            waits_among: AmongSet::NONE,
            excludes_readers: false,
            cursor: Cursor::default(),
            images: None,
            head_image: None,
            tail_image: None,
            image_inherited: false,
            image_is_whole: false,
            members: SmallVec::new(),
            outstanding: 0,
            parts: SmallVec::new(),
            parts_issued: 0,
            stalls: 0,
            empties: 0,
            bounced,
            change: None,
            filled: 0,
            begun: false,
            leader: Slot::NONE,
            cancelled: false,
            error: None,
        }
    }

    /// Makes the request what it was when it was submitted, but for two things: `begun` stays, and
    /// so do the zeros that it has got for bytes beyond the end. As with a plugged request, no
    /// other sees it until it is admitted. The caller has taken its images.
    pub fn restart(&mut self) {
        self.begun |= match self.phase {
            Phase::Edges | Phase::Moving | Phase::Changing => true,
            Phase::Member => self.request.op == Op::Write,
            Phase::Plugged | Phase::Waiting | Phase::Queued => false,
        };
        self.phase = Phase::Plugged;
        (self.tracked, self.waits_among) = (AmongSet::NONE, AmongSet::NONE);
        self.excludes_readers = false;
        self.cursor = Cursor::default();
        (self.head_image, self.tail_image) = (None, None);
        (self.image_inherited, self.image_is_whole) = (false, false);
        self.members.clear();
        (self.stalls, self.empties) = (0, 0);
        self.bounced = self.request.flags.copied;
        self.change = None;
        (self.error, self.cancelled) = (None, false);
        // NO_WAIT speaks of the moment when it came: the request did not have to wait then.
        self.request.flags.no_wait = false;
    }

    pub fn end(&self) -> u64 {
        self.request.offset + self.request.bytes
    }

    /// Where the image of the one block is that a merged request writes a part of.
    pub fn block_image(&self) -> Option<usize> {
        self.head_image.or(self.tail_image)
    }

    pub fn scratch_bytes(&self) -> usize {
        self.parts.iter().map(|(_, scratch)| scratch.bytes).sum()
    }
}
