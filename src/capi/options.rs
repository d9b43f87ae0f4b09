//! Reads `blkalign_open_options`. Which values may go together, and whether the storage can do it,
//! is `handle`'s business.

use super::checks::invalid;
use super::extensible::copy_in;
use super::numbers::{completion_of, engine_of};
use crate::driver::Alignments;
use crate::handle::Options;
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
    let (window_offset, window_length) =
        check_window(options.window_offset, options.window_length)?;
    let options = Options {
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
    };
    options.check()?;
    Ok(options)
}

fn check_window(offset: i64, length: i64) -> Result<(u64, u64), Error> {
    match (u64::try_from(offset), u64::try_from(length)) {
        (Ok(from), Ok(bytes)) => Ok((from, bytes)),
        _ => Err(invalid(format!("window_offset {offset}, window_length {length}: negative"))),
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
