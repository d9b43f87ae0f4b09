//! The io_uring engine: one ring per open handle. Takes I/Os in, has up to a fixed number of them
//! at the storage, and gives them back with their results. Knows nothing of requests.
//!
//! ```text
//!   submit --> waiting --> a slot and the submission queue --io_uring_enter--> the kernel
//!   reap   <------------------------------- the completion queue <-----------------'
//! ```
//!
//! Any thread may call anything. Two locks, held for moments, never over a system call:
//! - `submission` guards our end of the ring's submission queue, and `Submission`;
//! - `completion` guards our end of the completion queue, and the list beside it. A thread that
//!   has it may take `submission`, never the other way round.
//!
//! io_uring_enter is called with no lock held. It takes the kernel's own lock of the ring, and
//! submits what it finds, from the oldest on, up to the number it is told. Each thread tells it
//! all that is there, and goes on until as many were submitted as there were when it put its own
//! in, or nothing is left: its own are gone then, by its own call or by somebody else's.
//!
//! The completion queue cannot overflow: it is longer than the slots are many, and under way are
//! at most one I/O for each slot, and one wake-up.
//!
//! The kernel completes an I/O on the thread that submitted it, which it interrupts for that: in
//! user mode, and out of sleep in most system calls. So results do not depend on what that thread
//! calls next; it may see system calls of its own end with EINTR. It may also end itself: what
//! then comes back cancelled is reported as EINTR, which asks for the I/O again.
//!
//! After fork a child must not use the ring; dropping it there does nothing.

use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::EnterFlags;
use parking_lot::Mutex;

use super::ring_setup;
use super::ring_slots::{File, Slots};
use super::ring_submission::{Kernel, Reaped, Submission, WAKE_UP};
use crate::driver::{Io, Lane};
use crate::sys::{Errno, Error};

/// Most I/Os at once.
const ENTRIES_MAX: usize = 4096;
/// How long to wait before asking a kernel that is short of memory again.
const RETRY: Duration = Duration::from_millis(1);

pub struct Ring {
    kernel: ManuallyDrop<Kernel>,
    submission: Mutex<Submission>,
    /// Empty while nobody has the lock.
    completion: Mutex<Reaped>,
    /// Threads in `wait`.
    waiters: AtomicUsize,
    /// `wake` was called, and no `wait` has returned since.
    woken: AtomicBool,
    /// Submitting has failed in a way that passes, so that entries may lie in the submission
    /// queue that no thread is about to submit.
    put_off: AtomicBool,
    /// Submitting has failed for good: `enter` makes no more calls.
    broken: AtomicBool,
    /// Threads in `enter`.
    entering: AtomicUsize,
    /// Signalled when something can be reaped; -1: none.
    event_fd: AtomicI32,
    process: u32,
    /// For tests: the errno that the next attempts to submit end with, 0 for none.
    #[cfg(test)]
    fault: AtomicI32,
}

impl Ring {
    /// `main`: the handle's descriptor, open as long as the ring. `entries`: how many I/Os go to
    /// the storage at once, at least 1.
    pub fn new(main: RawFd, entries: usize) -> Result<Ring, Error> {
        assert!(entries > 0);
        let entries = entries.min(ENTRIES_MAX);
        let ring = ring_setup::open((entries + 1).next_power_of_two() as u32)?;
        // A registered file saves the kernel looking it up and counting it for each I/O.
        let file = match ring.submitter().register_files(&[main]) {
            Ok(()) => File::Registered,
            Err(_) => File::Plain(main),
        };
        let kernel = Kernel { ring, file, slots: Slots::new(entries) };
        Ok(Ring {
            submission: Mutex::new(Submission::new(&kernel)),
            completion: Mutex::new(Reaped {
                freed: Vec::with_capacity(entries),
                repeat: Vec::new(),
            }),
            kernel: ManuallyDrop::new(kernel),
            waiters: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            put_off: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            entering: AtomicUsize::new(0),
            event_fd: AtomicI32::new(-1),
            process: std::process::id(),
            #[cfg(test)]
            fault: AtomicI32::new(0),
        })
    }

    /// Takes all of `ios` in, in order. As many as there are places for go to the kernel with one
    /// system call, the rest waits in here until `reap` makes room. Never fails, never blocks.
    pub fn submit(&self, ios: &mut Vec<Io>) {
        if ios.is_empty() {
            return;
        }
        debug_assert!(ios.iter().all(|io| io.lane == Lane::Main));
        let entries = {
            let mut submission = self.submission.lock();
            submission.take_in(ios, &self.kernel)
        };
        self.start(entries);
        if self.broken.load(Ordering::Relaxed) {
            self.signal_eventfd();
        }
    }

    /// Appends up to `max` finished I/Os to `done`, each with the bytes it moved or an errno, and
    /// starts what waited. Never blocks. Returns how many; `max` means that there may be more,
    /// for which the eventfd is not signalled again.
    ///
    /// EINTR also stands for ECANCELED and EAGAIN, which say the same: nothing has happened yet,
    /// ask again.
    pub fn reap(&self, done: &mut Vec<(Io, Result<u64, i32>)>, max: usize) -> usize {
        let before = done.len();
        let mut woke_up = false;
        let mut entries = 0;
        {
            let mut reaped = self.completion.lock();
            // SAFETY: under the lock of the completion queue, and dropped before it.
            let mut queue = unsafe { self.kernel.ring.completion_shared() };
            while done.len() - before < max {
                let Some(entry) = queue.next() else { break };
                if entry.user_data() == WAKE_UP {
                    woke_up = true;
                    continue;
                }
                let slot = entry.user_data() as u32;
                if entry.result() == -libc::EFAULT && self.kernel.slots.must_repeat(slot) {
                    reaped.repeat.push(slot);
                    continue;
                }
                // SAFETY: this is the completion of the slot's I/O, and the lock lets only one
                // thread take it.
                let io = unsafe { self.kernel.slots.take(slot) };
                done.push((io, result_of(entry.result())));
                reaped.freed.push(slot);
            }
            drop(queue);
            // Relaxed: whoever sets one of these then sees to it that somebody comes here.
            let put_off = self.put_off.load(Ordering::Relaxed);
            let broken = self.broken.load(Ordering::Relaxed);
            if woke_up || put_off || broken || !reaped.is_empty() {
                let mut submission = self.submission.lock();
                entries = submission.free(&mut reaped, &self.kernel);
                if woke_up {
                    submission.woke_up();
                }
                entries = entries.max(self.take_put_off(&submission));
                while done.len() - before < max {
                    let Some((io, errno)) = submission.next_refused() else { break };
                    done.push((io, Err(errno)));
                }
            }
        }
        self.start(entries);
        // A waiter that had not gone to sleep when the wake-up came would not see it any more.
        // SeqCst: see `wake`.
        if woke_up && self.woken.load(Ordering::SeqCst) && self.waiters.load(Ordering::SeqCst) > 0 {
            self.interrupt_waiters();
        }
        done.len() - before
    }

    /// Waits until something can be reaped, `wake` is called, or the time is over (None: for
    /// ever). May return earlier.
    pub fn wait(&self, timeout: Option<Duration>) {
        // SeqCst, here and in `wake`: of a waiter that counts itself and then looks at `woken`,
        // and a waker that sets `woken` and then looks at the count, one sees the other.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        if !self.woken.load(Ordering::SeqCst) && !self.is_ready() {
            self.sleep(timeout);
        }
        self.woken.store(false, Ordering::SeqCst);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Makes a thread that is in `wait`, or the next one to call it, return. Costs a system call
    /// only where one is.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.interrupt_waiters();
        }
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "the eventfd mode is not there yet"))]
    /// From now on `fd`, an eventfd that outlives the ring, is signalled when something can be
    /// reaped; also if that was so before. At times without reason.
    pub fn register_eventfd(&self, fd: RawFd) -> Result<(), Error> {
        let submitter = self.kernel.ring.submitter();
        let mut result = submitter.register_eventfd(fd);
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
            // Takes the place of another one.
            result = submitter.unregister_eventfd().and_then(|()| submitter.register_eventfd(fd));
        }
        result.map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            Error::new(errno, "registering an eventfd with io_uring")
        })?;
        self.event_fd.store(fd, Ordering::Relaxed);
        if self.is_ready() {
            self.signal_eventfd();
        }
        Ok(())
    }

    /// Whether `reap` has something to give.
    fn is_ready(&self) -> bool {
        let _lock = self.completion.lock();
        // SAFETY: under the lock of the completion queue, and dropped before it.
        let completed = unsafe { !self.kernel.ring.completion_shared().is_empty() };
        completed || self.submission.lock().has_refused()
    }

    /// Submits, `entries` being in the submission queue with our own as the last of them.
    fn start(&self, entries: usize) {
        let mut left = entries;
        while left > 0 {
            match self.enter() {
                // The queue is empty: others took ours along.
                Ok(0) => return,
                Ok(submitted) => left = left.saturating_sub(submitted),
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {
                    if !self.put_off() {
                        return;
                    }
                    sleep(RETRY);
                }
                Err(errno) => return self.break_down(errno),
            }
        }
    }

    /// io_uring_enter for submitting all that is there. Gives how many entries the kernel took.
    fn enter(&self) -> Result<usize, Errno> {
        // SeqCst, here and in `break_down`: of a thread that counts itself and then looks at
        // `broken`, and one that sets `broken` and then looks at the count, one sees the other.
        self.entering.fetch_add(1, Ordering::SeqCst);
        let result = if self.broken.load(Ordering::SeqCst) { Ok(0) } else { self.submit_all() };
        self.entering.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn submit_all(&self) -> Result<usize, Errno> {
        #[cfg(test)]
        match self.fault.load(Ordering::Relaxed) {
            0 => {}
            errno => return Err(errno),
        }
        let result = self.kernel.ring.submit();
        result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The kernel is short of memory. What was not submitted stays in the queue for the next
    /// `submit`, `reap` or `wait`; one of them comes, since the storage has something of ours, or
    /// the eventfd is signalled. True: only a thread that sleeps in `wait` could come, and nothing
    /// would wake it; try again.
    fn put_off(&self) -> bool {
        let in_flight = {
            let submission = self.submission.lock();
            // SeqCst: as in `wait`, of `put_off` and the count of waiters.
            self.put_off.store(true, Ordering::SeqCst);
            submission.in_flight(&self.kernel)
        };
        if in_flight > 0 {
            return false;
        }
        self.signal_eventfd();
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// How many entries are in the submission queue, if any was put off. Under the lock: either
    /// `put_off` sees there that nothing is in flight, or we see here that something was put off.
    fn take_put_off(&self, submission: &Submission) -> usize {
        if self.put_off.swap(false, Ordering::SeqCst) {
            submission.unsubmitted(&self.kernel)
        } else {
            0
        }
    }

    /// The kernel will not take anything any more: the program has closed the ring's descriptor,
    /// or has forbidden io_uring by seccomp after we opened it. What the kernel has not got comes
    /// out of `reap` with `errno`.
    fn break_down(&self, errno: Errno) {
        self.broken.store(true, Ordering::SeqCst);
        // Calls that began before this may yet submit something; they do not take long.
        while self.entering.load(Ordering::SeqCst) > 0 {
            sleep(RETRY);
        }
        self.submission.lock().break_down(errno, &self.kernel);
        self.signal_eventfd();
    }

    fn interrupt_waiters(&self) {
        let entries = self.submission.lock().put_wake_up(&self.kernel);
        self.start(entries);
    }

    /// Sleeps in the kernel until there is a completion.
    fn sleep(&self, timeout: Option<Duration>) {
        let pause = timeout.map_or(RETRY, |timeout| timeout.min(RETRY));
        if self.put_off.load(Ordering::SeqCst) {
            let entries = self.take_put_off(&self.submission.lock());
            self.start(entries);
            return sleep(pause);
        }
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let time = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(time) = &time {
            arguments = arguments.timespec(time);
        }
        let submitter = self.kernel.ring.submitter();
        // SAFETY: the argument is what EXT_ARG promises, and lives through the call.
        let result = unsafe { submitter.enter(0, 1, flags.bits(), Some(&arguments)) };
        match result.map_err(|error| error.raw_os_error()) {
            Ok(_) | Err(Some(libc::EINTR | libc::ETIME)) => {}
            // Nothing can be waited for, and somebody would wait in a loop.
            Err(_) => sleep(pause),
        }
    }

    fn signal_eventfd(&self) {
        let fd = self.event_fd.load(Ordering::Relaxed);
        if fd >= 0 {
            let one = 1u64;
            // SAFETY: reads the eight bytes of `one`. A failure means that the eventfd is
            // signalled to the brim.
            let _ = unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
        }
    }
}

impl Drop for Ring {
    /// Nothing should be inside. What is at the storage all the same is waited for: the kernel
    /// would write to memory that is no longer ours.
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return;
        }
        debug_assert!(
            thread::panicking() || self.submission.lock().is_idle(&self.kernel),
            "a ring was dropped with I/O in it"
        );
        self.submission.lock().clear();
        if !self.submission.lock().is_idle(&self.kernel) {
            // A help for the rare storage that can cancel; the others finish by themselves.
            let any = CancelBuilder::any();
            let _ = self.kernel.ring.submitter().register_sync_cancel(None, any);
        }
        let mut done = Vec::new();
        while !self.submission.lock().is_idle(&self.kernel) {
            self.wait(Some(Duration::from_millis(10)));
            self.reap(&mut done, usize::MAX);
        }
        // The kernel takes a ring apart later, in its own time; the file is wanted closed now.
        let _ = self.kernel.ring.submitter().unregister_files();
        // SAFETY: never used again, and the kernel has done with what is in it.
        unsafe { ManuallyDrop::drop(&mut self.kernel) };
    }
}

/// What the kernel answered, as engines report it.
fn result_of(answer: i32) -> Result<u64, Errno> {
    match u64::try_from(answer) {
        Ok(bytes) => Ok(bytes),
        Err(_) => match -answer {
            libc::ECANCELED | libc::EAGAIN => Err(libc::EINTR),
            errno => Err(errno),
        },
    }
}
