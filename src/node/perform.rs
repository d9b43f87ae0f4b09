//! Carries out one I/O on this thread, and brings its result to the machine. What the machine then
//! asks for is left in `actions`, for `dispatch.rs`.

use super::answers::taken_from_storage;
use super::tracing::{io_begins, io_ends};
use super::{Actions, Endpoint};
use crate::completion::outside_callback;
use crate::driver::{Io, Op};
use crate::engine::{fill, run_copies};
use crate::log;
use crate::sys::caught;

/// Carries out one I/O on this thread and tells the machine.
pub fn perform(endpoint: &Endpoint, io: Io, actions: &mut Actions) {
    if io.op == Op::Fill {
        fill(&io.segments);
        let bytes = io.bytes;
        return endpoint.node.io_done([(io, Ok(bytes))], actions);
    }
    let result = perform_only(endpoint, &io);
    endpoint.node.io_done([(io, result)], actions);
}

/// Carries out one I/O on this thread. Returns its result as the machine is to take it.
pub fn perform_only(endpoint: &Endpoint, io: &Io) -> Result<u64, i32> {
    io_begins(io);
    if io.op == Op::Write {
        run_copies(&io.copies);
    }
    let result = caught(|| outside_callback(|| endpoint.driver.perform(io)));
    let result = result.unwrap_or_else(|panic| {
        log::error!("{}: {panic}; the object takes no further I/O", endpoint.name);
        endpoint.node.poison();
        Err(libc::EIO)
    });
    take_in(endpoint, io, result)
}

/// The storage has said how an I/O went: tells the machine.
pub fn io_done(endpoint: &Endpoint, io: Io, result: Result<u64, i32>, actions: &mut Actions) {
    let result = take_in(endpoint, &io, result);
    endpoint.node.io_done([(io, result)], actions);
}

/// The result of an I/O as the machine is to take it. What a read has brought into scratch for the
/// guest is copied to the guest, if the read brought all of it.
pub fn take_in(endpoint: &Endpoint, io: &Io, result: Result<u64, i32>) -> Result<u64, i32> {
    io_ends(io, result);
    let result = taken_from_storage(endpoint, io, result);
    if io.op == Op::Read && result == Ok(io.bytes) {
        run_copies(&io.copies);
    }
    result
}
