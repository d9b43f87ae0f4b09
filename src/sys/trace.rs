//! Static trace points (USDT) of the provider `blkalign`, for bpftrace and gdb. Each looks whether
//! somebody traces it, and that is all while nobody does: a load and a branch. examples/trace has
//! scripts; blkalign(7), "Tracing", says what the arguments are. One function for each, so that the
//! rest of the library sees no assembly.

use probe::probe_lazy;

/// A request has been taken in: its id, kind, offset and length, and its handle's number.
#[inline(always)]
pub fn request_begin(id: u64, op: u32, offset: u64, bytes: u64, handle: u32) {
    probe_lazy!(blkalign, request_begin, id, op, offset, bytes, handle);
}

/// `other`: the request that this one waits for, or 0. Evaluated only while somebody traces this.
#[inline(always)]
pub fn request_waits(id: u64, other: impl FnOnce() -> u64) {
    probe_lazy!(blkalign, request_waits, id, other());
}

/// A request has its result, 0 or an errno.
#[inline(always)]
pub fn request_end(id: u64, op: u32, offset: u64, bytes: u64, errno: i32) {
    probe_lazy!(blkalign, request_end, id, op, offset, bytes, errno);
}

/// The storage is asked for an I/O of the request in that slot, the low 26 bits of its id.
#[inline(always)]
pub fn io_begin(slot: u32, op: u32, offset: u64, bytes: u64) {
    probe_lazy!(blkalign, io_begin, slot, op, offset, bytes);
}

/// The storage has answered, with 0 or an errno.
#[inline(always)]
pub fn io_end(slot: u32, op: u32, offset: u64, bytes: u64, errno: i32) {
    probe_lazy!(blkalign, io_end, slot, op, offset, bytes, errno);
}
