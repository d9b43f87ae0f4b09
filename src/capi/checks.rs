//! Bounds of single numbers that C hands in: offsets, lengths, alignments.

use crate::sys::Error;

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

/// Offset and length of a request that starts and ends within bounds.
pub fn check_range(offset: i64, bytes: i64) -> Result<(u64, u64), Error> {
    let fits = |value: i64| (0..=REQUEST_END_MAX).contains(&value);
    if !fits(offset) || !fits(bytes) || bytes > REQUEST_END_MAX - offset {
        let words = format!(
            "offset {offset}, length {bytes}: these and their sum must be between 0 and \
             {REQUEST_END_MAX}"
        );
        return Err(invalid(words));
    }
    Ok((offset as u64, bytes as u64))
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
