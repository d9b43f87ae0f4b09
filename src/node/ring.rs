//! Where a ring's results are taken in: by the caller's thread that polls, or by a job on the
//! pool that stays as long as there is something to wait for.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::dispatch::dispatch;
use super::job::{bring_home, perform, Work};
use super::queue::Waiter;
use super::{with_actions, Action, Actions, Queue};
use crate::completion::Mode;
use crate::driver::{Io, Lane, Op};
use crate::engine::Ring;

/// Most results taken in at once.
const REAP_MAX: usize = 256;
/// How long a job stays when nothing is in flight any more.
const LINGER: Duration = Duration::from_millis(500);
/// How long one thread sleeps at most where another may take its results in.
const SLICE: Duration = Duration::from_millis(5);
/// How often a job looks whether a synchronous call has its result from somebody else.
const NAP: Duration = Duration::from_micros(200);

/// A handle's ring, and who takes its results in.
pub struct RingEngine {
    pub ring: Ring,
    /// I/Os that the ring has.
    inside: AtomicUsize,
    /// A job on the pool does, or will.
    reaping: AtomicBool,
    /// The handle is closing: that job is to end.
    stopping: AtomicBool,
    /// EVENTFD: a job on the pool takes results in while others wait for them.
    helping: AtomicBool,
    /// EVENTFD: held by the one thread that sleeps in the ring; further ones sleep elsewhere, or
    /// one would take the wake-up of another that has not gone to sleep yet.
    sleeper: Mutex<()>,
    /// EVENTFD: synchronous calls for which a job takes results in, as long as there are any.
    /// Nothing else is taken while it is held but a waiter's own lock.
    waiting: Mutex<Vec<Arc<Waiter>>>,
}

thread_local! {
    /// Kept for the next time, as the list of actions is.
    static SPARE_RESULTS: RefCell<Vec<(Io, Result<u64, i32>)>> = const { RefCell::new(Vec::new()) };
}

impl RingEngine {
    pub fn new(ring: Ring) -> RingEngine {
        let (reaping, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        let helping = AtomicBool::new(false);
        let inside = AtomicUsize::new(0);
        let (sleeper, waiting) = (Mutex::new(()), Mutex::default());
        RingEngine { ring, inside, reaping, stopping, helping, sleeper, waiting }
    }

    pub fn submit(&self, ios: &mut Vec<Io>) {
        // SeqCst: see `ensure_unpolled_progress`.
        self.inside.fetch_add(ios.len(), Ordering::SeqCst);
        self.ring.submit(ios);
    }

    /// Nothing is in flight, and nothing will be: no job is to hold on to the ring.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring.wake();
    }

    /// EVENTFD: something became due while a thread may be asleep. Whoever pushed it did so under
    /// the lock of what is due, and a sleeper takes that lock after the one looked at here: one of
    /// the two sees the other.
    pub fn wake_sleeper(&self) {
        if self.sleeper.is_locked() {
            self.ring.wake();
        }
    }
}

impl Queue {
    /// Whether `io` is carried out by the handle's ring.
    pub fn ring_for(&self, io: &Io) -> Option<&RingEngine> {
        let ring_does = matches!(io.op, Op::Read | Op::Write | Op::Flush);
        self.ring.as_ref().filter(|_| io.lane == Lane::Main && ring_does)
    }

    /// Takes in what the ring has done. Callbacks do not run in here. False: there was nothing.
    /// `waits`: the caller is about to wait for whatever comes next; if that is one I/O, and the
    /// ring has no other, it is done here and now, which spares handing it over and back.
    pub fn reap(self: &Arc<Self>, waits: bool) -> bool {
        let Some(engine) = &self.ring else { return false };
        let mut results = SPARE_RESULTS.take();
        let reaped = engine.ring.reap(&mut results, REAP_MAX);
        let mut at = 0;
        while at < results.len() {
            let (io, result) = &results[at];
            if needs_fallback(io, *result) {
                let (io, _) = results.swap_remove(at);
                self.pool.push(Work::Io(self.clone(), io));
                continue;
            }
            bring_home(io, *result);
            at += 1;
        }
        if reaped > 0 {
            with_actions(|actions| {
                self.node.io_done(results.drain(..), actions);
                // Relaxed: a hint. Whoever is seen late only shares its wait.
                let before = engine.inside.fetch_sub(reaped, Ordering::SeqCst);
                if waits && before == reaped {
                    self.perform_only(actions);
                }
                dispatch(actions);
            });
        }
        SPARE_RESULTS.set(results);
        reaped > 0
    }

    /// Carries out the I/O that is asked for, on this thread, as long as it is the only one.
    fn perform_only(self: &Arc<Self>, actions: &mut Actions) {
        while let [Action::Io(queue, _)] = actions.as_slice() {
            if !Arc::ptr_eq(queue, self) {
                return;
            }
            let Some(Action::Io(_, io)) = actions.pop() else { return };
            perform(self, io, actions);
        }
    }

    /// EVENTFD: sleeps until there may be something to do, or it is `until`.
    pub fn sleep(&self, until: Option<Instant>) {
        let events = &self.completions.events;
        let Some(engine) = &self.ring else { return events.wait(until) };
        match engine.sleeper.try_lock() {
            Some(_sleeper) if events.anything_due() => {}
            Some(_sleeper) => {
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                engine.ring.wait(left);
            }
            None => {
                let slice = Instant::now() + SLICE;
                events.wait(Some(until.map_or(slice, |until| until.min(slice))));
            }
        }
    }

    /// SERIAL and CONCURRENT: sees to it that a job takes the ring's results in.
    pub fn ensure_reaper(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        // SeqCst: see `reap_until_idle`.
        if !engine.reaping.swap(true, Ordering::SeqCst) {
            self.pool.push(Work::Reap(self.clone()));
        }
    }

    /// The job: takes results in until there has been nothing in flight for a while.
    pub fn reap_until_idle(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        let mut idle_since = None;
        loop {
            if self.reap(false) {
                idle_since = None;
                continue;
            }
            if engine.stopping.load(Ordering::SeqCst) {
                return;
            }
            engine.ring.wait(Some(LINGER));
            if !self.completions.is_drained() {
                idle_since = None;
                continue;
            }
            if idle_since.get_or_insert_with(Instant::now).elapsed() < LINGER {
                continue;
            }
            // Either this sees the request that a submitter has just counted, or the submitter
            // sees that nobody reaps any more.
            engine.reaping.store(false, Ordering::SeqCst);
            if self.completions.is_drained() || engine.reaping.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// EVENTFD: sees to it that a job takes results in until `waiter` has its own, because nobody
    /// else may.
    pub fn ensure_reaper_for(self: &Arc<Self>, waiter: &Arc<Waiter>) {
        let Some(engine) = &self.ring else { return };
        let mut waiting = engine.waiting.lock();
        waiting.push(waiter.clone());
        if waiting.len() == 1 {
            self.pool.push(Work::ReapForWaiters(self.clone()));
        }
    }

    /// The job.
    pub fn reap_for_waiters(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        loop {
            if self.reap(false) {
                continue;
            }
            {
                let mut waiting = engine.waiting.lock();
                waiting.retain(|waiter| waiter.get().is_none());
                if waiting.is_empty() {
                    return;
                }
            }
            engine.nap();
        }
    }

    /// Whether only its caller's thread takes the results of its ring in.
    pub fn is_polled(&self) -> bool {
        self.mode == Mode::Event && self.ring.is_some()
    }

    /// EVENTFD: requests of other handles wait, maybe for I/O of this ring, and its caller may not
    /// be polling: until the ring is empty a job takes its results in. Called when a request comes
    /// to wait, and when I/O comes to the ring while one does: of the two events the later one
    /// sees the other.
    pub fn ensure_unpolled_progress(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        if engine.inside.load(Ordering::SeqCst) > 0 && !engine.helping.swap(true, Ordering::SeqCst)
        {
            self.pool.push(Work::ReapUnpolled(self.clone()));
        }
    }

    /// The job.
    pub fn reap_unpolled(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        loop {
            if self.reap(false) {
                continue;
            }
            if engine.inside.load(Ordering::SeqCst) == 0 {
                engine.helping.store(false, Ordering::SeqCst);
                // Whoever has put I/O in since either sees that nobody helps, or is seen here.
                let more = engine.inside.load(Ordering::SeqCst) > 0;
                if !more || engine.helping.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
            engine.nap();
        }
    }
}

impl RingEngine {
    /// A job waits for results, beside a thread that may be asleep in the ring.
    fn nap(&self) {
        match self.sleeper.try_lock() {
            Some(_sleeper) => self.ring.wait(Some(SLICE)),
            // Whoever sleeps in the ring takes its results in.
            None => std::thread::sleep(NAP),
        }
    }
}

/// Storage that does not know the flag for durable writes, or for atomic ones: the pool has
/// another way.
fn needs_fallback(io: &Io, result: Result<u64, i32>) -> bool {
    (io.fua || io.atomic) && matches!(result, Err(libc::EOPNOTSUPP | libc::EINVAL))
}
