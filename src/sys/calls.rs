//! The table of system calls: one method for each call that `probe` and `driver` make. Linux
//! carries each method out unless a table overrides it: tests override single methods to inject
//! faults, or all of them to stand for a storage. The table does not know what the calls are for.
//!
//! A descriptor keeps the table that it was opened through ([`super::Descriptor`]), so a test's
//! table follows the descriptor to every thread that uses it.

use std::ffi::{c_int, c_uint, c_void, CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Positive, as in errno.h.
pub type Errno = i32;

/// Calls that have no method in the table, since a library makes them for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outside {
    /// pthread_create(3), by std.
    Thread,
    /// eventfd(2).
    Eventfd,
    /// io_uring_setup(2) and io_uring_register(2), by the crate io-uring.
    RingSetup,
    RingRegister,
}

fn errno() -> Errno {
    errno_of(&std::io::Error::last_os_error())
}

/// The errno of an error that std reports.
fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn path_of(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 {
        return Err(errno());
    }
    Ok(result)
}

pub trait Calls: Send + Sync {
    /// open(2). Close-on-exec is added, always.
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        // SAFETY: `path` ends with a NUL and lives through the call.
        check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) })
    }

    /// close(2). Linux frees the descriptor whatever it answers, so there is nothing to report.
    fn close(&self, fd: RawFd) {
        // SAFETY: only takes a number; `Descriptor` alone calls this, once for each it owns.
        let _ = unsafe { libc::close(fd) };
    }

    /// unlink(2).
    fn unlink(&self, path: &CStr) -> Result<(), Errno> {
        // SAFETY: `path` ends with a NUL and lives through the call.
        check(unsafe { libc::unlink(path.as_ptr()) }).map(drop)
    }

    /// readlink(2): where a symbolic link leads.
    fn readlink(&self, path: &CStr) -> Result<String, Errno> {
        let link = std::fs::read_link(path_of(path)).map_err(|error| errno_of(&error))?;
        Ok(link.to_string_lossy().into_owned())
    }

    /// getdents(2): the names in a directory.
    fn names(&self, path: &CStr) -> Result<Vec<String>, Errno> {
        let entries = std::fs::read_dir(path_of(path)).map_err(|error| errno_of(&error))?;
        let name = |entry: std::io::Result<std::fs::DirEntry>| match entry {
            Ok(entry) => Ok(entry.file_name().to_string_lossy().into_owned()),
            Err(error) => Err(errno_of(&error)),
        };
        entries.map(name).collect()
    }

    /// fstat(2).
    fn fstat(&self, fd: RawFd) -> Result<libc::stat, Errno> {
        let mut stat = MaybeUninit::zeroed();
        // SAFETY: `stat` has room for what the kernel writes.
        check(unsafe { libc::fstat(fd, stat.as_mut_ptr()) })?;
        // SAFETY: all of it was zeroed, and a struct of integers may hold any bytes.
        Ok(unsafe { stat.assume_init() })
    }

    /// statx(2) of the descriptor itself.
    fn statx(&self, fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        let mut statx = MaybeUninit::zeroed();
        let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        // SAFETY: the path is an empty C string; `statx` has room for what the kernel writes.
        check(unsafe { libc::statx(fd, empty, flags, mask, statx.as_mut_ptr()) })?;
        // SAFETY: all of it was zeroed, and a struct of integers may hold any bytes.
        Ok(unsafe { statx.assume_init() })
    }

    /// fstatfs(2): what the file system says of itself.
    fn fstatfs(&self, fd: RawFd) -> Result<libc::statfs, Errno> {
        let mut statfs = MaybeUninit::zeroed();
        // SAFETY: `statfs` has room for what the kernel writes.
        check(unsafe { libc::fstatfs(fd, statfs.as_mut_ptr()) })?;
        // SAFETY: all of it was zeroed, and a struct of integers may hold any bytes.
        Ok(unsafe { statfs.assume_init() })
    }

    /// ioctl(2).
    ///
    /// # Safety
    /// `argument` points to what `request` reads or writes.
    unsafe fn ioctl(
        &self,
        fd: RawFd,
        request: libc::Ioctl,
        argument: *mut c_void,
    ) -> Result<c_int, Errno> {
        // SAFETY: the caller vouches for `argument`.
        check(unsafe { libc::ioctl(fd, request, argument) })
    }

    /// preadv2(2), or pread(2) where that does: the kernel need not copy a vector then.
    ///
    /// # Safety
    /// Each element of `iov` names memory that may be written.
    unsafe fn preadv2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let count = c_int::try_from(iov.len()).map_err(|_| libc::EINVAL)?;
        // SAFETY: the caller vouches for the memory; pointer and count are those of one slice.
        let moved = unsafe {
            match (iov, flags) {
                (&[one], 0) => libc::pread64(fd, one.iov_base, one.iov_len, offset),
                _ => libc::preadv2(fd, iov.as_ptr(), count, offset, flags),
            }
        };
        usize::try_from(moved).map_err(|_| errno())
    }

    /// pwritev2(2), or pwrite(2) where that does.
    ///
    /// # Safety
    /// Each element of `iov` names memory that may be read.
    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let count = c_int::try_from(iov.len()).map_err(|_| libc::EINVAL)?;
        // SAFETY: the caller vouches for the memory; pointer and count are those of one slice.
        let moved = unsafe {
            match (iov, flags) {
                (&[one], 0) => libc::pwrite64(fd, one.iov_base, one.iov_len, offset),
                _ => libc::pwritev2(fd, iov.as_ptr(), count, offset, flags),
            }
        };
        usize::try_from(moved).map_err(|_| errno())
    }

    /// fdatasync(2).
    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        // SAFETY: only takes a number.
        check(unsafe { libc::fdatasync(fd) }).map(drop)
    }

    /// fsync(2) of a directory: what was created or removed there stays so.
    fn sync_directory(&self, fd: RawFd) -> Result<(), Errno> {
        // SAFETY: only takes a number.
        check(unsafe { libc::fsync(fd) }).map(drop)
    }

    /// fallocate(2).
    fn fallocate(&self, fd: RawFd, mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        // SAFETY: only takes numbers.
        check(unsafe { libc::fallocate(fd, mode, offset, bytes) }).map(drop)
    }

    /// ftruncate(2).
    fn ftruncate(&self, fd: RawFd, length: i64) -> Result<(), Errno> {
        // SAFETY: only takes numbers.
        check(unsafe { libc::ftruncate(fd, length) }).map(drop)
    }

    /// lseek(2).
    fn lseek(&self, fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        // SAFETY: only takes numbers.
        let offset = unsafe { libc::lseek(fd, offset, whence) };
        if offset < 0 {
            return Err(errno());
        }
        Ok(offset)
    }

    /// fcntl(2), of the commands whose argument is a number.
    fn fcntl(&self, fd: RawFd, command: c_int, argument: c_int) -> Result<c_int, Errno> {
        // SAFETY: only takes numbers.
        check(unsafe { libc::fcntl(fd, command, argument) })
    }

    /// fcntl(2), of F_OFD_SETLK and F_OFD_GETLK; the latter changes `lock`.
    fn fcntl_lock(&self, fd: RawFd, command: c_int, lock: &mut libc::flock) -> Result<(), Errno> {
        debug_assert!([libc::F_OFD_SETLK, libc::F_OFD_GETLK].contains(&command));
        // SAFETY: both commands take a pointer to this struct, which lives through the call.
        check(unsafe { libc::fcntl(fd, command, std::ptr::from_mut(lock)) }).map(drop)
    }

    /// posix_fadvise(2) for the whole file. Advice: nothing depends on what it answers.
    fn fadvise(&self, fd: RawFd, advice: c_int) {
        // SAFETY: only takes numbers.
        let _ = unsafe { libc::posix_fadvise(fd, 0, 0, advice) };
    }

    /// Asked before such a call: a test's table may refuse the call in the system's place.
    fn admit(&self, _what: Outside) -> Result<(), Errno> {
        Ok(())
    }
}

/// The table of Linux itself.
pub struct Linux;

impl Calls for Linux {}
