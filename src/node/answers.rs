//! What the storage says of an I/O: as the machine is to take it, as the log is told, and in words
//! for the program that asked for it.

use super::Endpoint;
use crate::driver::{Io, Op, ENDS_EARLY, NOT_NOW};
use crate::log::{self, Level};
use crate::sys::Error;

/// The result of an I/O as the machine is to take it; the log is told of failures.
pub fn taken_from_storage(
    endpoint: &Endpoint,
    io: &Io,
    result: Result<u64, i32>,
) -> Result<u64, i32> {
    match result {
        Ok(moved) if moved < io.bytes => short(endpoint, io, moved),
        Ok(_) => result,
        Err(errno) => {
            let errno = endpoint.driver.true_errno(io, errno);
            tell_failed(endpoint, io, errno);
            Err(errno)
        }
    }
}

/// An I/O that moved less than it should. Either that is chance, and the machine asks for the rest.
/// Or the storage ends there, since another program has made it shorter than the object is known
/// to be: then asking for the rest is of no use.
#[cold]
fn short(endpoint: &Endpoint, io: &Io, moved: u64) -> Result<u64, i32> {
    // I/Os that were joined are tried again one by one.
    if !io.joined.is_empty() || !matches!(io.op, Op::Read | Op::Write) {
        return Ok(moved);
    }
    match endpoint.driver.length() {
        Ok(length) if length <= io.offset + moved => {
            tell(endpoint, io, libc::EIO, Some(length));
            Err(ENDS_EARLY)
        }
        _ => Ok(moved),
    }
}

/// Tells the log of an I/O that failed at the storage; what is tried again is no failure.
pub fn tell_failed(endpoint: &Endpoint, io: &Io, errno: i32) {
    tell(endpoint, io, errno, None);
}

/// `storage_end`: the length of the storage, where that is the reason.
fn tell(endpoint: &Endpoint, io: &Io, errno: i32, storage_end: Option<u64>) {
    if errno == libc::EINTR || !log::wants(Level::Error) {
        return;
    }
    let another_way = has_another_way(io, errno);
    let errno = if errno == NOT_NOW { libc::EBUSY } else { errno };
    let error = failure(endpoint, io.op, io.offset, io.bytes, errno);
    if endpoint.alignments.may_change(io, errno) {
        log::debug!("{error}; other alignments may help");
    } else if io.op == Op::Flush {
        log::error!("{error}; all its flushes fail from now on, until its last handle is closed");
    } else if another_way {
        log::debug!("{error}; another method is tried");
    } else if !io.joined.is_empty() {
        log::debug!("{error}; its {} parts are tried one at a time", io.joined.len());
    } else if let Some(left_out) = endpoint.failures.allows() {
        tell_left_out(endpoint, left_out);
        match storage_end {
            Some(length) => log::error!(
                "{error}; the storage ends at {length}: others have made it shorter, and \
                 blkalign_refresh_length() would learn that"
            ),
            None => log::error!("{error}"),
        }
    }
}

/// Tells the log how many failures it was not told of.
fn tell_left_out(endpoint: &Endpoint, left_out: u64) {
    if left_out > 0 {
        log::error!("{}: {left_out} more I/Os failed", endpoint.name);
    }
}

/// As `tell_left_out`, of the failures left out since the last message.
pub fn tell_rest_left_out(endpoint: &Endpoint) {
    tell_left_out(endpoint, endpoint.failures.left_out());
}

/// Failures after which the request machine goes another way (`Zeroing::meaning`), or that a caller
/// has asked for by wanting no fallback.
fn has_another_way(io: &Io, errno: i32) -> bool {
    match io.op {
        Op::WriteZeroes => matches!(errno, libc::EOPNOTSUPP | NOT_NOW),
        Op::Discard => matches!(errno, libc::EOPNOTSUPP | NOT_NOW | libc::EINVAL),
        _ => false,
    }
}

/// A request's failure in words; `offset` counts from the start of the object.
pub fn failure(endpoint: &Endpoint, op: Op, offset: u64, bytes: u64, errno: i32) -> Error {
    let words = format!("{}: {}", endpoint.name, words_of(endpoint, op, offset, bytes));
    let words = if op == Op::Read { words } else { words + endpoint.driver.possible_cause(errno) };
    Error::new(errno, words)
}

/// What a request or an I/O is to do; `offset` counts from the start of the object.
pub fn words_of(endpoint: &Endpoint, op: Op, offset: u64, bytes: u64) -> String {
    let offset = offset.saturating_sub(endpoint.window_offset);
    match op {
        Op::Read => format!("read of {bytes} bytes at offset {offset}"),
        Op::Write => format!("write of {bytes} bytes at offset {offset}"),
        Op::WriteZeroes => format!("writing zeros to {bytes} bytes at offset {offset}"),
        Op::Discard => format!("discard of {bytes} bytes at offset {offset}"),
        Op::Truncate => format!("changing the length to {offset} bytes"),
        Op::Length => "looking up its length".to_owned(),
        Op::Flush => "flush".to_owned(),
        Op::Fill => "filling memory".to_owned(),
        Op::Populate => "filling the overlay".to_owned(),
        Op::SaveMap => "saving the map of the overlay".to_owned(),
    }
}
