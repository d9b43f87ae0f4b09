//! What C's signed numbers add to the bounds of `handle/bounds.rs`.

pub use crate::handle::bounds::{check_alignment, invalid};

use std::ffi::c_void;

use super::errmsg;
use crate::completion::Callback;
use crate::handle::bounds::{self, out_of_range};
use crate::header::blkalign_completion_fn;
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

pub fn callback(cb: blkalign_completion_fn, opaque: *mut c_void) -> Result<Callback, Error> {
    let function = cb.ok_or_else(|| invalid("cb is NULL"))?;
    Ok(Callback { function, opaque, on_failure: errmsg::remember })
}
