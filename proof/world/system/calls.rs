//! The system calls that lead to the simulated disk: a hook before a disk in memory, by which the
//! seed decides how long each I/O takes and what becomes of it. Give [`table`] to `with_calls`.

use std::cell::Cell;
use std::ffi::{c_int, CStr};
use std::os::fd::RawFd;
use std::sync::LazyLock;

use super::device::{device, Kind, DISK};
use crate::driver::Segment;
use crate::proof::disk::hooked::{Bed, Hook, Hooked, Real, SystemCall, ALL};
use crate::sys::Errno;

/// Where it is.
pub const PATH: &CStr = c"/simulated";

static TABLE: LazyLock<Hooked<Scheduled>> =
    LazyLock::new(|| Hooked::new(Bed::Disk(*DISK), Scheduled));

pub fn table() -> &'static Hooked<Scheduled> {
    &TABLE
}

thread_local! {
    /// This thread opens something: nothing goes wrong, and nothing takes time.
    static CALM: Cell<bool> = const { Cell::new(false) };
}

pub fn calmly<R>(code: impl FnOnce() -> R) -> R {
    CALM.set(true);
    let result = code();
    CALM.set(false);
    result
}

pub struct Scheduled;

impl Hook for Scheduled {
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno> {
        match call {
            SystemCall::Open { path }
                if path != PATH && !path.to_bytes().starts_with(b"/proc/self/fd/") =>
            {
                Err(libc::ENOENT)
            }
            // No request of the simulation changes the length.
            SystemCall::Truncate { .. } => Err(libc::EPERM),
            SystemCall::Read { .. } | SystemCall::Write { .. } if CALM.get() => real(ALL),
            SystemCall::Read { fd, iov, offset, flags } => {
                move_bytes(Kind::Read, fd, iov, offset, flags)
            }
            SystemCall::Write { fd, iov, offset, flags } => {
                move_bytes(Kind::Write, fd, iov, offset, flags)
            }
            SystemCall::Sync { fd } => perform(Kind::Flush, fd, &[], 0, 0),
            SystemCall::Allocate { fd, offset, bytes, .. }
            | SystemCall::Discard { fd, offset, bytes } => {
                if !device().shape.knows_zeroes {
                    return Err(libc::EOPNOTSUPP);
                }
                let range = [Segment { address: 0, bytes: bytes as usize }];
                perform(Kind::Zero, fd, &range, offset, 0)
            }
            _ => real(ALL),
        }
    }
}

fn move_bytes(
    kind: Kind,
    fd: RawFd,
    iov: &[libc::iovec],
    offset: u64,
    how: c_int,
) -> Result<i64, Errno> {
    if how & libc::RWF_NOWAIT != 0 {
        let known = device().shape.knows_nowait;
        return Err(if known { libc::EINVAL } else { libc::EOPNOTSUPP });
    }
    let segment =
        |its: &libc::iovec| Segment { address: its.iov_base as usize, bytes: its.iov_len };
    let segments: Vec<Segment> = iov.iter().map(segment).collect();
    perform(kind, fd, &segments, offset, how)
}

/// On the calling thread, from beginning to end.
fn perform(
    kind: Kind,
    fd: RawFd,
    segments: &[Segment],
    offset: u64,
    how: c_int,
) -> Result<i64, Errno> {
    let device = device();
    let plan = device.plan(kind, fd, segments, offset, how);
    device.run(&plan, kind, fd, segments, offset).map(|bytes| bytes as i64)
}
