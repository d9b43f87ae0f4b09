//! For tests: a file or a disk in memory, behind the table of system calls. It takes what Linux
//! takes of its kind, and knows what would be left after a loss of power. Whatever the library is
//! never to do (a close too many, a misaligned direct write) is taken down in `wrongs`.

use std::ffi::{c_int, c_uint, c_void, CStr};
use std::os::fd::RawFd;

use parking_lot::{Mutex, MutexGuard};

use super::ram_object::Opened;
pub use super::ram_object::{initial, Shape, State};
use crate::sys::descriptor::{BLKDISCARD, BLKGETSIZE64, FIGETBSZ};
use crate::sys::{Calls, Errno};

const MAJOR: u32 = 240;

pub struct Ram(Mutex<State>);

impl Ram {
    /// Lives as long as the process.
    pub fn table(shape: Shape) -> &'static Ram {
        Box::leak(Box::new(Ram(Mutex::new(State::new(shape)))))
    }

    /// Another object in its place, as new.
    pub fn reset(&self, shape: Shape) {
        *self.0.lock() = State::new(shape);
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Whether anything it does not allow has been done.
    pub fn wrongs(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().wrongs)
    }

    /// As pwritev2, but moves `most` bytes at most, whatever the alignment.
    ///
    /// # Safety
    /// As for pwritev2.
    pub unsafe fn write_part(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
        most: usize,
    ) -> Result<usize, Errno> {
        let mut state = self.0.lock();
        let opened = state.admits(fd)?;
        let known = libc::RWF_DSYNC | libc::RWF_ATOMIC;
        let atomic = flags & libc::RWF_ATOMIC != 0;
        let bytes: usize = iov.iter().map(|element| element.iov_len).sum();
        if flags & !known != 0
            || (flags & libc::RWF_DSYNC != 0 && !state.shape.dsync)
            || (atomic && state.shape.atomic_max == 0)
        {
            return Err(libc::EOPNOTSUPP);
        }
        if state.misaligned(opened, iov, offset) {
            state.wrongs.push(format!("a misaligned direct write of {bytes} at {offset}"));
            return Err(libc::EINVAL);
        }
        let fits = bytes.is_power_of_two()
            && (offset as usize).is_multiple_of(bytes)
            && bytes <= state.shape.atomic_max as usize
            && iov.len() == 1;
        if atomic && !fits {
            return Err(libc::EINVAL);
        }
        let begin = offset as usize;
        let mut end = begin + bytes.min(most);
        if state.shape.device {
            if begin >= state.data.len() && bytes > 0 {
                return Err(libc::ENOSPC);
            }
            end = end.min(state.data.len());
        } else if end > state.data.len() {
            state.set_length(end);
        }
        let mut at = begin;
        for element in iov {
            let piece = element.iov_len.min(end - at);
            // SAFETY: the caller vouches for the memory.
            let from = unsafe { std::slice::from_raw_parts(element.iov_base.cast::<u8>(), piece) };
            state.data[at..at + piece].copy_from_slice(from);
            state.dirty[at..at + piece].fill(true);
            at += piece;
        }
        if flags & libc::RWF_DSYNC != 0 {
            state.sync(begin, at);
        }
        Ok(at - begin)
    }
}

/// The disk's directory in sysfs.
const SYSFS: [(&str, &str); 5] = [
    ("/queue/logical_block_size", "4096\n"),
    ("/queue/physical_block_size", "4096\n"),
    ("/queue/optimal_io_size", "0\n"),
    ("/queue/discard_granularity", "4096\n"),
    ("/queue/write_zeroes_max_bytes", "65536\n"),
];

impl Calls for Ram {
    fn open(&self, path: &CStr, flags: c_int, _mode: c_uint) -> Result<RawFd, Errno> {
        let mut state = self.0.lock();
        let path = path.to_string_lossy();
        if path.starts_with("/sys/") {
            let found = SYSFS.iter().find(|(name, _)| path.ends_with(name));
            let (_, content) = found.filter(|_| !path.contains("..")).ok_or(libc::ENOENT)?;
            return Ok(state.insert(Opened::Sysfs(content)));
        }
        if let Some(fd) = path.strip_prefix("/proc/self/fd/") {
            let fd: RawFd = fd.parse().map_err(|_| libc::ENOENT)?;
            state.open.get(&fd).ok_or(libc::ENOENT)?;
        }
        if !state.exists && flags & libc::O_CREAT == 0 {
            return Err(libc::ENOENT);
        }
        if state.exists && flags & libc::O_EXCL != 0 {
            return Err(libc::EEXIST);
        }
        if flags & libc::O_PATH != 0 {
            return Ok(state.insert(Opened::Look));
        }
        // The kernel creates first, then refuses.
        state.exists = true;
        if flags & libc::O_DIRECT != 0 && !state.shape.direct {
            return Err(libc::EINVAL);
        }
        let opened = state.object(flags);
        Ok(state.insert(opened))
    }

    fn close(&self, fd: RawFd) {
        let mut state = self.0.lock();
        if state.open.remove(&fd).is_none() {
            state.wrongs.push(format!("a close of {fd}, which is not open"));
        }
    }

    fn unlink(&self, _path: &CStr) -> Result<(), Errno> {
        let mut state = self.0.lock();
        if !std::mem::take(&mut state.exists) {
            return Err(libc::ENOENT);
        }
        Ok(())
    }

    fn fstat(&self, fd: RawFd) -> Result<libc::stat, Errno> {
        let state = self.0.lock();
        state.open.get(&fd).ok_or(libc::EBADF)?;
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        stat.st_mode = if state.shape.device { libc::S_IFBLK } else { libc::S_IFREG };
        stat.st_size = if state.shape.device { 0 } else { state.data.len() as i64 };
        stat.st_dev = libc::makedev(MAJOR, 0);
        stat.st_rdev = libc::makedev(MAJOR, state.identity as u32);
        stat.st_ino = state.identity;
        stat.st_nlink = 1;
        stat.st_blksize = 4096;
        Ok(stat)
    }

    fn fstatfs(&self, _fd: RawFd) -> Result<libc::statfs, Errno> {
        Err(libc::ENOSYS)
    }

    fn statx(&self, fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        let state = self.0.lock();
        state.flags(fd)?;
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        stat.stx_mask = mask & libc::STATX_DIOALIGN;
        stat.stx_dio_mem_align = 512;
        stat.stx_dio_offset_align = state.shape.block;
        if state.shape.atomic_max > 0 {
            stat.stx_mask |= mask & libc::STATX_WRITE_ATOMIC;
            stat.stx_atomic_write_unit_min = state.shape.block;
            stat.stx_atomic_write_unit_max = state.shape.atomic_max;
        }
        Ok(stat)
    }

    unsafe fn ioctl(
        &self,
        fd: RawFd,
        request: libc::Ioctl,
        argument: *mut c_void,
    ) -> Result<c_int, Errno> {
        let mut state = self.0.lock();
        state.flags(fd)?;
        let Shape { device, block, .. } = state.shape;
        // SAFETY: the caller's `argument` has the type that belongs to `request`.
        unsafe {
            match request {
                BLKGETSIZE64 if device => argument.cast::<u64>().write(state.data.len() as u64),
                libc::BLKSSZGET | libc::BLKPBSZGET | libc::BLKIOOPT if device => {
                    argument.cast::<u32>().write(block);
                }
                BLKDISCARD if device => {
                    let [offset, bytes] = argument.cast::<[u64; 2]>().read();
                    state.zero(offset as i64, bytes as i64);
                }
                FIGETBSZ if !device => argument.cast::<u32>().write(4096),
                _ => return Err(libc::ENOTTY),
            }
        }
        Ok(0)
    }

    unsafe fn preadv2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let state = self.0.lock();
        let content = match state.open.get(&fd) {
            Some(Opened::Sysfs(content)) => content.as_bytes(),
            Some(Opened::Object(opened, _)) => {
                if flags != 0 {
                    return Err(libc::EOPNOTSUPP);
                }
                if state.misaligned(*opened, iov, offset) {
                    return Err(libc::EINVAL);
                }
                &state.data
            }
            _ => return Err(libc::EBADF),
        };
        let begin = (offset as usize).min(content.len());
        let mut at = begin;
        for element in iov {
            let piece = element.iov_len.min(content.len() - at);
            // SAFETY: the caller vouches for the memory.
            unsafe { element.iov_base.cast::<u8>().copy_from(content[at..].as_ptr(), piece) };
            at += piece;
        }
        Ok(at - begin)
    }

    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.write_part(fd, iov, offset, flags, usize::MAX) }
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        let mut state = self.0.lock();
        state.flags(fd)?;
        state.tell_lost(fd)?;
        state.sync(0, usize::MAX);
        Ok(())
    }

    fn fallocate(&self, fd: RawFd, _mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        let mut state = self.0.lock();
        state.admits(fd)?;
        state.zero(offset, bytes);
        Ok(())
    }

    fn ftruncate(&self, fd: RawFd, length: i64) -> Result<(), Errno> {
        let mut state = self.0.lock();
        state.admits(fd)?;
        if state.shape.device {
            return Err(libc::EINVAL);
        }
        state.set_length(length as usize);
        Ok(())
    }

    fn lseek(&self, fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        let state = self.0.lock();
        state.flags(fd)?;
        let length = state.data.len() as i64;
        match whence {
            _ if offset >= length => Err(libc::ENXIO),
            libc::SEEK_DATA => Ok(offset),
            _ => Ok(length),
        }
    }

    fn fcntl(&self, fd: RawFd, command: c_int, _argument: c_int) -> Result<c_int, Errno> {
        let mut state = self.0.lock();
        let flags = state.flags(fd)?;
        match command {
            libc::F_DUPFD_CLOEXEC => {
                let opened = state.object(flags);
                Ok(state.insert(opened))
            }
            _ => Ok(flags),
        }
    }

    fn fcntl_lock(&self, fd: RawFd, command: c_int, lock: &mut libc::flock) -> Result<(), Errno> {
        self.0.lock().flags(fd)?;
        if command == libc::F_OFD_GETLK {
            lock.l_type = libc::F_UNLCK as libc::c_short;
        }
        Ok(())
    }

    fn fadvise(&self, _fd: RawFd, _advice: c_int) {}
}
