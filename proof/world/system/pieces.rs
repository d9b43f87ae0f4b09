//! Bytes between memory and the simulated disk: in pieces, in an order that the seed decides, and
//! with other threads running in between.

use crate::driver::{MemoryCopy, Segment};
use crate::engine::run_copies;
use crate::proof::disk::Disk;
use crate::proof::world::{choose, percent, point};

/// I/O is done in pieces of so many bytes, which are never torn.
pub const PIECE: u64 = 512;

/// Moves up to `most` bytes between `segments` and the disk from `offset` on; how many.
pub fn transfer(disk: &Disk, write: bool, segments: &[Segment], offset: u64, most: u64) -> u64 {
    let whole: usize = segments.iter().map(|segment| segment.bytes).sum();
    let room = (disk.state().data.len() as u64).saturating_sub(offset);
    let bytes = (whole as u64).min(most).min(room);
    for (from, to) in pieces(offset, offset + bytes) {
        let mut at = offset;
        for segment in segments {
            let end = at + segment.bytes as u64;
            let (low, high) = (from.max(at), to.min(end));
            if low < high {
                let memory = (segment.address + (low - at) as usize) as *mut u8;
                let (low, bytes) = (low as usize, (high - low) as usize);
                let mut state = disk.state();
                // SAFETY: the library lent this memory to the storage, until the I/O is done.
                unsafe {
                    match write {
                        true => state.take_in(low, memory, bytes),
                        false => state.give_out(low, memory, bytes),
                    }
                }
            }
            at = end;
        }
    }
    bytes
}

/// The memory of each piece of a vector that is whole pieces long.
pub fn sectors(segments: &[Segment]) -> Vec<Vec<Segment>> {
    let (mut all, mut sector, mut room) = (Vec::new(), Vec::new(), PIECE as usize);
    for &Segment { mut address, mut bytes } in segments {
        while bytes > 0 {
            let piece = bytes.min(room);
            sector.push(Segment { address, bytes: piece });
            (address, bytes, room) = (address + piece, bytes - piece, room - piece);
            if room == 0 {
                all.push(std::mem::take(&mut sector));
                room = PIECE as usize;
            }
        }
    }
    all
}

pub fn zero(disk: &Disk, offset: u64, bytes: u64) {
    let end = (offset + bytes).min(disk.state().data.len() as u64);
    for (from, to) in pieces(offset.min(end), end) {
        disk.state().zero(from, to - from);
    }
}

/// The bytes of a piece of memory that other threads may change.
pub fn read_memory(segment: Segment) -> Vec<u8> {
    let mut bytes = vec![0u8; segment.bytes];
    let to = bytes.as_mut_ptr().addr();
    run_copies(&[MemoryCopy { from: segment.address, to, bytes: segment.bytes }]);
    bytes
}

/// The pieces of a stretch, in the order in which they are done; others may run in between.
fn pieces(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut all = Vec::new();
    let mut at = from;
    while at < to {
        let end = (at / PIECE * PIECE + PIECE).min(to);
        all.push((at, end));
        at = end;
    }
    match choose(3) {
        0 => {}
        1 => all.reverse(),
        _ => {
            for at in (1..all.len()).rev() {
                all.swap(at, choose(at as u64 + 1) as usize);
            }
        }
    }
    all.into_iter().inspect(|_| {
        if percent(30) {
            point();
        }
    })
}
