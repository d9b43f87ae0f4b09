//! The system calls that lead to the simulated disk: give `TABLE` to `with_calls`.

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void, CStr};
use std::os::fd::RawFd;

use super::device::{device, Device, Kind};
use crate::driver::Segment;
use crate::sys::descriptor::{BLKDISCARD, BLKGETSIZE64};
use crate::sys::{Calls, Errno};

pub struct Table;
pub static TABLE: Table = Table;

/// Where it is.
pub const PATH: &CStr = c"/simulated";
/// Far above any real descriptor, so that a call that slips through hits nothing.
const FIRST: RawFd = 1 << 29;

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

/// What `fd` was opened with; None: it is not open.
pub fn flags_of(device: &Device, fd: RawFd) -> Option<c_int> {
    device.descriptors.lock().get((fd - FIRST) as usize).copied().flatten()
}

/// How many descriptors are open.
pub fn open_descriptors(device: &Device) -> usize {
    device.descriptors.lock().iter().flatten().count()
}

fn segments(iov: &[libc::iovec]) -> Vec<Segment> {
    let segment =
        |its: &libc::iovec| Segment { address: its.iov_base as usize, bytes: its.iov_len };
    iov.iter().map(segment).collect()
}

impl Table {
    fn io(&self, kind: Kind, fd: RawFd, iov: &[libc::iovec], offset: i64, how: c_int) -> Moved {
        let device = device();
        let (segments, offset) = (segments(iov), offset as u64);
        if how & libc::RWF_NOWAIT != 0 {
            return Err(if device.disk.shape.knows_nowait {
                libc::EINVAL
            } else {
                libc::EOPNOTSUPP
            });
        }
        if CALM.get() {
            let direct = flags_of(&device, fd).is_some_and(|flags| flags & libc::O_DIRECT != 0);
            if direct && !device.disk.takes(&segments, offset) {
                return Err(libc::EINVAL);
            }
            let write = kind == Kind::Write;
            return Ok(device.disk.transfer(write, &segments, offset, u64::MAX) as usize);
        }
        let plan = device.plan(kind, fd, &segments, offset, how);
        device.run(&plan, kind, fd, &segments, offset).map(|bytes| bytes as usize)
    }
}

type Moved = Result<usize, Errno>;

impl Calls for Table {
    fn open(&self, path: &CStr, flags: c_int, _mode: c_uint) -> Result<RawFd, Errno> {
        if path != PATH && !path.to_bytes().starts_with(b"/proc/self/fd/") {
            return Err(libc::ENOENT);
        }
        let device = device();
        let mut all = device.descriptors.lock();
        all.push(Some(flags));
        Ok(FIRST + (all.len() - 1) as RawFd)
    }

    fn close(&self, fd: RawFd) {
        device().descriptors.lock()[(fd - FIRST) as usize] = None;
    }

    fn fstat(&self, _fd: RawFd) -> Result<libc::stat, Errno> {
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        let shape = &device().disk.shape;
        stat.st_mode = if shape.device { libc::S_IFBLK } else { libc::S_IFREG };
        stat.st_size = if shape.device { 0 } else { shape.length as i64 };
        stat.st_dev = libc::makedev(77, 1);
        stat.st_ino = 4711;
        stat.st_rdev = libc::makedev(77, 0);
        stat.st_blksize = 4096;
        Ok(stat)
    }

    fn fstatfs(&self, _fd: RawFd) -> Result<libc::statfs, Errno> {
        Err(libc::ENOSYS)
    }

    fn statx(&self, _fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        let disk = &device().disk;
        if disk.shape.tells {
            stat.stx_mask = mask & libc::STATX_DIOALIGN;
            stat.stx_dio_mem_align = disk.shape.mem as u32;
            stat.stx_dio_offset_align = disk.request() as u32;
        }
        Ok(stat)
    }

    unsafe fn ioctl(&self, fd: RawFd, request: libc::Ioctl, argument: *mut c_void) -> Answer {
        let disk = device();
        let shape = &disk.disk.shape;
        // SAFETY: the caller's `argument` has the type that belongs to `request`.
        unsafe {
            if request == BLKGETSIZE64 && shape.device {
                argument.cast::<u64>().write(shape.length);
            } else if request == libc::BLKSSZGET && shape.device {
                argument.cast::<u32>().write(shape.request as u32);
            } else if request == BLKDISCARD && shape.device {
                let [offset, bytes] = argument.cast::<[u64; 2]>().read();
                self.fallocate(fd, 0, offset as i64, bytes as i64)?;
            } else {
                return Err(libc::ENOTTY);
            }
        }
        Ok(0)
    }

    unsafe fn preadv2(&self, fd: RawFd, iov: &[libc::iovec], offset: i64, how: c_int) -> Moved {
        self.io(Kind::Read, fd, iov, offset, how)
    }

    unsafe fn pwritev2(&self, fd: RawFd, iov: &[libc::iovec], offset: i64, how: c_int) -> Moved {
        self.io(Kind::Write, fd, iov, offset, how)
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        self.io(Kind::Flush, fd, &[], 0, 0).map(drop)
    }

    fn fallocate(&self, fd: RawFd, _mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        let device = device();
        if !device.disk.shape.knows_zeroes {
            return Err(libc::EOPNOTSUPP);
        }
        let range = [Segment { address: 0, bytes: bytes as usize }];
        let plan = device.plan(Kind::Zero, fd, &range, offset as u64, 0);
        device.run(&plan, Kind::Zero, fd, &range, offset as u64).map(drop)
    }

    fn ftruncate(&self, _fd: RawFd, _length: i64) -> Result<(), Errno> {
        Err(libc::EPERM)
    }

    fn lseek(&self, _fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        let length = device().disk.shape.length as i64;
        match whence {
            libc::SEEK_DATA if offset < length => Ok(offset),
            libc::SEEK_HOLE if offset < length => Ok(length),
            _ => Err(libc::ENXIO),
        }
    }

    fn fcntl(&self, fd: RawFd, command: c_int, _argument: c_int) -> Answer {
        match command {
            libc::F_GETFL => flags_of(&device(), fd).ok_or(libc::EBADF),
            _ => Err(libc::EBADF),
        }
    }

    fn fcntl_lock(
        &self,
        _fd: RawFd,
        _command: c_int,
        _lock: &mut libc::flock,
    ) -> Result<(), Errno> {
        Err(libc::ENOSYS)
    }

    fn fadvise(&self, _fd: RawFd, _advice: c_int) {}
}

type Answer = Result<c_int, Errno>;
