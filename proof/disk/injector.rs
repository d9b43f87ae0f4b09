//! For tests: a table of system calls that counts them, and answers one of them, or all from one
//! on, in the system's place. Below it is the real system or a `Ram`. Descriptors are counted
//! from open to close.

use std::collections::HashSet;
use std::ffi::{c_int, c_uint, c_void, CStr};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::ram::Ram;
use crate::proof::table::{Answered, Entering, RingFaults};
use crate::sys::{Calls, Errno, Linux, Outside};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Open,
    Unlink,
    Fstat,
    Statx,
    Fstatfs,
    Ioctl,
    Preadv2,
    Pwritev2,
    Fdatasync,
    Fallocate,
    Ftruncate,
    Lseek,
    Fcntl,
    FcntlLock,
    Fadvise,
    /// Those that a library makes for us.
    Outside(Outside),
    /// What comes back from a ring, after a read, a write or a flush.
    Ring(Answered),
    /// io_uring_enter.
    Entering(Entering),
    /// Of aligned memory: see `short_memory`.
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is done.
    Fails(Errno),
    /// It is done all the same.
    FailsLate(Errno),
    /// So many bytes are moved, if it is more than that.
    Short(usize),
    /// All but so many bytes are moved, if it is more than that.
    AllBut(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub call: Call,
    /// Which occurrence, from 1.
    pub nth: u32,
    pub times: u32,
    pub answer: Answer,
}

/// What is below.
#[derive(Clone, Copy)]
pub enum Bed {
    Ram(&'static Ram),
    Linux,
}

pub struct Injector {
    bed: Bed,
    state: Mutex<State>,
    /// Calls are counted, and the plan holds.
    pub armed: AtomicBool,
    delivered: AtomicU32,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    counts: Vec<(Call, u32)>,
    open: HashSet<RawFd>,
    wrongs: Vec<String>,
}

/// What is left in memory that a read was told it did not fill.
const GARBAGE: u8 = 0xee;

impl Injector {
    /// Lives as long as the process.
    pub fn table(bed: Bed) -> &'static Injector {
        Box::leak(Box::new(Injector {
            bed,
            state: Mutex::default(),
            armed: AtomicBool::new(false),
            delivered: AtomicU32::new(0),
        }))
    }

    pub fn reset(&self, plan: Option<Plan>) {
        *self.state.lock() = State { plan, ..State::default() };
        self.armed.store(false, Ordering::SeqCst);
        self.delivered.store(0, Ordering::SeqCst);
    }

    /// How often each was called while armed.
    pub fn counts(&self) -> Vec<(Call, u32)> {
        self.state.lock().counts.clone()
    }

    /// How many calls were answered in the system's place.
    pub fn delivered(&self) -> u32 {
        self.delivered.load(Ordering::SeqCst)
    }

    /// What was done that is never to be done; and descriptors that are still open.
    pub fn wrongs(&self) -> Vec<String> {
        let mut state = self.state.lock();
        let mut wrongs = std::mem::take(&mut state.wrongs);
        if let Bed::Ram(ram) = self.bed {
            wrongs.extend(ram.wrongs());
        }
        wrongs.extend(state.open.iter().map(|fd| format!("descriptor {fd} was left open")));
        wrongs
    }

    fn calls(&self) -> &'static dyn Calls {
        match self.bed {
            Bed::Ram(ram) => ram,
            Bed::Linux => &Linux,
        }
    }

    /// Counts a call, and says how it is to be answered.
    fn asked(&self, call: Call) -> Option<Answer> {
        if !self.armed.load(Ordering::SeqCst) {
            return None;
        }
        let mut state = self.state.lock();
        let known = state.counts.iter().position(|(other, _)| *other == call);
        let at = known.unwrap_or_else(|| {
            state.counts.push((call, 0));
            state.counts.len() - 1
        });
        state.counts[at].1 += 1;
        let count = state.counts[at].1;
        let plan = state.plan.filter(|plan| plan.call == call)?;
        if count < plan.nth || count - plan.nth >= plan.times {
            return None;
        }
        self.delivered.fetch_add(1, Ordering::SeqCst);
        Some(plan.answer)
    }

    /// For calls that move nothing.
    fn ask<R>(&self, call: Call, real: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
        match self.asked(call) {
            Some(Answer::Fails(errno)) => Err(errno),
            Some(Answer::FailsLate(errno)) => {
                let _ = real();
                Err(errno)
            }
            _ => real(),
        }
    }

    fn opened(&self, fd: Result<RawFd, Errno>) -> Result<RawFd, Errno> {
        if let Ok(fd) = fd {
            self.state.lock().open.insert(fd);
        }
        fd
    }
}

/// How many of `bytes`; None: all.
fn cut(answer: Option<Answer>, bytes: usize) -> Option<usize> {
    match answer? {
        Answer::Short(most) => (most < bytes).then_some(most),
        Answer::AllBut(less) => bytes.checked_sub(less).filter(|left| *left > 0),
        Answer::Fails(_) | Answer::FailsLate(_) => None,
    }
}

fn total(iov: &[libc::iovec]) -> usize {
    iov.iter().map(|element| element.iov_len).sum()
}

/// # Safety
/// The memory may be written.
unsafe fn spoil(iov: &[libc::iovec], mut from: usize) {
    for element in iov {
        let skip = from.min(element.iov_len);
        from -= skip;
        // SAFETY: inside the element.
        unsafe {
            let begin = element.iov_base.cast::<u8>().add(skip);
            begin.write_bytes(GARBAGE, element.iov_len - skip);
        }
    }
}

impl Calls for Injector {
    fn open(&self, path: &CStr, flags: c_int, mode: c_uint) -> Result<RawFd, Errno> {
        self.ask(Call::Open, || self.opened(self.calls().open(path, flags, mode)))
    }

    fn close(&self, fd: RawFd) {
        let mut state = self.state.lock();
        if !state.open.remove(&fd) {
            state.wrongs.push(format!("descriptor {fd} was closed and not open"));
            return;
        }
        drop(state);
        self.calls().close(fd);
    }

    fn unlink(&self, path: &CStr) -> Result<(), Errno> {
        self.ask(Call::Unlink, || self.calls().unlink(path))
    }

    fn fstat(&self, fd: RawFd) -> Result<libc::stat, Errno> {
        self.ask(Call::Fstat, || self.calls().fstat(fd))
    }

    fn fstatfs(&self, fd: RawFd) -> Result<libc::statfs, Errno> {
        self.ask(Call::Fstatfs, || self.calls().fstatfs(fd))
    }

    fn statx(&self, fd: RawFd, mask: c_uint) -> Result<libc::statx, Errno> {
        self.ask(Call::Statx, || self.calls().statx(fd, mask))
    }

    unsafe fn ioctl(
        &self,
        fd: RawFd,
        request: libc::Ioctl,
        argument: *mut c_void,
    ) -> Result<c_int, Errno> {
        // SAFETY: the caller vouches for `argument`.
        self.ask(Call::Ioctl, || unsafe { self.calls().ioctl(fd, request, argument) })
    }

    unsafe fn preadv2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let answer = self.asked(Call::Preadv2);
        if let Some(Answer::Fails(errno)) = answer {
            return Err(errno);
        }
        // SAFETY: the caller vouches for the memory.
        let moved = unsafe { self.calls().preadv2(fd, iov, offset, flags) }?;
        let (told, result) = match (answer, cut(answer, moved)) {
            (Some(Answer::FailsLate(errno)), _) => (0, Err(errno)),
            (_, Some(told)) => (told, Ok(told)),
            _ => return Ok(moved),
        };
        // SAFETY: as above.
        unsafe { spoil(iov, told) };
        result
    }

    unsafe fn pwritev2(
        &self,
        fd: RawFd,
        iov: &[libc::iovec],
        offset: i64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let answer = self.asked(Call::Pwritev2);
        if let Some(Answer::Fails(errno)) = answer {
            return Err(errno);
        }
        let short = cut(answer, total(iov));
        // SAFETY: the caller vouches for the memory.
        // SAFETY: the caller vouches for the memory.
        let moved = unsafe {
            match (self.bed, short) {
                (Bed::Ram(ram), Some(most)) => ram.write_part(fd, iov, offset, flags, most),
                // Linux has no way to write a part only; it is told so.
                _ => self.calls().pwritev2(fd, iov, offset, flags),
            }
        }?;
        if let Some(Answer::FailsLate(errno)) = answer {
            return Err(errno);
        }
        Ok(short.map_or(moved, |told| told.min(moved)))
    }

    fn fdatasync(&self, fd: RawFd) -> Result<(), Errno> {
        let result = self.ask(Call::Fdatasync, || self.calls().fdatasync(fd));
        if let (Err(errno), Bed::Ram(ram)) = (result, self.bed) {
            if errno != libc::EINTR {
                ram.state().lose_dirty(fd);
            }
        }
        result
    }

    fn fallocate(&self, fd: RawFd, mode: c_int, offset: i64, bytes: i64) -> Result<(), Errno> {
        self.ask(Call::Fallocate, || self.calls().fallocate(fd, mode, offset, bytes))
    }

    fn ftruncate(&self, fd: RawFd, length: i64) -> Result<(), Errno> {
        self.ask(Call::Ftruncate, || self.calls().ftruncate(fd, length))
    }

    fn lseek(&self, fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
        self.ask(Call::Lseek, || self.calls().lseek(fd, offset, whence))
    }

    fn fcntl(&self, fd: RawFd, command: c_int, argument: c_int) -> Result<c_int, Errno> {
        self.ask(Call::Fcntl, || {
            let result = self.calls().fcntl(fd, command, argument);
            if command == libc::F_DUPFD_CLOEXEC {
                return self.opened(result);
            }
            result
        })
    }

    fn fcntl_lock(&self, fd: RawFd, command: c_int, lock: &mut libc::flock) -> Result<(), Errno> {
        self.ask(Call::FcntlLock, || self.calls().fcntl_lock(fd, command, lock))
    }

    fn fadvise(&self, fd: RawFd, advice: c_int) {
        // What it fails with is nobody's business.
        if self.asked(Call::Fadvise).is_none() {
            self.calls().fadvise(fd, advice);
        }
    }

    fn admit(&self, what: Outside) -> Result<(), Errno> {
        self.ask(Call::Outside(what), || Ok(()))
    }
}

impl RingFaults for Injector {
    fn enter(&self, why: Entering) -> Result<(), Errno> {
        self.ask(Call::Entering(why), || Ok(()))
    }

    fn answer(&self, what: Answered, answer: i32) -> i32 {
        match self.asked(Call::Ring(what)) {
            Some(Answer::Fails(errno) | Answer::FailsLate(errno)) => -errno,
            told if answer >= 0 => cut(told, answer as usize).map_or(answer, |bytes| bytes as i32),
            _ => answer,
        }
    }
}
