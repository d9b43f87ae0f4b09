//! Where a ring's results are taken in: by the caller's thread that polls, or by a job on the
//! pool that stays as long as there is something to wait for.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::dispatch;
use super::held::Held;
use super::job::{bring_home, perform, Work};
use super::{with_actions, Action, Actions, Endpoint};
use crate::completion::{CompletionMode, Delivery};
use crate::driver::{Io, Lane, Op};
use crate::engine::Ring;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{on_time, thread, Instant, Mutex};

/// Most results taken in at once.
const REAP_MAX: usize = 256;
/// How often a look takes so many in.
const REAPS_MAX: usize = 16;
/// How long a job stays when nothing is in flight any more.
const LINGER: Duration = Duration::from_millis(500);
/// How long one thread sleeps at most where another may take its results in.
const SLICE: Duration = Duration::from_millis(5);
/// How often a job looks whether it is still wanted while a thread sleeps in the ring.
const NAP: Duration = Duration::from_micros(200);

/// A handle's ring, and who takes its results in.
pub struct RingEngine {
    pub ring: Ring,
    /// I/Os that the ring has, or that are held back from it.
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
    held: Held,
}

thread_local! {
    /// Kept for the next time, as the list of actions is.
    static SPARE_RESULTS: RefCell<Vec<(Io, Result<u64, i32>)>> = const { RefCell::new(Vec::new()) };
}

impl RingEngine {
    /// `holds_back`: see `held.rs`.
    pub fn new(ring: Ring, holds_back: bool) -> RingEngine {
        let (reaping, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        let helping = AtomicBool::new(false);
        let inside = AtomicUsize::new(0);
        let (sleeper, held) = (Mutex::new(()), Held::new(holds_back));
        RingEngine { ring, inside, reaping, stopping, helping, sleeper, held }
    }

    pub fn submit(&self, ios: &mut Vec<Io>) {
        // SeqCst: see `ensure_unpolled_progress`.
        self.inside.fetch_add(ios.len(), Ordering::SeqCst);
        self.ring.submit(ios);
    }

    pub fn submit_or_hold_back(&self, ios: &mut Vec<Io>) {
        let idle = self.inside.load(Ordering::SeqCst) == 0;
        if !idle || !self.ring.is_polled_here() || !self.held.suits(ios) {
            return self.submit(ios);
        }
        self.inside.fetch_add(ios.len(), Ordering::SeqCst);
        self.held.put(ios);
        // Either we see who is asleep, or it sees, before it sleeps, what is held back.
        if self.sleeper.is_locked() {
            self.release_held();
        }
    }

    /// What is held back goes to the ring.
    fn release_held(&self) {
        let mut ios = Vec::new();
        self.held.take(&mut ios);
        self.ring.submit(&mut ios);
    }

    /// Nothing is in flight, and nothing will be: no job is to hold on to the ring.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring.wake();
    }

    /// EVENTFD: something became due while a thread may be asleep. Whoever pushed it did so under
    /// the lock of what is due, and a sleeper takes that lock after the one looked at here: one of
    /// the two sees the other.
    fn wake_sleeper(&self) {
        if self.sleeper.is_locked() {
            self.ring.wake();
        }
    }
}

thread_local! {
    /// The queue, by its address, whose results this thread takes in before it takes what is due.
    static LOOKS_AT: Cell<usize> = const { Cell::new(0) };
}

impl Endpoint {
    /// EVENTFD: takes in what the ring has done, waking nobody for what becomes due by it: the
    /// caller then takes that, and tells others of what it leaves. Else one of several threads
    /// that poll wakes all others with each result, and they find nothing. True: there may be more,
    /// since others submit as fast as this thread takes in.
    pub fn reap_to_take(self: &Arc<Self>, waits: bool) -> bool {
        // Also after a panic.
        struct Back(usize);
        impl Drop for Back {
            fn drop(&mut self) {
                LOOKS_AT.set(self.0);
            }
        }
        let _back = Back(LOOKS_AT.replace(Arc::as_ptr(self).addr()));
        for _ in 0..REAPS_MAX {
            if !self.reap(waits && !self.completions.events.anything_due()) {
                return false;
            }
        }
        true
    }

    /// EVENTFD: a callback is due.
    pub fn push_due(&self, delivery: Delivery) {
        let looks = LOOKS_AT.get() == std::ptr::from_ref(self).addr();
        self.completions.events.push(delivery, looks);
        if !looks {
            self.wake_sleeper();
        }
    }

    pub fn wake_sleeper(&self) {
        self.ring.as_ref().inspect(|engine| engine.wake_sleeper());
    }

    /// Whether `io` is carried out by the handle's ring.
    pub fn ring_for(&self, io: &Io) -> Option<&RingEngine> {
        let ring_does = matches!(io.op, Op::Read | Op::Write | Op::Flush);
        self.ring_in_use().filter(|_| io.lane == Lane::Main && ring_does)
    }

    /// None: threads do all I/O.
    pub fn ring_in_use(&self) -> Option<&RingEngine> {
        self.ring.as_ref().filter(|engine| !engine.ring.is_broken())
    }

    /// Gives the pool what the kernel does not take from a ring any more. By whoever has put I/O
    /// into the ring or comes to take results in: `Ring::take_back` says why that is enough.
    pub fn hand_on_refused(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        let Some(why) = engine.ring.why_broken() else { return };
        self.say_threads_from_now_on(&why);
        engine.release_held();
        let refused = engine.ring.take_back();
        let count = refused.len();
        for io in refused {
            self.pool.push(Work::Io(self.clone(), io));
        }
        engine.inside.fetch_sub(count, Ordering::SeqCst);
    }

    /// Takes in what the ring has done. Callbacks do not run in here. False: there was nothing.
    /// `waits`: the caller is about to wait for whatever comes next; if that is one I/O, and the
    /// ring has no other, it is done here and now, which spares handing it over and back.
    pub fn reap(self: &Arc<Self>, waits: bool) -> bool {
        let Some(engine) = &self.ring else { return false };
        if engine.held.may_have_any() {
            if waits {
                self.perform_held(engine);
                return true;
            }
            engine.release_held();
        }
        let mut results = SPARE_RESULTS.take();
        let reaped = engine.ring.reap(&mut results, REAP_MAX);
        self.hand_on_refused();
        let mut at = 0;
        while at < results.len() {
            let (io, result) = &results[at];
            if needs_fallback(io, *result) {
                let (io, _) = results.swap_remove(at);
                self.pool.push(Work::Io(self.clone(), io));
                continue;
            }
            let heard = self.heard(io, *result);
            bring_home(io, heard);
            results[at].1 = heard;
            at += 1;
        }
        if reaped > 0 {
            with_actions(|actions| {
                self.node.io_done(results.drain(..), actions);
                // A hint. Whoever is seen late only shares its wait.
                if waits && engine.inside.load(Ordering::Relaxed) == reaped {
                    self.perform_only(actions);
                }
                // Not before this: what follows on I/O of the ring is not held back.
                dispatch(actions);
                engine.inside.fetch_sub(reaped, Ordering::SeqCst);
            });
        }
        SPARE_RESULTS.set(results);
        reaped > 0
    }

    /// Carries out what is held back, on this thread.
    fn perform_held(self: &Arc<Self>, engine: &RingEngine) {
        let mut ios = Vec::new();
        engine.held.take(&mut ios);
        let begin = Instant::now();
        let mut done = 0;
        with_actions(|actions| {
            let mut left = ios.drain(..);
            while let Some(io) = left.next() {
                perform(self, io, actions);
                done += 1;
                if !engine.held.was_quick(begin) {
                    engine.ring.submit(&mut left.collect());
                    break;
                }
            }
            engine.inside.fetch_sub(done, Ordering::SeqCst);
            dispatch(actions);
        });
    }

    pub fn set_patient(&self, patient: bool) {
        if let Some(engine) = &self.ring {
            engine.held.set_patient(patient);
        }
    }

    /// Carries out the I/O that is asked for, on this thread, as long as it is the only one.
    fn perform_only(self: &Arc<Self>, actions: &mut Actions) {
        while let [Action::Io(endpoint, _)] = actions.as_slice() {
            if !Arc::ptr_eq(endpoint, self) {
                return;
            }
            let Some(Action::Io(_, io)) = actions.pop() else { return };
            perform(self, io, actions);
        }
    }

    /// EVENTFD: sleeps until there may be something to do, or it is `until`.
    pub fn sleep(&self, until: Option<Instant>) {
        let events = &self.completions.events;
        let engine = self.ring.as_ref().filter(|engine| !engine.ring.is_spent());
        let Some(engine) = engine else { return events.wait(until) };
        match engine.sleeper.try_lock() {
            Some(_sleeper) if events.anything_due() || engine.held.has_any() => {}
            Some(_sleeper) => {
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                engine.ring.wait(left);
            }
            None => {
                let slice = Instant::now() + SLICE;
                let slice = until.map_or(slice, |until| until.min(slice));
                on_time(|| events.wait(Some(slice)));
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
            // A spent ring stays so: who finds it broken takes back what he has put in.
            if engine.stopping.load(Ordering::SeqCst) || engine.ring.is_spent() {
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

    /// Whether only its caller's thread takes the results of its ring in.
    pub fn is_polled(&self) -> bool {
        self.mode == CompletionMode::Eventfd && self.ring.is_some()
    }

    /// EVENTFD: somebody waits, maybe for I/O of this ring, whom its caller's polling does not
    /// concern (`Node::is_waited_for`), and that caller may not be polling: as long as both is so
    /// a job takes the ring's results in. Called when somebody comes to wait, and when I/O comes
    /// to the ring while one does: of the two events the later one sees the other.
    pub fn ensure_unpolled_progress(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        if self.wants_help(engine) && !engine.helping.swap(true, Ordering::SeqCst) {
            self.pool.push(Work::ReapUnpolled(self.clone()));
        }
    }

    // SeqCst, all of it: see `reap_unpolled`.
    fn wants_help(&self, engine: &RingEngine) -> bool {
        engine.inside.load(Ordering::SeqCst) > 0 && self.node.is_waited_for()
    }

    /// The job.
    pub fn reap_unpolled(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        loop {
            let reaped = self.reap(false);
            if !self.wants_help(engine) {
                engine.helping.store(false, Ordering::SeqCst);
                // Whoever has put I/O in or come to wait since either sees that nobody helps, or
                // is seen here.
                if !self.wants_help(engine) || engine.helping.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
            if !reaped {
                engine.nap();
            }
        }
    }
}

impl RingEngine {
    /// A job waits for results, beside a thread that may be asleep in the ring.
    fn nap(&self) {
        match self.sleeper.try_lock() {
            Some(_sleeper) => self.ring.wait(Some(SLICE)),
            // Whoever sleeps in the ring takes its results in.
            None => thread::sleep(NAP),
        }
    }
}

/// Storage that does not know the flag for durable writes, or for atomic ones: the pool has
/// another way.
fn needs_fallback(io: &Io, result: Result<u64, i32>) -> bool {
    (io.fua || io.atomic) && matches!(result, Err(libc::EOPNOTSUPP | libc::EINVAL))
}
