//! For tests: the system itself, with notes of the calls that change something, and with faults.

use std::ffi::{c_int, c_uint, c_void, CStr};
use std::os::fd::RawFd;

use parking_lot::Mutex;

use crate::sys::descriptor::BLKDISCARD;
use crate::sys::{Calls, Errno, Linux};

/// What was asked of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Fallocate(c_int),
    Discard,
    Truncate(i64),
    /// With these flags.
    Write(c_int),
    Sync,
    /// How the disk zeroes.
    Asked,
}

pub type Fault = fn(Call) -> Option<Errno>;

/// Takes down what changes something, and answers in the system's place as told.
pub struct Faulty {
    calls: Mutex<Vec<Call>>,
    pub fault: Mutex<Fault>,
}

impl Faulty {
    pub fn table(fault: Fault) -> &'static Faulty {
        Box::leak(Box::new(Faulty { calls: Mutex::default(), fault: Mutex::new(fault) }))
    }

    fn note(&self, call: Call) -> Result<(), Errno> {
        self.calls.lock().push(call);
        (*self.fault.lock())(call).map_or(Ok(()), Err)
    }

    pub fn taken_down(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock())
    }
}

impl Calls for Faulty {
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        if path.to_bytes().ends_with(b"/write_zeroes_max_bytes") {
            self.note(Call::Asked)?;
        }
        Linux.open(path, flags, mode)
    }

    fn fallocate(&self, fd: RawFd, mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        self.note(Call::Fallocate(mode))?;
        Linux.fallocate(fd, mode, offset, bytes)
    }

    fn ftruncate(&self, fd: RawFd, length: i64) -> Result<(), Errno> {
        self.note(Call::Truncate(length))?;
        Linux.ftruncate(fd, length)
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        self.note(Call::Sync)?;
        Linux.fdatasync(fd)
    }

    unsafe fn ioctl(
        &self,
        fd: RawFd,
        request: libc::Ioctl,
        argument: *mut c_void,
    ) -> Result<c_int, Errno> {
        if request == BLKDISCARD {
            self.note(Call::Discard)?;
        }
        // SAFETY: the caller vouches for `argument`.
        unsafe { Linux.ioctl(fd, request, argument) }
    }

    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        self.note(Call::Write(flags))?;
        // SAFETY: the caller vouches for the memory. Atomic writes are only pretended: not every
        // file system has them.
        unsafe { Linux.pwritev2(fd, iov, offset, flags & !libc::RWF_ATOMIC) }
    }
}
