//! The bytes of the simulated object, and what it asks of I/O.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::driver::{MemoryCopy, Segment};
use crate::engine::{run_copies, StableCopy};
use crate::proof::world::{choose, percent, point};

/// What the storage is like.
#[derive(Debug, Clone)]
pub struct Shape {
    pub device: bool,
    /// In bytes; of a device whole blocks.
    pub length: u64,
    /// Alignment of offset and length; of memory; of the length of an element.
    pub request: u64,
    pub mem: usize,
    pub segment: usize,
    /// It tells by statx; else trials have to find out.
    pub tells: bool,
    pub knows_nowait: bool,
    pub knows_dsync: bool,
    pub knows_zeroes: bool,
    /// There is an io_uring.
    pub rings: bool,
}

pub struct Disk {
    pub shape: Shape,
    content: StableCopy,
    /// As in `shape`, but may grow.
    request: AtomicU64,
}

/// I/O is done in pieces of so many bytes, in any order.
const PIECE: u64 = 512;

impl Disk {
    pub fn new(shape: Shape, content: &[u8]) -> Disk {
        assert_eq!(content.len() as u64, shape.length);
        let whole = Segment { address: content.as_ptr().addr(), bytes: content.len() };
        let content = StableCopy::new(&[whole], content.len(), 4096, 0).expect("memory");
        let request = AtomicU64::new(shape.request);
        Disk { shape, content, request }
    }

    /// From here on it takes larger blocks only.
    pub fn set_request(&self, bytes: u64) {
        self.request.store(bytes, Ordering::Relaxed);
    }

    pub fn request(&self) -> u64 {
        self.request.load(Ordering::Relaxed)
    }

    /// Whether direct I/O of this form is taken.
    pub fn takes(&self, segments: &[Segment], offset: u64) -> bool {
        let bytes: usize = segments.iter().map(|segment| segment.bytes).sum();
        (offset | bytes as u64).is_multiple_of(self.request())
            && segments.iter().all(|segment| {
                segment.address.is_multiple_of(self.shape.mem)
                    && segment.bytes.is_multiple_of(self.shape.segment)
            })
    }

    /// From where on I/O may go through the page cache beside O_DIRECT: the page that has the end,
    /// if the end is inside a page. Where the disk comes to take larger blocks only (`grows`) the
    /// library may come to use blocks of up to 64 KiB, and the last of them is what has the end.
    pub fn last_page(&self, grows: bool) -> u64 {
        let unit = if grows { 65536 } else { 4096 };
        self.shape.length / unit * unit
    }

    /// Moves up to `most` bytes between `segments` and the disk from `offset` on; how many.
    pub fn transfer(&self, write: bool, segments: &[Segment], offset: u64, most: u64) -> u64 {
        let whole: usize = segments.iter().map(|segment| segment.bytes).sum();
        let room = self.shape.length.saturating_sub(offset);
        let bytes = (whole as u64).min(most).min(room);
        for (from, to) in pieces(offset, offset + bytes) {
            let mut at = offset;
            for segment in segments {
                let end = at + segment.bytes as u64;
                let (low, high) = (from.max(at), to.min(end));
                if low < high {
                    let disk = self.content.data().address + low as usize;
                    let memory = segment.address + (low - at) as usize;
                    let (from, to) = if write { (memory, disk) } else { (disk, memory) };
                    run_copies(&[MemoryCopy { from, to, bytes: (high - low) as usize }]);
                }
                at = end;
            }
        }
        bytes
    }

    pub fn zero(&self, offset: u64, bytes: u64) {
        let end = (offset + bytes).min(self.shape.length);
        for (from, to) in pieces(offset.min(end), end) {
            let zeros = vec![0u8; (to - from) as usize];
            let disk = self.content.data().address + from as usize;
            run_copies(&[MemoryCopy { from: zeros.as_ptr().addr(), to: disk, bytes: zeros.len() }]);
        }
    }

    /// All of it, as it is.
    pub fn content(&self) -> Vec<u8> {
        read_memory(self.content.data())
    }
}

/// The bytes of a piece of memory that somebody else may change.
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
