//! The one thread that lets go of what throttles hold back, when its time has come. The thread is
//! there while a handle has a throttle.
//!
//! The lock of `CURRENT` is held while the thread is started. The lock of an alarm clock guards the
//! times; nothing else is taken while it is held, and no alarm goes off.

use std::sync::{Arc, Weak};

use crate::engine::{is_ours, start_thread, Pool};
use crate::log;
use crate::node::{Waiter, Work};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{on_time, Condvar, Instant, Mutex, MutexGuard};
use crate::sys::{self, caught, Error};

static CURRENT: Mutex<Weak<Timer>> = Mutex::new(Weak::new());

/// Whom the thread wakes.
pub trait Alarmed: Send + Sync {
    fn wake(&self);
}

/// The thread. It ends when the last reference goes.
pub struct Timer {
    clock: Arc<AlarmClock>,
    thread: Option<JoinHandle<()>>,
}

/// Where alarms are set.
#[derive(Default)]
pub struct AlarmClock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In no order: few.
    alarms: Vec<(Instant, Weak<dyn Alarmed>)>,
    closing: bool,
}

impl Timer {
    /// The timer of this process, started by a thread of `pool` unless this thread is the
    /// library's. ENOMEM: the system gives no thread for it.
    pub fn get(pool: &Pool<Work>) -> Result<Arc<Timer>, Error> {
        if let Some(timer) = CURRENT.lock().upgrade() {
            return Ok(timer);
        }
        if is_ours() || pool.is_unmanned() {
            return Timer::start();
        }
        let (answer, answered) = (Arc::new(Mutex::new(None)), Arc::new(Waiter::default()));
        let (its_answer, tells) = (answer.clone(), answered.clone());
        pool.push(Work::Call(Box::new(move || {
            *its_answer.lock() = Some(Timer::start());
            tells.set(Ok(()));
        })));
        let _ = answered.wait();
        let timer = answer.lock().take();
        timer.unwrap_or_else(|| Err(Error::new(libc::ENOMEM, "no thread for throttles")))
    }

    fn start() -> Result<Arc<Timer>, Error> {
        let mut current = CURRENT.lock();
        if let Some(timer) = current.upgrade() {
            return Ok(timer);
        }
        let clock = Arc::new(AlarmClock::default());
        let its = clock.clone();
        let what = "the thread of throttles";
        let thread = start_thread(sys::calls(), "blkalign-timer", what, move || its.run())?;
        let timer = Arc::new(Timer { clock, thread: Some(thread) });
        *current = Arc::downgrade(&timer);
        Ok(timer)
    }

    pub fn clock(&self) -> &Arc<AlarmClock> {
        &self.clock
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clock.state.lock().closing = true;
        self.clock.changed.notify_all();
        let Some(thread) = self.thread.take() else { return };
        if thread.thread().id() != thread::current().id() {
            // The thread catches panics, so there is no result to look at.
            let _ = thread.join();
        }
    }
}

impl AlarmClock {
    /// Wakes `whom` at that time. A time that was set for it before counts no more.
    pub fn set(&self, at: Instant, whom: &Weak<dyn Alarmed>) {
        let mut state = self.state.lock();
        let first = state.alarms.iter().all(|(other, _)| at < *other);
        match state.alarms.iter_mut().find(|(_, other)| Weak::ptr_eq(other, whom)) {
            Some(alarm) => alarm.0 = at,
            None => state.alarms.push((at, whom.clone())),
        }
        drop(state);
        if first {
            self.changed.notify_all();
        }
    }

    fn run(&self) {
        let mut state = self.state.lock();
        while !state.closing {
            let now = Instant::now();
            match state.alarms.iter().map(|(at, _)| *at).min() {
                None => self.changed.wait(&mut state),
                Some(first) if first > now => {
                    on_time(|| self.changed.wait_until(&mut state, first));
                }
                Some(_) => {
                    let due = state.alarms.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>();
                    MutexGuard::unlocked(&mut state, || {
                        due.iter().filter_map(|(_, whom)| whom.upgrade()).for_each(wake);
                    });
                }
            }
        }
    }
}

fn wake(whom: Arc<dyn Alarmed>) {
    // A panic here is a fault of the library. The thread goes on: others wait for it.
    if let Err(panic) = caught(|| whom.wake()) {
        log::error!("a throttle: {panic}");
    }
}
