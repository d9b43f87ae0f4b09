//! Copies of what is being written, for handles whose callers may change their memory meanwhile.

use std::alloc::{alloc, dealloc, Layout};

use super::copy::run_copies;
use crate::driver::{MemoryCopy, Segment};

/// The data of one write in memory of the library; given back when dropped.
#[derive(Debug)]
pub struct StableCopy {
    address: usize,
    layout: Layout,
    /// Where in it the data starts.
    shift: usize,
}

impl StableCopy {
    /// Copies `segments`, which add up to `bytes` > 0, to `shift` bytes behind a multiple of
    /// `alignment`, a power of two. None: there is no memory for it.
    pub fn new(
        segments: &[Segment],
        bytes: usize,
        alignment: usize,
        shift: usize,
    ) -> Option<StableCopy> {
        let layout = Layout::from_size_align(shift.checked_add(bytes)?, alignment).ok()?;
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc(layout) } as usize;
        if address == 0 {
            return None;
        }
        let copy = StableCopy { address, layout, shift };
        let mut to = copy.data().address;
        for segment in segments {
            run_copies(&[MemoryCopy { from: segment.address, to, bytes: segment.bytes }]);
            to += segment.bytes;
        }
        Some(copy)
    }

    /// All of it in one piece.
    pub fn data(&self) -> Segment {
        Segment { address: self.address + self.shift, bytes: self.layout.size() - self.shift }
    }

    /// Leaks the copy, for ever: the storage may still be reading it.
    pub fn abandon(self) {
        std::mem::forget(self);
    }
}

impl Drop for StableCopy {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and given back here alone.
        unsafe { dealloc(self.address as *mut u8, self.layout) };
    }
}

#[cfg(test)]
#[path = "stable_tests.rs"]
mod tests;
