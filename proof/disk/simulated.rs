//! For tests: a storage that exists only as a table of system calls, and lies as told. It has one
//! object, open under every descriptor that it hands out; its data is [`byte_at`], its holes are
//! zeros.

use std::ffi::{c_int, c_uint, c_void, CStr};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::descriptor::{DirectIoInfo, BLKGETSIZE64, XFS_IOC_DIOINFO};
use crate::sys::{Calls, Errno};

/// What it really needs, and what it says.
#[derive(Debug, Clone)]
pub struct Storage {
    /// S_IFREG or S_IFBLK.
    pub kind: u32,
    pub length: u64,
    /// Stretches of allocated data, begin and end; all else is hole.
    pub data: Vec<(u64, u64)>,
    /// O_DIRECT can be opened.
    pub direct: bool,
    /// Offset and total length.
    pub needs_request: u64,
    pub needs_mem: usize,
    /// Length of each element.
    pub needs_segment: usize,
    /// What it answers to what it does not take.
    pub refusal: Errno,
    /// Memory, then offset.
    pub says_statx: Option<(u32, u32)>,
    /// Memory, then offset.
    pub says_dioinfo: Option<(u32, u32)>,
    pub says_block_size: Option<u32>,
    /// In sysfs.
    pub says_zram: bool,
    /// Takes each element for whole pages, as zram does: from the begin of its page on it gets the
    /// page of data that its part of the request lies in.
    pub overwrites_pages: bool,
    /// Its data is all zeros, as that of a new disk.
    pub blank: bool,
    /// How many bytes, from the begin, are other ones at each read.
    pub unsteady_bytes: u64,
}

/// The table: give it to `with_calls`.
pub struct Simulated {
    pub storage: Storage,
    pub open_descriptors: AtomicUsize,
    pub reads: AtomicUsize,
}

/// Far above any real descriptor, so that a call that slips through hits nothing.
const FD: RawFd = 1 << 29;

impl Storage {
    /// A regular file of 1 MiB, all of it allocated, on a disk that wants blocks of `bytes` and
    /// memory at 512; the kernel says nothing.
    pub fn file(bytes: usize) -> Storage {
        Storage {
            kind: libc::S_IFREG,
            length: 1 << 20,
            data: vec![(0, 1 << 20)],
            direct: true,
            needs_request: bytes as u64,
            needs_mem: 512,
            needs_segment: 512,
            refusal: libc::EINVAL,
            says_statx: None,
            says_dioinfo: None,
            says_block_size: None,
            says_zram: false,
            overwrites_pages: false,
            blank: false,
            unsteady_bytes: 0,
        }
    }

    pub fn device(bytes: usize) -> Storage {
        let says_block_size = Some(bytes as u32);
        Storage { kind: libc::S_IFBLK, says_block_size, ..Storage::file(bytes) }
    }

    /// Takes anything, for example tmpfs.
    pub fn easy() -> Storage {
        Storage { needs_request: 1, needs_mem: 1, needs_segment: 1, ..Storage::file(1) }
    }

    /// Lives as long as the test process.
    pub fn table(self) -> &'static Simulated {
        Box::leak(Box::new(Simulated {
            storage: self,
            open_descriptors: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
        }))
    }

    /// The stretch of data that holds `offset`.
    fn stretch(&self, offset: u64) -> Option<(u64, u64)> {
        self.data.iter().copied().find(|data| data.0 <= offset && offset < data.1)
    }

    fn accepts(&self, iov: &[libc::iovec], offset: u64) -> bool {
        let bytes: usize = iov.iter().map(|element| element.iov_len).sum();
        let in_hole = self.stretch(offset).is_none();
        let element = |element: &libc::iovec| {
            (element.iov_base as usize).is_multiple_of(self.needs_mem)
                && element.iov_len.is_multiple_of(self.needs_segment)
        };
        let request = (offset | bytes as u64).is_multiple_of(self.needs_request);
        in_hole || (request && iov.iter().all(element))
    }

    /// Read number `read` puts `bytes` bytes from `offset` to `address`.
    ///
    /// # Safety
    /// They may be written; with `overwrites_pages`, so may all of the pages that they touch.
    unsafe fn transfer(&self, address: *mut u8, offset: u64, bytes: usize, read: usize) {
        let byte = |at: u64| {
            let changes = if at < self.unsteady_bytes { read } else { 0 };
            let data = self.stretch(at).is_some() && !self.blank;
            if data {
                byte_at(at).wrapping_add(changes as u8)
            } else {
                0
            }
        };
        if !self.overwrites_pages || self.stretch(offset).is_none() {
            for at in 0..bytes {
                // SAFETY: the caller vouches for these bytes.
                unsafe { address.add(at).write(byte(offset + at as u64)) };
            }
            return;
        }
        let mut done = 0;
        while done < bytes {
            let into_page = (address as usize + done) % PAGE;
            let data = (offset + done as u64) / PAGE as u64 * PAGE as u64;
            for at in 0..PAGE {
                // SAFETY: the caller vouches for the whole page of each byte.
                unsafe { address.add(done).sub(into_page).add(at).write(byte(data + at as u64)) };
            }
            done += PAGE - into_page;
        }
    }
}

/// The page that zram works with.
const PAGE: usize = 4096;

/// What the data is there; no two blocks of it are equal.
pub fn byte_at(offset: u64) -> u8 {
    (offset % 251) as u8 ^ (offset >> 12) as u8
}

impl Calls for Simulated {
    fn open(&self, path: &CStr, flags: c_int, _mode: c_uint) -> Result<RawFd, Errno> {
        let path = path.to_bytes();
        let zram = self.storage.says_zram && path.ends_with(b"/mm_stat");
        if path.starts_with(b"/sys/") && !zram {
            return Err(libc::ENOENT);
        }
        if flags & libc::O_DIRECT != 0 && !self.storage.direct {
            return Err(libc::EINVAL);
        }
        self.open_descriptors.fetch_add(1, Ordering::Relaxed);
        Ok(FD)
    }

    fn close(&self, fd: RawFd) {
        assert_eq!(fd, FD);
        self.open_descriptors.fetch_sub(1, Ordering::Relaxed);
    }

    fn fstat(&self, _fd: RawFd) -> Result<libc::stat, Errno> {
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        stat.st_mode = self.storage.kind;
        stat.st_size =
            if self.storage.kind == libc::S_IFREG { self.storage.length as i64 } else { 0 };
        stat.st_dev = libc::makedev(8, 1);
        stat.st_rdev = libc::makedev(8, 0);
        Ok(stat)
    }

    fn fstatfs(&self, _fd: RawFd) -> Result<libc::statfs, Errno> {
        Err(libc::ENOSYS)
    }

    fn statx(&self, _fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        if let Some((mem, offset)) = self.storage.says_statx {
            stat.stx_mask = mask & libc::STATX_DIOALIGN;
            stat.stx_dio_mem_align = mem;
            stat.stx_dio_offset_align = offset;
        }
        Ok(stat)
    }

    unsafe fn ioctl(
        &self,
        _fd: RawFd,
        request: libc::Ioctl,
        argument: *mut c_void,
    ) -> Result<c_int, Errno> {
        let device = self.storage.kind == libc::S_IFBLK;
        // SAFETY: the caller's `argument` has the type that belongs to `request`.
        unsafe {
            if request == BLKGETSIZE64 && device {
                argument.cast::<u64>().write(self.storage.length);
            } else if let (libc::BLKSSZGET, Some(bytes)) = (request, self.storage.says_block_size) {
                argument.cast::<u32>().write(bytes);
            } else if let (XFS_IOC_DIOINFO, Some(said)) = (request, self.storage.says_dioinfo) {
                let (mem, min_bytes) = said;
                let info = DirectIoInfo { mem, min_bytes, max_bytes: 1 << 30 };
                argument.cast::<DirectIoInfo>().write(info);
            } else {
                return Err(libc::ENOTTY);
            }
        }
        Ok(0)
    }

    unsafe fn preadv2(
        &self,
        _fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        _flags: c_int,
    ) -> Result<usize, Errno> {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        let offset = offset as u64;
        if offset >= self.storage.length {
            return Ok(0);
        }
        if !self.storage.accepts(iov, offset) {
            return Err(self.storage.refusal);
        }
        let mut left = usize::try_from(self.storage.length - offset).unwrap_or(usize::MAX);
        let mut moved = 0;
        for element in iov {
            let bytes = element.iov_len.min(left);
            // SAFETY: the caller vouches for the memory, and where whole pages are overwritten it
            // is the trial, which owns them.
            unsafe {
                self.storage.transfer(element.iov_base.cast(), offset + moved as u64, bytes, read);
            }
            left -= bytes;
            moved += bytes;
        }
        Ok(moved)
    }

    unsafe fn pwritev2(
        &self,
        _fd: RawFd,
        _iov: &[libc::iovec],
        _offset: i64,
        _flags: c_int,
    ) -> Result<usize, Errno> {
        panic!("nobody may write to a simulated storage");
    }

    fn fdatasync(&self, _fd: RawFd) -> Result<(), Errno> {
        Ok(())
    }

    fn fallocate(&self, _: RawFd, _: c_int, _: i64, _: i64) -> Result<(), Errno> {
        panic!("nobody may change a simulated storage");
    }

    fn ftruncate(&self, _fd: RawFd, _length: i64) -> Result<(), Errno> {
        panic!("nobody may change a simulated storage");
    }

    fn lseek(&self, _fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        let from = offset as u64;
        let inside = self.storage.stretch(from);
        let found = match whence {
            libc::SEEK_DATA => match inside {
                Some(_) => Some(from),
                None => self.storage.data.iter().map(|data| data.0).find(|begin| *begin > from),
            },
            _ => Some(inside.map_or(from, |data| data.1)),
        };
        found.map(|offset| offset as i64).ok_or(libc::ENXIO)
    }

    fn fcntl(&self, _fd: RawFd, _command: c_int, _argument: c_int) -> Result<c_int, Errno> {
        Err(libc::EBADF)
    }

    fn fadvise(&self, _fd: RawFd, _advice: c_int) {}
}
