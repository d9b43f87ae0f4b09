//! Copies between a guest's memory and scratch (bounces), and zeros for a guest. The library's own
//! code touches the data of a request here and nowhere else.

use crate::driver::{MemoryCopy, Segment};

/// Runs the copies of one I/O.
pub fn run_copies(copies: &[MemoryCopy]) {
    for copy in copies {
        // SAFETY: the request machine lays copies between scratch that the I/O holds until it is
        // done and memory that the caller promised to keep until the callback, which has not run;
        // scratch is the library's own, so the two do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(copy.from as *const u8, copy.to as *mut u8, copy.bytes);
        }
    }
}

/// Fills memory with zeros.
pub fn fill(segments: &[Segment]) {
    for segment in segments {
        // SAFETY: memory of a read that has not called back, which the caller promised to keep.
        unsafe { std::ptr::write_bytes(segment.address as *mut u8, 0, segment.bytes) };
    }
}
