//! Checks the form of `blkalign_open_options` and of a request's flags. What a value means, and
//! whether the storage can do it, is `handle`'s business.

use super::checks::{check_alignment, check_range, invalid, REQUEST_END_MAX};
use super::extensible::copy_in;
use super::numbers::{completion_of, engine_of};
use crate::driver::{Alignments, Op};
use crate::handle::{Options, RequestFlags};
use crate::header::*;
use crate::sys::Error;

const OPEN_FLAGS_ALL: u32 = BLKALIGN_O_RDWR
    | BLKALIGN_O_DIRECT
    | BLKALIGN_O_BUFFERED_OK
    | BLKALIGN_O_CREATE
    | BLKALIGN_O_RESIZE
    | BLKALIGN_O_UNMAP
    | BLKALIGN_O_WRITETHROUGH
    | BLKALIGN_O_NO_FLUSH
    | BLKALIGN_O_STABLE_WRITES
    | BLKALIGN_O_NO_MERGE
    | BLKALIGN_O_LOCK;

/// The caller's options; NULL means all defaults.
///
/// # Safety
/// `options` is NULL or points to a struct that is as long as its `size` says.
pub unsafe fn read_options(options: *const blkalign_open_options) -> Result<Options, Error> {
    if options.is_null() {
        return Ok(Options::default());
    }
    // SAFETY: not NULL, and the caller of this function vouches for the rest.
    check_options(&unsafe { copy_in(options)? })
}

fn check_options(options: &blkalign_open_options) -> Result<Options, Error> {
    let has = |flag| options.flags & flag != 0;
    let unknown = options.flags & !OPEN_FLAGS_ALL;
    if unknown != 0 {
        return Err(invalid(format!("blkalign_open_options: unknown flags {unknown:#x}")));
    }
    check_alignment("request_alignment", options.request_alignment)?;
    check_alignment("mem_alignment", options.mem_alignment)?;
    check_alignment("segment_alignment", options.segment_alignment)?;
    check_alignment("guest_block_size", options.guest_block_size)?;
    if options.request_alignment != 0 && options.segment_alignment > options.request_alignment {
        return Err(invalid(format!(
            "segment_alignment {} is above request_alignment {}",
            options.segment_alignment, options.request_alignment
        )));
    }
    let (window_offset, window_length) =
        check_window(options.window_offset, options.window_length)?;
    Ok(Options {
        writable: has(BLKALIGN_O_RDWR),
        direct: has(BLKALIGN_O_DIRECT),
        buffered_ok: has(BLKALIGN_O_BUFFERED_OK),
        create: has(BLKALIGN_O_CREATE),
        resize: has(BLKALIGN_O_RESIZE),
        unmap: has(BLKALIGN_O_UNMAP),
        writethrough: has(BLKALIGN_O_WRITETHROUGH),
        no_flush: has(BLKALIGN_O_NO_FLUSH),
        stable_writes: has(BLKALIGN_O_STABLE_WRITES),
        no_merge: has(BLKALIGN_O_NO_MERGE),
        lock: has(BLKALIGN_O_LOCK),
        engine: engine_of(options.engine)?,
        completion: completion_of(options.completion)?,
        workers: options.workers,
        queue_depth: options.queue_depth,
        alignments: Alignments {
            request: u64::from(options.request_alignment),
            memory: options.mem_alignment as usize,
            segment: options.segment_alignment as usize,
        },
        guest_block_size: options.guest_block_size,
        window_offset,
        window_length,
    })
}

fn check_window(offset: i64, length: i64) -> Result<(u64, u64), Error> {
    if offset < 0 || length < 0 {
        return Err(invalid(format!("window_offset {offset}, window_length {length}: negative")));
    }
    check_range(offset, length)
        .map_err(|_| invalid(format!("the window reaches beyond {REQUEST_END_MAX}")))
}

/// Checks the flags of a request of that kind.
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
        return Err(invalid("BLKALIGN_REQ_REGISTERED_BUF is for reads and writes only"));
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
#[path = "options_tests.rs"]
mod tests;
