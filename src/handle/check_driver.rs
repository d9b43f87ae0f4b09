//! Checks the form of a `blkalign_driver`.

use super::bounds::{check_alignment, invalid};
use crate::header::blkalign_driver;
use crate::sys::Error;

/// Checks a table for form; `writable` tells whether it needs a way to write. Returns the table
/// with what its zeros and NULLs stand for: alignments are at least 1, `getlength` and `name` are
/// there, and `max_transfer` is whole blocks.
pub fn check_driver(table: &blkalign_driver, writable: bool) -> Result<blkalign_driver, Error> {
    check_alignment("blkalign_driver: request_alignment", table.request_alignment)?;
    check_alignment("blkalign_driver: mem_alignment", table.mem_alignment)?;
    check_alignment("blkalign_driver: segment_alignment", table.segment_alignment)?;
    let request_alignment = table.request_alignment.max(1);
    let segment_alignment = table.segment_alignment.max(1);
    if segment_alignment > request_alignment {
        return Err(invalid(format!(
            "blkalign_driver: segment_alignment {segment_alignment} is above request_alignment \
             {request_alignment}"
        )));
    }
    if table.max_transfer != 0 && table.max_transfer < request_alignment {
        return Err(invalid(format!(
            "blkalign_driver: max_transfer {} is below request_alignment {request_alignment}",
            table.max_transfer
        )));
    }
    if table.getlength.is_none() {
        return Err(invalid("blkalign_driver: no getlength"));
    }
    if table.preadv.is_none() && table.aio_preadv.is_none() {
        return Err(invalid("blkalign_driver: neither preadv nor aio_preadv"));
    }
    if writable && table.pwritev.is_none() && table.aio_pwritev.is_none() {
        return Err(invalid("blkalign_driver: neither pwritev nor aio_pwritev to write with"));
    }
    Ok(blkalign_driver {
        name: if table.name.is_null() { c"driver".as_ptr() } else { table.name },
        request_alignment,
        mem_alignment: table.mem_alignment.max(1),
        segment_alignment,
        // What does not fill a block cannot be used.
        max_transfer: table.max_transfer - table.max_transfer % request_alignment,
        ..*table
    })
}

#[cfg(test)]
#[path = "check_driver_tests.rs"]
mod tests;
