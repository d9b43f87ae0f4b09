//! Bounds of single numbers that callers hand in, whichever door they come by: offsets, lengths,
//! alignments, pieces of memory.

use std::fmt::Display;

use crate::driver::{Segment, Segments};
use crate::sys::Error;
use crate::throttle::BucketLimits;

/// No storage asks for more, and scratch memory of that size can be had.
pub const ALIGNMENT_MAX: u32 = 1 << 20;

/// Offset, length and their sum may reach this: i64::MAX rounded down to a multiple of 2^30, so
/// that rounding up to any alignment cannot overflow later. QEMU draws the line there as well.
pub const REQUEST_END_MAX: i64 = i64::MAX & !((1 << 30) - 1);

pub fn invalid(words: impl Into<String>) -> Error {
    Error::new(libc::EINVAL, words)
}

/// 0 stands for "not given".
pub fn check_alignment(name: &str, alignment: u32) -> Result<(), Error> {
    if alignment == 0 || (alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX) {
        return Ok(());
    }
    let words = format!("{name} {alignment} is not a power of two of at most {ALIGNMENT_MAX}");
    Err(invalid(words))
}

/// A limit of a throttle.
pub fn check_bucket(name: &str, rate: u64, burst: u64) -> Result<BucketLimits, Error> {
    if rate == 0 && burst != 0 {
        let words = format!("the bucket {name} has a burst of {burst}, and no rate");
        return Err(invalid(words));
    }
    Ok(BucketLimits { rate, burst })
}

/// Offset and length of a request that starts and ends within bounds.
pub fn check_range(offset: u64, bytes: u64) -> Result<(), Error> {
    let end_max = REQUEST_END_MAX as u64;
    if offset <= end_max && bytes <= end_max - offset {
        return Ok(());
    }
    Err(out_of_range(offset, bytes))
}

/// The error for an offset and a length that are not both within bounds, as their caller gave them.
#[cold]
pub fn out_of_range(offset: impl Display, bytes: impl Display) -> Error {
    invalid(format!(
        "offset {offset}, length {bytes}: these and their sum must be between 0 and \
         {REQUEST_END_MAX}"
    ))
}

/// Adds a piece of a caller's memory to those of a request; an empty piece is left out.
pub fn add_segment(segments: &mut Segments, address: usize, bytes: usize) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    if address == 0 {
        return Err(invalid(format!("NULL in place of a buffer of {bytes} bytes")));
    }
    check_memory(address, bytes)?;
    segments.push(Segment { address, bytes });
    Ok(())
}

/// Memory that a caller makes known for later requests.
pub fn check_region(address: usize, bytes: usize) -> Result<Segment, Error> {
    if address == 0 || bytes == 0 {
        return Err(invalid("a region of memory needs an address and a length"));
    }
    if address.checked_add(bytes).is_none_or(|end| end > isize::MAX as usize) {
        return Err(invalid(format!("{bytes} bytes at {address:#x} pass the end of memory")));
    }
    Ok(Segment { address, bytes })
}

/// No program has memory above isize::MAX. The request machine uses the top bit of an address as a
/// mark of its own (`splice.rs`).
fn check_memory(address: usize, bytes: usize) -> Result<(), Error> {
    if address.checked_add(bytes).is_some_and(|_| address <= isize::MAX as usize) {
        return Ok(());
    }
    let words = format!("a buffer of {bytes} bytes at {address:#x} passes the end of memory");
    Err(invalid(words))
}

/// The whole blocks that a range touches: where they start, and how many bytes they have. Both ends
/// of the range are within bounds.
pub fn round_out(offset: u64, bytes: u64, block: u64) -> (u64, u64) {
    let start = offset - offset % block;
    (start, (offset + bytes).next_multiple_of(block) - start)
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
