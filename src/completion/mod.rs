//! Where callbacks run: one at a time per handle, or in parallel, on library threads; or on the
//! caller's own when it asks. Always exactly once, with the thread marked so that calls that
//! would wait are refused.
//!
//! The lock guards the queue of one handle's callbacks; it is never held while one runs.

mod event;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Instant, Mutex};
use crate::sys::{outside, Error};
use event::Events;

/// How the callbacks of a handle come to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Serial,
    Concurrent,
    Event,
}

/// Where an asynchronous request's result goes.
#[derive(Debug, Clone, Copy)]
pub struct Callback {
    pub function: extern "C" fn(opaque: *mut c_void, ret: c_int),
    pub opaque: *mut c_void,
}

// SAFETY: the caller gave the pair away to be called on another thread; that is the contract of
// every asynchronous call.
unsafe impl Send for Callback {}

/// A callback that is due, with its result.
#[derive(Debug)]
pub struct Delivery {
    pub callback: Callback,
    pub result: Result<(), Error>,
}

/// What one handle has outstanding towards its caller.
#[derive(Default)]
pub struct Completions {
    due: Mutex<Due>,
    /// Requests taken in whose callbacks have not returned yet, synchronous ones included.
    pending: AtomicUsize,
    drained_lock: Mutex<()>,
    drained: Condvar,
    /// EVENTFD: what is due.
    pub events: Events,
}

#[derive(Default)]
struct Due {
    deliveries: VecDeque<Delivery>,
    /// A library thread is running them, or a job that will is under way.
    running: bool,
}

impl Completions {
    /// How many are pending now.
    pub fn request_taken_in(&self) -> usize {
        // SeqCst: a submitter that counts its request and then looks whether somebody takes the
        // ring's results in, and one who stops doing so and then looks here, see each other.
        self.pending.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The request's callback has returned, or its caller has its result.
    pub fn request_over(&self) {
        // Release: what the callback did is seen by whoever saw `pending` reach 0 in `drain`.
        if self.pending.fetch_sub(1, Ordering::Release) == 1 {
            // The lock orders this with a drainer that has looked and is about to wait.
            drop(self.drained_lock.lock());
            self.drained.notify_all();
            self.events.notify();
        }
    }

    pub fn is_drained(&self) -> bool {
        self.pending.load(Ordering::SeqCst) == 0
    }

    /// Waits until nothing is pending, or it is `until`.
    pub fn wait_drained(&self, until: Instant) {
        let mut guard = self.drained_lock.lock();
        while self.pending.load(Ordering::Acquire) > 0 {
            if self.drained.wait_until(&mut guard, until).timed_out() {
                return;
            }
        }
    }

    /// SERIAL: takes a delivery in; true if the caller has to see to it that `run_serially` runs.
    pub fn push(&self, delivery: Delivery) -> bool {
        let mut due = self.due.lock();
        due.deliveries.push_back(delivery);
        !std::mem::replace(&mut due.running, true)
    }

    /// SERIAL: runs what is due, one after the other, until nothing is.
    pub fn run_serially(&self) {
        loop {
            let delivery = {
                let mut due = self.due.lock();
                match due.deliveries.pop_front() {
                    Some(delivery) => delivery,
                    None => {
                        due.running = false;
                        return;
                    }
                }
            };
            self.run(delivery);
        }
    }

    pub fn run(&self, delivery: Delivery) {
        let ret = match &delivery.result {
            Ok(()) => 0,
            Err(error) => {
                report(error);
                -error.errno
            }
        };
        let inside = Inside::enter();
        outside(|| (delivery.callback.function)(delivery.callback.opaque, ret));
        drop(inside);
        self.request_over();
    }
}

thread_local! {
    static INSIDE_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

struct Inside(bool);

impl Inside {
    fn enter() -> Inside {
        Inside(INSIDE_CALLBACK.replace(true))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE_CALLBACK.set(self.0);
    }
}

/// Whether this thread is inside a caller's callback, whichever handle it belongs to.
pub fn inside_callback() -> bool {
    INSIDE_CALLBACK.get()
}

/// Runs a driver's code: it may wait even if a callback's submission led here.
pub fn outside_callback<R>(code: impl FnOnce() -> R) -> R {
    let _back = Inside(INSIDE_CALLBACK.replace(false));
    code()
}

/// Tells the words of a failure that no result tells.
pub fn report(error: &Error) {
    FAILURE_HOOK.get().inspect(|hook| hook(error));
}

/// Told about each failure on the thread that runs its callback, just before it runs.
pub type FailureHook = fn(&Error);

static FAILURE_HOOK: once_cell::sync::OnceCell<FailureHook> = once_cell::sync::OnceCell::new();

/// Sets the hook; later calls change nothing.
pub fn set_failure_hook(hook: FailureHook) {
    let _ = FAILURE_HOOK.set(hook);
}
