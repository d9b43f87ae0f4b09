//! Where callbacks run: one at a time per handle, or in parallel, on library threads; or on the
//! caller's own when it asks. Always exactly once, with the thread marked so that calls that
//! would wait are refused.
//!
//! The lock guards the queue of one handle's callbacks; it is never held while one runs.

mod event;
mod generations;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};

use crate::sync::{Instant, Mutex};
use crate::sys::{outside, Error};
use event::Events;
use generations::Generations;
pub use generations::{Generation, Mark};

/// SERIAL: callbacks of a handle that run before it is the turn of other handles.
const RUN_MAX: usize = 64;

/// How the callbacks of a handle come to run. The numbers are those of `BLKALIGN_COMPLETION_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum CompletionMode {
    #[default]
    Serial = 0,
    Concurrent = 1,
    Eventfd = 2,
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
    pub generation: Generation,
    pub result: Result<(), Error>,
}

/// What one handle has outstanding towards its caller.
#[derive(Default)]
pub struct Completions {
    due: Mutex<Due>,
    /// Requests taken in whose callbacks have not returned yet, synchronous ones included.
    pending: Generations,
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
    /// Counts a request, for `drain`.
    pub fn request_taken_in(&self) -> Generation {
        self.pending.enter()
    }

    /// About how many requests are pending: those of this generation, and those that drains waited
    /// for when one of them last looked. A hint.
    pub fn pending_with(&self, generation: Generation) -> usize {
        self.pending.with(generation)
    }

    /// Whether a drain has come since a request was counted that is not over.
    pub fn is_waited_for(&self, generation: Generation) -> bool {
        self.pending.is_closed(generation)
    }

    /// The request's callback has returned, or its caller has its result.
    pub fn request_over(&self, generation: Generation) {
        if self.pending.leave(generation) {
            self.events.notify();
        }
    }

    /// Whether nothing is pending at all.
    pub fn is_drained(&self) -> bool {
        self.pending.are_empty()
    }

    /// Marks this moment: what was taken in before it is what a drain waits for.
    pub fn mark(&self) -> Mark {
        self.pending.mark()
    }

    /// Whether all that was taken in before the mark is over.
    pub fn is_over(&self, mark: Mark) -> bool {
        self.pending.are_over(mark)
    }

    /// Waits until all that was taken in before the mark is over. False: it is `until`.
    pub fn wait_over(&self, mark: Mark, until: Option<Instant>) -> bool {
        self.pending.wait(mark, until)
    }

    /// SERIAL: takes a delivery in; true if the caller has to see to it that `run_serially` runs.
    pub fn push(&self, delivery: Delivery) -> bool {
        let mut due = self.due.lock();
        due.deliveries.push_back(delivery);
        !std::mem::replace(&mut due.running, true)
    }

    /// SERIAL: runs what is due, one after the other. True: there is more, and the caller has to
    /// see to it that this runs again; it is not to keep the thread from others for ever.
    pub fn run_serially(&self) -> bool {
        for _ in 0..RUN_MAX {
            let delivery = {
                let mut due = self.due.lock();
                match due.deliveries.pop_front() {
                    Some(delivery) => delivery,
                    None => {
                        due.running = false;
                        return false;
                    }
                }
            };
            self.run(delivery);
        }
        true
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
        self.request_over(delivery.generation);
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
