//! An overlay: a file of raw data on top of a backing object, and the map that says which clusters
//! of the data are there. docs/OVERLAY.md has the format of the map. Which of the two layers an I/O
//! goes to is the machine's business (`machine/src/overlay`): here each lane leads to its layer.
//!
//! Bytes of the backing object are read on the thread that carries the I/O out. That thread does
//! what a synchronous call of the backing object does: if the backing object is itself an overlay
//! it reads the layer below on the same thread. So layers over layers need no more threads.

mod create;
pub mod map;

use std::sync::Arc;

use super::file::FileDriver;
use super::{Driver, Io, Lane, Op, Segment};
use crate::log;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sys::Error;
pub use create::{create_overlay, map_path};
use map::MapFile;

/// What lies under an overlay. Its bytes do not change.
pub trait Backing: Send + Sync {
    /// Fills the segments with the bytes from `offset` on, which lie inside.
    ///
    /// # Safety
    /// The segments are memory that can be written, and that nobody else uses meanwhile.
    unsafe fn read(&self, segments: &[Segment], offset: u64) -> Result<(), i32>;

    /// In bytes.
    fn length(&self) -> u64;
}

/// What all handles of an overlay share.
pub struct Layers {
    map: MapFile,
    backing: Box<dyn Backing>,
    /// What reads take from the backing object is kept.
    pub keeps_reads: bool,
    handles: AtomicUsize,
}

impl Layers {
    pub fn new(map: MapFile, backing: Box<dyn Backing>, keeps_reads: bool) -> Layers {
        Layers { map, backing, keeps_reads, handles: AtomicUsize::new(0) }
    }

    /// The length of the overlay, in bytes.
    pub fn length(&self) -> u64 {
        self.map.length()
    }

    /// A handle has been opened.
    pub fn note_opened(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle has been closed, and nothing of it is in flight. Returns whether it was the last.
    pub fn note_closed(&self) -> bool {
        // AcqRel: the last one sees all that the others have done.
        self.handles.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// All of the overlay is there, and the map says so: the file on top needs no map any more.
    pub fn remove_map(&self) {
        if let Err(errno) = self.map.remove() {
            log::error!("the map of a complete overlay cannot be removed (errno {errno})");
        }
    }

    fn read(&self, io: &Io) -> Result<u64, i32> {
        let there = self.backing.length().saturating_sub(io.offset).min(io.bytes);
        let (inside, beyond) = cut(&io.segments, there as usize);
        if !inside.is_empty() {
            // SAFETY: the maker of `io` vouches for its memory until the I/O is done.
            unsafe { self.backing.read(&inside, io.offset)? };
        }
        for Segment { address, bytes } in beyond {
            // SAFETY: as above.
            unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
        }
        Ok(io.bytes)
    }

    fn save(&self, io: &Io) -> Result<u64, i32> {
        for page in io.map.iter().flat_map(|pages| pages.iter()) {
            self.map.write_page(page.number, &page.bits)?;
        }
        self.map.sync().map(|()| 0)
    }
}

/// The first `bytes` of a vector, and the rest.
fn cut(segments: &[Segment], mut bytes: usize) -> (Vec<Segment>, Vec<Segment>) {
    let (mut inside, mut beyond) = (Vec::new(), Vec::new());
    for segment in segments {
        let first = segment.bytes.min(bytes);
        bytes -= first;
        if first > 0 {
            inside.push(Segment { address: segment.address, bytes: first });
        }
        if first < segment.bytes {
            let (address, bytes) = (segment.address + first, segment.bytes - first);
            beyond.push(Segment { address, bytes });
        }
    }
    (inside, beyond)
}

/// One handle's way to both layers.
pub struct OverlayDriver {
    pub top: Arc<FileDriver>,
    pub layers: Arc<Layers>,
}

impl Driver for OverlayDriver {
    fn perform(&self, io: &Io) -> Result<u64, i32> {
        match (io.op, io.lane) {
            (Op::SaveMap, _) => self.layers.save(io),
            (Op::Read, Lane::Backing) => self.layers.read(io),
            _ => self.top.perform(io),
        }
    }

    fn takes_atomic(&self, io: &Io) -> bool {
        self.top.takes_atomic(io)
    }

    fn true_errno(&self, io: &Io, errno: i32) -> i32 {
        match io.lane {
            Lane::Backing => errno,
            Lane::Main | Lane::LastBlock => self.top.true_errno(io, errno),
        }
    }

    fn possible_cause(&self, errno: i32) -> &'static str {
        self.top.possible_cause(errno)
    }

    fn length(&self) -> Result<u64, Error> {
        self.top.length()
    }
}

#[cfg(test)]
mod tests {
    use super::{cut, Segment};

    #[test]
    fn a_vector_is_cut_inside_a_segment_and_between_two() {
        let one = |address, bytes| Segment { address, bytes };
        let whole = [one(100, 10), one(200, 5)];
        assert_eq!(cut(&whole, 15), (whole.to_vec(), vec![]));
        assert_eq!(cut(&whole, 10), (vec![one(100, 10)], vec![one(200, 5)]));
        let inside = (vec![one(100, 10), one(200, 2)], vec![one(202, 3)]);
        assert_eq!(cut(&whole, 12), inside);
        assert_eq!(cut(&whole, 0), (vec![], whole.to_vec()));
    }
}
