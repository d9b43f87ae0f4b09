//! The system calls that lead to a disk in memory.

use std::ffi::{c_int, c_uint, c_void, CStr};
use std::os::fd::RawFd;

use super::{Disk, Opened, Shape};
use crate::sys::descriptor::{
    DirectIoInfo, BLKDISCARD, BLKGETSIZE64, BLKGETZONESZ, FIGETBSZ, XFS_IOC_DIOINFO,
};
use crate::sys::{Calls, Errno};

const MAJOR: u32 = 240;

/// A disk's directory in sysfs.
const SYSFS: [(&str, &str); 5] = [
    ("/queue/logical_block_size", "4096\n"),
    ("/queue/physical_block_size", "4096\n"),
    ("/queue/optimal_io_size", "0\n"),
    ("/queue/discard_granularity", "4096\n"),
    ("/queue/write_zeroes_max_bytes", "65536\n"),
];

impl Shape {
    /// What a file in sysfs holds.
    fn sysfs(&self, path: &str) -> Result<&'static str, Errno> {
        if let Some((_, content)) = self.says_files.iter().find(|(end, _)| path.ends_with(end)) {
            return Ok(content);
        }
        // The directory one level up is that of a partition's disk.
        let looked_for = self.says_sysfs && !path.contains("..");
        let found = SYSFS.iter().find(|(name, _)| looked_for && path.ends_with(name));
        found.map(|(_, content)| *content).ok_or(libc::ENOENT)
    }
}

fn elements(iov: &[libc::iovec]) -> impl Iterator<Item = (usize, usize)> + '_ {
    iov.iter().map(|element| (element.iov_base as usize, element.iov_len))
}

impl Disk {
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
        let mut state = self.state();
        let opened = state.admits(fd)?;
        let known = libc::RWF_DSYNC | libc::RWF_ATOMIC;
        let (durable, atomic) = (flags & libc::RWF_DSYNC != 0, flags & libc::RWF_ATOMIC != 0);
        let bytes: usize = elements(iov).map(|(_, bytes)| bytes).sum();
        let Shape { knows_dsync, atomic_max, device, .. } = state.shape;
        if flags & !known != 0 || (durable && !knows_dsync) || (atomic && atomic_max == 0) {
            return Err(libc::EOPNOTSUPP);
        }
        if opened & libc::O_DIRECT != 0 && !state.takes(elements(iov), offset as u64) {
            state.wrongs.push(format!("a misaligned direct write of {bytes} at {offset}"));
            return Err(state.shape.refusal);
        }
        let fits = bytes.is_power_of_two()
            && (offset as usize).is_multiple_of(bytes)
            && bytes <= atomic_max as usize
            && iov.len() == 1;
        if atomic && !fits {
            return Err(libc::EINVAL);
        }
        let begin = offset as usize;
        let mut end = begin + bytes.min(most);
        if device {
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
            unsafe { state.take_in(at, element.iov_base.cast(), piece) };
            at += piece;
        }
        if durable {
            state.sync(begin, at);
        }
        Ok(at - begin)
    }
}

/// What a disk that decrypts in place makes of memory that it has decrypted twice.
///
/// # Safety
/// The memory may be written.
unsafe fn spoil_what_is_twice(iov: &[libc::iovec]) {
    for (at, later) in iov.iter().enumerate() {
        for (address, bytes) in elements(&iov[..at]) {
            let base = later.iov_base as usize;
            for byte in base.max(address)..(base + later.iov_len).min(address + bytes) {
                // SAFETY: the byte lies in both elements, and the caller vouches for these.
                unsafe { *(byte as *mut u8) ^= 0xa5 };
            }
        }
    }
}

/// The bytes of a file in sysfs, from `offset` on.
///
/// # Safety
/// The memory may be written.
unsafe fn read_text(text: &str, iov: &[libc::iovec], offset: i64) -> usize {
    let text = &text.as_bytes()[(offset as usize).min(text.len())..];
    let mut at = 0;
    for element in iov {
        let piece = element.iov_len.min(text.len() - at);
        // SAFETY: the caller vouches for the memory.
        unsafe { element.iov_base.cast::<u8>().copy_from(text[at..].as_ptr(), piece) };
        at += piece;
    }
    at
}

impl Calls for Disk {
    fn open(&self, path: &CStr, flags: c_int, _mode: c_uint) -> Result<RawFd, Errno> {
        let mut state = self.state();
        let path = path.to_string_lossy();
        if path.starts_with("/sys/") {
            let content = state.shape.sysfs(&path)?;
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
        let mut state = self.state();
        if state.open.remove(&fd).is_none() {
            state.wrongs.push(format!("a close of {fd}, which is not open"));
        }
    }

    fn unlink(&self, _path: &CStr) -> Result<(), Errno> {
        let mut state = self.state();
        if !std::mem::take(&mut state.exists) {
            return Err(libc::ENOENT);
        }
        Ok(())
    }

    fn readlink(&self, path: &CStr) -> Result<String, Errno> {
        let (state, path) = (self.state(), path.to_string_lossy());
        let minor = if state.shape.device { state.identity } else { 0 };
        let own = path.ends_with(&format!("/{MAJOR}:{minor}"));
        let place = own.then_some(state.shape.says_place).flatten().ok_or(libc::ENOENT);
        place.or_else(|_| state.shape.sysfs(&path)).map(str::to_owned)
    }

    fn names(&self, path: &CStr) -> Result<Vec<String>, Errno> {
        let content = self.state().shape.sysfs(&path.to_string_lossy())?;
        Ok(content.lines().map(str::to_owned).collect())
    }

    fn fstat(&self, fd: RawFd) -> Result<libc::stat, Errno> {
        let state = self.state();
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

    fn fstatfs(&self, fd: RawFd) -> Result<libc::statfs, Errno> {
        let state = self.state();
        state.flags(fd)?;
        let kind = state.shape.says_file_system.ok_or(libc::ENOSYS)?;
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
        stat.f_type = kind.into();
        stat.f_bsize = state.shape.says_file_system_block.unwrap_or(0).into();
        Ok(stat)
    }

    fn statx(&self, fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        let state = self.state();
        state.flags(fd)?;
        // SAFETY: a struct of integers may be all zeros.
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        if let Some((memory, offset)) = state.shape.says_statx {
            stat.stx_mask = mask & libc::STATX_DIOALIGN;
            stat.stx_dio_mem_align = memory;
            stat.stx_dio_offset_align = offset;
        }
        if state.shape.atomic_max > 0 {
            stat.stx_mask |= mask & libc::STATX_WRITE_ATOMIC;
            stat.stx_atomic_write_unit_min = state.shape.needs_request as u32;
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
        let mut state = self.state();
        state.flags(fd)?;
        let shape = state.shape;
        let or = |said: Option<u32>| said.ok_or(libc::ENOTTY);
        // SAFETY: the caller's `argument` has the type that belongs to `request`.
        unsafe {
            match request {
                BLKGETSIZE64 if shape.device => {
                    argument.cast::<u64>().write(state.data.len() as u64);
                }
                libc::BLKSSZGET | libc::BLKPBSZGET | libc::BLKIOOPT => {
                    argument.cast::<u32>().write(or(shape.says_block_size)?);
                }
                BLKGETZONESZ if shape.device => {
                    argument.cast::<u32>().write(or(shape.says_zone)?);
                }
                FIGETBSZ => argument.cast::<u32>().write(or(shape.says_file_system_block)?),
                XFS_IOC_DIOINFO => {
                    let (mem, min_bytes) = shape.says_dioinfo.ok_or(libc::ENOTTY)?;
                    let info = DirectIoInfo { mem, min_bytes, max_bytes: 1 << 30 };
                    argument.cast::<DirectIoInfo>().write(info);
                }
                BLKDISCARD if shape.device => {
                    let [offset, bytes] = argument.cast::<[u64; 2]>().read();
                    state.admits(fd)?;
                    if !shape.knows_zeroes {
                        return Err(libc::EOPNOTSUPP);
                    }
                    state.zero(offset, bytes);
                }
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
        let mut state = self.state();
        let opened = match state.open.get(&fd) {
            // SAFETY: the caller vouches for the memory.
            Some(&Opened::Sysfs(text)) => return Ok(unsafe { read_text(text, iov, offset) }),
            Some(&Opened::Object(opened, _)) => opened,
            _ => return Err(libc::EBADF),
        };
        match flags {
            0 => {}
            libc::RWF_NOWAIT if state.shape.knows_nowait => return Err(libc::EINVAL),
            _ => return Err(libc::EOPNOTSUPP),
        }
        let begin = (offset as usize).min(state.data.len());
        // Holes are zeros, whatever is asked for.
        let hole = begin < state.data.len()
            && state.shape.stretch(begin as u64, state.data.len()).is_none();
        let direct = opened & libc::O_DIRECT != 0 && !hole;
        if direct && !state.takes(elements(iov), offset as u64) {
            state.reads += 1;
            return Err(state.shape.refusal);
        }
        let mut at = begin;
        for element in iov {
            let piece = element.iov_len.min(state.data.len() - at);
            // SAFETY: the caller vouches for the memory, and where whole pages are overwritten it
            // is the trial, which owns them.
            unsafe { state.give_out(at, element.iov_base.cast(), piece) };
            at += piece;
        }
        if direct && state.shape.works_in_place {
            // SAFETY: the same memory.
            unsafe { spoil_what_is_twice(iov) };
        }
        state.reads += 1;
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
        let mut state = self.state();
        state.flags(fd)?;
        state.tell_lost(fd)?;
        state.sync(0, usize::MAX);
        Ok(())
    }

    fn fallocate(&self, fd: RawFd, _mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        let mut state = self.state();
        state.admits(fd)?;
        if !state.shape.knows_zeroes {
            return Err(libc::EOPNOTSUPP);
        }
        state.zero(offset as u64, bytes as u64);
        Ok(())
    }

    fn ftruncate(&self, fd: RawFd, length: i64) -> Result<(), Errno> {
        let mut state = self.state();
        state.admits(fd)?;
        if state.shape.device {
            return Err(libc::EINVAL);
        }
        state.set_length(length as usize);
        Ok(())
    }

    fn lseek(&self, fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        let state = self.state();
        state.flags(fd)?;
        let (from, bytes) = (offset as u64, state.data.len());
        if from >= bytes as u64 {
            return Err(libc::ENXIO);
        }
        let inside = state.shape.stretch(from, bytes);
        let found = match whence {
            libc::SEEK_DATA if inside.is_some() => Some(from),
            libc::SEEK_DATA => {
                let all = state.shape.allocated.unwrap_or_default();
                all.iter().map(|data| data.0).find(|begin| *begin > from)
            }
            _ => Some(inside.map_or(from, |data| data.1)),
        };
        found.map(|offset| offset as i64).ok_or(libc::ENXIO)
    }

    fn fcntl(&self, fd: RawFd, command: c_int, _argument: c_int) -> Result<c_int, Errno> {
        let mut state = self.state();
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
        self.state().flags(fd)?;
        if command == libc::F_OFD_GETLK {
            lock.l_type = libc::F_UNLCK as libc::c_short;
        }
        Ok(())
    }

    fn fadvise(&self, _fd: RawFd, _advice: c_int) {}
}
