//! Real rings that fail as a test tells them to: `crate::kernel` in the tests. As much of the
//! io-uring crate's interface as the engine uses, handed on to it. Without faults nothing is taken
//! down, so that a benchmark of the ring measures the ring.

// The product's own file: what the tests run on is what the product runs on.
#[allow(unused_imports)]
#[path = "../src/kernel/mod.rs"]
mod real;

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, Timespec};
use parking_lot::Mutex;

use crate::proof::table::{calls, ring_faults, Answered, Entering, RingFaults};
use crate::sys::{Calls, Errno, Error, Outside};

pub struct IoUring {
    real: real::IoUring,
    calls: &'static dyn Calls,
    faults: Option<&'static dyn RingFaults>,
    /// What the entries are that the kernel has, by their names; only where there are faults.
    kinds: Mutex<HashMap<u64, Answered>>,
}

/// As the product's: a ring with the faults that this thread has.
pub fn open(entries: u32, cooperative: bool) -> Result<IoUring, Error> {
    let real = real::open(entries, cooperative)?;
    Ok(IoUring { real, calls: calls(), faults: ring_faults(), kinds: Mutex::default() })
}

/// As the product's.
pub fn wait(ring: &IoUring, timeout: Option<Duration>) -> io::Result<()> {
    ring.enter(Entering::Wait)?;
    real::wait(&ring.real, timeout)
}

fn in_its_place(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl IoUring {
    fn enter(&self, why: Entering) -> io::Result<()> {
        self.faults.map_or(Ok(()), |faults| faults.enter(why)).map_err(in_its_place)
    }

    pub fn params(&self) -> &io_uring::Parameters {
        self.real.params()
    }

    pub fn submit(&self) -> io::Result<usize> {
        self.enter(Entering::Submit)?;
        self.real.submit()
    }

    /// # Safety
    /// As the real one's.
    pub unsafe fn submission_shared(&self) -> SubmissionQueue<'_> {
        // SAFETY: the caller keeps the real one's rules.
        SubmissionQueue { ring: self, real: unsafe { self.real.submission_shared() } }
    }

    /// # Safety
    /// As the real one's.
    pub unsafe fn completion_shared(&self) -> CompletionQueue<'_> {
        // SAFETY: the caller keeps the real one's rules.
        CompletionQueue { ring: self, real: unsafe { self.real.completion_shared() } }
    }

    pub fn submitter(&self) -> Submitter<'_> {
        Submitter(self)
    }
}

pub struct SubmissionQueue<'a> {
    ring: &'a IoUring,
    real: io_uring::SubmissionQueue<'a>,
}

impl SubmissionQueue<'_> {
    pub fn len(&self) -> usize {
        self.real.len()
    }

    pub fn taskrun(&self) -> bool {
        self.real.taskrun()
    }

    /// # Safety
    /// As the real one's: what the entry points to stays until its completion.
    pub unsafe fn push(&mut self, entry: &Entry) -> Result<(), io_uring::squeue::PushError> {
        if self.ring.faults.is_some() {
            let (name, kind) = read(entry);
            let mut kinds = self.ring.kinds.lock();
            match kind {
                Some(kind) => kinds.insert(name, kind),
                None => kinds.remove(&name),
            };
        }
        // SAFETY: as the caller promises.
        unsafe { self.real.push(entry) }
    }
}

/// The name of an entry, and what it is; None: a wake-up. As <linux/io_uring.h> lays it out.
fn read(entry: &Entry) -> (u64, Option<Answered>) {
    const _: () = assert!(size_of::<Entry>() == 64);
    let bytes = std::ptr::from_ref(entry).cast::<u8>();
    // SAFETY: an entry is 64 bytes, of which the first is the opcode; user_data is at 32.
    let (opcode, name) = unsafe { (bytes.read(), bytes.add(32).cast::<u64>().read_unaligned()) };
    // Vectors, fixed buffers, plain ones.
    let kind = match opcode {
        1 | 4 | 22 => Some(Answered::Read),
        2 | 5 | 23 => Some(Answered::Write),
        3 => Some(Answered::Flush),
        _ => None,
    };
    (name, kind)
}

pub struct Completion {
    name: u64,
    answer: i32,
}

impl Completion {
    pub fn user_data(&self) -> u64 {
        self.name
    }

    pub fn result(&self) -> i32 {
        self.answer
    }
}

pub struct CompletionQueue<'a> {
    ring: &'a IoUring,
    real: io_uring::CompletionQueue<'a>,
}

impl CompletionQueue<'_> {
    pub fn is_empty(&self) -> bool {
        self.real.is_empty()
    }
}

impl Iterator for CompletionQueue<'_> {
    type Item = Completion;

    fn next(&mut self) -> Option<Completion> {
        let entry = self.real.next()?;
        let (name, answer) = (entry.user_data(), entry.result());
        let Some(faults) = self.ring.faults else { return Some(Completion { name, answer }) };
        let kind = self.ring.kinds.lock().remove(&name);
        let answer = kind.map_or(answer, |kind| faults.answer(kind, answer));
        Some(Completion { name, answer })
    }
}

pub struct Submitter<'a>(&'a IoUring);

/// Of io_uring_register, those that come at the beginning of something may be refused.
impl Submitter<'_> {
    fn admit(&self) -> io::Result<()> {
        self.0.calls.admit(Outside::RingRegister).map_err(in_its_place)
    }

    pub fn register_files(&self, files: &[RawFd]) -> io::Result<()> {
        self.admit()?;
        self.0.real.submitter().register_files(files)
    }

    pub fn unregister_files(&self) -> io::Result<()> {
        self.0.real.submitter().unregister_files()
    }

    pub fn register_buffers_sparse(&self, places: u32) -> io::Result<()> {
        self.admit()?;
        self.0.real.submitter().register_buffers_sparse(places)
    }

    /// # Safety
    /// As the real one's.
    pub unsafe fn register_buffers_update(
        &self,
        place: u32,
        memory: &[libc::iovec],
        tags: Option<&[u64]>,
    ) -> io::Result<()> {
        if memory.iter().any(|piece| !piece.iov_base.is_null()) {
            self.admit()?;
        }
        // SAFETY: as the caller promises.
        unsafe { self.0.real.submitter().register_buffers_update(place, memory, tags) }
    }

    pub fn register_eventfd(&self, fd: RawFd) -> io::Result<()> {
        self.admit()?;
        self.0.real.submitter().register_eventfd(fd)
    }

    pub fn unregister_eventfd(&self) -> io::Result<()> {
        self.0.real.submitter().unregister_eventfd()
    }

    pub fn register_sync_cancel(
        &self,
        timeout: Option<Timespec>,
        which: CancelBuilder,
    ) -> io::Result<()> {
        self.0.real.submitter().register_sync_cancel(timeout, which)
    }
}
