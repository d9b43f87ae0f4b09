//! An open file descriptor together with the table of system calls it was opened through. Closes
//! itself. What the kernel's interfaces say in C structs and ioctl numbers is here put into Rust.

use std::ffi::{c_int, CStr, CString};
use std::io::IoSliceMut;
use std::os::fd::RawFd;

use super::{Calls, Errno};

pub struct Descriptor {
    fd: RawFd,
    calls: &'static dyn Calls,
}

/// `struct dioattr` of <xfs/xfs_fs.h>.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DirectIoInfo {
    /// Alignment of buffer addresses.
    pub mem: u32,
    /// Alignment of offset and length.
    pub min_bytes: u32,
    pub max_bytes: u32,
}

pub const XFS_IOC_DIOINFO: libc::Ioctl = libc::_IOR::<DirectIoInfo>(b'X' as u32, 30);
/// <linux/fs.h> says size_t, the kernel writes 64 bits.
pub const BLKGETSIZE64: libc::Ioctl = libc::_IOR::<usize>(0x12, 114);
/// <linux/fs.h> says size_t, the kernel writes an int.
pub const BLKBSZGET: libc::Ioctl = libc::_IOR::<usize>(0x12, 112);
/// From <linux/fs.h>; the number is older than the scheme for such numbers.
pub const FIGETBSZ: libc::Ioctl = 2;
const BLKROGET: libc::Ioctl = libc::_IO(0x12, 94);
/// Not in the crate libc.
pub const BLKGETZONESZ: libc::Ioctl = libc::_IOR::<u32>(0x12, 132);
pub const BLKDISCARD: libc::Ioctl = libc::_IO(0x12, 119);

impl Descriptor {
    /// Close-on-exec in any case; `mode` is 0666 less the umask where `flags` has O_CREAT.
    pub fn open(calls: &'static dyn Calls, path: &CStr, flags: c_int) -> Result<Descriptor, Errno> {
        loop {
            match calls.open(path, flags, 0o666) {
                Ok(fd) => return Descriptor { fd, calls }.beyond_standard(),
                Err(libc::EINTR) => continue,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Not one of the numbers 0 to 2, should the program have closed these: what it prints would
    /// go to the disk.
    fn beyond_standard(self) -> Result<Descriptor, Errno> {
        match self.fd {
            0..=2 => Descriptor::duplicate_raw(self.calls, self.fd),
            _ => Ok(self),
        }
    }

    /// Another open file of the same object, with flags of its own.
    pub fn reopen(&self, flags: c_int) -> Result<Descriptor, Errno> {
        Descriptor::reopen_raw(self.calls, self.fd, flags)
    }

    /// As `reopen`, for a descriptor that belongs to another owner, such as the program.
    pub fn reopen_raw(
        calls: &'static dyn Calls,
        fd: RawFd,
        flags: c_int,
    ) -> Result<Descriptor, Errno> {
        let path = CString::new(format!("/proc/self/fd/{fd}")).map_err(|_| libc::EINVAL)?;
        Descriptor::open(calls, &path, flags)
    }

    /// Another number for an open file: position and flags stay shared with `fd`.
    pub fn duplicate_raw(calls: &'static dyn Calls, fd: RawFd) -> Result<Descriptor, Errno> {
        let fd = calls.fcntl(fd, libc::F_DUPFD_CLOEXEC, 3)?;
        Ok(Descriptor { fd, calls })
    }

    pub fn raw(&self) -> RawFd {
        self.fd
    }

    pub fn calls(&self) -> &'static dyn Calls {
        self.calls
    }

    pub fn fstat(&self) -> Result<libc::stat, Errno> {
        self.calls.fstat(self.fd)
    }

    pub fn statx(&self, mask: libc::c_uint) -> Result<libc::statx, Errno> {
        self.calls.statx(self.fd, mask)
    }

    /// An ioctl whose only argument is one integer or plain struct that the kernel fills.
    fn ioctl<T: Default + Plain>(&self, request: libc::Ioctl) -> Result<T, Errno> {
        let mut value = T::default();
        let argument = std::ptr::addr_of_mut!(value).cast();
        // SAFETY: each caller below pairs `request` with the type that the kernel writes for it.
        unsafe { self.calls.ioctl(self.fd, request, argument) }?;
        Ok(value)
    }

    /// XFS_IOC_DIOINFO: ENOTTY anywhere but on XFS.
    pub fn direct_io_info(&self) -> Result<DirectIoInfo, Errno> {
        self.ioctl(XFS_IOC_DIOINFO)
    }

    /// BLKSSZGET, of a block device.
    pub fn logical_block_size(&self) -> Result<u32, Errno> {
        self.ioctl::<c_int>(libc::BLKSSZGET).map(|bytes| u32::try_from(bytes).unwrap_or(0))
    }

    /// BLKPBSZGET, of a block device.
    pub fn physical_block_size(&self) -> Result<u32, Errno> {
        self.ioctl(libc::BLKPBSZGET)
    }

    /// BLKIOOPT, of a block device.
    pub fn optimal_io_size(&self) -> Result<u32, Errno> {
        self.ioctl(libc::BLKIOOPT)
    }

    /// BLKGETSIZE64: the length of a block device in bytes.
    pub fn device_bytes(&self) -> Result<u64, Errno> {
        self.ioctl(BLKGETSIZE64)
    }

    /// BLKROGET: whether a block device is read-only.
    pub fn is_read_only_device(&self) -> Result<bool, Errno> {
        self.ioctl::<c_int>(BLKROGET).map(|answer| answer != 0)
    }

    /// BLKGETZONESZ: the length of the zones of a block device, 0 where it has none.
    pub fn zone_bytes(&self) -> Result<u64, Errno> {
        self.ioctl::<u32>(BLKGETZONESZ).map(|sectors| u64::from(sectors) * 512)
    }

    /// BLKBSZGET: what the page cache of a block device works in, where it is more than a page.
    pub fn device_cache_block(&self) -> Result<u64, Errno> {
        self.ioctl::<c_int>(BLKBSZGET).map(|bytes| u64::try_from(bytes).unwrap_or(0))
    }

    /// The kind of file system that a file is on, and its block: statfs' f_type and f_bsize.
    pub fn file_system(&self) -> Result<(u32, u64), Errno> {
        let said = self.calls.fstatfs(self.fd)?;
        // The kernel's numbers have 32 bits; C's type for them may have a sign, or more bits.
        Ok((said.f_type as u32, u64::try_from(said.f_bsize).unwrap_or(0)))
    }

    /// FIGETBSZ: the block of the file system that a file is on.
    pub fn file_system_block(&self) -> Result<u32, Errno> {
        self.ioctl::<c_int>(FIGETBSZ).map(|bytes| u32::try_from(bytes).unwrap_or(0))
    }

    /// BLKDISCARD, of a block device that is open for writing; wants whole logical blocks. What
    /// the page cache has of them is thrown away.
    pub fn discard(&self, offset: u64, bytes: u64) -> Result<(), Errno> {
        let mut range = [offset, bytes];
        let argument = std::ptr::addr_of_mut!(range).cast();
        // SAFETY: the kernel reads two integers of 64 bits.
        unsafe { self.calls.ioctl(self.fd, BLKDISCARD, argument) }.map(drop)
    }

    /// fallocate(2): `mode` is FALLOC_FL_*.
    pub fn fallocate(&self, mode: c_int, offset: u64, bytes: u64) -> Result<(), Errno> {
        let signed = |number| i64::try_from(number).map_err(|_| libc::EINVAL);
        self.calls.fallocate(self.fd, mode, signed(offset)?, signed(bytes)?)
    }

    pub fn ftruncate(&self, length: u64) -> Result<(), Errno> {
        let length = i64::try_from(length).map_err(|_| libc::EFBIG)?;
        self.calls.ftruncate(self.fd, length)
    }

    /// # Safety
    /// Each element of `iov` names memory that may be written.
    pub unsafe fn preadv2(
        &self,
        iov: &[libc::iovec],
        offset: u64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let offset = i64::try_from(offset).map_err(|_| libc::EINVAL)?;
        // SAFETY: the caller vouches for the memory.
        unsafe { self.calls.preadv2(self.fd, iov, offset, flags) }
    }

    /// # Safety
    /// Each element of `iov` names memory that may be read.
    pub unsafe fn pwritev2(
        &self,
        iov: &[libc::iovec],
        offset: u64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let offset = i64::try_from(offset).map_err(|_| libc::EINVAL)?;
        // SAFETY: the caller vouches for the memory.
        unsafe { self.calls.pwritev2(self.fd, iov, offset, flags) }
    }

    /// Reads into memory that Rust knows, and goes on after EINTR.
    pub fn read(&self, memory: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize, Errno> {
        // SAFETY: std promises that IoSliceMut has the layout of iovec, so this is the same slice.
        let iov = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast(), memory.len()) };
        loop {
            // SAFETY: the slices are borrowed for writing, as long as this call.
            match unsafe { self.preadv2(iov, offset, 0) } {
                Err(libc::EINTR) => continue,
                result => return result,
            }
        }
    }

    /// Writes from memory that Rust knows, all of it, and goes on after EINTR.
    pub fn write_all(&self, memory: &[u8], mut offset: u64) -> Result<(), Errno> {
        let mut left = memory;
        while !left.is_empty() {
            let base = left.as_ptr().cast_mut().cast();
            let iov = [libc::iovec { iov_base: base, iov_len: left.len() }];
            // SAFETY: the kernel only reads `left`, which is borrowed as long as this call.
            match unsafe { self.pwritev2(&iov, offset, 0) } {
                Ok(0) => return Err(libc::EIO),
                Ok(bytes) => {
                    left = left.get(bytes..).ok_or(libc::EIO)?;
                    offset += bytes as u64;
                }
                Err(libc::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    pub fn fdatasync(&self) -> Result<(), Errno> {
        self.calls.fdatasync(self.fd)
    }

    /// Of a directory: its names are on stable storage. A file system that has no such call answers
    /// EINVAL.
    pub fn sync_directory(&self) -> Result<(), Errno> {
        self.calls.sync_directory(self.fd)
    }

    /// SEEK_DATA or SEEK_HOLE from `offset`.
    pub fn seek(&self, offset: u64, whence: c_int) -> Result<u64, Errno> {
        let offset = i64::try_from(offset).map_err(|_| libc::EINVAL)?;
        self.calls.lseek(self.fd, offset, whence).map(i64::unsigned_abs)
    }

    /// Takes an open file description lock on one byte, shared with other readers' locks, or gives
    /// it back. EAGAIN: another open file has it exclusively.
    pub fn lock_byte(&self, byte: u8, locked: bool) -> Result<(), Errno> {
        let kind = if locked { libc::F_RDLCK } else { libc::F_UNLCK };
        self.byte_lock(libc::F_OFD_SETLK, byte, kind).map(drop)
    }

    /// Takes an open file description lock on one byte that no other may have beside it; wants a
    /// descriptor for writing. EAGAIN: another open file has a lock there.
    pub fn lock_byte_alone(&self, byte: u8) -> Result<(), Errno> {
        self.byte_lock(libc::F_OFD_SETLK, byte, libc::F_WRLCK).map(drop)
    }

    /// Whether another open file description has a lock on that byte.
    pub fn is_byte_locked_elsewhere(&self, byte: u8) -> Result<bool, Errno> {
        // Would an exclusive lock fit in?
        let found = self.byte_lock(libc::F_OFD_GETLK, byte, libc::F_WRLCK)?;
        Ok(c_int::from(found.l_type) != libc::F_UNLCK)
    }

    fn byte_lock(&self, command: c_int, byte: u8, kind: c_int) -> Result<libc::flock, Errno> {
        loop {
            // `l_pid` must be 0 for these locks.
            let mut lock = libc::flock {
                l_type: kind as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: byte.into(),
                l_len: 1,
                l_pid: 0,
            };
            match self.calls.fcntl_lock(self.fd, command, &mut lock) {
                Ok(()) => return Ok(lock),
                Err(libc::EINTR) => continue,
                Err(errno) => return Err(errno),
            }
        }
    }

    pub fn fadvise(&self, advice: c_int) {
        self.calls.fadvise(self.fd, advice);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.calls.close(self.fd);
    }
}

/// Types that the kernel may fill with any bytes.
trait Plain {}
impl Plain for c_int {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for DirectIoInfo {}

#[cfg(test)]
#[path = "descriptor_tests.rs"]
mod tests;
