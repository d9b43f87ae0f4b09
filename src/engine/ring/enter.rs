//! How a ring enters the kernel, to submit and to sleep, and what happens when that fails.
//!
//! A filter (seccomp) may let a program make a ring and then refuse io_uring_enter: from the start,
//! or later, when the program gives up rights. So a new ring is tried out. A ring that is refused
//! later takes no I/O any more, and gives back what the kernel has not got (`take_back`). I/O that
//! the kernel has comes to its end by itself: completions are memory that both sides see.

use std::collections::VecDeque;
use std::time::Duration;

use io_uring::opcode;

use super::submission::{Submission, WAKE_UP};
use super::Ring;
use crate::driver::Io;
use crate::kernel::{self, IoUring};
use crate::sync::atomic::Ordering;
use crate::sync::thread::sleep;
use crate::sys::{signal_eventfd, without_any_file_size_signal, Errno, Error};

/// How long to wait before asking a kernel that is short of memory again.
pub(super) const RETRY: Duration = Duration::from_millis(1);
/// How often a new ring is tried out at most where the kernel is short of memory.
const TRIALS_MAX: usize = 10;

/// The values of `Ring::care`. CARELESS: threads enter without keeping SIGXFSZ away, since no write
/// to a file has come yet. TAKING_CARE: threads that enter from now on keep it away, and the first
/// write waits for those that entered before. CAREFUL: all threads keep it away.
pub(super) const CARELESS: u32 = 0;
const TAKING_CARE: u32 = 1;
const CAREFUL: u32 = 2;

/// When entries that the kernel had no memory for are submitted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PutOff {
    /// The kernel has I/O of this ring; the thread that reaps its result submits them.
    UntilSomethingIsDone,
    /// The kernel has nothing of this ring. The eventfd was signalled for a program that has one; a
    /// thread that sleeps in `wait` would go on sleeping.
    UntilSomebodyLooks,
}

/// Whether something is still put off: the kernel is short of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StillPutOff {
    No,
    Yes,
}

/// Whether such a failure passes: the kernel is short of memory. Any other errno is for good.
fn passes(errno: Errno) -> bool {
    matches!(errno, libc::EAGAIN | libc::EBUSY | libc::ENOMEM)
}

/// Sends a wake-up through a new ring: the two ways to enter the kernel are then known to work.
pub(super) fn try_out(ring: &IoUring) -> Result<(), Error> {
    let nop = opcode::Nop::new().build().user_data(WAKE_UP);
    // SAFETY: no other thread has the ring yet, and a NOP points to nothing.
    unsafe { ring.submission_shared().push(&nop) }.expect("the queue is empty");
    let mut trials = 0;
    while let Err(errno) = submit(ring) {
        trials += 1;
        if errno != libc::EINTR && (!passes(errno) || trials == TRIALS_MAX) {
            return Err(refused(errno));
        }
        sleep(RETRY);
    }
    loop {
        match kernel::wait(ring, None).map_err(errno_of) {
            Ok(()) | Err(libc::EINTR) => {}
            Err(errno) => return Err(refused(errno)),
        }
        // SAFETY: as above.
        if unsafe { ring.completion_shared() }.next().is_some() {
            return Ok(());
        }
    }
}

fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// io_uring_enter for submitting all that is there. Gives how many entries the kernel took.
fn submit(ring: &IoUring) -> Result<usize, Errno> {
    ring.submit().map_err(errno_of)
}

/// Why a ring is of no use, in words.
pub(super) fn refused(errno: Errno) -> Error {
    let why = match errno {
        libc::ENOSYS | libc::EPERM | libc::EACCES => "io_uring_enter is forbidden by seccomp",
        _ => "io_uring_enter is refused by the kernel",
    };
    Error::new(errno, why)
}

impl Ring {
    /// Submits, `entries` being in the submission queue with our own as the last of them.
    pub(super) fn start(&self, entries: usize) {
        self.start_or(entries, || self.waiters.load(Ordering::SeqCst) > 0);
    }

    /// As `start`. `insist` says whether to go on trying where the kernel is short of memory and no
    /// other thread is known to come by.
    fn start_or(&self, entries: usize, insist: impl Fn() -> bool) {
        let mut left = entries;
        while left > 0 {
            match self.enter() {
                // The queue is empty: another thread submitted our entries.
                Ok(0) => return,
                Ok(submitted) => left = left.saturating_sub(submitted),
                Err(libc::EINTR) => {}
                Err(errno) if passes(errno) => {
                    if self.put_off() == PutOff::UntilSomethingIsDone || !insist() {
                        return;
                    }
                    sleep(RETRY);
                }
                Err(errno) => return self.break_down(errno),
            }
        }
    }

    /// io_uring_enter for submitting all that is there. Gives how many entries the kernel took.
    pub(super) fn enter(&self) -> Result<usize, Errno> {
        // SeqCst, here and in `break_down_quietly`. A thread that enters counts itself, then looks
        // at `broken`; a thread that breaks the ring sets `broken`, then looks at the count. So one
        // sees the other, and nothing is submitted behind the back of the second.
        self.entering.fetch_add(1, Ordering::SeqCst);
        let result = if self.is_broken() { Ok(0) } else { self.submit_all() };
        self.entering.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// A write to a file comes: from here on no thread enters without keeping SIGXFSZ away. A ring
    /// that only reads does not pay for that.
    pub(super) fn expect_limited_writes(&self) {
        if self.care.load(Ordering::SeqCst) == CAREFUL {
            return;
        }
        self.care.store(TAKING_CARE, Ordering::SeqCst);
        // A thread that entered before it could see the store might submit our writes.
        while self.careless.load(Ordering::SeqCst) > 0 {
            sleep(RETRY);
        }
        self.care.store(CAREFUL, Ordering::SeqCst);
    }

    /// Enters the kernel, for what it posts to the thread that does so.
    pub(super) fn enter_for_completions(&self) {
        match self.enter() {
            Err(errno) if errno != libc::EINTR && !passes(errno) => self.break_down(errno),
            // A failure that passes needs no answer here: the next thread that submits meets it
            // again.
            _ => {}
        }
    }

    fn submit_all(&self) -> Result<usize, Errno> {
        let submit = || submit(&self.kernel.ring);
        if self.care.load(Ordering::SeqCst) == CARELESS {
            // SeqCst, here and in `expect_limited_writes`, for the same reason as in `enter`: of
            // `careless` and `care` each side writes one and then reads the other.
            self.careless.fetch_add(1, Ordering::SeqCst);
            let careless = self.care.load(Ordering::SeqCst) == CARELESS;
            let result = careless.then(submit);
            self.careless.fetch_sub(1, Ordering::SeqCst);
            if let Some(result) = result {
                return result;
            }
        }
        // The kernel begins writes on this thread, which is the program's as a rule.
        without_any_file_size_signal(submit)
    }

    /// The kernel is short of memory. What was not submitted stays in the queue for the next
    /// `submit`, `reap` or `wait`. Returns whether one of these calls is certain to come.
    fn put_off(&self) -> PutOff {
        let in_flight = {
            let submission = self.submission.lock();
            // SeqCst, as in `Ring::wait`, but of `put_off` and the count of waiters.
            self.put_off.store(true, Ordering::SeqCst);
            submission.in_flight(&self.kernel)
        };
        if in_flight > 0 {
            return PutOff::UntilSomethingIsDone;
        }
        self.signal_eventfd();
        PutOff::UntilSomebodyLooks
    }

    /// How many entries are in the submission queue, if any was put off. Under the lock: either
    /// `put_off` sees there that nothing is in flight, or we see here that something was put off.
    pub(super) fn take_put_off(&self, submission: &Submission) -> usize {
        if self.put_off.swap(false, Ordering::SeqCst) {
            submission.unsubmitted(&self.kernel)
        } else {
            0
        }
    }

    /// The kernel will take no I/O any more: the program has closed the ring's descriptor, or has
    /// forbidden io_uring by seccomp after we opened the ring. I/O that the kernel has not got
    /// comes out of `take_back`.
    pub(super) fn break_down(&self, errno: Errno) {
        self.break_down_quietly(errno);
        // Other threads may have handed I/O over: the thread that comes takes it back.
        self.signal_eventfd();
    }

    fn break_down_quietly(&self, errno: Errno) {
        // Where two threads find two reasons at once, either may stay.
        if !self.is_broken() {
            self.broken.store(errno, Ordering::SeqCst);
        }
        // Calls that began before may yet submit entries; they do not take long.
        while self.entering.load(Ordering::SeqCst) > 0 {
            sleep(RETRY);
        }
        self.submission.lock().break_down(&self.kernel);
    }

    /// Whether the kernel takes nothing any more.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst) != 0
    }

    /// Why, in words; None: it still takes I/O.
    pub fn why_broken(&self) -> Option<Error> {
        match self.broken.load(Ordering::SeqCst) {
            0 => None,
            errno => Some(refused(errno)),
        }
    }

    /// Whether the ring is broken, and nothing is inside: no thread needs to look at it any more.
    pub fn is_spent(&self) -> bool {
        self.is_broken() && self.submission.lock().is_spent(&self.kernel)
    }

    pub fn is_idle(&self) -> bool {
        self.submission.lock().is_idle(&self.kernel)
    }

    /// The program may not use this ring's other system calls: it takes nothing from here on.
    pub fn give_up(&self, errno: Errno) {
        self.break_down(errno);
    }

    /// The I/Os that the kernel has not taken and never will, in order: threads have to do them. To
    /// be called after `submit` and after `reap`. A thread that put an I/O in and then sees the
    /// ring whole may go: the thread that finds the ring broken takes that I/O back.
    pub fn take_back(&self) -> VecDeque<Io> {
        let errno = self.broken.load(Ordering::SeqCst);
        if errno == 0 {
            return VecDeque::new();
        }
        // The thread that found the ring broken may not have come so far yet.
        self.break_down_quietly(errno);
        self.submission.lock().take_refused()
    }

    /// Submits what was put off, if anything was; for a thread about to sleep.
    pub(super) fn submit_put_off(&self) -> StillPutOff {
        if !self.put_off.load(Ordering::SeqCst) {
            return StillPutOff::No;
        }
        let entries = self.take_put_off(&self.submission.lock());
        self.start_or(entries, || false);
        match self.put_off.load(Ordering::SeqCst) {
            true => StillPutOff::Yes,
            false => StillPutOff::No,
        }
    }

    /// Sleeps in the kernel until there is a completion.
    pub(super) fn sleep(&self, timeout: Option<Duration>) {
        let pause = timeout.map_or(RETRY, |timeout| timeout.min(RETRY));
        if self.submit_put_off() == StillPutOff::Yes {
            return sleep(pause);
        }
        if self.is_broken() {
            // The kernel cannot be asked to wake us: results are looked for again and again.
            return sleep(pause);
        }
        let result = kernel::wait(&self.kernel.ring, timeout);
        match result.map_err(errno_of) {
            Ok(()) | Err(libc::EINTR | libc::ETIME) => {}
            // The caller would wait in a loop: so it sleeps a little here.
            Err(errno) if passes(errno) => sleep(pause),
            Err(errno) => self.break_down(errno),
        }
    }

    pub(super) fn signal_eventfd(&self) {
        let fd = self.event_fd.load(Ordering::Relaxed);
        if fd >= 0 {
            signal_eventfd(fd);
        }
    }
}
