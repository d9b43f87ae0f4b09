//! Batches, and callbacks on the caller's own thread.

use std::os::fd::RawFd;
use std::time::Duration;

use smallvec::SmallVec;

use super::Handle;
use crate::completion::{CompletionMode, Delivery, Left, Mark};
use crate::node::{
    dispatch, sleep, take_in_for_poll, thread_key, unplug_and_dispatch, with_actions,
};
use crate::sync::Instant;
use crate::sys::Error;
use blkalign_machine::PlugKey;

/// Most callbacks between two looks at what they have submitted.
const BATCH_MAX: usize = 64;
/// How often a drain looks again whether another thread has run the last callback.
const DRAIN_SLICE: Duration = Duration::from_millis(5);

/// When a timeout that begins now is over. None: never, as far as the clock goes (`Duration::MAX`).
fn end_of(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// What is due and taken at once.
type Batch = SmallVec<[Delivery; 16]>;

impl Handle {
    /// Holds back what this thread submits from here on; nests.
    pub fn plug(&self) {
        self.plug_by(thread_key());
    }

    /// The outermost `unplug` submits what this thread's plug held back, as one batch.
    pub fn unplug(&self) {
        self.unplug_by(thread_key());
    }

    /// As `plug`, for whoever has this key.
    pub fn plug_by(&self, key: PlugKey) {
        self.endpoint.node.plug(self.endpoint.id(), key);
    }

    /// As `unplug`, for whoever has this key.
    pub fn unplug_by(&self, key: PlugKey) {
        unplug_and_dispatch(&self.endpoint.node, self.endpoint.id(), key);
    }

    /// Returns when all that was submitted before has called back, whatever comes meanwhile. What
    /// any thread holds back is submitted first. EDEADLK in a callback.
    pub fn drain(&self) -> Result<(), Error> {
        self.drain_within(None)
    }

    /// As `drain`, but ETIMEDOUT when it takes longer than `timeout`. None: there is no limit.
    /// Zero: the call does not wait.
    pub fn drain_within(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.check_may_wait("drain or close")?;
        let until = timeout.and_then(end_of);
        let completions = &self.endpoint.completions;
        let mark = completions.mark();
        with_actions(|actions| {
            if let Some(membership) = self.throttled.membership() {
                membership.let_go(actions);
            }
            self.endpoint.node.submit_all_held(self.endpoint.id(), actions);
            dispatch(actions);
        });
        self.check_may_end(mark)?;
        let over = match self.endpoint.mode {
            CompletionMode::Eventfd => {
                // A drain that does not wait runs all that is due. Any other looks at the time in
                // between.
                let most = if timeout == Some(Duration::ZERO) { usize::MAX } else { BATCH_MAX };
                self.run_until_over(mark, until, most)
            }
            CompletionMode::Serial | CompletionMode::Concurrent => {
                completions.wait_over(mark, until)
            }
        };
        if over {
            return Ok(());
        }
        let words = format!("{}: drain: requests are still in flight", self.endpoint.name);
        Err(Error::new(libc::ETIMEDOUT, words))
    }

    /// Runs callbacks on this thread until all that came before the mark is over, at most `most`
    /// between two looks at the time, but not beyond `until`. Returns whether it is over.
    fn run_until_over(&self, mark: Mark, until: Option<Instant>, most: usize) -> bool {
        let _attendance = self.endpoint.attend();
        let completions = &self.endpoint.completions;
        loop {
            if completions.is_over(mark) {
                return true;
            }
            let ran = self.run_due(most, until.is_none());
            if completions.is_over(mark) {
                return true;
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return false;
            }
            if ran == 0 {
                // Another thread may run the last callback.
                let slice = now + DRAIN_SLICE;
                sleep(&self.endpoint, Some(until.map_or(slice, |until| until.min(slice))));
            }
        }
    }

    /// A descriptor that is readable whenever `poll` may have something to do.
    pub fn event_fd(&self) -> Result<RawFd, Error> {
        self.check_event_mode()?;
        let (fd, new) = self.endpoint.completions.events.descriptor()?;
        let ring = self.endpoint.ring.as_ref().map(|engine| &engine.ring);
        let (true, Some(ring)) = (new, ring.filter(|ring| !ring.is_spent())) else {
            return Ok(fd);
        };
        let Err(error) = ring.register_eventfd(fd) else { return Ok(fd) };
        // A filter of system calls has come since the ring was made. From now on threads do the
        // I/O, and their results signal the descriptor. But nothing would signal it for I/O that is
        // in the ring already, so the ring has to be idle.
        if matches!(error.errno, libc::EPERM | libc::EACCES | libc::ENOSYS) && ring.is_idle() {
            ring.give_up(error.errno);
            self.endpoint.hand_on_refused();
            if ring.is_spent() {
                return Ok(fd);
            }
        }
        self.endpoint.completions.events.forget_descriptor();
        Err(error)
    }

    /// Runs up to `max` callbacks on this thread. If none is due the call waits for one, up to
    /// `timeout` (None: without end). Returns how many ran. EDEADLK inside a callback.
    pub fn poll(&self, max: usize, timeout: Option<Duration>) -> Result<usize, Error> {
        self.poll_by(timeout, |waits| self.run_due(max, waits))
    }

    /// As `poll`, for a handle whose requests have tokens instead of callbacks: adds token and
    /// result of each request that is over to `results`.
    pub fn poll_results(
        &self,
        timeout: Option<Duration>,
        results: &mut impl Extend<(usize, Result<(), Error>)>,
    ) -> Result<usize, Error> {
        let completions = &self.endpoint.completions;
        self.poll_by(timeout, |waits| {
            self.look(usize::MAX, waits, |batch| {
                results.extend(batch.drain(..).map(|delivery| completions.take(delivery)));
            })
        })
    }

    /// Another thread is to look, or this one once more: the descriptor becomes readable.
    pub fn signal(&self) {
        self.endpoint.completions.events.end_look(Left::Something);
    }

    /// `look`: one look at what is due, which gives how much there was; told whether this thread
    /// will wait without end if nothing is due.
    fn poll_by(
        &self,
        timeout: Option<Duration>,
        mut look: impl FnMut(bool) -> usize,
    ) -> Result<usize, Error> {
        self.check_event_mode()?;
        self.check_may_wait("poll")?;
        let waits = timeout.is_none();
        let _attendance = self.endpoint.attend();
        self.endpoint.set_patient(waits);
        let ran = look(waits);
        if ran > 0 || timeout == Some(Duration::ZERO) {
            return Ok(ran);
        }
        let until = timeout.and_then(end_of);
        loop {
            sleep(&self.endpoint, until);
            let ran = look(waits);
            if ran > 0 || until.is_some_and(|until| Instant::now() >= until) {
                return Ok(ran);
            }
        }
    }

    /// Runs up to `max` of the callbacks that are due, and none that becomes due meanwhile: while
    /// other threads go on submitting there would be no end. What callbacks submit goes out as
    /// batches. `waits`: the caller will wait without end if no callback is due.
    fn run_due(&self, max: usize, waits: bool) -> usize {
        self.look(max, waits, |batch| {
            self.plug();
            let in_callbacks = self.endpoint.begin_callbacks();
            batch.drain(..).for_each(|delivery| self.endpoint.completions.run(delivery));
            drop(in_callbacks);
            self.unplug();
        })
    }

    /// As `run_due`; `take` empties each batch of what is due.
    fn look(&self, max: usize, waits: bool, mut take: impl FnMut(&mut Batch)) -> usize {
        let events = &self.endpoint.completions.events;
        events.begin_look();
        self.do_what_no_thread_does();
        let left = take_in_for_poll(&self.endpoint, waits);
        let max = max.min(events.count_due());
        let mut ran = 0;
        let mut batch = Batch::new();
        while ran < max {
            let left = events.take(BATCH_MAX.min(max - ran), &mut batch);
            if batch.is_empty() {
                break;
            }
            // Other threads may be asleep, and could run what is left while these callbacks run.
            if left == Left::Something {
                self.endpoint.wake_sleeper();
            }
            ran += batch.len();
            take(&mut batch);
        }
        events.end_look(left);
        ran
    }

    /// A handle without threads: this thread does what takes one.
    fn do_what_no_thread_does(&self) {
        let pool = &self.endpoint.pool;
        if !pool.is_unmanned() {
            return;
        }
        let did = (0..BATCH_MAX).take_while(|_| pool.do_one()).count();
        if did == BATCH_MAX {
            self.endpoint.completions.events.end_look(Left::Something);
        }
        self.endpoint.node.help_others(&self.endpoint);
    }

    fn check_event_mode(&self) -> Result<(), Error> {
        if self.endpoint.mode == CompletionMode::Eventfd {
            return Ok(());
        }
        let words = format!("{}: not opened with BLKALIGN_COMPLETION_EVENTFD", self.endpoint.name);
        Err(Error::new(libc::EINVAL, words))
    }
}
