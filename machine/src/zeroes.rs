//! Zero writes and discards: what is asked of the storage without any bytes, and what is written
//! where it cannot do that.
//!
//! A zero write of [start, end) has up to four parts. Example (blocks of 4096, the last block of
//! the file from 12288 on), zeros from 100 to 12300: the *head* 100..4096 and the last bytes
//! 12288..12300 are written like those of any write, for the head its block is read first; the
//! *middle* 4096..12288, whole blocks, is what the storage is asked to zero. There is a *tail*
//! where the end lies inside a block that is not the last one.
//!
//! The edges are read first, so that a failed read changes nothing. Then comes the middle, its
//! first I/O alone: if the storage refuses and the caller wants no zeros written, nothing has been
//! written. The edges are written last. What the storage has refused once, it is not asked again.

use crate::io::{Io, Lane, MemoryCopies, MemoryCopy, Op, Segment, Segments, Slot, NOT_NOW};
use crate::moving::{EdgeReads, Edges, PARTS_MAX};
use crate::splice::round_down;
use crate::table::{Stage, Step, Table, Way, Zeroes};
use crate::ScratchPool;

/// What the storage cannot do, as far as it has said so.
#[derive(Debug, Default)]
pub struct UnsupportedOps {
    /// By `may_unmap`, then by `no_fallback`: storage that refuses to zero without a fallback may
    /// still do it with one, slowly.
    zeroes: [[bool; 2]; 2],
    discard: bool,
}

/// Zero writes and discards, step by step.
pub struct Zeroing<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub unsupported: &'a mut UnsupportedOps,
}

/// How far one stage of a zero write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// All of the stage is asked for; the next one may begin as soon as nothing is outstanding.
    Over,
    /// There is more to be asked for, or something to be waited for, or an error.
    UnderWay,
}

/// What an error of an I/O means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The request fails with it.
    Failure,
    /// The storage can't do this, and there is another way.
    Unsupported,
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

impl<Q: Clone, T, S: ScratchPool> Zeroing<'_, Q, T, S> {
    /// Goes on with a zero write: how far it is, or None when it is over.
    pub fn go_on(&mut self, slot: Slot, mut zeroes: Zeroes) -> Option<Zeroes> {
        loop {
            let progress = match zeroes.stage {
                Stage::New => self.begin_zeroes(slot, &mut zeroes),
                Stage::ReadingEdges if self.table.entry(slot).outstanding > 0 => Progress::UnderWay,
                Stage::ReadingEdges => {
                    zeroes.position = zeroes.middle(self.table.config_of(slot)).0;
                    zeroes.stage = Stage::Middle;
                    Progress::Over
                }
                Stage::Middle => self.zero_middle(slot, &mut zeroes),
                Stage::Last => self.zero_last(slot, &mut zeroes),
            };
            let entry = self.table.entry(slot);
            if progress == Progress::UnderWay || entry.outstanding > 0 || entry.error.is_some() {
                return Some(zeroes);
            }
            if zeroes.stage == Stage::Last && zeroes.position >= zeroes.end {
                self.edges().give_images(slot);
                return None;
            }
        }
    }

    fn begin_zeroes(&mut self, slot: Slot, zeroes: &mut Zeroes) -> Progress {
        let (start, end) = zeroes.middle(self.table.config_of(slot));
        zeroes.way = self.way_of(slot, zeroes);
        if start < end && self.is_hopeless(slot, zeroes) {
            self.table.entry(slot).error = Some(libc::ENOTSUP);
            return Progress::UnderWay;
        }
        zeroes.stage = Stage::ReadingEdges;
        let reads = self.edges().read(slot, zeroes.start, zeroes.end);
        if reads == EdgeReads::Asked && !zeroes.written {
            self.edges().count_rmw(slot);
        }
        Progress::Over
    }

    fn way_of(&self, slot: Slot, zeroes: &Zeroes) -> Way {
        if zeroes.written || zeroes.not_now {
            return Way::Write;
        }
        let entry = self.table.known(slot);
        let flags = entry.request.flags;
        self.unsupported.way(flags.may_unmap, flags.no_fallback)
    }

    /// The storage cannot zero, and NO_FALLBACK says that nothing is to be written instead.
    fn is_hopeless(&mut self, slot: Slot, zeroes: &Zeroes) -> bool {
        zeroes.way == Way::Write
            && !zeroes.written
            && self.table.entry(slot).request.flags.no_fallback
    }

    /// Whole blocks. Over: all of them are zeros, and the edges are on their way.
    fn zero_middle(&mut self, slot: Slot, zeroes: &mut Zeroes) -> Progress {
        let (start, end) = zeroes.middle(self.table.config_of(slot));
        // The storage may have refused in the meantime: then it is not asked again.
        zeroes.way = self.way_of(slot, zeroes);
        zeroes.taken |= zeroes.position > start && self.table.entry(slot).outstanding == 0;
        if zeroes.position < end && self.is_hopeless(slot, zeroes) {
            self.table.entry(slot).error = Some(libc::ENOTSUP);
            return Progress::UnderWay;
        }
        while zeroes.position < end {
            let outstanding = self.table.entry(slot).outstanding;
            let alone = zeroes.way != Way::Write && !zeroes.taken;
            if outstanding >= PARTS_MAX || (alone && outstanding > 0) {
                return Progress::UnderWay;
            }
            let Zeroes { way, position, .. } = *zeroes;
            zeroes.position += match way {
                Way::Write => self.put_zeroes(slot, Lane::Main, position, end),
                Way::Unmap => self.ask_zeroes(slot, true, position, end),
                Way::Zero => self.ask_zeroes(slot, false, position, end),
            };
            if self.table.entry(slot).error.is_some() {
                return Progress::UnderWay;
            }
        }
        if self.table.entry(slot).outstanding > 0 {
            return Progress::UnderWay;
        }
        zeroes.stage = Stage::Last;
        zeroes.position = zeroes.start.max(self.table.config_of(slot).last_block);
        self.put_edges(slot, zeroes);
        Progress::Over
    }

    /// Zeros what lies in the last block, exact to the byte.
    fn zero_last(&mut self, slot: Slot, zeroes: &mut Zeroes) -> Progress {
        while zeroes.position < zeroes.end {
            let entry = self.table.entry(slot);
            if entry.outstanding >= PARTS_MAX || entry.error.is_some() {
                return Progress::UnderWay;
            }
            let Zeroes { position, end, .. } = *zeroes;
            zeroes.position += self.put_zeroes(slot, Lane::LastBlock, position, end);
        }
        Progress::Over
    }

    /// Asks the storage to zero from `position` on; returns how many bytes.
    fn ask_zeroes(&mut self, slot: Slot, may_unmap: bool, position: u64, end: u64) -> u64 {
        let bytes = (end - position).min(self.table.config_of(slot).dataless_max);
        let id = self.table.next_part(slot);
        let flags = self.table.entry(slot).request.flags;
        let io = Io {
            fua: flags.fua,
            may_unmap,
            no_fallback: flags.no_fallback,
            bytes,
            ..Io::new(id, Op::WriteZeroes, position)
        };
        self.table.emit(slot, io);
        bytes
    }

    /// Writes zeros from `position` on, as many as one I/O takes; returns how many. 0: no memory.
    fn put_zeroes(&mut self, slot: Slot, lane: Lane, position: u64, end: u64) -> u64 {
        let Some(zeros) = self.zeros(slot) else { return 0 };
        let config = self.table.config_of(slot);
        // A multiple of the block, and so of whatever length an element has to have.
        let whole = round_down(zeros.bytes as u64, config.alignments.request);
        let room = whole * config.max_segments as u64;
        let bytes = (end - position).min(config.max_transfer).min(room);
        let mut segments = Segments::new();
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(whole);
            segments.push(Segment { address: zeros.address, bytes: piece as usize });
            left -= piece;
        }
        self.put(slot, lane, position, bytes, segments, MemoryCopies::new());
        bytes
    }

    /// Writes the blocks that are covered only in part, out of their images.
    fn put_edges(&mut self, slot: Slot, zeroes: &Zeroes) {
        let config = self.table.config_of(slot);
        let block = config.alignments.request;
        let (start, end) = (zeroes.start, zeroes.end.min(config.last_block));
        let entry = self.table.entry(slot);
        let head = entry.head_image.map(|image| (round_down(start, block), image));
        let tail = entry.tail_image.map(|image| (round_down(end, block), image));
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
            self.put(slot, Lane::Main, at, block, segments, MemoryCopies::from_slice(&[copy]));
        }
    }

    fn put(
        &mut self,
        slot: Slot,
        lane: Lane,
        offset: u64,
        bytes: u64,
        segments: Segments,
        copies: MemoryCopies,
    ) {
        let id = self.table.next_part(slot);
        let fua = self.table.entry(slot).request.flags.fua;
        let io = Io { lane, fua, bytes, segments, copies, ..Io::new(id, Op::Write, offset) };
        self.table.emit(slot, io);
    }

    /// Memory that is zero: a block of it at least.
    fn zeros(&mut self, slot: Slot) -> Option<Segment> {
        let config = self.table.config_of(slot);
        let (bytes, alignment) = (config.alignments.request as usize, config.alignments.memory);
        let zeros = self.table.scratch.zeros(bytes, alignment);
        if zeros.is_none() {
            self.table.entry(slot).error = Some(libc::ENOMEM);
        }
        zeros
    }

    /// Goes on with a discard: returns where the part begins that is not asked for yet, or None
    /// when the discard is over.
    pub fn discard(&mut self, slot: Slot, mut position: u64, end: u64) -> Option<u64> {
        let config = self.table.config_of(slot);
        let unit = config.discard_alignment;
        let most = (config.dataless_max / unit * unit).max(unit);
        while position < end
            && !self.unsupported.discard
            && self.table.entry(slot).outstanding < PARTS_MAX
        {
            let bytes = (end - position).min(most);
            let io = Io { bytes, ..Io::new(self.table.next_part(slot), Op::Discard, position) };
            self.table.emit(slot, io);
            position += bytes;
        }
        if position < end && self.unsupported.discard {
            self.note_left_out(slot);
        }
        (self.table.entry(slot).outstanding > 0).then_some(position)
    }

    /// Says what an error means, and remembers what the storage cannot do.
    pub fn meaning(&mut self, io: &Io, errno: i32) -> Meaning {
        let unknown = matches!(errno, libc::EOPNOTSUPP);
        let not_now = errno == NOT_NOW;
        match io.op {
            Op::WriteZeroes if unknown || not_now => {
                let (unmap, quick) = (usize::from(io.may_unmap), usize::from(io.no_fallback));
                self.unsupported.zeroes[unmap][quick] |= unknown;
                let change = self.table.entry(io.id.slot).change.as_mut();
                if let Some(Step::Zeroes(zeroes)) = change.and_then(|it| it.steps.last_mut()) {
                    zeroes.position = zeroes.position.min(io.offset);
                    zeroes.not_now |= not_now;
                }
                Meaning::Unsupported
            }
            Op::Discard if not_now || unknown || errno == libc::EINVAL => {
                self.unsupported.discard |= !not_now;
                self.note_left_out(io.id.slot);
                Meaning::Unsupported
            }
            _ => Meaning::Failure,
        }
    }

    /// The storage does not carry all of a discard out.
    fn note_left_out(&mut self, slot: Slot) {
        if let Some(change) = &mut self.table.entry(slot).change {
            change.left_out = true;
        }
    }

    fn edges(&mut self) -> Edges<'_, Q, T, S> {
        Edges { table: self.table }
    }
}
