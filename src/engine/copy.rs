//! Copies between a guest's memory and scratch (bounces), and zeros: made for a guest, and seen.
//! The library's own code touches the data of a request here and nowhere else.

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

/// Whether all of it is zeros.
pub fn is_zero(segments: &[Segment]) -> bool {
    segments.iter().all(|segment| {
        // SAFETY: memory of the library, which a read has filled that is over.
        let bytes =
            unsafe { std::slice::from_raw_parts(segment.address as *const u8, segment.bytes) };
        bytes.iter().all(|byte| *byte == 0)
    })
}
