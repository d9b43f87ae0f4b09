//! The bounces: the only place where the library itself touches a guest's memory.

use crate::driver::Copy;

/// Runs the copies of one I/O.
pub fn run_copies(copies: &[Copy]) {
    for copy in copies {
        // SAFETY: the request machine lays copies between scratch that the I/O holds until it is
        // done and memory that the caller promised to keep until the callback, which has not run;
        // scratch is the library's own, so the two do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(copy.from as *const u8, copy.to as *mut u8, copy.bytes);
        }
    }
}
