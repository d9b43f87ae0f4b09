//! What changes a file or device without moving a caller's data: zeros, discard, length.
//!
//! What the kernel or the storage below does not know is remembered, so that the next ask costs no
//! system call. The request machine is told ENOTSUP, and NOT_NOW where the operation is impossible
//! only at the moment. Any other errno is the answer to the request, and is not remembered: a
//! program that may not change the object now (EPERM, EROFS, EACCES, ETXTBSY) may be allowed to at
//! the next ask.

use std::ffi::c_int;

use super::FileDriver;
use crate::driver::{Driver, Io, Lane, Op, NOT_NOW};
use crate::probe::zeroes_without_data;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sys::Errno;

/// Ways to zero or discard that this storage has said it does not know. Relaxed, all of them: they
/// are hints, and a thread that misses one asks once more.
#[derive(Default)]
pub struct UnsupportedCalls {
    punch: AtomicBool,
    zero_range: AtomicBool,
    zero_without_data: AtomicBool,
    discard: AtomicBool,
}

/// Makes zeros and gives the blocks back; the length stays. On a device zeros are made by a
/// command, and blocks are given back or not; Linux never writes data for it.
const PUNCH: c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
/// Makes zeros, and the blocks stay reserved. On a device by a command if it has one; else Linux
/// writes the zeros.
const ZERO: c_int = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

impl FileDriver {
    pub fn change(&self, io: &Io) -> Result<u64, Errno> {
        match io.op {
            Op::WriteZeroes => self.write_zeroes(io)?,
            Op::Discard => self.discard(io)?,
            _ => self.truncate(io.offset)?,
        }
        Ok(io.bytes)
    }

    fn write_zeroes(&self, io: &Io) -> Result<(), Errno> {
        let end = io.offset + io.bytes;
        let (first, last) = self.whole_blocks(io.offset, end);
        // The blocks first: if they are refused nothing has changed.
        if first < last {
            self.zero_blocks(first, last - first, io)?;
        }
        self.main.write_all(&vec![0; (first - io.offset) as usize], io.offset)?;
        self.main.write_all(&vec![0; (end - last) as usize], last)?;
        if io.fua {
            self.main.fdatasync()?;
        }
        Ok(())
    }

    /// The whole blocks of a device inside [start, end): a device takes nothing else. What is left
    /// over before and behind them is less than a block each; only a buffered handle can ask for
    /// that. A file takes any range.
    fn whole_blocks(&self, start: u64, end: u64) -> (u64, u64) {
        let block = u64::from(self.limits.logical_block_size);
        if !self.is_device() || block == 0 {
            return (start, end);
        }
        let first = start.next_multiple_of(block).min(end);
        (first, (end / block * block).max(first))
    }

    /// Makes zeros in the cheapest way that there is. Where blocks may be given back, giving them
    /// back is tried first: nowhere does that cost more, and on a device it is the way that never
    /// writes data. A file system that can only punch holes (tmpfs, NFS) is not made to punch and
    /// then to reserve. A crash or a lack of space between the two would leave less reserved than
    /// before, which the caller forbade.
    fn zero_blocks(&self, offset: u64, bytes: u64, io: &Io) -> Result<(), Errno> {
        if io.may_unmap {
            match ask(&self.unsupported.punch, || self.fallocate(PUNCH, offset, bytes)) {
                Err(libc::ENOTSUP) => {}
                result => return result,
            }
        }
        if io.no_fallback && self.is_device() {
            // If the disk has no command for zeros Linux would write them, and would not say so.
            ask(&self.unsupported.zero_without_data, || match zeroes_without_data(&self.main) {
                Some(true) => Ok(()),
                Some(false) => Err(libc::ENOTSUP),
                None => Err(libc::EBUSY),
            })?;
        }
        ask(&self.unsupported.zero_range, || self.fallocate(ZERO, offset, bytes))
    }

    fn discard(&self, io: &Io) -> Result<(), Errno> {
        if self.is_device() {
            ask(&self.unsupported.discard, || {
                let result = self.main.discard(io.offset, io.bytes);
                result.map_err(|errno| self.not_there(errno, io.offset + io.bytes))
            })
        } else {
            ask(&self.unsupported.punch, || self.fallocate(PUNCH, io.offset, io.bytes))
        }
    }

    fn fallocate(&self, mode: c_int, offset: u64, bytes: u64) -> Result<(), Errno> {
        let result = self.main.fallocate(mode, offset, bytes);
        result.map_err(|errno| self.not_there(errno, offset + bytes))
    }

    /// EINVAL is also what a device says of a range behind its end, when another program has made
    /// it shorter. That says nothing about what the device knows, so it is turned into EBUSY.
    fn not_there(&self, errno: Errno, end: u64) -> Errno {
        let shrunk = || self.is_device() && self.length().is_ok_and(|length| length < end);
        if errno == libc::EINVAL && shrunk() {
            libc::EBUSY
        } else {
            errno
        }
    }

    /// The first bytes of a file are really written when it grows from nothing: trials of
    /// alignments, at later opens, learn from data only.
    fn truncate(&self, length: u64) -> Result<(), Errno> {
        let before = self.length().map_err(|error| error.errno)?;
        if let Err(errno) = self.main.ftruncate(length) {
            // The length may have changed all the same (ext4, where the journal fails).
            if errno != libc::EINTR && self.length() != Ok(before) {
                self.set_back(before);
            }
            return Err(errno);
        }
        if before > 0 || length == 0 {
            return Ok(());
        }
        let bytes = length.min(self.cache_unit) as usize;
        let written = self
            .descriptor(Lane::LastBlock)
            .map_err(|error| error.errno)
            .and_then(|descriptor| descriptor.write_all(&vec![0; bytes], 0));
        if written.is_err() {
            self.set_back(0);
        }
        written
    }

    /// Gives a file its old length back. Should that fail as well, the failure is dropped: the
    /// first failure says more.
    fn set_back(&self, length: u64) {
        while self.main.ftruncate(length) == Err(libc::EINTR) {}
    }
}

/// Asks for one way, unless it is known that there is no such way; if the answer is that there is
/// none, that is remembered. EBUSY: another program has the range of a device in the page cache at
/// this moment, and the next ask may succeed.
fn ask(unsupported: &AtomicBool, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    if unsupported.load(Ordering::Relaxed) {
        return Err(libc::ENOTSUP);
    }
    match call() {
        Err(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY | libc::ENODEV | libc::EINVAL) => {
            unsupported.store(true, Ordering::Relaxed);
            Err(libc::ENOTSUP)
        }
        Err(libc::EBUSY) => Err(NOT_NOW),
        result => result,
    }
}
