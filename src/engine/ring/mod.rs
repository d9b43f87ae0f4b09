//! The io_uring engine: one ring per open handle. It takes I/Os in, has up to a fixed number of
//! them at the storage, and gives each back with its result. It knows nothing of requests.
//!
//! ```text
//!   submit --> waiting --> a slot and the submission queue --io_uring_enter--> the kernel
//!   reap   <------------------------------- the completion queue <-----------------'
//! ```
//!
//! Any thread may call any method. There are two locks, held for moments, never over a system call:
//! - `submission` guards our end of the ring's submission queue, and `Submission`;
//! - `completion` guards our end of the completion queue, and the list beside it. A thread that
//!   holds `completion` may take `submission`, never the other way round.
//!
//! io_uring_enter is called with no lock held. The call takes the kernel's own lock of the ring and
//! submits entries, from the oldest on, up to the number that it is told. Each thread names the
//! number of all entries in the queue, and calls again until as many were submitted as lay there
//! when the thread had put its own in, or until the queue is empty. Then its own entries are
//! submitted, by its own call or by another thread's.
//!
//! The completion queue cannot overflow. It has more places than there are slots, and at most one
//! I/O for each slot and one wake-up are under way.
//!
//! The kernel completes an I/O on the thread that submitted it. With `new` the kernel interrupts
//! that thread for this, in user mode and in most system calls that sleep. So results do not depend
//! on what the thread does next, but system calls of the program on that thread may end with EINTR.
//! With `new_polled` the kernel interrupts the thread in system calls only. That saves much where
//! completions come from another processor: twice the reads a second on zram. But a thread that
//! computes would hold up its results until the next tick of the clock. So only the thread that
//! polls submits, and other threads hand their I/Os over to it. A submitting thread may also end:
//! its I/Os then come back cancelled, which is reported as EINTR and asks for the I/O again.
//!
//! `enter.rs` has the system calls that submit and wait, `fixed.rs` registered memory, `slots.rs`
//! the places of I/Os while the kernel has them, `submission.rs` what the submission lock guards.
//!
//! After fork a child must not use the ring; a drop of the ring in the child does nothing.

mod enter;
mod fixed;
mod slots;
mod submission;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::CancelBuilder;

use self::enter::{try_out, StillPutOff, CARELESS};
use self::fixed::FixedBuffers;
pub use self::slots::Files;
use self::slots::{File, Slots};
use self::submission::{submission_length, Kernel, Reaped, Submission, WAKE_UP};
use crate::driver::{Io, Lane, Op};
use crate::kernel;
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{thread, Mutex};
use crate::sys::{Errno, Error, EventFd};

/// Longest sleep of `wait` on a ring with a bell, should something go wrong.
const BELL_WAIT_MAX: Duration = Duration::from_secs(1);
/// Most I/Os at once.
const ENTRIES_MAX: usize = 4096;

pub struct Ring {
    kernel: ManuallyDrop<Kernel>,
    submission: Mutex<Submission>,
    /// Empty while no thread holds the lock.
    completion: Mutex<Reaped>,
    /// Threads in `wait`.
    waiters: AtomicUsize,
    /// `wake` was called, and no `wait` has returned since.
    woken: AtomicBool,
    /// Entries may lie in the submission queue that no thread is about to submit: the kernel was
    /// short of memory, or the entries were handed over to the polling thread.
    put_off: AtomicBool,
    /// The errno with which submitting has failed for good: `enter` makes no more calls. 0: none.
    broken: AtomicI32,
    /// Threads in `enter`.
    entering: AtomicUsize,
    /// RLIMIT_FSIZE holds for this ring's writes.
    limited: bool,
    /// Whether threads that enter keep SIGXFSZ away: CARELESS and so on, see `enter.rs`.
    care: AtomicU32,
    /// Threads in `enter` that do not keep SIGXFSZ away.
    careless: AtomicUsize,
    /// Signalled when something can be reaped; -1: none.
    event_fd: AtomicI32,
    polled: bool,
    /// Signalled for the thread that reaps, until a program registers an eventfd of its own.
    bell: Option<EventFd>,
    /// A thread that reaps surely comes, if not at once: see `new_attended`.
    reaped_by_job: bool,
    /// Threads that look at `put_off` again before they leave (`attend`), asleep or not.
    attending: AtomicUsize,
    /// Threads that sleep until `bell` is signalled, or are about to.
    asleep: AtomicUsize,
    fixed: FixedBuffers,
    /// The thread that was in `reap` last, by its `thread_number`. Relaxed: a thread asks only
    /// whether it was itself, and its own store it always sees.
    reaper: AtomicUsize,
    /// No other ring of this process has it, nor had it. Not 0.
    number: u64,
    process: u32,
}

/// The number of the ring that was made last. The real atomic, also in the simulator: no schedule
/// depends on this counter.
static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl Ring {
    /// `files`: the handle's, open as long as the ring. `entries`: how many I/Os go to the storage
    /// at once, at least 1.
    pub fn new(files: Files, entries: usize) -> Result<Ring, Error> {
        Ring::open(files, entries, false)
    }

    /// For a program that reaps on a thread of its own, which calls `attend`, or when an eventfd is
    /// signalled that it registers. One thread reaps mostly. It is best that this thread submits,
    /// too, and makes a system call before long. The I/Os of other threads are submitted by this
    /// thread while it attends, and always if the program has registered an eventfd, which is
    /// signalled to make it come.
    pub fn new_polled(files: Files, entries: usize) -> Result<Ring, Error> {
        let mut ring = Ring::open(files, entries, true)?;
        let bell = EventFd::new().ok();
        // Without a bell every thread submits its I/Os itself until there is an eventfd.
        ring.bell = bell.filter(|bell| ring.register_eventfd(bell.raw()).is_ok());
        Ok(ring)
    }

    /// As `new_polled`, for a thread of the library that reaps and calls `wait`, and to which other
    /// threads always hand their I/Os over. Where the system refuses an eventfd, as `new`.
    pub fn new_attended(files: Files, entries: usize) -> Result<Ring, Error> {
        let mut ring = Ring::new_polled(files, entries)?;
        if ring.bell.is_none() {
            return Ring::new(files, entries);
        }
        ring.reaped_by_job = true;
        Ok(ring)
    }

    fn open(files: Files, entries: usize, polled: bool) -> Result<Ring, Error> {
        assert!(entries > 0);
        let entries = entries.min(ENTRIES_MAX);
        let length = submission_length(entries);
        let ring = kernel::open(length.next_power_of_two() as u32, polled)?;
        try_out(&ring)?;
        // A registered file saves the kernel looking it up and counting it for each I/O.
        let registered = ring.submitter().register_files(&[files.main, files.flush]).is_ok();
        let file = if registered { File::Registered } else { File::Plain(files) };
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
            broken: AtomicI32::new(0),
            entering: AtomicUsize::new(0),
            limited: files.limited,
            care: AtomicU32::new(CARELESS),
            careless: AtomicUsize::new(0),
            event_fd: AtomicI32::new(-1),
            polled,
            bell: None,
            reaped_by_job: false,
            attending: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            fixed: FixedBuffers::default(),
            reaper: AtomicUsize::new(0),
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            process: std::process::id(),
        })
    }

    /// Takes all of `ios` in, in order. As many as there are places for go to the kernel with one
    /// system call; the others wait in the ring until `reap` makes room. Never fails, and waits for
    /// no I/O; but a few moments where the kernel has no memory, or at the first write to a file.
    /// What the kernel refuses for good comes out of `take_back`.
    pub fn submit(&self, ios: &mut Vec<Io>) {
        if ios.is_empty() {
            return;
        }
        debug_assert!(ios.iter().all(|io| io.lane == Lane::Main));
        if self.limited && ios.iter().any(|io| io.op == Op::Write) {
            self.expect_limited_writes();
        }
        let hand_over = self.must_hand_over();
        let (entries, handed_over) = {
            let mut submission = self.submission.lock();
            let entries = submission.take_in(ios, &self.kernel);
            // SeqCst: as in `Ring::put_off` (enter.rs).
            let before = hand_over && entries > 0 && self.put_off.swap(true, Ordering::SeqCst);
            (entries, before)
        };
        match self.reaper_of(hand_over) {
            Reaper::Looks => {}
            // If another thread handed over before us, that thread has signalled, and no thread has
            // reaped since.
            Reaper::Sleeps if entries > 0 && !handed_over => self.signal_eventfd(),
            Reaper::Sleeps => {}
            Reaper::Away => self.start(entries),
        }
    }

    /// What the thread does to which this one hands its entries over. They lie in the queue, and
    /// `put_off` is set.
    fn reaper_of(&self, hand_over: bool) -> Reaper {
        // SeqCst, here, in `wait_for_bell` and in `attend`: a thread that goes to sleep, or leaves,
        // says so and then looks at `put_off`.
        let is_there = |count: &AtomicUsize| count.load(Ordering::SeqCst) > 0;
        if !hand_over || is_there(&self.waiters) {
            Reaper::Away
        } else if is_there(&self.asleep) {
            Reaper::Sleeps
        } else if is_there(&self.attending) {
            Reaper::Looks
        } else if self.reaped_by_job || self.bell_in_use().is_none() {
            // A job of the library may have to be woken. A program looks at its eventfd.
            Reaper::Sleeps
        } else {
            Reaper::Away
        }
    }

    /// Whether a job of the library reaps, or will: see `new_attended`.
    pub fn has_job(&self) -> bool {
        self.reaped_by_job
    }

    /// Makes that job look for what is there for it to do, beside the ring, before it sleeps.
    pub fn nudge(&self) {
        // SeqCst, as in `wake`, but of `woken` and `asleep`.
        self.woken.store(true, Ordering::SeqCst);
        if self.reaper_of(true) == Reaper::Sleeps {
            self.signal_eventfd();
        }
    }

    /// Whether entries may lie in the submission queue for another thread to submit.
    pub fn has_put_off(&self) -> bool {
        // SeqCst: see `Endpoint::ensure_handed_over_goes_on`.
        self.put_off.load(Ordering::SeqCst)
    }

    /// Submits what was handed over to a thread that does not come. Then `take_back` has to be
    /// called.
    pub fn submit_handed_over(&self) {
        self.submit_put_off();
    }

    /// This thread reaps, and submits what others hand over to it, until it calls `retire`.
    pub fn attend(&self) {
        ATTENDED.set(self.number);
        self.attending.fetch_add(1, Ordering::SeqCst);
    }

    /// The counterpart of `attend`. Then `take_back` has to be called.
    pub fn retire(&self) {
        self.attending.fetch_sub(1, Ordering::SeqCst);
        if self.reaped_by_job {
            // Another thread may be in `wait`, and this one may have taken a signal that was meant
            // for both.
            self.bell.iter().for_each(EventFd::signal);
        } else if self.put_off.load(Ordering::SeqCst) {
            let entries = self.take_put_off(&self.submission.lock());
            self.start(entries);
        }
    }

    /// Appends up to `max` finished I/Os to `done`, each with the bytes it moved or an errno, and
    /// starts what waited. Never blocks. Returns how many; `max` means that there may be more,
    /// for which the eventfd is not signalled again.
    ///
    /// EINTR also stands for ECANCELED and EAGAIN. All three say the same: nothing has happened
    /// yet, and the I/O is to be asked for again.
    pub fn reap(&self, done: &mut Vec<(Io, Result<u64, i32>)>, max: usize) -> usize {
        self.reaper.store(thread_number(), Ordering::Relaxed);
        let count = self.reap_posted(done, max);
        if count == 0 && self.polled && self.submission.lock().has_taskrun(&self.kernel) {
            // An I/O is done, and the kernel waits for this thread to enter it before it posts the
            // result. A program that polls in a loop may never make another system call.
            self.enter_for_completions();
            return self.reap_posted(done, max);
        }
        count
    }

    fn reap_posted(&self, done: &mut Vec<(Io, Result<u64, i32>)>, max: usize) -> usize {
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
            // Relaxed: a thread that sets one of these afterwards signals, wakes or submits, so
            // that some thread comes here once more.
            let put_off = self.put_off.load(Ordering::Relaxed);
            let broken = self.broken.load(Ordering::Relaxed) != 0;
            if woke_up || put_off || broken || !reaped.is_empty() {
                let mut submission = self.submission.lock();
                entries = submission.free(&mut reaped, &self.kernel);
                if woke_up {
                    submission.woke_up();
                }
                entries = entries.max(self.take_put_off(&submission));
            }
        }
        self.start(entries);
        // A waiter that went to sleep after the wake-up was taken off the queue would miss it: it
        // gets another one. SeqCst: see `wait`.
        if woke_up && self.woken.load(Ordering::SeqCst) && self.waiters.load(Ordering::SeqCst) > 0 {
            self.interrupt_waiters();
        }
        done.len() - before
    }

    /// Waits until something can be reaped, `wake` is called, or the time is over (None: for
    /// ever). May return earlier.
    pub fn wait(&self, timeout: Option<Duration>) {
        if let Some(bell) = self.bell_in_use() {
            return self.wait_for_bell(bell, timeout.unwrap_or(BELL_WAIT_MAX));
        }
        // SeqCst, here and in `wake`. A waiter counts itself, then looks at `woken`; a waker sets
        // `woken`, then looks at the count. Weaker orderings would let both miss the other: the
        // waiter would sleep, and the waker would not interrupt it.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        if !self.woken.load(Ordering::SeqCst) && !self.is_ready() {
            self.sleep(timeout);
        }
        self.woken.store(false, Ordering::SeqCst);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    fn wait_for_bell(&self, bell: &EventFd, timeout: Duration) {
        self.asleep.fetch_add(1, Ordering::SeqCst);
        let put_off = self.submit_put_off();
        if !self.woken.load(Ordering::SeqCst) && !self.is_ready() {
            let soon = put_off == StillPutOff::Yes || self.is_broken();
            bell.wait(if soon { timeout.min(enter::RETRY) } else { timeout });
        }
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        // Whatever comes from here on signals anew; whatever came before is looked for next.
        bell.clear();
        self.woken.store(false, Ordering::SeqCst);
    }

    /// The eventfd that is signalled when something can be reaped, unless that is a program's.
    fn bell_in_use(&self) -> Option<&EventFd> {
        let in_use = self.event_fd.load(Ordering::SeqCst);
        self.bell.as_ref().filter(|bell| bell.raw() == in_use)
    }

    /// Makes a thread that is in `wait`, or the next one to call it, return. Costs a system call
    /// only where one is.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(bell) = self.bell_in_use() {
            return bell.signal();
        }
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.interrupt_waiters();
        }
    }

    /// From now on `fd`, an eventfd that outlives the ring, is signalled when something can be
    /// reaped; at once if something can be reaped already. At times it is signalled without reason.
    pub fn register_eventfd(&self, fd: RawFd) -> Result<(), Error> {
        let submitter = self.kernel.ring.submitter();
        let mut result = submitter.register_eventfd(fd);
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
            // The ring has an eventfd already: this one takes its place.
            result = submitter.unregister_eventfd().and_then(|()| submitter.register_eventfd(fd));
        }
        result.map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            Error::new(errno, "registering an eventfd with io_uring")
        })?;
        // SeqCst, with `bell_in_use`: a thread that looked before sleeps until the bell is
        // signalled, which then tells it to look again.
        self.event_fd.store(fd, Ordering::SeqCst);
        self.bell.iter().for_each(EventFd::signal);
        if self.is_ready() {
            self.signal_eventfd();
        }
        Ok(())
    }

    /// Whether what this thread submits is left to the thread that polls, if there is one.
    fn must_hand_over(&self) -> bool {
        // Of several threads of a program that poll each submits its own.
        let polls = || ATTENDED.get() == self.number && !self.reaped_by_job;
        self.polled
            && self.event_fd.load(Ordering::Relaxed) >= 0
            && self.reaper.load(Ordering::Relaxed) != thread_number()
            && !(polls() && self.bell_in_use().is_some())
    }

    /// Whether this thread was the last one in `reap`, and comes again by itself: no eventfd of a
    /// program tells it when.
    pub fn is_polled_here(&self) -> bool {
        self.polled
            && (self.bell_in_use().is_some() || self.event_fd.load(Ordering::Relaxed) < 0)
            && self.was_reaped_here()
    }

    /// Whether this thread was the last one in `reap`.
    pub fn was_reaped_here(&self) -> bool {
        self.reaper.load(Ordering::Relaxed) == thread_number()
    }

    fn interrupt_waiters(&self) {
        let entries = self.submission.lock().put_wake_up(&self.kernel);
        self.start(entries);
    }

    /// Whether `reap` may have something to give. A hint, for a thread that looks again and again.
    pub fn may_be_ready(&self) -> bool {
        let Some(_lock) = self.completion.try_lock() else { return true };
        std::hint::spin_loop();
        if self.put_off.load(Ordering::Relaxed) {
            return true;
        }
        if self.polled {
            let submission = self.submission.try_lock();
            if submission.is_none_or(|its| its.has_taskrun(&self.kernel)) {
                return true;
            }
        }
        // SAFETY: under the lock of the completion queue, and dropped before it.
        unsafe { !self.kernel.ring.completion_shared().is_empty() }
    }

    /// Whether `reap` has something to give.
    fn is_ready(&self) -> bool {
        let _lock = self.completion.lock();
        // SAFETY: under the lock of the completion queue, and dropped before it.
        let completed = unsafe { !self.kernel.ring.completion_shared().is_empty() };
        completed || self.submission.lock().has_refused()
    }
}

/// What the thread does to which others hand their I/Os over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaper {
    /// It submits them before it sleeps or leaves.
    Looks,
    /// It has to be told, by the eventfd.
    Sleeps,
    /// No thread is sure to come, or this is the one: who has I/Os submits them.
    Away,
}

impl Drop for Ring {
    /// Nothing should be inside. If I/O is at the storage all the same, the drop waits for it: else
    /// the kernel would write to memory that is no longer ours.
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return;
        }
        let idle = self.submission.lock().is_idle(&self.kernel);
        if !idle {
            self.submission.lock().clear();
            // This helps with the rare storage that can cancel; other I/O finishes by itself.
            let any = CancelBuilder::any();
            let _ = self.kernel.ring.submitter().register_sync_cancel(None, any);
        }
        let mut done = Vec::new();
        while !self.submission.lock().is_idle(&self.kernel) {
            self.wait(Some(Duration::from_millis(10)));
            self.reap(&mut done, usize::MAX);
            self.take_back();
        }
        // The kernel takes a ring apart some time later; the file has to be let go now.
        let _ = self.kernel.ring.submitter().unregister_files();
        // SAFETY: never used again, and the kernel has done with what is in it.
        unsafe { ManuallyDrop::drop(&mut self.kernel) };
        debug_assert!(idle || thread::panicking(), "a ring was dropped with I/O in it");
    }
}

thread_local! {
    /// The number of the ring that this thread attended last.
    static ATTENDED: Cell<u64> = const { Cell::new(0) };
}

/// Different for each thread that lives, and never 0.
fn thread_number() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
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
