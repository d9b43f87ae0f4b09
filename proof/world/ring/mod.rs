//! A kernel's ring that the simulator carries out: as much of the io-uring crate's interface as
//! the engine uses. What entries mean is read from their bytes, as the kernel does.
//!
//! On a cooperative ring a completion may wait, as `task work`, until the thread that submitted
//! enters the kernel; or until the next tick of the clock, some milliseconds later.
//!
//! Program and kernel meet at three words of shared memory as the interface says, and see each of
//! them early or late: the tail of the submission queue, which a program stores (release) and the
//! kernel loads (acquire); its head and the tail of the completion queue, the other way round.
//! Taken for granted besides:
//! - a kernel that sleeps for completions does not miss one, and its thread then sees it;
//! - so does one that registers an eventfd;
//! - of two threads that submit the second knows how many entries the first took;
//! - an I/O begins after all that the thread has done that entered the kernel for it.
//!
//! Entering does not let a thread see what others have done beside.

mod queues;

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Entry;
use parking_lot::Mutex;
pub use queues::{CompletionQueue, SubmissionQueue};

use crate::driver::Segment;
use crate::proof::world::memory::{self, View};
use crate::proof::world::system::device::{self, Io, Kind};
use crate::proof::world::{self as simulation, choose, percent, point, Class, Key, Woken};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::{calls, signal_eventfd, Error, Outside};

/// As in `kernel.rs`.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How long task work waits at most, in nanoseconds.
const TICK: u64 = 4_000_000;
const IOSQE_FIXED_FILE: u8 = 1;
const IOSQE_ASYNC: u8 = 1 << 4;

/// One of the kernel's submission queue entries, as <linux/io_uring.h> lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Raw {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    bytes: u32,
    how: u32,
    user_data: u64,
    buffer: u16,
    rest: [u8; 22],
}
const _: () = assert!(size_of::<Raw>() == 64 && size_of::<Entry>() == 64);

pub struct Completion {
    user_data: u64,
    result: i32,
}

impl Completion {
    pub fn user_data(&self) -> u64 {
        self.user_data
    }

    pub fn result(&self) -> i32 {
        self.result
    }
}

pub struct IoUring {
    shared: Arc<Shared>,
    params: Params,
}

struct Shared {
    cooperative: bool,
    /// How many entries the program has put in, the kernel has taken, and it has posted.
    put: AtomicU64,
    taken: AtomicU64,
    posted: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    submission: VecDeque<Raw>,
    /// A thread submits.
    entered: bool,
    completion: VecDeque<Completion>,
    /// How many completions the program has taken; guarded by its own lock.
    reaped: u64,
    /// By the thread that has to enter the kernel; with what the thread that did the I/O knows.
    task_work: Vec<(usize, Completion, View)>,
    files: Vec<RawFd>,
    event_fd: Option<RawFd>,
}

pub struct Params(u32);

impl Params {
    pub fn sq_entries(&self) -> u32 {
        self.0
    }

    pub fn cq_entries(&self) -> u32 {
        2 * self.0
    }
}

/// As `kernel::open`.
pub fn open(entries: u32, cooperative: bool) -> Result<IoUring, Error> {
    if !simulation::in_simulation() || !device::gives_rings() {
        return Err(Error::new(libc::ENOSYS, "simulated: no io_uring"));
    }
    calls().admit(Outside::RingSetup).map_err(|errno| Error::new(errno, "simulated"))?;
    let [put, taken, posted] = [0; 3].map(AtomicU64::new);
    let shared = Arc::new(Shared { cooperative, put, taken, posted, state: Mutex::default() });
    Ok(IoUring { shared, params: Params(entries) })
}

/// As `kernel::wait` says, without its bound, which would hide a wake-up that is lost; but for
/// programs that may come to be forbidden to enter, for which the bound is.
pub fn wait(ring: &IoUring, timeout: Option<Duration>) -> io::Result<()> {
    point();
    if device::forbids_entering() {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    if device::may_forbid_entering() {
        let timeout = timeout.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
        return simulation::outside_limits(|| wait_until_done(ring, Some(timeout)));
    }
    wait_until_done(ring, timeout)
}

fn wait_until_done(ring: &IoUring, timeout: Option<Duration>) -> io::Result<()> {
    let shared = &ring.shared;
    let until = timeout.map(|time| simulation::now().unwrap_or(0) + time.as_nanos() as u64);
    if percent(device::interruptions()) {
        return Err(io::Error::from_raw_os_error(libc::EINTR));
    }
    let mut result = Ok(());
    loop {
        shared.run_task_work();
        if result.is_err() || !shared.state.lock().completion.is_empty() {
            break;
        }
        if simulation::block(shared.key(), until, Class::Library) == Woken::ByTime {
            result = Err(io::Error::from_raw_os_error(libc::ETIME));
        }
    }
    shared.posted.load_newest(Ordering::Acquire);
    result
}

impl IoUring {
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// # Safety
    /// None needed; the real one has rules.
    pub unsafe fn submission_shared(&self) -> SubmissionQueue<'_> {
        SubmissionQueue::new(self)
    }

    /// # Safety
    /// None needed; the real one has rules.
    pub unsafe fn completion_shared(&self) -> CompletionQueue<'_> {
        CompletionQueue::new(self)
    }

    pub fn submitter(&self) -> Submitter<'_> {
        Submitter(self)
    }

    pub fn submit(&self) -> io::Result<usize> {
        let seen = self.shared.taken.load_here(Ordering::Acquire);
        let told = self.shared.put.load_here(Ordering::Acquire).saturating_sub(seen);
        point();
        self.shared.run_task_work();
        if device::forbids_entering() {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        if let Some(errno) = device::refuses_entering() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let _alone = Alone::new(&self.shared);
        let told = told.min(self.shared.state.lock().submission.len() as u64);
        let mut taken = 0;
        while taken < told && (taken == 0 || !percent(device::partial_submissions())) {
            let Some(entry) = self.shared.state.lock().submission.pop_front() else { break };
            self.shared.put.load_newest(Ordering::Acquire);
            self.shared.start(entry);
            taken += 1;
            if percent(20) {
                point();
            }
        }
        // Not before: others may have reaped the first by now.
        if taken > 0 {
            self.shared.taken.fetch_add_here(taken, Ordering::Release);
        }
        Ok(taken as usize)
    }
}

/// The kernel's lock of a ring, under which it submits.
struct Alone<'a>(&'a Arc<Shared>);

impl Alone<'_> {
    fn new(shared: &Arc<Shared>) -> Alone<'_> {
        while std::mem::replace(&mut shared.state.lock().entered, true) {
            simulation::block(shared.lock_key(), None, Class::Outside);
        }
        shared.taken.load_newest(Ordering::Relaxed);
        Alone(shared)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.state.lock().entered = false;
        simulation::wake_all(self.0.lock_key());
    }
}

pub struct Submitter<'a>(&'a IoUring);

/// What the kernel has for kernels that do not know it.
fn refused<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

impl Submitter<'_> {
    pub fn register_files(&self, files: &[RawFd]) -> io::Result<()> {
        calls().admit(Outside::RingRegister).map_err(io::Error::from_raw_os_error)?;
        if choose(4) == 0 {
            return refused();
        }
        self.0.shared.state.lock().files = files.to_vec();
        Ok(())
    }

    pub fn unregister_files(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn register_buffers_sparse(&self, _places: u32) -> io::Result<()> {
        refused()
    }

    /// # Safety
    /// As the real one's.
    pub unsafe fn register_buffers_update(
        &self,
        _place: u32,
        _memory: &[libc::iovec],
        _tags: Option<&[u64]>,
    ) -> io::Result<()> {
        refused()
    }

    pub fn register_eventfd(&self, fd: RawFd) -> io::Result<()> {
        point();
        self.0.shared.state.lock().event_fd = Some(fd);
        self.0.shared.posted.load_newest(Ordering::Acquire);
        Ok(())
    }

    pub fn unregister_eventfd(&self) -> io::Result<()> {
        self.0.shared.state.lock().event_fd = None;
        Ok(())
    }

    pub fn register_sync_cancel(
        &self,
        _timeout: Option<io_uring::types::Timespec>,
        _which: io_uring::types::CancelBuilder,
    ) -> io::Result<()> {
        refused()
    }
}

impl Shared {
    fn key(self: &Arc<Self>) -> Key {
        Key::Thing(Arc::as_ptr(self).addr())
    }

    fn lock_key(self: &Arc<Self>) -> Key {
        Key::Lock(Arc::as_ptr(self).addr())
    }

    /// The kernel takes an entry.
    fn start(self: &Arc<Self>, entry: Raw) {
        let Raw { opcode, flags, offset, how, user_data, .. } = entry;
        let segment = Segment { address: entry.address as usize, bytes: entry.bytes as usize };
        let kind = match opcode {
            0 => return self.post(Completion { user_data, result: 0 }),
            1 | 22 => Kind::Read,
            2 | 23 => Kind::Write,
            3 => Kind::Flush,
            other => simulation::fail(&format!("an entry with opcode {other}")),
        };
        let segments = match opcode {
            1 | 2 => {
                let count = entry.bytes as usize;
                // SAFETY: whoever pushed it promised that the vector stays.
                unsafe { std::slice::from_raw_parts(entry.address as *const Segment, count) }
                    .to_vec()
            }
            3 => Vec::new(),
            _ => vec![segment],
        };
        let fd = match flags & IOSQE_FIXED_FILE {
            0 => entry.fd,
            _ => self.state.lock().files[entry.fd as usize],
        };
        let owner = simulation::me().unwrap_or(0);
        let its = self.clone();
        let io = Io { kind, fd, segments, offset, how: how as i32 };
        device::start_ring_io(io, flags & IOSQE_ASYNC != 0, owner, move |result| {
            its.complete(owner, Completion { user_data, result });
        });
    }

    /// It is done.
    fn complete(self: &Arc<Self>, owner: usize, completion: Completion) {
        let world = simulation::world().expect("on a simulated thread");
        if !self.cooperative || world.is_asleep(owner) || percent(50) {
            return self.post(completion);
        }
        self.state.lock().task_work.push((owner, completion, memory::view()));
        let its = self.clone();
        device::later(choose(TICK), move || its.run_task_work_of(owner));
    }

    fn run_task_work(self: &Arc<Self>) {
        self.run_task_work_of(simulation::me().unwrap_or(0));
    }

    fn run_task_work_of(self: &Arc<Self>, owner: usize) {
        loop {
            let mut state = self.state.lock();
            let Some(at) = state.task_work.iter().position(|(its, ..)| *its == owner) else {
                return;
            };
            let (_, completion, view) = state.task_work.remove(at);
            drop(state);
            memory::acquire(&view);
            self.post(completion);
        }
    }

    fn post(self: &Arc<Self>, completion: Completion) {
        let event_fd = {
            let mut state = self.state.lock();
            state.completion.push_back(completion);
            // A thread that sees the last one sees those before: the kernel posts under a lock.
            self.posted.fetch_add_here(1, Ordering::Release);
            state.event_fd
        };
        simulation::wake_all(self.key());
        event_fd.inspect(|fd| signal_eventfd(*fd));
    }
}
