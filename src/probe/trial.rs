//! Trial reads: does the storage take a read of this shape? Only allocated data answers that; in
//! holes and past the end the kernel has nothing to hand to the disk and accepts anything.

use std::io::IoSliceMut;

use crate::sys::Descriptor;

use super::decide::{Outcome, Shape, Trial, TRIAL_MAX};

/// A stretch of allocated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Data {
    begin: u64,
    end: u64,
    /// The object ends where the data ends: a read may run past it, and comes back short.
    to_the_end: bool,
}

pub struct TrialReads<'a> {
    descriptor: &'a Descriptor,
    data: Option<Data>,
    memory: Vec<u8>,
}

/// So many stretches of data are looked at for one that is long enough to try all sizes.
const STRETCHES_MAX: usize = 8;
/// Room for one element at any address that is tried.
const SLOT: usize = 2 * TRIAL_MAX as usize;
/// Three elements, and what aligning the first one costs.
const MEMORY: usize = 4 * SLOT;

impl<'a> TrialReads<'a> {
    pub fn new(descriptor: &'a Descriptor) -> TrialReads<'a> {
        TrialReads { descriptor, data: find_data(descriptor), memory: vec![0; MEMORY] }
    }
}

impl Trial for TrialReads<'_> {
    fn read(&mut self, shape: Shape) -> Outcome {
        let Some((offset, expected)) = self.data.and_then(|data| place(data, shape.bytes)) else {
            return Outcome::Unknown;
        };
        if shape.bytes > TRIAL_MAX || shape.mem > TRIAL_MAX {
            return Outcome::Unknown;
        }
        let lengths = elements(shape);
        let mut elements = slices(&mut self.memory, shape.mem as usize, lengths);
        let used = 1 + usize::from(lengths[1] > 0) + usize::from(lengths[2] > 0);
        match self.descriptor.read(&mut elements[..used], offset) {
            Ok(bytes) if bytes as u64 == expected => Outcome::Works,
            Err(libc::EINVAL | libc::EIO) => Outcome::Refused,
            _ => Outcome::Unknown,
        }
    }
}

/// [segment][rest][segment]: the hardest case, with a short element at the front, at the back, and
/// gaps in between. Unused ones are 0, at the back.
fn elements(shape: Shape) -> [usize; 3] {
    let (bytes, segment) = (shape.bytes as usize, shape.segment as usize);
    match bytes.saturating_sub(2 * segment) {
        _ if segment >= bytes => [bytes, 0, 0],
        0 => [segment, segment, 0],
        rest => [segment, rest, segment],
    }
}

/// Three elements of these lengths, each at an odd multiple of `mem`.
fn slices(memory: &mut [u8], mem: usize, lengths: [usize; 3]) -> [IoSliceMut<'_>; 3] {
    let to_slot = memory.as_ptr().align_offset(SLOT);
    let (_, memory) = memory.split_at_mut(to_slot);
    let mut slots = memory.chunks_exact_mut(SLOT);
    lengths.map(|bytes| {
        // MEMORY has three slots wherever the first of them begins.
        let slot = slots.next().unwrap_or_default();
        IoSliceMut::new(slot.get_mut(mem..mem + bytes).unwrap_or_default())
    })
}

/// Where to read `bytes`, and how much of it there is.
fn place(data: Data, bytes: u32) -> Option<(u64, u64)> {
    let bytes = u64::from(bytes);
    let fits = |offset: u64| offset + bytes <= data.end || (data.to_the_end && offset < data.end);
    let first = data.begin.checked_next_multiple_of(bytes)?;
    let odd = if (first / bytes) % 2 == 1 { first } else { first + bytes };
    let offset = [odd, first].into_iter().find(|offset| fits(*offset))?;
    Some((offset, bytes.min(data.end - offset)))
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
        if best.map_or(true, |best| end - begin > best.end - best.begin) {
            best = Some(Data { begin, end, to_the_end: end == length });
        }
        if end - begin >= 4 * u64::from(TRIAL_MAX) {
            break;
        }
        from = end;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_sits_at_an_odd_multiple_where_there_is_room() {
        let data = Data { begin: 4096, end: 16384, to_the_end: false };
        assert_eq!(place(data, 1), Some((4097, 1)));
        assert_eq!(place(data, 512), Some((4608, 512)));
        assert_eq!(place(data, 4096), Some((4096, 4096)));
        assert_eq!(place(data, 8192), Some((8192, 8192)));
        assert_eq!(place(data, 16384), None);
    }

    #[test]
    fn a_trial_runs_past_the_end_of_the_object_but_not_into_a_hole() {
        let short = Data { begin: 0, end: 700, to_the_end: true };
        assert_eq!(place(short, 512), Some((512, 188)));
        assert_eq!(place(short, 4096), Some((0, 700)));
        assert_eq!(place(Data { to_the_end: false, ..short }, 4096), None);
    }

    #[test]
    fn elements_add_up_and_begin_and_end_with_the_short_one() {
        let shape = |bytes, segment| Shape { bytes, mem: 512, segment };
        assert_eq!(elements(shape(4096, 512)), [512, 3072, 512]);
        assert_eq!(elements(shape(4096, 2048)), [2048, 2048, 0]);
        assert_eq!(elements(shape(4096, 4096)), [4096, 0, 0]);
        assert_eq!(elements(shape(1, 1)), [1, 0, 0]);
    }

    #[test]
    fn elements_lie_at_odd_multiples_of_the_memory_alignment() {
        let mut memory = vec![0; MEMORY];
        for mem in [1, 4, 512, 4096, TRIAL_MAX as usize] {
            let lengths = [512, TRIAL_MAX as usize, 512];
            let slices = slices(&mut memory, mem, lengths);
            for (slice, bytes) in slices.iter().zip(lengths) {
                assert_eq!(slice.len(), bytes);
                assert_eq!(slice.as_ptr() as usize % (2 * mem), mem);
            }
        }
    }
}
