//! Zero writes and discards: what is asked of the storage without any bytes, and what is written
//! where it refuses.
//!
//! A zero write of [start, end) has up to four parts. Example (blocks of 4096, the last block of
//! the file from 12288 on), zeros from 100 to 12300: the *head* 100..4096 and the last bytes
//! 12288..12300 are written like those of any write, for the head its block is read first; the
//! *middle* 4096..12288, whole blocks, is what the storage is asked to zero. There is a *tail*
//! where the end lies inside a block that is not the last one.
//!
//! The edges are read first, so that a failure of that changes nothing. Then comes the middle,
//! its first I/O alone: if the storage refuses and the caller wants no zeros written, nothing has
//! been. The edges are written last. What the storage refuses once it is not asked again.

use super::change::Step;
use super::machine::Machine;
use super::moving::PARTS_MAX;
use super::splice;
use super::{Action, QueueConfig, Request, ScratchPool};
use crate::io::{Io, Lane, MemoryCopies, MemoryCopy, Op, Segment, Segments, NOT_NOW};

/// What the storage below has refused so far.
#[derive(Debug, Default)]
pub(super) struct UnsupportedOps {
    /// By `may_unmap`, then by `no_fallback`: who refuses to be slow may still do it slowly.
    zeroes: [[bool; 2]; 2],
    discard: bool,
}

/// How the whole blocks become zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Unmap,
    Zero,
    /// Zeros are written, like any bytes.
    Write,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    ReadingEdges,
    Middle,
    /// From the last block on.
    Last,
}

/// How far the zeros of [start, end) are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zeroes {
    start: u64,
    end: u64,
    stage: Stage,
    way: Way,
    /// Zeros are written, whatever the storage may know.
    written: bool,
    /// The storage can't do what it was asked for, at this moment.
    not_now: bool,
    /// The storage has done what it was asked for first.
    taken: bool,
    /// The next byte of the part that is being done.
    position: u64,
}

impl Zeroes {
    pub fn new(start: u64, end: u64) -> Zeroes {
        let (stage, way) = (Stage::New, Way::Unmap);
        let (written, not_now, taken) = (false, false, false);
        Zeroes { start, end, stage, way, written, not_now, taken, position: 0 }
    }

    /// They are to be bytes that were written.
    pub fn written(start: u64, end: u64) -> Zeroes {
        Zeroes { written: true, ..Zeroes::new(start, end) }
    }

    /// How many bytes of whole blocks the storage was not asked to zero yet.
    pub fn left_to_ask(&self, config: &QueueConfig) -> u64 {
        let (start, end) = self.middle(config);
        match self.stage {
            _ if self.written => 0,
            Stage::New | Stage::ReadingEdges => end - start,
            Stage::Middle => end.saturating_sub(self.position),
            Stage::Last => 0,
        }
    }

    /// The whole blocks, on the main lane.
    fn middle(&self, config: &QueueConfig) -> (u64, u64) {
        let block = config.alignments.request;
        let end = splice::round_down(self.end.min(config.last_block), block);
        let start = self.start.next_multiple_of(block);
        (start.min(end), end)
    }
}

impl UnsupportedOps {
    fn way(&self, may_unmap: bool, no_fallback: bool) -> Way {
        let refused = |may_unmap: bool| {
            let [asked, quickly] = self.zeroes[usize::from(may_unmap)];
            asked || (no_fallback && quickly)
        };
        match () {
            () if may_unmap && !refused(true) => Way::Unmap,
            () if !refused(false) => Way::Zero,
            () => Way::Write,
        }
    }
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Goes on with a zero write: how far it is, or None when it is over.
    pub(super) fn write_zeroes(
        &mut self,
        slot: u32,
        mut zeroes: Zeroes,
        actions: &mut Vec<Action<Q, T>>,
    ) -> Option<Zeroes> {
        loop {
            let over = match zeroes.stage {
                Stage::New => self.begin_zeroes(slot, &mut zeroes, actions),
                Stage::ReadingEdges if self.entry(slot).outstanding > 0 => false,
                Stage::ReadingEdges => {
                    zeroes.position = zeroes.middle(self.config_of(slot)).0;
                    zeroes.stage = Stage::Middle;
                    true
                }
                Stage::Middle => self.zero_middle(slot, &mut zeroes, actions),
                Stage::Last => self.zero_last(slot, &mut zeroes, actions),
            };
            let entry = self.entry(slot);
            if !over || entry.outstanding > 0 || entry.error.is_some() {
                return Some(zeroes);
            }
            if zeroes.stage == Stage::Last && zeroes.position >= zeroes.end {
                self.give_images(slot);
                return None;
            }
        }
    }

    fn begin_zeroes(
        &mut self,
        slot: u32,
        zeroes: &mut Zeroes,
        actions: &mut Vec<Action<Q, T>>,
    ) -> bool {
        let (start, end) = zeroes.middle(self.config_of(slot));
        zeroes.way = self.way_of(slot, zeroes);
        if start < end && self.is_hopeless(slot, zeroes) {
            self.entry(slot).error = Some(libc::ENOTSUP);
            return false;
        }
        zeroes.stage = Stage::ReadingEdges;
        if self.read_edges(slot, zeroes.start, zeroes.end, actions) && !zeroes.written {
            self.count_rmw(slot);
        }
        true
    }

    fn way_of(&self, slot: u32, zeroes: &Zeroes) -> Way {
        if zeroes.written || zeroes.not_now {
            return Way::Write;
        }
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        let flags = entry.request.flags;
        self.unsupported.way(flags.may_unmap, flags.no_fallback)
    }

    fn is_hopeless(&mut self, slot: u32, zeroes: &Zeroes) -> bool {
        zeroes.way == Way::Write && !zeroes.written && self.entry(slot).request.flags.no_fallback
    }

    /// Whole blocks. True: all of them are zeros, and the edges are on their way.
    fn zero_middle(
        &mut self,
        slot: u32,
        zeroes: &mut Zeroes,
        actions: &mut Vec<Action<Q, T>>,
    ) -> bool {
        let (start, end) = zeroes.middle(self.config_of(slot));
        // What was refused in the meantime is not asked again, by this request neither.
        zeroes.way = self.way_of(slot, zeroes);
        zeroes.taken |= zeroes.position > start && self.entry(slot).outstanding == 0;
        if zeroes.position < end && self.is_hopeless(slot, zeroes) {
            self.entry(slot).error = Some(libc::ENOTSUP);
            return false;
        }
        while zeroes.position < end {
            let outstanding = self.entry(slot).outstanding;
            let alone = zeroes.way != Way::Write && !zeroes.taken;
            if outstanding >= PARTS_MAX || (alone && outstanding > 0) {
                return false;
            }
            let Zeroes { way, position, .. } = *zeroes;
            zeroes.position += match way {
                Way::Write => self.put_zeroes(slot, Lane::Main, position, end, actions),
                Way::Unmap => self.ask_zeroes(slot, true, position, end, actions),
                Way::Zero => self.ask_zeroes(slot, false, position, end, actions),
            };
            if self.entry(slot).error.is_some() {
                return false;
            }
        }
        if self.entry(slot).outstanding > 0 {
            return false;
        }
        zeroes.stage = Stage::Last;
        zeroes.position = zeroes.start.max(self.config_of(slot).last_block);
        self.put_edges(slot, zeroes, actions);
        true
    }

    /// What lies in the last block, exact to the byte. True: nothing is left of it but what is at
    /// the storage.
    fn zero_last(
        &mut self,
        slot: u32,
        zeroes: &mut Zeroes,
        actions: &mut Vec<Action<Q, T>>,
    ) -> bool {
        while zeroes.position < zeroes.end {
            let entry = self.entry(slot);
            if entry.outstanding >= PARTS_MAX || entry.error.is_some() {
                return false;
            }
            let Zeroes { position, end, .. } = *zeroes;
            zeroes.position += self.put_zeroes(slot, Lane::LastBlock, position, end, actions);
        }
        true
    }

    /// Asks the storage to zero from `position` on; how many bytes.
    fn ask_zeroes(
        &mut self,
        slot: u32,
        may_unmap: bool,
        position: u64,
        end: u64,
        actions: &mut Vec<Action<Q, T>>,
    ) -> u64 {
        let bytes = (end - position).min(self.config_of(slot).dataless_max);
        let id = self.next_part(slot);
        let flags = self.entry(slot).request.flags;
        let io = Io {
            fua: flags.fua,
            may_unmap,
            no_fallback: flags.no_fallback,
            bytes,
            ..Io::new(id, Op::WriteZeroes, position)
        };
        self.emit(slot, io, actions);
        bytes
    }

    /// Writes zeros from `position` on, as many as one I/O takes; how many. 0: no memory.
    fn put_zeroes(
        &mut self,
        slot: u32,
        lane: Lane,
        position: u64,
        end: u64,
        actions: &mut Vec<Action<Q, T>>,
    ) -> u64 {
        let Some(zeros) = self.zeros(slot) else { return 0 };
        let config = self.config_of(slot);
        // A multiple of the block, and so of whatever length an element has to have.
        let whole = splice::round_down(zeros.bytes as u64, config.alignments.request);
        let room = whole * config.max_segments as u64;
        let bytes = (end - position).min(config.max_transfer).min(room);
        let mut segments = Segments::new();
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(whole);
            segments.push(Segment { address: zeros.address, bytes: piece as usize });
            left -= piece;
        }
        self.put(slot, lane, position, bytes, segments, MemoryCopies::new(), actions);
        bytes
    }

    /// Writes the blocks that are covered only in part, out of their images.
    fn put_edges(&mut self, slot: u32, zeroes: &Zeroes, actions: &mut Vec<Action<Q, T>>) {
        let config = self.config_of(slot);
        let block = config.alignments.request;
        let (start, end) = (zeroes.start, zeroes.end.min(config.last_block));
        let entry = self.entry(slot);
        let head = entry.head_image.map(|image| (splice::round_down(start, block), image));
        let tail = entry.tail_image.map(|image| (splice::round_down(end, block), image));
        let tail = tail.filter(|tail| head.is_none_or(|head| head.0 != tail.0));
        for (at, image) in head.into_iter().chain(tail) {
            let Some(zeros) = self.zeros(slot) else { return };
            let (from, to) = (start.max(at), end.min(at + block));
            let copy = MemoryCopy {
                from: zeros.address,
                to: image + (from - at) as usize,
                bytes: (to - from) as usize,
            };
            let segments =
                Segments::from_slice(&[Segment { address: image, bytes: block as usize }]);
            self.put(
                slot,
                Lane::Main,
                at,
                block,
                segments,
                MemoryCopies::from_slice(&[copy]),
                actions,
            );
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one I/O")]
    fn put(
        &mut self,
        slot: u32,
        lane: Lane,
        offset: u64,
        bytes: u64,
        segments: Segments,
        copies: MemoryCopies,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        let id = self.next_part(slot);
        let fua = self.entry(slot).request.flags.fua;
        let io = Io { lane, fua, bytes, segments, copies, ..Io::new(id, Op::Write, offset) };
        self.emit(slot, io, actions);
    }

    /// Memory that is zero: a block of it at least.
    fn zeros(&mut self, slot: u32) -> Option<Segment> {
        let config = self.config_of(slot);
        let (bytes, alignment) = (config.alignments.request as usize, config.alignments.memory);
        let zeros = self.scratch.zeros(bytes, alignment);
        if zeros.is_none() {
            self.entry(slot).error = Some(libc::ENOMEM);
        }
        zeros
    }

    /// Goes on with a discard: from where on it is not asked for yet, or None when it is over.
    pub(super) fn discard(
        &mut self,
        slot: u32,
        mut position: u64,
        end: u64,
        actions: &mut Vec<Action<Q, T>>,
    ) -> Option<u64> {
        let config = self.config_of(slot);
        let unit = config.discard_alignment;
        let most = (config.dataless_max / unit * unit).max(unit);
        while position < end
            && !self.unsupported.discard
            && self.entry(slot).outstanding < PARTS_MAX
        {
            let bytes = (end - position).min(most);
            let io = Io { bytes, ..Io::new(self.next_part(slot), Op::Discard, position) };
            self.emit(slot, io, actions);
            position += bytes;
        }
        (self.entry(slot).outstanding > 0).then_some(position)
    }

    /// Whether the failure of an I/O is one of its request: the storage may refuse to zero or to
    /// discard, and then there is another way.
    pub(super) fn is_failure(&mut self, io: &Io, errno: i32) -> bool {
        let unknown = matches!(errno, libc::EOPNOTSUPP);
        let not_now = errno == NOT_NOW;
        match io.op {
            Op::WriteZeroes if unknown || not_now => {
                let (unmap, quick) = (usize::from(io.may_unmap), usize::from(io.no_fallback));
                self.unsupported.zeroes[unmap][quick] |= unknown;
                let change = self.entry(io.id.slot).change.as_mut();
                if let Some(Step::Zeroes(zeroes)) = change.and_then(|it| it.steps.last_mut()) {
                    zeroes.position = zeroes.position.min(io.offset);
                    zeroes.not_now |= not_now;
                }
                false
            }
            Op::Discard if not_now => false,
            Op::Discard if unknown || errno == libc::EINVAL => {
                self.unsupported.discard = true;
                false
            }
            _ => true,
        }
    }
}

/// What of a discard reaches the storage: whole pieces below `bound`. [start, end), perhaps empty.
pub(super) fn discarded<T>(request: &Request<T>, config: &QueueConfig, bound: u64) -> (u64, u64) {
    let unit = config.discard_alignment;
    let end = (request.offset + request.bytes).min(bound) / unit * unit;
    let start = request.offset.div_ceil(unit) * unit;
    if config.unmap && start < end {
        (start, end)
    } else {
        (start, start)
    }
}
