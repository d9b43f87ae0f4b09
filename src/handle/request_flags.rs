//! The flags of a request as numbers: those of `<blkalign.h>`, which the Rust interface shares.

use super::bounds::invalid;
use crate::driver::Op;
use crate::header::*;
use crate::sys::Error;
use blkalign_machine::RequestFlags;

/// Reads the flags of a request of that kind.
pub fn check_request_flags(op: Op, flags: u32) -> Result<RequestFlags, Error> {
    const ALL: u32 = BLKALIGN_REQ_FUA
        | BLKALIGN_REQ_SERIALISING
        | BLKALIGN_REQ_NO_WAIT
        | BLKALIGN_REQ_MAY_UNMAP
        | BLKALIGN_REQ_NO_FALLBACK
        | BLKALIGN_REQ_REGISTERED_BUF;
    if flags == 0 {
        return Ok(RequestFlags::default());
    }
    let unknown = flags & !ALL;
    if unknown != 0 {
        return Err(invalid(format!("unknown request flags {unknown:#x}")));
    }
    let wrong = flags & (BLKALIGN_REQ_MAY_UNMAP | BLKALIGN_REQ_NO_FALLBACK);
    if op != Op::WriteZeroes && wrong != 0 {
        return Err(invalid(format!("request flags {wrong:#x} are for zero writes only")));
    }
    let has = |flag| flags & flag != 0;
    if has(BLKALIGN_REQ_REGISTERED_BUF) && !matches!(op, Op::Read | Op::Write) {
        return Err(invalid("REGISTERED_BUF is for reads and writes only"));
    }
    Ok(RequestFlags {
        fua: has(BLKALIGN_REQ_FUA),
        serialising: has(BLKALIGN_REQ_SERIALISING),
        no_wait: has(BLKALIGN_REQ_NO_WAIT),
        may_unmap: has(BLKALIGN_REQ_MAY_UNMAP),
        no_fallback: has(BLKALIGN_REQ_NO_FALLBACK),
        registered: has(BLKALIGN_REQ_REGISTERED_BUF),
        copied: false,
    })
}

#[cfg(test)]
#[path = "request_flags_tests.rs"]
mod tests;
