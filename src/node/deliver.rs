//! The result of a request, on its way to the owner of the request. No callback runs in here.

use std::cell::Cell;
use std::sync::Arc;

use super::answers::failure;
use super::tracing::request_ends;
use super::{favours, Endpoint, Owner, RingEngine, Work};
use crate::completion::{CompletionMode, Delivery, Runner};
use crate::engine::{Pool, StableCopy};
use blkalign_machine::Completion;

/// Gives a result to its owner. Returns what a library thread has to do for that, if one is needed.
pub fn deliver(completion: Completion<Owner>) -> Option<(Pool<Work>, Work)> {
    request_ends(&completion);
    let Completion { token, op, offset, bytes, result, .. } = completion;
    match token {
        Owner::Waiter(waiter) => {
            waiter.set(result);
            None
        }
        // The machine has broken meanwhile: that thread will notice.
        Owner::Caller => None,
        Owner::Callback(endpoint, callback, generation, copy, began) => {
            endpoint.latency.note(op, began, result);
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
    let here = match endpoint.mode {
        CompletionMode::Eventfd => {
            push_due(&endpoint, delivery);
            return None;
        }
        _ => runs_here(&endpoint),
    };
    let (concurrent, completions) =
        (endpoint.mode == CompletionMode::Concurrent, &endpoint.completions);
    let pool = endpoint.pool.clone();
    if here == Here::No {
        return match concurrent {
            true => Some((pool, Work::Callback(endpoint, delivery))),
            false => match completions.push(delivery) {
                Runner::Needed => Some((pool, Work::Callbacks(endpoint))),
                Runner::AtWork => None,
            },
        };
    }
    let pushed = match concurrent {
        true => completions.push_for_job_unless_taken(delivery),
        false => Ok(completions.push_for_job(delivery)),
    };
    match pushed {
        Err(delivery) => Some((pool, Work::Callback(endpoint, delivery))),
        Ok(Runner::Needed) if here == Here::AsAFavour => {
            // A job that has been replaced meanwhile does no favours.
            let left = !favours::run_callbacks_of(&endpoint) && completions.claim_from_job();
            left.then_some((pool, Work::Callbacks(endpoint)))
        }
        Ok(_) => None,
    }
}

/// Whether the thread that brings a result runs the callback, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    No,
    /// It takes results of this handle in.
    Yes,
    /// It takes results of another handle of the object in.
    AsAFavour,
}

thread_local! {
    /// The endpoint (its address) whose results this thread is taking in.
    static TAKES_IN: Cell<usize> = const { Cell::new(0) };
}

/// Runs `code`, in which this thread takes results of the endpoint in. No thread is woken for the
/// callbacks that become due by that: this thread runs them afterwards. EVENTFD: it tells others of
/// what it leaves. Else one of several threads that poll would wake all others with each result,
/// for nothing. SERIAL, CONCURRENT: see `Completions::claim_from_job`.
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

/// SERIAL, CONCURRENT: whether this thread takes results in, and runs callbacks of the endpoint
/// then.
fn runs_here(endpoint: &Endpoint) -> Here {
    let here = match TAKES_IN.get() {
        0 => Here::No,
        this if this == std::ptr::from_ref(endpoint).addr() => Here::Yes,
        _ if favours::may_run_callbacks(endpoint) => Here::AsAFavour,
        _ => Here::No,
    };
    let quick = || endpoint.ring.as_ref().is_some_and(RingEngine::runs_callback_here);
    if here == Here::No || !quick() {
        return Here::No;
    }
    here
}

/// EVENTFD: a callback is due.
fn push_due(endpoint: &Endpoint, delivery: Delivery) {
    let takes_it = TAKES_IN.get() == std::ptr::from_ref(endpoint).addr();
    endpoint.completions.events.push(delivery, takes_it);
    if !takes_it {
        endpoint.wake_sleeper();
    }
}
