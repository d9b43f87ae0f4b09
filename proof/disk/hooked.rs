//! A table of system calls in which each call passes a hook: it may take it down, make it wait,
//! answer in its place, or change the answer. Below is a disk in memory or the system itself.
//! Descriptors are counted from open to close.

use std::collections::HashSet;
use std::ffi::{c_int, c_uint, c_void, CStr};
use std::ops::Deref;
use std::os::fd::RawFd;

use parking_lot::Mutex;

use super::Disk;
use crate::sys::descriptor::BLKDISCARD;
use crate::sys::{Calls, Errno, Linux, Outside};

/// One call, as a hook sees it.
#[derive(Clone, Copy)]
pub enum SystemCall<'a> {
    Open {
        path: &'a CStr,
    },
    Unlink,
    Readlink,
    Names,
    Fstat,
    Statx,
    Fstatfs,
    Ioctl,
    /// BLKDISCARD.
    Discard {
        fd: RawFd,
        offset: u64,
        bytes: u64,
    },
    Read {
        fd: RawFd,
        iov: &'a [libc::iovec],
        offset: u64,
        flags: c_int,
    },
    Write {
        fd: RawFd,
        iov: &'a [libc::iovec],
        offset: u64,
        flags: c_int,
    },
    Sync {
        fd: RawFd,
    },
    /// fsync(2) of a directory.
    SyncDirectory,
    Allocate {
        fd: RawFd,
        mode: c_int,
        offset: u64,
        bytes: u64,
    },
    Truncate {
        length: i64,
    },
    Seek,
    Fcntl,
    Lock,
    /// posix_fadvise(2), whose failures the library ignores.
    Advise,
    /// A call that a library is about to make for us.
    Outside(Outside),
}

/// Carries a call out, of a write so many bytes at most, and gives its result.
pub type Real<'a> = &'a mut dyn FnMut(usize) -> Result<i64, Errno>;

/// All of a write.
pub const ALL: usize = usize::MAX;

pub trait Hook: Send + Sync {
    /// Carries `call` out by `real`, once, or answers in its place.
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno>;
}

/// What is below.
#[derive(Clone, Copy)]
pub enum Bed {
    Disk(&'static Disk),
    Linux,
}

impl Bed {
    fn calls(self) -> &'static dyn Calls {
        match self {
            Bed::Disk(disk) => disk,
            Bed::Linux => &Linux,
        }
    }
}

pub struct Hooked<H> {
    bed: Bed,
    hook: H,
    descriptors: Mutex<Descriptors>,
}

#[derive(Default)]
struct Descriptors {
    open: HashSet<RawFd>,
    wrongs: Vec<String>,
}

impl<H> Deref for Hooked<H> {
    type Target = H;
    fn deref(&self) -> &H {
        &self.hook
    }
}

impl<H: Hook> Hooked<H> {
    pub fn new(bed: Bed, hook: H) -> Hooked<H> {
        Hooked { bed, hook, descriptors: Mutex::default() }
    }

    /// Lives as long as the process.
    pub fn table(bed: Bed, hook: H) -> &'static Hooked<H> {
        Box::leak(Box::new(Hooked::new(bed, hook)))
    }

    /// Forgets what is open.
    pub fn forget_descriptors(&self) {
        *self.descriptors.lock() = Descriptors::default();
    }

    /// What was done that is never to be done; and descriptors that are still open.
    pub fn wrongs(&self) -> Vec<String> {
        let mut descriptors = self.descriptors.lock();
        let mut wrongs = std::mem::take(&mut descriptors.wrongs);
        if let Bed::Disk(disk) = self.bed {
            wrongs.extend(disk.wrongs());
        }
        let open = descriptors.open.iter();
        wrongs.extend(open.map(|fd| format!("descriptor {fd} was left open")));
        wrongs
    }

    /// A call whose result is a number.
    fn ask(
        &self,
        call: SystemCall<'_>,
        real: impl Fn(&'static dyn Calls) -> Result<i64, Errno>,
    ) -> Result<i64, Errno> {
        self.hook.call(call, &mut |_| real(self.bed.calls()))
    }

    /// A call whose result is a struct: no hook can answer it but by an errno.
    fn ask_for<T>(
        &self,
        call: SystemCall<'_>,
        real: impl Fn(&'static dyn Calls) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut answer = Err(libc::EIO);
        let result = self.hook.call(call, &mut |_| {
            answer = real(self.bed.calls());
            answer.as_ref().map_or_else(|errno| Err(*errno), |_| Ok(0))
        });
        result.and(answer)
    }

    fn opened(&self, fd: RawFd) -> i64 {
        self.descriptors.lock().open.insert(fd);
        i64::from(fd)
    }
}

/// What a call without a result gives, as a number and back.
fn zero((): ()) -> i64 {
    0
}

fn done(result: Result<i64, Errno>) -> Result<(), Errno> {
    result.map(drop)
}

fn number(result: Result<i64, Errno>) -> Result<c_int, Errno> {
    result.map(|number| number as c_int)
}

fn bytes(result: Result<i64, Errno>) -> Result<usize, Errno> {
    result.map(|bytes| bytes as usize)
}

fn size(result: Result<usize, Errno>) -> Result<i64, Errno> {
    result.map(|bytes| bytes as i64)
}

impl<H: Hook> Calls for Hooked<H> {
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        number(self.ask(SystemCall::Open { path }, |below| {
            below.open(path, flags, mode).map(|fd| self.opened(fd))
        }))
    }

    fn close(&self, fd: RawFd) {
        let mut descriptors = self.descriptors.lock();
        if !descriptors.open.remove(&fd) {
            descriptors.wrongs.push(format!("descriptor {fd} was closed and not open"));
            return;
        }
        drop(descriptors);
        self.bed.calls().close(fd);
    }

    fn unlink(&self, path: &CStr) -> Result<(), Errno> {
        done(self.ask(SystemCall::Unlink, |below| below.unlink(path).map(zero)))
    }

    fn readlink(&self, path: &CStr) -> Result<String, Errno> {
        self.ask_for(SystemCall::Readlink, |below| below.readlink(path))
    }

    fn names(&self, path: &CStr) -> Result<Vec<String>, Errno> {
        self.ask_for(SystemCall::Names, |below| below.names(path))
    }

    fn fstat(&self, fd: RawFd) -> Result<libc::stat, Errno> {
        self.ask_for(SystemCall::Fstat, |below| below.fstat(fd))
    }

    fn fstatfs(&self, fd: RawFd) -> Result<libc::statfs, Errno> {
        self.ask_for(SystemCall::Fstatfs, |below| below.fstatfs(fd))
    }

    fn statx(&self, fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        self.ask_for(SystemCall::Statx, |below| below.statx(fd, mask))
    }

    unsafe fn ioctl(
        &self,
        fd: RawFd,
        request: libc::Ioctl,
        argument: *mut c_void,
    ) -> Result<c_int, Errno> {
        let call = if request == BLKDISCARD {
            // SAFETY: of a discard it is two integers.
            let [offset, bytes] = unsafe { argument.cast::<[u64; 2]>().read() };
            SystemCall::Discard { fd, offset, bytes }
        } else {
            SystemCall::Ioctl
        };
        number(self.ask(call, |below| {
            // SAFETY: the caller vouches for `argument`.
            unsafe { below.ioctl(fd, request, argument) }.map(i64::from)
        }))
    }

    unsafe fn preadv2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let call = SystemCall::Read { fd, iov, offset: offset as u64, flags };
        // SAFETY: the caller vouches for the memory.
        bytes(self.ask(call, |below| size(unsafe { below.preadv2(fd, iov, offset, flags) })))
    }

    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let call = SystemCall::Write { fd, iov, offset: offset as u64, flags };
        // SAFETY: the caller vouches for the memory.
        let mut real = |most| unsafe {
            size(match self.bed {
                Bed::Disk(disk) => disk.write_part(fd, iov, offset, flags, most),
                // Linux has no way to write a part only. Atomic writes are only pretended: not
                // every file system has them.
                Bed::Linux => Linux.pwritev2(fd, iov, offset, flags & !libc::RWF_ATOMIC),
            })
        };
        bytes(self.hook.call(call, &mut real))
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        done(self.ask(SystemCall::Sync { fd }, |below| below.fdatasync(fd).map(zero)))
    }

    fn sync_directory(&self, fd: RawFd) -> Result<(), Errno> {
        done(self.ask(SystemCall::SyncDirectory, |below| below.sync_directory(fd).map(zero)))
    }

    fn fallocate(&self, fd: RawFd, mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        let call = SystemCall::Allocate { fd, mode, offset: offset as u64, bytes: bytes as u64 };
        done(self.ask(call, |below| below.fallocate(fd, mode, offset, bytes).map(zero)))
    }

    fn ftruncate(&self, fd: RawFd, length: i64) -> Result<(), Errno> {
        done(
            self.ask(SystemCall::Truncate { length }, |below| {
                below.ftruncate(fd, length).map(zero)
            }),
        )
    }

    fn lseek(&self, fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        self.ask(SystemCall::Seek, |below| below.lseek(fd, offset, whence))
    }

    fn fcntl(&self, fd: RawFd, command: c_int, argument: c_int) -> Result<c_int, Errno> {
        number(self.ask(SystemCall::Fcntl, |below| {
            let result = below.fcntl(fd, command, argument)?;
            let opens = command == libc::F_DUPFD_CLOEXEC;
            Ok(if opens { self.opened(result) } else { i64::from(result) })
        }))
    }

    fn fcntl_lock(&self, fd: RawFd, command: c_int, lock: &mut libc::flock) -> Result<(), Errno> {
        let mut real = |_| self.bed.calls().fcntl_lock(fd, command, lock).map(|()| 0);
        self.hook.call(SystemCall::Lock, &mut real).map(drop)
    }

    fn fadvise(&self, fd: RawFd, advice: c_int) {
        let _ = self.ask(SystemCall::Advise, |below| {
            below.fadvise(fd, advice);
            Ok(0)
        });
    }

    fn admit(&self, what: Outside) -> Result<(), Errno> {
        done(self.ask(SystemCall::Outside(what), |below| below.admit(what).map(zero)))
    }
}
