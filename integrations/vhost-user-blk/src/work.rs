//! What a request is at the storage: one piece after the other, each of them small enough to be
//! waited for when the ring stops; and how much a ring may have there at once.

use libc::iovec;

use crate::chain::Chain;
use crate::request::{Operation, Range, Status};

/// Most bytes of data of one piece. Pieces end at multiples of this, so that no block is cut.
const DATA_BYTES_MAX: u64 = 16 << 20;
/// Most bytes of one piece that is cleared: that moves no memory, and may still take long.
const CLEAR_BYTES_MAX: u64 = 64 << 20;

/// Of a request, what has not been begun.
#[derive(Default)]
pub enum Work {
    #[default]
    Nothing,
    Flush,
    Data(Data),
    Clear(Clear),
}

/// Bytes to move.
pub struct Data {
    reads: bool,
    offset: u64,
    bytes: u64,
    iov: Vec<iovec>,
    /// Of `iov`, the first that is not begun altogether.
    first: usize,
    /// What a piece has left of that one.
    left: Option<iovec>,
}

/// Ranges to zero or discard.
pub struct Clear {
    zeroes: bool,
    ranges: Vec<Range>,
    first: usize,
}

pub enum Piece<'a> {
    Flush,
    Read(u64, &'a [iovec]),
    Write(u64, &'a [iovec]),
    Zero(Range),
    Discard(Range),
}

impl Work {
    /// What `operation` does with the chain and the ranges that were taken off it. An error: there
    /// is no memory.
    pub fn of(operation: Operation, chain: &Chain, ranges: &[Range]) -> Result<Work, Status> {
        let data = |reads, offset, pieces: &crate::chain::Pieces| {
            let iov = copy_of(pieces.as_slice())?;
            let (bytes, first, left) = (pieces.bytes(), 0, None);
            Ok(Work::Data(Data { reads, offset, bytes, iov, first, left }))
        };
        let clear = |zeroes| Ok(Work::Clear(Clear { zeroes, ranges: copy_of(ranges)?, first: 0 }));
        match operation {
            Operation::Read(offset) => data(true, offset, &chain.writable),
            Operation::Write(offset) => data(false, offset, &chain.readable),
            Operation::Zero => clear(true),
            Operation::Discard => clear(false),
            Operation::Flush => Ok(Work::Flush),
            Operation::Id => Ok(Work::Nothing),
        }
    }

    /// The next piece, which is then begun. None: there is none.
    pub fn next(&mut self) -> Option<Piece<'_>> {
        match self {
            Work::Nothing => None,
            Work::Flush => {
                *self = Work::Nothing;
                Some(Piece::Flush)
            }
            Work::Data(data) => data.next(),
            Work::Clear(clear) => clear.next(),
        }
    }

    /// All of it has been begun.
    pub fn is_over(&self) -> bool {
        match self {
            Work::Nothing => true,
            Work::Flush => false,
            Work::Data(data) => data.bytes == 0,
            Work::Clear(clear) => clear.first == clear.ranges.len(),
        }
    }

    /// Nobody is promised that it is done.
    pub fn is_a_hint(&self) -> bool {
        matches!(self, Work::Clear(Clear { zeroes: false, .. }))
    }
}

impl Data {
    fn next(&mut self) -> Option<Piece<'_>> {
        if let Some(left) = self.left.take() {
            self.iov[self.first] = left;
        }
        let bytes = match self.bytes {
            0 => return None,
            1..=DATA_BYTES_MAX => self.bytes,
            _ => DATA_BYTES_MAX - self.offset % DATA_BYTES_MAX,
        };
        let (offset, from) = (self.offset, self.first);
        self.offset += bytes;
        self.bytes -= bytes;
        let mut wanted = bytes as usize;
        while wanted > 0 {
            let part = &mut self.iov[self.first];
            if part.iov_len > wanted {
                self.left = Some(iovec {
                    iov_base: part.iov_base.wrapping_byte_add(wanted),
                    iov_len: part.iov_len - wanted,
                });
                part.iov_len = wanted;
                break;
            }
            wanted -= part.iov_len;
            self.first += 1;
        }
        let iov = &self.iov[from..self.first + usize::from(self.left.is_some())];
        Some(if self.reads { Piece::Read(offset, iov) } else { Piece::Write(offset, iov) })
    }
}

impl Clear {
    fn next(&mut self) -> Option<Piece<'_>> {
        let range = self.ranges.get_mut(self.first)?;
        let mut piece = *range;
        let most = CLEAR_BYTES_MAX - range.offset % CLEAR_BYTES_MAX;
        piece.bytes = range.bytes.min(most);
        range.offset += piece.bytes;
        range.bytes -= piece.bytes;
        if range.bytes == 0 {
            self.first += 1;
        }
        Some(if self.zeroes { Piece::Zero(piece) } else { Piece::Discard(piece) })
    }
}

fn copy_of<T: Copy>(from: &[T]) -> Result<Vec<T>, Status> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(from.len()).map_err(|_| Status::IoError)?;
    copy.extend_from_slice(from);
    Ok(copy)
}

/// What a request takes of its ring's share, as long as it is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    bytes: u64,
    pieces: usize,
    /// It is more than a piece, so that it would be waited for too long: nothing goes beside it,
    /// nothing behind it is done before it, and it can be given back to the ring half done.
    alone: bool,
}

impl Cost {
    pub fn of(operation: Operation, chain: &Chain, ranges: &[Range]) -> Cost {
        let cost = |bytes, most, pieces| Cost { bytes, pieces, alone: bytes > most };
        let data = |pieces: &crate::chain::Pieces| {
            cost(pieces.bytes(), DATA_BYTES_MAX, pieces.as_slice().len())
        };
        match operation {
            Operation::Read(_) => data(&chain.writable),
            Operation::Write(_) => data(&chain.readable),
            Operation::Zero => {
                let bytes = ranges.iter().map(|range| range.bytes).sum();
                Cost { bytes: 0, ..cost(bytes, CLEAR_BYTES_MAX, ranges.len()) }
            }
            Operation::Discard => cost(0, 0, ranges.len()),
            Operation::Flush | Operation::Id => Cost::default(),
        }
    }

    /// The request is more than one piece.
    pub fn is_alone(&self) -> bool {
        self.alone
    }
}

/// A ring's share.
#[derive(Default)]
pub struct Share {
    requests: u32,
    taken: Cost,
}

impl Share {
    /// Most bytes of data, and most pieces of memory, that a ring has at the storage; a single
    /// request may have more.
    const BYTES_MAX: u64 = 64 << 20;
    const PIECES_MAX: usize = 1 << 16;

    pub fn requests(&self) -> u32 {
        self.requests
    }

    pub fn has_room(&self, cost: Cost) -> bool {
        self.requests == 0
            || (!cost.alone
                && !self.taken.alone
                && self.taken.bytes + cost.bytes <= Share::BYTES_MAX
                && self.taken.pieces + cost.pieces <= Share::PIECES_MAX)
    }

    pub fn take(&mut self, cost: Cost) {
        self.requests += 1;
        self.taken.bytes += cost.bytes;
        self.taken.pieces += cost.pieces;
        self.taken.alone |= cost.alone;
    }

    pub fn give_back(&mut self, cost: Cost) {
        self.requests -= 1;
        self.taken.bytes -= cost.bytes;
        self.taken.pieces -= cost.pieces;
        self.taken.alone &= !cost.alone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn data(offset: u64, lengths: &[u64]) -> Work {
        let mut base = 0usize;
        let mut part = |bytes: &u64| {
            let part = iovec { iov_base: base as *mut _, iov_len: *bytes as usize };
            // A hole after each, so that they are told apart.
            base += *bytes as usize + (1 << 40);
            part
        };
        let iov: Vec<iovec> = lengths.iter().map(&mut part).collect();
        let bytes = lengths.iter().sum();
        let (offset, first, left) = (offset, 0, None);
        Work::Data(Data { reads: true, offset, bytes, iov, first, left })
    }

    #[test]
    fn pieces_have_each_byte_once_and_end_at_multiples() {
        let mut work = data(512, &[MIB, 40 * MIB + 512, 3 * MIB, 13 * MIB]);
        let mut at = 512;
        let mut memory = Vec::new();
        while let Some(Piece::Read(offset, iov)) = work.next() {
            assert_eq!(offset, at);
            let bytes: u64 = iov.iter().map(|part| part.iov_len as u64).sum();
            assert!(bytes > 0 && bytes <= DATA_BYTES_MAX);
            at += bytes;
            memory.extend(iov.iter().map(|part| (part.iov_base as u64, part.iov_len as u64)));
            assert!(work.is_over() || at.is_multiple_of(DATA_BYTES_MAX));
        }
        assert!(work.is_over());
        assert_eq!(at, 512 + 57 * MIB + 512);
        // What touches is one again.
        memory.dedup_by(|next, last| {
            let touches = last.0 + last.1 == next.0;
            last.1 += if touches { next.1 } else { 0 };
            touches
        });
        let lengths: Vec<u64> = memory.iter().map(|part| part.1).collect();
        assert_eq!(lengths, [MIB, 40 * MIB + 512, 3 * MIB, 13 * MIB]);
    }

    #[test]
    fn ranges_are_cleared_piece_by_piece_too() {
        let range = |offset, bytes| Range { offset, bytes, may_unmap: false };
        let ranges = vec![range(512, 0), range(512, 130 * MIB), range(4096, 512)];
        let mut work = Work::Clear(Clear { zeroes: true, ranges, first: 0 });
        let mut pieces = Vec::new();
        while let Some(Piece::Zero(piece)) = work.next() {
            pieces.push((piece.offset, piece.bytes));
        }
        let expected = [
            (512, 0),
            (512, 64 * MIB - 512),
            (64 * MIB, 64 * MIB),
            (128 * MIB, 2 * MIB + 512),
            (4096, 512),
        ];
        assert_eq!(pieces, expected);
        assert!(work.is_over() && !work.is_a_hint());
    }

    #[test]
    fn a_share_has_room_for_one_of_any_size_and_for_so_much_of_small_ones() {
        let mut share = Share::default();
        let small = Cost { bytes: 8 * MIB, pieces: 100, alone: false };
        let large = Cost { bytes: 1 << 30, pieces: 5000, alone: true };
        assert!(share.has_room(large));
        share.take(large);
        assert!(!share.has_room(small) && !share.has_room(large));
        share.give_back(large);
        for _ in 0..8 {
            assert!(share.has_room(small));
            share.take(small);
        }
        assert!(!share.has_room(small) && share.has_room(Cost::default()));
        assert!(!share.has_room(large), "what would be waited for too long goes alone");
        share.give_back(small);
        assert!(share.has_room(small));
        let pieces = Cost { bytes: 0, pieces: 1 << 16, alone: false };
        assert!(!share.has_room(pieces));
    }
}
