//! How a ring enters the kernel, to submit and to sleep, and what happens when that fails.

use std::time::Duration;

use super::ring::Ring;
use super::ring_kernel;
use super::ring_submission::Submission;
use crate::sync::atomic::Ordering;
use crate::sync::thread::sleep;
use crate::sys::{signal_eventfd, Errno};

/// How long to wait before asking a kernel that is short of memory again.
const RETRY: Duration = Duration::from_millis(1);

impl Ring {
    /// Submits, `entries` being in the submission queue with our own as the last of them.
    pub(super) fn start(&self, entries: usize) {
        self.start_or(entries, || self.waiters.load(Ordering::SeqCst) > 0);
    }

    /// As `start`; says by `insist` whether to try on where the kernel is short of memory and no
    /// other thread is known to come by.
    fn start_or(&self, entries: usize, insist: impl Fn() -> bool) {
        let mut left = entries;
        while left > 0 {
            match self.enter() {
                // The queue is empty: others took ours along.
                Ok(0) => return,
                Ok(submitted) => left = left.saturating_sub(submitted),
                Err(libc::EINTR) => {}
                Err(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => {
                    if !self.put_off() || !insist() {
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
        #[cfg(test)]
        self.calls.admit(crate::sys::Outside::RingEnter)?;
        let result = self.kernel.ring.submit();
        result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The kernel is short of memory. What was not submitted stays in the queue for the next
    /// `submit`, `reap` or `wait`; one of them comes, since the storage has something of ours, or
    /// the eventfd is signalled. True: the storage has nothing of ours, so that a thread that
    /// sleeps in `wait` would go on sleeping.
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
        true
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

    /// Sleeps in the kernel until there is a completion.
    pub(super) fn sleep(&self, timeout: Option<Duration>) {
        let pause = timeout.map_or(RETRY, |timeout| timeout.min(RETRY));
        if self.put_off.load(Ordering::SeqCst) {
            let entries = self.take_put_off(&self.submission.lock());
            self.start_or(entries, || false);
            if self.put_off.load(Ordering::SeqCst) {
                return sleep(pause);
            }
        }
        if self.broken.load(Ordering::SeqCst) {
            // No wake-up can be put in any more for what others get back.
            return sleep(pause);
        }
        #[cfg(test)]
        if self.calls.admit(crate::sys::Outside::RingEnter).is_err() {
            return sleep(pause);
        }
        let result = ring_kernel::wait(&self.kernel.ring, timeout);
        match result.map_err(|error| error.raw_os_error()) {
            Ok(()) | Err(Some(libc::EINTR | libc::ETIME)) => {}
            // Nothing can be waited for, and somebody would wait in a loop.
            Err(_) => sleep(pause),
        }
    }

    pub(super) fn signal_eventfd(&self) {
        let fd = self.event_fd.load(Ordering::Relaxed);
        if fd >= 0 {
            signal_eventfd(fd);
        }
    }
}
