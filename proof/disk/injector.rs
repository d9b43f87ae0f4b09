//! A hook that counts calls, and answers one of them, or all from one on, in the system's place.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::hooked::{Bed, Hook, Hooked, Real, SystemCall, ALL};
use super::Disk;
use crate::proof::table::{Answered, Entering, RingFaults};
use crate::sys::{Errno, Outside};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Open,
    Unlink,
    Readlink,
    Names,
    Fstat,
    Statx,
    Fstatfs,
    Ioctl,
    Preadv2,
    Pwritev2,
    Fdatasync,
    SyncDirectory,
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

pub struct Injector {
    /// What is below, if it is in memory.
    disk: Option<&'static Disk>,
    state: Mutex<State>,
    /// Calls are counted, and the plan holds.
    pub armed: AtomicBool,
    delivered: AtomicU32,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    counts: Vec<(Call, u32)>,
}

/// What is left in memory that a read was told it did not fill.
const GARBAGE: u8 = 0xee;

impl Hooked<Injector> {
    /// The next case: nothing is open or counted, and no fault happens before it is armed.
    pub fn reset_to(&self, plan: Option<Plan>) {
        self.forget_descriptors();
        *self.state.lock() = State { plan, ..State::default() };
        self.armed.store(false, Ordering::SeqCst);
        self.delivered.store(0, Ordering::SeqCst);
    }
}

impl Injector {
    /// Lives as long as the process.
    pub fn table(bed: Bed) -> &'static Hooked<Injector> {
        let disk = match bed {
            Bed::Disk(disk) => Some(disk),
            Bed::Linux => None,
        };
        let (armed, delivered) = (AtomicBool::new(false), AtomicU32::new(0));
        Hooked::table(bed, Injector { disk, state: Mutex::default(), armed, delivered })
    }

    /// How often each was called while armed.
    pub fn counts(&self) -> Vec<(Call, u32)> {
        self.state.lock().counts.clone()
    }

    /// How many calls were answered in the system's place.
    pub fn delivered(&self) -> u32 {
        self.delivered.load(Ordering::SeqCst)
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
    fn ask(&self, call: Call, real: impl FnOnce() -> Result<i64, Errno>) -> Result<i64, Errno> {
        match self.asked(call) {
            Some(Answer::Fails(errno)) => Err(errno),
            Some(Answer::FailsLate(errno)) => {
                let _ = real();
                Err(errno)
            }
            _ => real(),
        }
    }

    fn read(&self, iov: &[libc::iovec], real: Real<'_>) -> Result<i64, Errno> {
        let answer = self.asked(Call::Preadv2);
        if let Some(Answer::Fails(errno)) = answer {
            return Err(errno);
        }
        let moved = real(ALL)?;
        let (told, result) = match (answer, cut(answer, moved as usize)) {
            (Some(Answer::FailsLate(errno)), _) => (0, Err(errno)),
            (_, Some(told)) => (told, Ok(told as i64)),
            _ => return Ok(moved),
        };
        // SAFETY: whoever made the call vouches for the memory.
        unsafe { spoil(iov, told) };
        result
    }

    fn write(&self, iov: &[libc::iovec], real: Real<'_>) -> Result<i64, Errno> {
        let answer = self.asked(Call::Pwritev2);
        if let Some(Answer::Fails(errno)) = answer {
            return Err(errno);
        }
        let short = cut(answer, total(iov));
        let moved = real(short.unwrap_or(ALL))?;
        if let Some(Answer::FailsLate(errno)) = answer {
            return Err(errno);
        }
        Ok(short.map_or(moved, |told| (told as i64).min(moved)))
    }

    fn sync(&self, fd: RawFd, real: Real<'_>) -> Result<i64, Errno> {
        let result = self.ask(Call::Fdatasync, || real(ALL));
        if let (Err(errno), Some(disk)) = (result, self.disk) {
            if errno != libc::EINTR {
                disk.state().lose_dirty(fd);
            }
        }
        result
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

impl Hook for Injector {
    fn call(&self, call: SystemCall<'_>, real: Real<'_>) -> Result<i64, Errno> {
        let plain = match call {
            SystemCall::Read { iov, .. } => return self.read(iov, real),
            SystemCall::Write { iov, .. } => return self.write(iov, real),
            SystemCall::Sync { fd } => return self.sync(fd, real),
            SystemCall::Open { .. } => Call::Open,
            SystemCall::Unlink => Call::Unlink,
            SystemCall::Readlink => Call::Readlink,
            SystemCall::Names => Call::Names,
            SystemCall::Fstat => Call::Fstat,
            SystemCall::Statx => Call::Statx,
            SystemCall::Fstatfs => Call::Fstatfs,
            SystemCall::Ioctl | SystemCall::Discard { .. } => Call::Ioctl,
            SystemCall::SyncDirectory => Call::SyncDirectory,
            SystemCall::Allocate { .. } => Call::Fallocate,
            SystemCall::Truncate { .. } => Call::Ftruncate,
            SystemCall::Seek => Call::Lseek,
            SystemCall::Fcntl => Call::Fcntl,
            SystemCall::Lock => Call::FcntlLock,
            SystemCall::Advise => Call::Fadvise,
            SystemCall::Outside(what) => Call::Outside(what),
        };
        self.ask(plain, || real(ALL))
    }
}

impl RingFaults for Injector {
    fn enter(&self, why: Entering) -> Result<(), Errno> {
        self.ask(Call::Entering(why), || Ok(0)).map(drop)
    }

    fn answer(&self, what: Answered, answer: i32) -> i32 {
        match self.asked(Call::Ring(what)) {
            Some(Answer::Fails(errno) | Answer::FailsLate(errno)) => -errno,
            told if answer >= 0 => cut(told, answer as usize).map_or(answer, |bytes| bytes as i32),
            _ => answer,
        }
    }
}
