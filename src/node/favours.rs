//! What the job that takes results of one handle in does for other handles of the same object.
//!
//! Writes of several handles share I/O (`machine/src/merge.rs`), so one result may be that of eight
//! requests of eight handles. To wake a job for each of these handles would cost more than all
//! that is left to do for them: to run a callback, and perhaps to carry out the I/O that it asks
//! for. So the job that has the result does both, as it does for its own handle.
//!
//! If the job is held up `hand_on` gives to others what it has not come to. A job that has been
//! replaced takes nothing on any more: it looks for its number under the lock, and the number is
//! changed before `hand_on` takes the lock.

use std::cell::RefCell;
use std::sync::Arc;

use super::endpoint::Favours;
use super::{Endpoint, RingEngine, Work};
use crate::completion::CompletionMode;
use crate::driver::Io;

type Job = Option<(Arc<Endpoint>, u32)>;

thread_local! {
    /// The job that this thread does: whose results it takes in, and its number.
    static JOB: RefCell<Job> = const { RefCell::new(None) };
}

/// Runs `code` as the job of this number. A thread that ends has no place to note that, and does no
/// favours.
pub fn as_job<R>(endpoint: &Arc<Endpoint>, turn: u32, code: impl FnOnce() -> R) -> R {
    // Put back also after a panic.
    struct Before(Job);
    impl Drop for Before {
        fn drop(&mut self) {
            let _ = JOB.try_with(|job| job.replace(self.0.take()));
        }
    }
    let this = Some((endpoint.clone(), turn));
    let _before = JOB.try_with(|job| Before(job.replace(this))).ok();
    code()
}

/// Runs `code`, in which this thread polls, as a job does that is never replaced.
pub fn as_poller<R>(endpoint: &Arc<Endpoint>, code: impl FnOnce() -> R) -> R {
    let turn = endpoint.ring.as_ref().map_or(0, RingEngine::turn);
    as_job(endpoint, turn, code)
}

/// None: the thread ends, and does no job (`sys/spare.rs`).
fn this_job<R>(look: impl FnOnce(&Job) -> R) -> Option<R> {
    JOB.try_with(|job| look(&job.borrow())).ok()
}

/// Whether this thread does the job of another handle of the same object, or polls that handle and
/// the guest is polled, too.
fn may_do(guest: &Endpoint) -> bool {
    this_job(|job| is_host(job, guest)).unwrap_or(false)
}

/// As `may_do`, for callbacks. Those of EVENTFD run in `poll` of their own handle only.
pub fn may_run_callbacks(guest: &Endpoint) -> bool {
    guest.mode != CompletionMode::Eventfd && may_do(guest)
}

fn is_host(job: &Job, guest: &Endpoint) -> bool {
    let Some((host, _)) = job else { return false };
    let polled = |its: &Endpoint| its.mode == CompletionMode::Eventfd;
    Arc::ptr_eq(&host.node, &guest.node)
        && !std::ptr::eq(&**host, guest)
        && polled(host) == polled(guest)
}

/// Runs `take` if this thread does such a job, and has not been replaced.
fn take_on(guest: &Endpoint, take: impl FnOnce(&mut Favours)) -> bool {
    let taken = this_job(|job| {
        let Some((host, turn)) = job.as_ref().filter(|_| is_host(job, guest)) else { return false };
        let mut favours = host.favours.lock();
        let replaced = host.ring.as_ref().is_none_or(|engine| engine.turn() != *turn);
        if !replaced {
            take(&mut favours);
        }
        !replaced
    });
    taken.unwrap_or(false)
}

/// Has the job of this thread claim the callbacks of `guest`. Returns whether it will.
pub fn run_callbacks_of(guest: &Arc<Endpoint>) -> bool {
    take_on(guest, |favours| favours.due.push(guest.clone()))
}

/// Has the job of this thread carry out I/Os of `guest`, if that is worth while: these are not many
/// and not for storage that does not block, and `guest` has no others. Else leaves them alone.
pub fn carry_out_for(guest: &Arc<Endpoint>, engine: &RingEngine, ios: &mut Vec<Io>) -> bool {
    if !may_do(guest) || engine.has_any_inside() || !engine.deferred.suits(ios) {
        return false;
    }
    engine.note_in(ios.len());
    let count = ios.len();
    let taken = take_on(guest, |favours| {
        favours.ios.extend(ios.drain(..).map(|io| (guest.clone(), io)));
    });
    if !taken {
        engine.note_out(count);
    }
    taken
}

/// The next I/O that the job of `host` has taken on.
pub fn next_io(host: &Endpoint) -> Option<(Arc<Endpoint>, Io)> {
    host.favours.lock().ios.pop_front()
}

/// The next handle whose callbacks it has taken on; none runs any more of the one before. None:
/// there is none, or the job with this number has been replaced.
pub fn next_due(host: &Endpoint, turn: u32) -> Option<Arc<Endpoint>> {
    let mut favours = host.favours.lock();
    if host.ring.as_ref().is_none_or(|engine| engine.turn() != turn) {
        return None;
    }
    let next = favours.due.pop();
    // The other one goes when the lock is free: it may be the last reference.
    let before = std::mem::replace(&mut favours.running, next.clone());
    drop(favours);
    drop(before);
    next
}

/// How many I/Os there are, and whether there is anything at all.
pub fn count(host: &Endpoint) -> (usize, bool) {
    let favours = host.favours.lock();
    (favours.ios.len(), !favours.ios.is_empty() || !favours.due.is_empty())
}

/// Gives what the job of `host` has not come to to others.
pub fn hand_on(host: &Endpoint) {
    let Favours { due, running, ios } = std::mem::take(&mut *host.favours.lock());
    for (guest, io) in ios {
        guest.submit_to_ring(|engine| engine.ring.submit(&mut vec![io]));
    }
    // One of its callbacks may be what holds the job up; CONCURRENT ones run beside that.
    running.iter().chain(&due).for_each(hand_callbacks_on);
}

/// Gives the callbacks that are left to a job to threads of the pool.
pub fn hand_callbacks_on(endpoint: &Arc<Endpoint>) {
    if endpoint.mode == CompletionMode::Concurrent {
        for delivery in endpoint.completions.take_due() {
            endpoint.pool.push(Work::Callback(endpoint.clone(), delivery));
        }
    } else if endpoint.completions.claim_from_job() {
        endpoint.pool.push(Work::Callbacks(endpoint.clone()));
    }
}
