//! Trial reads: does the storage take a read of this shape, and do the right bytes arrive in the
//! right place? That a read succeeds is not enough: zram takes vectors whose elements are no whole
//! pages, and then overwrites the whole page of each of them.
//!
//! Only allocated data shows what is refused; in holes and past the end the kernel has nothing to
//! hand to the disk and accepts anything.

use crate::sys::{page_bytes, Descriptor};

use super::decide::{Outcome, Shape, Trial, TRIAL_MAX};
use super::memory::TrialMemory;

/// A stretch of allocated data; where the object has none, all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Data {
    begin: u64,
    end: u64,
    /// The object ends where the data ends: a read may run past it, and comes back short.
    to_the_end: bool,
}

/// Blocks one after the other: one, or an even number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    block: usize,
    blocks: usize,
    /// How many bytes are there; less than a block at the end of the object.
    bytes: usize,
}

pub struct TrialReads<'a> {
    descriptor: &'a Descriptor,
    data: Option<Data>,
    /// A device: where nothing is written yet, what is below may be a hole.
    is_device: bool,
    /// No data were found that can tell wrong places from right ones.
    alike: bool,
    /// What an aligned read found where trials were made last.
    reference: Option<(Place, Vec<u8>)>,
    /// How often a trial had to go elsewhere: the data changed under it, or could not tell.
    moves: u64,
}

/// Most stretches of data that are looked at for one that is long enough to try all sizes.
const STRETCHES_MAX: usize = 8;
/// Most places that are tried when another program is writing to them, or when they are blank.
const PLACES: u64 = 4;
/// What a long trial reads into one piece of memory.
const LONG: u64 = 1 << 15;
/// No disk has smaller blocks.
const SECTOR: usize = 512;

impl<'a> TrialReads<'a> {
    pub fn new(descriptor: &'a Descriptor) -> TrialReads<'a> {
        let is_device = descriptor.device_bytes().is_ok();
        let data = find_data(descriptor);
        TrialReads { descriptor, data, is_device, alike: false, reference: None, moves: 0 }
    }

    /// Compares with what an aligned read finds there. `Unsteady`: another program wrote there
    /// meanwhile.
    fn read_once(&mut self, shape: Shape) -> Outcome {
        let Some(place) = self.data.and_then(|data| place(data, shape, self.moves)) else {
            return Outcome::Unknown;
        };
        let expected = match self.reference.take() {
            Some((there, content)) if there == place => content,
            _ => match self.aligned(place) {
                Ok(content) => content,
                Err(outcome) => return outcome,
            },
        };
        let outcome = if shape.telling && !tells(&expected) {
            Outcome::Alike
        } else {
            self.compare(shape, place, &expected)
        };
        self.reference = Some((place, expected));
        outcome
    }

    fn compare(&self, shape: Shape, place: Place, expected: &[u8]) -> Outcome {
        let lengths = elements(shape, place.blocks);
        let wanted = place.bytes.min(lengths.iter().sum());
        let page = page_bytes() as usize;
        let mut memory = TrialMemory::new(&lengths, place.block, shape.mem as usize, page);
        memory.fill(&expected[..wanted], place.block);
        match self.read_into(&mut memory, place.offset, wanted) {
            Outcome::Works if !memory.is_unharmed() => Outcome::Wrong,
            Outcome::Works if memory.holds(&expected[..wanted]) => Outcome::Works,
            Outcome::Works if self.aligned(place).is_ok_and(|now| now == expected) => {
                Outcome::Wrong
            }
            Outcome::Works => Outcome::Unsteady,
            outcome => outcome,
        }
    }

    /// The bytes that are there, read into one buffer at the start of a page.
    fn aligned(&self, place: Place) -> Result<Vec<u8>, Outcome> {
        let (page, lengths) = (page_bytes() as usize, [place.block * place.blocks]);
        let mut memory = TrialMemory::new(&lengths, place.block, place.block.max(page), page);
        match self.read_into(&mut memory, place.offset, place.bytes) {
            Outcome::Works => Ok(memory.content(place.bytes)),
            outcome => Err(outcome),
        }
    }

    fn read_into(&self, memory: &mut TrialMemory, offset: u64, wanted: usize) -> Outcome {
        match self.descriptor.read(&mut memory.slices(), offset) {
            Ok(bytes) if bytes == wanted => Outcome::Works,
            Err(libc::EINVAL | libc::EIO | libc::EILSEQ) => Outcome::Refused,
            _ => Outcome::Unknown,
        }
    }

    /// Goes on elsewhere while that is of use.
    fn read_somewhere(&mut self, shape: Shape) -> Outcome {
        let mut outcome = Outcome::Unknown;
        for _ in 0..PLACES {
            outcome = self.read_once(shape);
            match outcome {
                Outcome::Unsteady | Outcome::Alike => self.moves += 1,
                _ => break,
            }
        }
        outcome
    }
}

impl Trial for TrialReads<'_> {
    fn read(&mut self, shape: Shape) -> Outcome {
        if shape.bytes > TRIAL_MAX || shape.mem > TRIAL_MAX {
            return Outcome::Unknown;
        }
        let can_tell = shape.bytes as usize >= SECTOR && !self.alike;
        if can_tell && (shape.telling || self.is_device) {
            match self.read_somewhere(Shape { telling: true, ..shape }) {
                Outcome::Alike => self.alike = true,
                outcome => return outcome,
            }
        }
        if shape.telling {
            return Outcome::Alike;
        }
        self.read_somewhere(shape)
    }
}

/// Whether a byte in a wrong place would be seen: no sector holds one byte all over, or the same as
/// the sector before.
fn tells(content: &[u8]) -> bool {
    let mut before: &[u8] = &[];
    content.chunks(SECTOR).all(|sector| {
        let differs = sector != before && sector.iter().any(|byte| *byte != sector[0]);
        before = sector;
        differs
    })
}

/// Whole blocks in one or two elements, or [segment][rest][segment]: a short element at the front,
/// at the back, and gaps in between.
fn elements(shape: Shape, blocks: usize) -> Vec<usize> {
    let (bytes, segment) = (shape.bytes as usize, shape.segment as usize);
    if segment >= bytes {
        return if blocks == 1 { vec![bytes] } else { vec![bytes * (blocks / 2); 2] };
    }
    let all = if shape.long { bytes * blocks } else { bytes };
    match all - 2 * segment {
        0 => vec![segment; 2],
        rest => vec![segment, rest, segment],
    }
}

/// Where to read blocks of so many bytes: at an odd multiple where there is room. Each move leads
/// to another part of the data, if that is long enough.
fn place(data: Data, shape: Shape, moves: u64) -> Option<Place> {
    let block = u64::from(shape.bytes);
    let fits = |offset: u64| offset + block <= data.end || (data.to_the_end && offset < data.end);
    let behind = |from: u64| {
        let first = from.checked_next_multiple_of(block)?;
        let odd = if (first / block) % 2 == 1 { first } else { first + block };
        [odd, first].into_iter().find(|offset| fits(*offset))
    };
    let moved = data.begin + (data.end - data.begin) / PLACES * (moves % PLACES);
    let offset = behind(moved).or_else(|| behind(data.begin))?;
    let wanted = if shape.long { 2 * (LONG / block).max(1) } else { 2 };
    let blocks = wanted.min(data.end.saturating_sub(offset) / block / 2 * 2).max(1);
    let bytes = (blocks * block).min(data.end - offset);
    Some(Place { offset, block: block as usize, blocks: blocks as usize, bytes: bytes as usize })
}

/// A stretch where all sizes can be tried, else the longest of the first few.
fn find_data(descriptor: &Descriptor) -> Option<Data> {
    if let Ok(end) = descriptor.device_bytes() {
        return (end > 0).then_some(Data { begin: 0, end, to_the_end: true });
    }
    let length = u64::try_from(descriptor.fstat().ok()?.st_size).ok()?;
    let mut best: Option<Data> = None;
    let mut from = 0;
    for _ in 0..STRETCHES_MAX {
        let Ok(begin) = descriptor.seek(from, libc::SEEK_DATA) else { break };
        let end = descriptor.seek(begin, libc::SEEK_HOLE).ok()?.min(length);
        if end <= begin {
            break;
        }
        if best.is_none_or(|best| end - begin > best.end - best.begin) {
            best = Some(Data { begin, end, to_the_end: end == length });
        }
        if end - begin >= 4 * u64::from(TRIAL_MAX) {
            break;
        }
        from = end;
    }
    best.or((length > 0).then_some(Data { begin: 0, end: length, to_the_end: true }))
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
