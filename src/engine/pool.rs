//! The thread engine: a bounded pool of library threads. Knows jobs; what a job does is the
//! business of the room that made it.
//!
//! Threads are started when a job finds none idle, and end after `IDLE` without work. A job may
//! say that it is about to run a caller's callback (`outside`): its thread then no longer counts
//! against the bound for work, so that callbacks that block cannot keep I/O from moving. Hence
//! never more than `threads_max` threads at work, nor more than that again in callbacks.
//!
//! The lock guards `State`; nothing else is taken, and no job runs, while it is held.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::sys::{self, Error};

/// Threads of the shared pool.
pub const POOL_THREADS_MAX: usize = 64;
const IDLE: Duration = Duration::from_secs(4);
/// How long to wait before asking the system for a first thread again.
const RETRY: Duration = Duration::from_millis(10);

pub trait Job: Send + Sized + 'static {
    /// Does it, and returns a job that is best done next by the same thread, if there is one.
    fn run(self, pool: &Pool<Self>) -> Option<Self>;
}

/// Where jobs are pushed. Its threads live until its owner goes.
pub struct Pool<J: Job> {
    shared: Arc<Shared<J>>,
}

/// Ends the pool's threads when dropped.
pub struct PoolOwner<J: Job> {
    pool: Pool<J>,
}

struct Shared<J> {
    threads_max: usize,
    state: Mutex<State<J>>,
    wake: Condvar,
}

struct State<J> {
    jobs: VecDeque<J>,
    /// Threads that wait for a job.
    idle: usize,
    threads: Vec<(ThreadId, JoinHandle<()>)>,
    /// Threads inside a caller's callback.
    outside: usize,
    closing: bool,
}

impl<J: Job> Clone for Pool<J> {
    fn clone(&self) -> Self {
        Pool { shared: self.shared.clone() }
    }
}

impl<J: Job> PoolOwner<J> {
    pub fn new(threads_max: usize) -> PoolOwner<J> {
        let state = Mutex::new(State {
            jobs: VecDeque::new(),
            idle: 0,
            threads: Vec::new(),
            outside: 0,
            closing: false,
        });
        let shared = Arc::new(Shared { threads_max, state, wake: Condvar::new() });
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
                // Jobs catch their panics, so there is no result to look at.
                let _ = thread.join();
            }
        }
    }
}

impl<J: Job> Pool<J> {
    /// Has one thread at least, so that what is pushed later gets done.
    pub fn ensure_thread(&self) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        if state.threads.is_empty() {
            self.start_thread(&mut state)?;
        }
        Ok(())
    }

    pub fn push(&self, job: J) {
        let mut state = self.shared.state.lock();
        state.jobs.push_back(job);
        self.wake_for_jobs(&mut state);
        // Rare: no thread is left and the system gives none. The job must not be lost, and there
        // is nobody to tell.
        while state.threads.is_empty() && !state.jobs.is_empty() {
            MutexGuard::unlocked(&mut state, || thread::sleep(RETRY));
            self.wake_for_jobs(&mut state);
        }
    }

    /// Runs a caller's code on a thread of this pool.
    pub fn outside<R>(&self, code: impl FnOnce() -> R) -> R {
        struct Back<'a, J: Job>(&'a Shared<J>);
        impl<J: Job> Drop for Back<'_, J> {
            fn drop(&mut self) {
                self.0.state.lock().outside -= 1;
            }
        }
        {
            let mut state = self.shared.state.lock();
            state.outside += 1;
            self.wake_for_jobs(&mut state);
        }
        let _back = Back(&self.shared);
        code()
    }

    pub fn is(&self, other: &Pool<J>) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    fn wake_for_jobs(&self, state: &mut State<J>) {
        if state.jobs.is_empty() {
            return;
        }
        if state.idle > 0 {
            self.shared.wake.notify_one();
        }
        let working = state.threads.len().saturating_sub(state.outside);
        let room =
            working < self.shared.threads_max && state.threads.len() <= 2 * self.shared.threads_max;
        if state.jobs.len() > state.idle && room {
            // Without the means for one more thread the others do the job, a little later; for
            // the first one see `push`.
            let _ = self.start_thread(state);
        }
    }

    fn start_thread(&self, state: &mut State<J>) -> Result<(), Error> {
        let pool = self.clone();
        let builder = thread::Builder::new().name("blkalign-work".to_owned());
        let thread = sys::with_signals_blocked(|| builder.spawn(move || pool.work()));
        let thread = thread.map_err(|e| {
            let errno = e.raw_os_error().unwrap_or(libc::EAGAIN);
            Error::new(errno, "starting a thread of the pool")
        })?;
        state.threads.push((thread.thread().id(), thread));
        Ok(())
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            let mut next = Some(job);
            while let Some(job) = next {
                next = job.run(self);
            }
        }
    }

    /// Waits for a job; None: end, nobody counts on this thread any more.
    fn next_job(&self) -> Option<J> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closing {
                return None;
            }
            state.idle += 1;
            let timed_out = self.shared.wake.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() && !state.closing {
                let me = thread::current().id();
                state.threads.retain(|(id, _)| *id != me);
                return None;
            }
        }
    }
}
