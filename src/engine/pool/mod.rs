//! The thread engine: a bounded pool of library threads. The pool knows jobs; what a job does is
//! the business of the room that made the job.
//!
//! The first threads are started when a handle opens (`man`), and stay. From then on only threads
//! of the pool start others: the thread that pushes a job may be a program's, under a filter that
//! kills it for that. So one thread is *spare*, waiting for a job, and whoever takes a job that may
//! last sees to it first that another one is spare. A thread ends after `IDLE` without work, if
//! another is idle.
//!
//! The kind of a job (`Kind`) says which bound the job counts against: so callbacks that block
//! cannot keep I/O from moving, and neither can watchers of rings, which stay for long. The owner
//! of a job says which share of that bound it may have: see `shares.rs`. Hence at most
//! `threads_max` threads do I/O and as many run callbacks; beyond that there is one more of each
//! kind for each owner that would have none, one thread for each watcher, and the spare one.
//!
//! Where the system gives no thread at all a pool may be left *unmanned*: then its jobs wait until
//! a thread of the program comes to do them (`do_one`).
//!
//! The lock guards `State`; nothing else is taken, and no job runs, while it is held.

mod shares;
#[cfg(test)]
mod tests;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use once_cell::sync::OnceCell;

use self::shares::{Admission, Shares};
use super::headroom::allows_thread;
use super::threads::{is_ours, start_thread};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{on_time, Condvar, Instant, Mutex};
use crate::sys::{self, Calls, Error};

/// Threads of the shared pool.
pub const POOL_THREADS_MAX: usize = 64;
/// Most jobs that a thread does in a row because each names the next one. After that it is the turn
/// of the jobs that wait: else a handle that is never idle would keep a thread for ever.
const CHAIN_MAX: u32 = 8;
const IDLE: Duration = Duration::from_secs(4);
/// Most threads that one thread starts before it does the job in its hands. Those that it has
/// started go on with that.
const STARTS_MAX: usize = 2;

/// What a job is, for the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Moves I/O.
    Work,
    /// Runs a caller's code, which may block.
    Callback,
    /// Stays as long as a ring is busy. The room that pushes watchers sees to it that they are few.
    Watcher,
}

/// What a job holds while a thread has it in its hands: its kind, and its owner.
type Place = (Kind, usize);

pub trait Job: Send + Sized + 'static {
    fn kind(&self) -> Kind;

    /// Names the object, or the handle, whose share of the threads it takes.
    fn owner(&self) -> usize;

    /// Whether it is done in moments, and needs no thread beside those that there are.
    fn is_brief(&self) -> bool {
        false
    }

    /// Does the job, and returns one that the same thread had best do next, if there is one.
    fn run(self, pool: &Pool<Self>) -> Option<Self>;
}

/// Where jobs are pushed. The threads live until the `PoolOwner` goes.
pub struct Pool<J: Job> {
    shared: Arc<Shared<J>>,
}

/// Ends the pool's threads when dropped.
pub struct PoolOwner<J: Job> {
    pool: Pool<J>,
}

struct Shared<J> {
    calls: &'static dyn Calls,
    /// Relaxed: a hint, see `is_short`.
    short: AtomicBool,
    /// Set where the pool is unmanned: called when a job has come.
    job_has_come: OnceCell<Box<dyn Fn() + Send + Sync>>,
    state: Mutex<State<J>>,
    wake: Condvar,
    /// A thread has come to wait for its first job.
    arrived: Condvar,
}

struct State<J> {
    /// By `Kind`: the jobs, and threads that have one in their hands.
    jobs: [Shares<J>; 3],
    busy: [usize; 3],
    /// Jobs that are due at some time, in no order: few.
    later: Vec<(Instant, J)>,
    /// Threads that wait for a job.
    idle: usize,
    threads: Vec<(ThreadId, JoinHandle<()>)>,
    /// So many threads stay without work.
    least: usize,
    /// Threads that have started, and not come here yet.
    starting: usize,
    closing: bool,
}

impl<J> State<J> {
    /// How many jobs of a kind could be begun now, had they threads.
    fn runnable_of(&self, kind: Kind) -> usize {
        self.jobs[kind as usize].ready()
    }

    /// When the first of the jobs for later is due.
    fn next_due(&self) -> Option<Instant> {
        self.later.iter().map(|(due, _)| *due).min()
    }

    fn runnable(&self) -> usize {
        KINDS.iter().map(|&kind| self.runnable_of(kind)).sum()
    }

    /// Threads with nothing in their hands; some may not have come to wait yet.
    fn spare(&self) -> usize {
        self.threads.len().saturating_sub(self.busy.iter().sum())
    }
}

impl<J: Job> State<J> {
    /// Jobs for later that are due become jobs like others.
    fn take_due(&mut self) {
        if self.later.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(at) = self.later.iter().position(|(due, _)| *due <= now) {
            let (_, job) = self.later.swap_remove(at);
            self.jobs[job.kind() as usize].push(job.owner(), job);
        }
    }
}

/// In the order in which a thread looks for a job.
const KINDS: [Kind; 3] = [Kind::Watcher, Kind::Work, Kind::Callback];

impl<J: Job> Clone for Pool<J> {
    fn clone(&self) -> Self {
        Pool { shared: self.shared.clone() }
    }
}

impl<J: Job> PoolOwner<J> {
    /// A pool for one handle.
    pub fn new(threads_max: usize) -> PoolOwner<J> {
        PoolOwner::open(threads_max, false)
    }

    /// A pool for many handles: no owner takes more than its share.
    pub fn shared(threads_max: usize) -> PoolOwner<J> {
        PoolOwner::open(threads_max, true)
    }

    fn open(threads_max: usize, shared: bool) -> PoolOwner<J> {
        // In the order of `Kind`.
        let jobs = [
            Shares::new(threads_max, shared),
            Shares::new(threads_max, shared),
            Shares::new(usize::MAX, false),
        ];
        let state = Mutex::new(State {
            jobs,
            busy: [0; 3],
            later: Vec::new(),
            idle: 0,
            threads: Vec::new(),
            least: 0,
            starting: 0,
            closing: false,
        });
        let (calls, wake, arrived) = (sys::calls(), Condvar::new(), Condvar::new());
        let (short, job_has_come) = (AtomicBool::new(false), OnceCell::new());
        let shared = Arc::new(Shared { calls, short, job_has_come, state, wake, arrived });
        PoolOwner { pool: Pool { shared } }
    }

    pub fn pool(&self) -> &Pool<J> {
        &self.pool
    }
}

impl<J: Job> Drop for PoolOwner<J> {
    /// Every thread has ended when this returns, unless one of them is the caller.
    fn drop(&mut self) {
        let shared = &self.pool.shared;
        let threads = {
            let mut state = shared.state.lock();
            state.closing = true;
            std::mem::take(&mut state.threads)
        };
        shared.wake.notify_all();
        let me = thread::current().id();
        for (id, thread) in threads {
            if id != me {
                // `work` catches panics, so there is no result to look at.
                let _ = thread.join();
            }
        }
    }
}

impl<J: Job> Pool<J> {
    /// Starts threads on this thread until there are `least`, and returns when they have arrived:
    /// their hook has run, and their first system calls are behind them. So many stay from now on.
    pub fn man(&self, least: usize) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        let had = state.threads.len();
        while state.threads.len() < least {
            if let Err(error) = self.start_thread(&mut state) {
                // A pool with some of them works, if slowly.
                if state.threads.is_empty() || state.threads.len() == had {
                    return Err(error);
                }
                break;
            }
        }
        state.least = state.least.max(least.min(state.threads.len()));
        while state.starting > 0 {
            self.shared.arrived.wait(&mut state);
        }
        Ok(())
    }

    /// Leaves the pool without threads: `job_has_come` is called when there is something to do.
    pub fn leave_unmanned(&self, job_has_come: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.job_has_come.set(Box::new(job_has_come));
    }

    pub fn is_unmanned(&self) -> bool {
        self.shared.job_has_come.get().is_some()
    }

    /// Does one job of an unmanned pool on this thread. Returns whether there was one.
    pub fn do_one(&self) -> bool {
        let mut state = self.shared.state.lock();
        state.take_due();
        let kind = KINDS.into_iter().rev().find(|&kind| state.runnable_of(kind) > 0);
        let Some(job) = kind.and_then(|kind| state.jobs[kind as usize].begin()) else {
            return false;
        };
        drop(state);
        let (kind, owner) = (job.kind(), job.owner());
        let next = catch_unwind(AssertUnwindSafe(|| job.run(self))).unwrap_or(None);
        let mut state = self.shared.state.lock();
        state.jobs[kind as usize].end(owner);
        if let Some(next) = next {
            state.jobs[next.kind() as usize].push(next.owner(), next);
        }
        true
    }

    /// Whether an unmanned pool has something to do now.
    pub fn has_job(&self) -> bool {
        let mut state = self.shared.state.lock();
        state.take_due();
        state.runnable() > 0
    }

    pub fn push(&self, job: J) {
        let mut state = self.shared.state.lock();
        state.jobs[job.kind() as usize].push(job.owner(), job);
        self.wake_for_jobs(&mut state);
        drop(state);
        self.shared.job_has_come.get().iter().for_each(|tell| tell());
    }

    /// As `push`, when so much time has passed. What is not due yet when the pool ends is dropped.
    pub fn push_later(&self, after: Duration, job: J) {
        let mut state = self.shared.state.lock();
        state.later.push((Instant::now() + after, job));
        // All, since each knows only those times that were there when it went to sleep, and the
        // one that is woken may get a job before it sleeps again.
        if state.idle > 0 {
            self.shared.wake.notify_all();
        }
        self.keep_one_for_later(&mut state);
    }

    /// Some thread has to wait for the jobs that are due later.
    fn keep_one_for_later(&self, state: &mut State<J>) {
        if !state.later.is_empty() && state.spare() == 0 && is_ours() {
            // Where there is none to be had the next one that comes back looks.
            let _ = self.start_thread(state);
        }
    }

    /// This thread, of the pool, goes to do what may last. Others do what waits, and one is spare.
    fn keep_one_spare(&self, state: &mut State<J>) {
        for _ in 0..STARTS_MAX {
            if state.spare() > state.runnable() {
                return self.shared.short.store(false, Ordering::Relaxed);
            }
            if self.start_thread(state).is_err() {
                let short = state.runnable() > state.spare();
                return self.shared.short.store(short, Ordering::Relaxed);
            }
        }
    }

    pub fn is(&self, other: &Pool<J>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    fn wake_for_jobs(&self, state: &mut State<J>) {
        let runnable = state.runnable();
        if runnable == 0 {
            return self.shared.short.store(false, Ordering::Relaxed);
        }
        if state.idle > 0 {
            self.shared.wake.notify_one();
        }
        if runnable > state.spare() {
            // Where the system gives no further thread, or this thread must not start any, the
            // present threads do the job, a little later. Where all of them watch see `is_short`.
            let short = !is_ours() || self.start_thread(state).is_err();
            self.shared.short.store(short, Ordering::Relaxed);
        }
    }

    /// Whether jobs may be waiting for a thread that the system did not give. A thread that watches
    /// looks at this before it sleeps, for no job need be pushed again: see `try_again`.
    pub fn is_short(&self) -> bool {
        self.shared.short.load(Ordering::Relaxed)
    }

    /// Asks the system for the thread that it did not give. ENOMEM: it does not give it now either,
    /// and jobs wait for one.
    pub fn try_again(&self) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        self.wake_for_jobs(&mut state);
        match self.is_short() {
            true => Err(Error::new(libc::ENOMEM, "jobs wait for a thread")),
            false => Ok(()),
        }
    }

    fn start_thread(&self, state: &mut State<J>) -> Result<(), Error> {
        // Nobody would wait for its end.
        if state.closing {
            return Err(Error::new(libc::ENOMEM, "the pool ends"));
        }
        if state.threads.len() > state.busy[Kind::Watcher as usize] && !allows_thread() {
            return Err(Error::new(libc::ENOMEM, "no memory for one more thread of the pool"));
        }
        let pool = self.clone();
        let calls = self.shared.calls;
        let what = "a thread of the pool";
        let thread = start_thread(calls, "blkalign-work", what, move || pool.work())?;
        state.threads.push((thread.thread().id(), thread));
        state.starting += 1;
        Ok(())
    }

    fn work(&self) {
        self.shared.state.lock().starting -= 1;
        self.shared.arrived.notify_all();
        let run = |job: J| {
            // A panic here is a fault of the library, and has been logged. The thread goes on: a
            // thread that was gone would count as busy for ever.
            catch_unwind(AssertUnwindSafe(|| job.run(self))).unwrap_or(None)
        };
        let (mut done, mut back) = (None, None);
        while let Some(job) = self.next_job(done, back.take()) {
            let mut place = (job.kind(), job.owner());
            let mut next = run(job);
            let mut chain = 0;
            while let Some(job) = next {
                chain += 1;
                let its = (job.kind(), job.owner());
                if chain > CHAIN_MAX || (its != place && !self.change(place, its)) {
                    back = Some(job);
                    break;
                }
                place = its;
                next = run(job);
            }
            done = Some(place);
        }
    }

    /// A thread that had a job which took the place `from` goes on with one that takes `to`, if
    /// there is room for it.
    fn change(&self, from: Place, to: Place) -> bool {
        let mut state = self.shared.state.lock();
        if state.jobs[to.0 as usize].try_begin(to.1) == Admission::NoRoom {
            return false;
        }
        let admitted = state.jobs[from.0 as usize].end(from.1);
        state.busy[from.0 as usize] -= 1;
        state.busy[to.0 as usize] += 1;
        (0..admitted).for_each(|_| self.wake_for_jobs(&mut state));
        true
    }

    /// Whether this thread, which has nothing in its hands, must leave the watchers alone. A
    /// watcher stays for long. If other jobs wait, no other thread is free and the system gives no
    /// further one, nothing would bring a thread to those jobs: perhaps no further job is ever
    /// pushed.
    fn must_not_watch(&self, state: &mut State<J>) -> bool {
        let watchers = state.runnable_of(Kind::Watcher);
        let others = state.runnable() > watchers;
        watchers > 0 && others && state.spare() == 1 && self.start_thread(state).is_err()
    }

    /// Waits for a job. The job before took the place `done`, and is over. None: the thread is to
    /// end; the pool does not count on it any more. `back`: a job that this thread puts back,
    /// behind the others.
    fn next_job(&self, done: Option<Place>, back: Option<J>) -> Option<J> {
        let mut state = self.shared.state.lock();
        let mut admitted = 0;
        if let Some((kind, owner)) = done {
            state.busy[kind as usize] -= 1;
            admitted = state.jobs[kind as usize].end(owner);
        }
        let puts_back = back.is_some();
        if let Some(job) = back {
            state.jobs[job.kind() as usize].push(job.owner(), job);
        }
        loop {
            state.take_due();
            let first = usize::from(self.must_not_watch(&mut state));
            let mut kinds = KINDS.into_iter().skip(first);
            let kind = kinds.find(|&kind| state.runnable_of(kind) > 0);
            if let Some(kind) = kind {
                let job = state.jobs[kind as usize].begin();
                state.busy[kind as usize] += 1;
                // This thread took one of the jobs that were admitted, and no thread has been woken
                // for the others; nor for the job that was put back, which may be of another kind.
                (1..admitted).for_each(|_| self.wake_for_jobs(&mut state));
                if puts_back || done.is_some_and(|(done, _)| done != kind) {
                    self.wake_for_jobs(&mut state);
                }
                // The thread that does a brief job comes back soon.
                if job.as_ref().is_some_and(|job| !job.is_brief()) {
                    self.keep_one_spare(&mut state);
                }
                return job;
            }
            if state.closing {
                return None;
            }
            state.idle += 1;
            let timed_out = match state.next_due() {
                None => self.shared.wake.wait_for(&mut state, IDLE).timed_out(),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    on_time(|| self.shared.wake.wait_for(&mut state, left));
                    false
                }
            };
            state.idle -= 1;
            let others = state.idle > 0 && state.threads.len() > state.least;
            let over = timed_out && state.later.is_empty() && state.runnable() == 0;
            if over && others && !state.closing {
                let me = thread::current().id();
                state.threads.retain(|(id, _)| *id != me);
                return None;
            }
        }
    }
}
