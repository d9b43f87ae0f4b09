//! What C's signed numbers add to the bounds of `handle/bounds.rs`.

pub use crate::handle::bounds::{check_alignment, invalid};

use crate::handle::bounds::{self, out_of_range};
use crate::sys::Error;

/// Offset and length of a request that starts and ends within bounds.
pub fn check_range(offset: i64, bytes: i64) -> Result<(u64, u64), Error> {
    let (Ok(from), Ok(count)) = (u64::try_from(offset), u64::try_from(bytes)) else {
        return Err(out_of_range(offset, bytes));
    };
    bounds::check_range(from, count)?;
    Ok((from, count))
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
