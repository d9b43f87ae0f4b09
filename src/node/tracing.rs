//! What the node tells of requests and I/Os to those who trace (`sys/trace.rs`).

use crate::driver::{kind_number, Io};
use crate::sys::trace;
use blkalign_machine::Completion;

#[inline(always)]
pub fn io_begins(io: &Io) {
    trace::io_begin(io.id.slot.0, kind_number(io.op), io.offset, io.bytes);
}

#[inline(always)]
pub fn io_ends(io: &Io, result: Result<u64, i32>) {
    let errno = result.err().unwrap_or(0);
    trace::io_end(io.id.slot.0, kind_number(io.op), io.offset, io.bytes, errno);
}

#[inline(always)]
pub fn request_ends<T>(completion: &Completion<T>) {
    let Completion { id, op, offset, bytes, result, .. } = completion;
    trace::request_end(*id, kind_number(*op), *offset, *bytes, result.err().unwrap_or(0));
}
