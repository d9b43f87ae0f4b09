//! The result of a request, on its way to the owner of the request. No callback runs in here.

use std::cell::Cell;
use std::sync::Arc;

use super::answers::failure;
use super::{Endpoint, Owner, RingEngine, Work};
use crate::completion::{CompletionMode, Delivery, Runner};
use crate::engine::{Pool, StableCopy};
use blkalign_machine::Completion;

/// Gives a result to its owner. Returns what a library thread has to do for that, if one is needed.
pub fn deliver(completion: Completion<Owner>) -> Option<(Pool<Work>, Work)> {
    let Completion { token, op, offset, bytes, result, .. } = completion;
    match token {
        Owner::Waiter(waiter) => {
            waiter.set(result);
            None
        }
        // The machine has broken meanwhile: that thread will notice.
        Owner::Caller => None,
        Owner::Callback(endpoint, callback, generation, copy) => {
            let result = result.map_err(|errno| failure(&endpoint, op, offset, bytes, errno));
            release(copy, &endpoint);
            deliver_callback(endpoint, Delivery { callback, generation, result })
        }
    }
}

/// Gives back the copy that a write was made from. Not after a fault of the library: then the
/// request may be over while its I/O is not.
pub fn release(copy: Option<StableCopy>, endpoint: &Endpoint) {
    match copy {
        Some(copy) if endpoint.node.is_poisoned() => copy.abandon(),
        copy => drop(copy),
    }
}

fn deliver_callback(endpoint: Arc<Endpoint>, delivery: Delivery) -> Option<(Pool<Work>, Work)> {
    let pool = endpoint.pool.clone();
    match endpoint.mode {
        CompletionMode::Concurrent if runs_here(&endpoint) => {
            match endpoint.completions.push_for_this_thread(delivery, RUNS.get()) {
                Ok(()) => {
                    RUNS.set(true);
                    None
                }
                Err(delivery) => Some((pool, Work::Callback(endpoint, delivery))),
            }
        }
        CompletionMode::Concurrent => Some((pool, Work::Callback(endpoint, delivery))),
        CompletionMode::Serial => match endpoint.completions.push(delivery) {
            Runner::Needed if runs_here(&endpoint) => {
                RUNS.set(true);
                None
            }
            Runner::Needed => Some((pool, Work::Callbacks(endpoint))),
            Runner::AtWork => None,
        },
        CompletionMode::Eventfd => {
            push_due(&endpoint, delivery);
            None
        }
    }
}

thread_local! {
    /// The endpoint (its address) whose results this thread is taking in.
    static TAKES_IN: Cell<usize> = const { Cell::new(0) };
    /// SERIAL, CONCURRENT: this thread is the one that runs the callbacks of that endpoint.
    static RUNS: Cell<bool> = const { Cell::new(false) };
}

/// EVENTFD: runs `code`, in which this thread takes results of the endpoint in. No thread is woken
/// for the callbacks that become due by that: this thread runs them afterwards, and tells others of
/// what it leaves. Else one of several threads that poll would wake all others with each result,
/// for nothing.
pub fn while_taking_in<R>(endpoint: &Endpoint, code: impl FnOnce() -> R) -> R {
    // Put back also after a panic.
    struct Before(usize);
    impl Drop for Before {
        fn drop(&mut self) {
            TAKES_IN.set(self.0);
        }
    }
    let _before = Before(TAKES_IN.replace(std::ptr::from_ref(endpoint).addr()));
    code()
}

/// SERIAL, CONCURRENT: runs `code`, in which this thread takes results of the endpoint in, as the
/// job of `reap.rs`. Returns whether this thread is the one that has to run the callbacks that are
/// due now, as it is if `runs` says that it was before.
pub fn while_reaping(endpoint: &Endpoint, runs: bool, code: impl FnOnce()) -> bool {
    RUNS.set(runs);
    while_taking_in(endpoint, code);
    RUNS.replace(false)
}

/// Whether this thread takes results of the endpoint in, and runs its callbacks then.
fn runs_here(endpoint: &Endpoint) -> bool {
    let takes_in = TAKES_IN.get() == std::ptr::from_ref(endpoint).addr();
    takes_in && endpoint.ring.as_ref().is_some_and(RingEngine::runs_callback_here)
}

/// EVENTFD: a callback is due.
fn push_due(endpoint: &Endpoint, delivery: Delivery) {
    let takes_it = TAKES_IN.get() == std::ptr::from_ref(endpoint).addr();
    endpoint.completions.events.push(delivery, takes_it);
    if !takes_it {
        endpoint.wake_sleeper();
    }
}
