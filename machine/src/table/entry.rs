//! One request inside the machine: what it was asked, how far it is, what it holds.

use smallvec::SmallVec;

use super::among::AmongSet;
use super::announced::{Announced, Standing};
use super::change::Change;
use super::overlaid::Overlaid;
use crate::io::{Op, Segments, Slot};
use crate::splice::Cursor;
use crate::twice::Twice;
use crate::{QueueId, Request, RequestFlags, RequestId, Scratch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A throttle or a plug holds it back: no other request sees it.
    Plugged,
    /// Conflicting requests that came before it have not left yet.
    Waiting,
    /// The next notifier is to be told of it, or has been, and has not answered.
    Announcing,
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

/// In this order, so that a request on the short way (`short_way.rs`) touches only the first few
/// cache lines of its entry: with thousands in flight the rest would be cache misses.
#[derive(Debug)]
#[repr(C)]
pub struct Entry<T> {
    /// Comes back in the completion. None: the slot is free, and all below means nothing.
    token: Option<T>,
    pub id: RequestId,
    pub queue: QueueId,
    pub phase: Phase,
    /// The trackers that it is in, and those of them in which it waits: see `isolation.rs`.
    pub tracked: AmongSet,
    pub waits_among: AmongSet,
    /// The request is on the short way: all from `excludes_readers` on is as in a free slot.
    pub on_short_way: bool,
    /// At least one guest byte was copied.
    pub bounced: bool,
    /// I/Os at the storage, and the scratch that each of them holds.
    pub outstanding: u32,
    pub parts_issued: u32,
    pub error: Option<i32>,
    /// Bytes of a read that lay beyond the end; they are not in `request` any more.
    pub filled: u64,
    pub cursor: Cursor,
    pub request: Request<()>,
    /// The request is tracked among the barriers as one that keeps readers out.
    pub excludes_readers: bool,
    /// The image needs no reading: it came from the write before, whole.
    pub image_inherited: bool,
    /// The image surely has every byte of the block as it is written. Without members the bytes of
    /// the write may go out from the guest's memory instead.
    pub image_is_whole: bool,
    /// Some of its bytes may have moved before it was started again: see `repair.rs`.
    pub begun: bool,
    /// Its owner has taken the request back.
    pub cancelled: bool,
    /// Results in a row that moved no whole block, though they were not failures.
    pub stalls: u8,
    /// Results in a row, among those of `stalls`, that moved not one byte.
    pub empties: u8,
    /// Phase::Member: the request that moves its bytes.
    pub leader: Slot,
    /// Phase::Changing: what is left to be done.
    pub change: Option<Box<Change>>,
    /// Read: what its vector, as it came, names more than once.
    pub twice: Twice,
    /// Images of the edge blocks, and where the head's and the tail's are.
    pub images: Option<Scratch>,
    pub head_image: Option<usize>,
    pub tail_image: Option<usize>,
    pub parts: SmallVec<[(u32, Scratch); 2]>,
    /// What an overlay makes of the request, if it touches what is absent.
    pub overlaid: Option<Box<Overlaid>>,
    /// Requests that share this one's I/O, in order of submission.
    pub members: SmallVec<[Slot; 8]>,
    /// How far it is with the notifiers.
    pub announced: Announced,
}

impl<T> Entry<T> {
    /// What a slot holds before its first request.
    pub fn free() -> Entry<T> {
        let request = Request {
            op: Op::Flush,
            flags: RequestFlags::default(),
            guest_block: 0,
            offset: 0,
            bytes: 0,
            segments: Segments::new(),
            token: (),
        };
        Entry {
            token: None,
            id: 0,
            queue: 0,
            phase: Phase::Queued,
            tracked: AmongSet::NONE,
            waits_among: AmongSet::NONE,
            on_short_way: false,
            bounced: false,
            outstanding: 0,
            parts_issued: 0,
            error: None,
            filled: 0,
            cursor: Cursor::default(),
            request,
            excludes_readers: false,
            image_inherited: false,
            image_is_whole: false,
            begun: false,
            cancelled: false,
            stalls: 0,
            empties: 0,
            leader: Slot::NONE,
            change: None,
            twice: Twice::default(),
            images: None,
            head_image: None,
            tail_image: None,
            parts: SmallVec::new(),
            overlaid: None,
            members: SmallVec::new(),
            announced: Announced::default(),
        }
    }

    /// A request takes the slot, which is free. Entries are used again in place: to make them anew,
    /// and to move them, took a tenth of the machine's time.
    #[inline(always)]
    pub fn take(&mut self, id: RequestId, queue: QueueId, request: Request<T>) {
        debug_assert!(self.is_free() && self.outstanding == 0 && !self.on_short_way);
        let Request { op, flags, guest_block, offset, bytes, segments, token } = request;
        (self.id, self.queue, self.token) = (id, queue, Some(token));
        // The slot's own vector is empty.
        if !segments.is_empty() {
            self.request.segments = segments;
        }
        (self.request.op, self.request.flags, self.request.guest_block) = (op, flags, guest_block);
        (self.request.offset, self.request.bytes) = (offset, bytes);
        self.phase = Phase::Queued;
        (self.tracked, self.waits_among) = (AmongSet::NONE, AmongSet::NONE);
        self.bounced = flags.copied;
        self.parts_issued = 0;
        (self.error, self.filled) = (None, 0);
        self.cursor = Cursor::default();
    }

    /// The request is over, and its slot free: gives the token back, and no memory is held.
    #[inline(always)]
    pub fn give_up(&mut self) -> T {
        if !std::mem::take(&mut self.on_short_way) {
            self.forget_the_long_way();
        }
        self.token.take().expect("a request in flight")
    }

    fn forget_the_long_way(&mut self) {
        self.request.segments = Segments::new();
        self.excludes_readers = false;
        (self.image_inherited, self.image_is_whole) = (false, false);
        (self.begun, self.cancelled) = (false, false);
        (self.stalls, self.empties) = (0, 0);
        self.leader = Slot::NONE;
        self.change = None;
        self.twice = Twice::default();
        self.overlaid = None;
        (self.head_image, self.tail_image) = (None, None);
        if self.announced.standing != Standing::None {
            self.announced = Announced::default();
        }
    }

    /// What a request on the long way must have given back before it is over.
    pub fn holds_nothing(&self) -> bool {
        let overlay = self.overlaid.as_ref().is_none_or(|overlaid| overlaid.holds_nothing());
        overlay && self.images.is_none() && self.members.is_empty() && self.parts.is_empty()
    }

    pub fn set_token(&mut self, token: T) {
        self.token = Some(token);
    }

    #[inline(always)]
    pub fn is_free(&self) -> bool {
        self.token.is_none()
    }

    /// Makes the request what it was when it was submitted, but for two things: `begun` stays, and
    /// so do the zeros that it has got for bytes beyond the end. As with a plugged request, no
    /// other sees it until it is admitted. The caller has taken its images.
    pub fn restart(&mut self) {
        self.begun |= match self.phase {
            Phase::Edges | Phase::Moving | Phase::Changing => true,
            Phase::Member => self.request.op == Op::Write,
            Phase::Plugged | Phase::Waiting | Phase::Announcing | Phase::Queued => false,
        };
        self.phase = Phase::Plugged;
        self.on_short_way = false;
        (self.tracked, self.waits_among) = (AmongSet::NONE, AmongSet::NONE);
        self.excludes_readers = false;
        self.cursor = Cursor::default();
        (self.head_image, self.tail_image) = (None, None);
        (self.image_inherited, self.image_is_whole) = (false, false);
        self.members.clear();
        (self.stalls, self.empties) = (0, 0);
        self.bounced = self.request.flags.copied;
        (self.change, self.overlaid) = (None, None);
        self.announced.restart();
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
        let pieces = self.overlaid.iter().flat_map(|overlaid| &overlaid.pieces);
        let pieces = pieces.map(|piece| piece.scratch.bytes).sum::<usize>();
        pieces + self.parts.iter().map(|(_, scratch)| scratch.bytes).sum::<usize>()
    }
}
