//! Where callbacks run: on library threads, one at a time per handle or in parallel; or on the
//! caller's own thread, when that thread asks. Each callback runs exactly once. The thread is
//! marked meanwhile, so that calls that would wait are refused. Knows nothing of C but how a
//! callback is called: the submitter says what becomes of a failure's words
//! (`Callback::on_failure`).
//!
//! The lock guards the list of one handle's callbacks. It is never held while a callback runs.

mod event;
mod generations;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};

use crate::sync::{Instant, Mutex};
use crate::sys::{outside, Error};
use event::Events;
use generations::{Ended, Generations};
pub use generations::{Generation, Mark};

/// SERIAL: how many callbacks of a handle run before it is the turn of other handles.
const RUN_MAX: u32 = 64;

/// How the callbacks of a handle come to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompletionMode {
    #[default]
    Serial,
    Concurrent,
    Eventfd,
}

/// Where an asynchronous request's result goes.
#[derive(Debug, Clone, Copy)]
pub struct Callback {
    pub function: extern "C" fn(opaque: *mut c_void, ret: c_int),
    pub opaque: *mut c_void,
    /// Gets a failure in words, on the thread that runs `function`, just before `function` gets the
    /// number. The submitter says what is done with the words. Not called for a success.
    pub on_failure: fn(&Error),
}

// SAFETY: the caller gave the pointer away to be used on another thread; that is the contract of
// every asynchronous call.
unsafe impl Send for Callback {}

impl Callback {
    /// For a request whose submitter takes the result as a value (`Completions::take`), by `token`.
    /// Where the handle closes before that the result is nobody's, and nothing is called.
    pub fn by_token(token: usize) -> Callback {
        extern "C" fn nobody(_token: *mut c_void, _ret: c_int) {}
        let opaque = std::ptr::without_provenance_mut(token);
        Callback { function: nobody, opaque, on_failure: |_| {} }
    }

    fn token(&self) -> usize {
        self.opaque.addr()
    }
}

/// A callback that is due, with its result.
#[derive(Debug)]
pub struct Delivery {
    pub callback: Callback,
    pub generation: Generation,
    pub result: Result<(), Error>,
}

/// SERIAL: who runs a callback that has just become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// No thread so far: the thread that pushed it has to see to it that `run_due` runs.
    Needed,
    /// A thread that runs callbacks of the handle already, or a job that is about to.
    AtWork,
}

/// Whether callbacks were left that another thread, or a later call, has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    Something,
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
    role: Role,
}

/// Who runs the deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Role {
    #[default]
    Nobody,
    /// A job that takes results in, once it has taken them in; or whoever comes before, see
    /// `claim_from_job`.
    Job,
    /// A thread that has begun, or a job of the pool that is under way. It may be stuck.
    Taken,
}

impl Completions {
    /// Counts a request, for `drain`.
    pub fn request_taken_in(&self) -> Generation {
        self.pending.enter()
    }

    /// About how many requests are pending: those of this generation, and those that drains were
    /// waiting for when a drain last looked. A hint.
    pub fn pending_with(&self, generation: Generation) -> usize {
        self.pending.with(generation)
    }

    /// Whether a drain has come since a request, which is not over, was counted in this generation.
    pub fn is_waited_for(&self, generation: Generation) -> bool {
        self.pending.is_closed(generation)
    }

    /// The request's callback has returned, or its caller has its result.
    pub fn request_over(&self, generation: Generation) {
        if self.pending.leave(generation) == Ended::Generation {
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

    /// Waits until all that was taken in before the mark is over, but not beyond `until`. Returns
    /// whether it is over.
    pub fn wait_over(&self, mark: Mark, until: Option<Instant>) -> bool {
        self.pending.wait(mark, until)
    }

    /// SERIAL: takes a delivery in.
    pub fn push(&self, delivery: Delivery) -> Runner {
        let mut due = self.due.lock();
        due.deliveries.push_back(delivery);
        if due.role != Role::Nobody {
            return Runner::AtWork;
        }
        due.role = Role::Taken;
        Runner::Needed
    }

    /// SERIAL: takes a delivery in, on a thread that claims it before long (`claim_from_job`), if
    /// no other runs it.
    pub fn push_for_job(&self, delivery: Delivery) -> Runner {
        let mut due = self.due.lock();
        due.deliveries.push_back(delivery);
        if due.role != Role::Nobody {
            return Runner::AtWork;
        }
        due.role = Role::Job;
        Runner::Needed
    }

    /// CONCURRENT: as `push_for_job`, but gives the delivery back if a thread has begun to run
    /// others: that thread may be stuck.
    pub fn push_for_job_unless_taken(&self, delivery: Delivery) -> Result<Runner, Delivery> {
        let mut due = self.due.lock();
        if due.role == Role::Taken {
            return Err(delivery);
        }
        due.deliveries.push_back(delivery);
        match std::mem::replace(&mut due.role, Role::Job) {
            Role::Nobody => Ok(Runner::Needed),
            _ => Ok(Runner::AtWork),
        }
    }

    /// Makes this thread the one that runs what was pushed for a job, if no other has claimed that.
    /// Then the caller has to see to it that `run_due` runs.
    pub fn claim_from_job(&self) -> bool {
        let mut due = self.due.lock();
        let claimed = due.role == Role::Job;
        if claimed {
            due.role = Role::Taken;
        }
        claimed
    }

    /// A job has left some, and will claim them again when it has taken further results in.
    pub fn leave_to_job(&self) {
        self.due.lock().role = Role::Job;
    }

    /// CONCURRENT: takes all that is due from the thread that runs it, for others.
    pub fn take_due(&self) -> VecDeque<Delivery> {
        let mut due = self.due.lock();
        if due.role == Role::Job {
            due.role = Role::Nobody;
        }
        std::mem::take(&mut due.deliveries)
    }

    /// Runs what is due, one after the other, on the thread that has taken that over. Returns how
    /// many ran. If something is left the caller has to see to it that this runs again: one call is
    /// not to keep its thread from other handles for ever.
    pub fn run_due(&self) -> (u32, Left) {
        self.run_due_while(|_| true)
    }

    /// As `run_due`. `goes_on` gets how many ran, after each.
    pub fn run_due_while(&self, mut goes_on: impl FnMut(u32) -> bool) -> (u32, Left) {
        for ran in 0..RUN_MAX {
            let delivery = {
                let mut due = self.due.lock();
                match due.deliveries.pop_front() {
                    Some(delivery) => delivery,
                    None => {
                        due.role = Role::Nobody;
                        return (ran, Left::Nothing);
                    }
                }
            };
            self.run(delivery);
            if !goes_on(ran + 1) {
                return (ran + 1, Left::Something);
            }
        }
        (RUN_MAX, Left::Something)
    }

    /// In place of `run`, for a submitter that wants no call: the token (`Callback::by_token`) and
    /// the result.
    pub fn take(&self, delivery: Delivery) -> (usize, Result<(), Error>) {
        self.request_over(delivery.generation);
        (delivery.callback.token(), delivery.result)
    }

    pub fn run(&self, delivery: Delivery) {
        let ret = match &delivery.result {
            Ok(()) => 0,
            Err(error) => {
                (delivery.callback.on_failure)(error);
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

/// Runs code of the program that may not wait, as a callback may not.
pub fn as_callback<R>(code: impl FnOnce() -> R) -> R {
    let _inside = Inside::enter();
    outside(code)
}

/// Runs a driver's code, which may wait even if a callback's submission led here.
pub fn outside_callback<R>(code: impl FnOnce() -> R) -> R {
    let _back = Inside(INSIDE_CALLBACK.replace(false));
    code()
}
