//! Takes the results of a ring in: on the caller's thread that polls, or in a job on the pool that
//! stays as long as there is something to wait for. No callback runs in here.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::deferred::Pace;
use super::deliver::while_taking_in;
use super::dispatch::dispatch;
use super::perform::{perform, take_in};
use super::ring::SLEEP_SLICE;
use super::{with_actions, Action, Actions, Endpoint, RingEngine, Work};
use crate::completion::Left;
use crate::driver::Io;
use crate::sync::{on_time, Instant};

/// Most results taken in at once.
const REAP_MAX: usize = 256;
/// How many times one look takes up to `REAP_MAX` results in.
const REAPS_MAX: usize = 16;
/// How long a job stays when nothing is in flight any more.
const LINGER: Duration = Duration::from_millis(500);

thread_local! {
    /// Kept for the next time, as the list of actions is.
    static SPARE_RESULTS: RefCell<Vec<(Io, Result<u64, i32>)>> = const { RefCell::new(Vec::new()) };
}

/// What one look at a ring has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaped {
    Nothing,
    Results,
}

/// What a thread does that takes results in, if it finds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It waits for whatever comes next. If that is a single I/O, and the ring has no other, this
    /// thread carries it out itself, which spares handing it over and back.
    Waits,
    /// It does something else.
    GoesOn,
}

/// EVENTFD: takes in what the ring has done, on a thread that then runs what is due. `waits`: the
/// thread will wait without a time limit if nothing is due. Other threads may submit as fast as
/// this one takes results in, so there may be something left when this returns.
pub fn take_in_for_poll(endpoint: &Arc<Endpoint>, waits: bool) -> Left {
    while_taking_in(endpoint, || {
        for _ in 0..REAPS_MAX {
            let idle = waits && !endpoint.completions.events.anything_due();
            let next = if idle { Next::Waits } else { Next::GoesOn };
            if reap(endpoint, next) == Reaped::Nothing {
                return Left::Nothing;
            }
        }
        Left::Something
    })
}

fn reap(endpoint: &Arc<Endpoint>, next: Next) -> Reaped {
    let Some(engine) = &endpoint.ring else { return Reaped::Nothing };
    if engine.deferred.may_have_any() {
        if next == Next::Waits {
            perform_deferred(endpoint, engine);
            return Reaped::Results;
        }
        engine.submit_deferred();
    }
    let mut results = SPARE_RESULTS.take();
    let count = engine.ring.reap(&mut results, REAP_MAX);
    endpoint.hand_on_refused();
    let mut at = 0;
    while at < results.len() {
        let (io, result) = &results[at];
        if needs_fallback(io, *result) {
            let (io, _) = results.swap_remove(at);
            endpoint.pool.push(Work::Io(endpoint.clone(), io));
            continue;
        }
        results[at].1 = take_in(endpoint, io, *result);
        at += 1;
    }
    if count > 0 {
        with_actions(|actions| {
            endpoint.node.io_done(results.drain(..), actions);
            // A hint: an I/O that another thread puts in meanwhile, and that is not seen here, is
            // not lost; its result only waits until this thread comes back to the ring.
            if next == Next::Waits && engine.has_only(count) {
                perform_only(endpoint, actions);
            }
            dispatch(actions);
            // Not before `dispatch`: as long as these I/Os count, what follows on them goes to the
            // ring and is not deferred.
            engine.note_out(count);
        });
    }
    SPARE_RESULTS.set(results);
    if count > 0 {
        Reaped::Results
    } else {
        Reaped::Nothing
    }
}

/// Whether the storage may not know the flag for durable writes, or for atomic ones. Then a thread
/// of the pool does the write another way (`FileDriver`).
fn needs_fallback(io: &Io, result: Result<u64, i32>) -> bool {
    (io.fua || io.atomic) && matches!(result, Err(libc::EOPNOTSUPP | libc::EINVAL))
}

/// Carries out what is deferred, on this thread. If that takes long, the rest goes to the ring.
fn perform_deferred(endpoint: &Arc<Endpoint>, engine: &RingEngine) {
    let mut ios = Vec::new();
    engine.deferred.take(&mut ios);
    let begin = Instant::now();
    let mut done = 0;
    with_actions(|actions| {
        let mut left = ios.drain(..);
        while let Some(io) = left.next() {
            perform(endpoint, io, actions);
            done += 1;
            if engine.deferred.look_at_pace(begin) == Pace::Slow {
                engine.ring.submit(&mut left.collect());
                break;
            }
        }
        engine.note_out(done);
        dispatch(actions);
    });
}

/// Carries out the I/O that is asked for, on this thread, as long as it is the only one.
fn perform_only(endpoint: &Arc<Endpoint>, actions: &mut Actions) {
    while let [Action::Io(its, _)] = actions.as_slice() {
        if !Arc::ptr_eq(its, endpoint) {
            return;
        }
        let Some(Action::Io(_, io)) = actions.pop() else { return };
        perform(endpoint, io, actions);
    }
}

/// EVENTFD: sleeps until there may be something to do, or it is `until`.
pub fn sleep(endpoint: &Endpoint, until: Option<Instant>) {
    let events = &endpoint.completions.events;
    let engine = endpoint.ring.as_ref().filter(|engine| !engine.ring.is_spent());
    let Some(engine) = engine else { return events.wait(until) };
    match engine.sleeper.try_lock() {
        // Looked at with `sleeper` held: see `RingEngine::wake_sleeper` and `submit_or_defer`.
        Some(_sleeper) if events.anything_due() || engine.deferred.has_any() => {}
        Some(_sleeper) => {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            engine.ring.wait(left);
        }
        None => {
            let slice = Instant::now() + SLEEP_SLICE;
            let slice = until.map_or(slice, |until| until.min(slice));
            on_time(|| events.wait(Some(slice)));
        }
    }
}

/// The job of SERIAL and CONCURRENT: takes results in until there has been nothing in flight for a
/// while.
pub fn reap_until_idle(endpoint: &Arc<Endpoint>) {
    let Some(engine) = &endpoint.ring else { return };
    let mut idle_since = None;
    loop {
        if reap(endpoint, Next::GoesOn) == Reaped::Results {
            idle_since = None;
            continue;
        }
        // A spent ring stays spent: a thread that puts I/O into a broken ring takes that I/O back.
        if engine.is_stopping() || engine.ring.is_spent() {
            return;
        }
        engine.ring.wait(Some(LINGER));
        if !endpoint.completions.is_drained() {
            idle_since = None;
            continue;
        }
        if idle_since.get_or_insert_with(Instant::now).elapsed() < LINGER {
            continue;
        }
        // A submitter counts its request and then looks whether a job reaps. This job says that
        // it does not, and then looks whether a request is counted. All of it is SeqCst, so one of
        // the two sees the other.
        engine.give_up_reaping();
        if endpoint.completions.is_drained() || !engine.take_on_reaping() {
            return;
        }
    }
}

/// The job of `Endpoint::ensure_unpolled_progress`.
pub fn reap_unpolled(endpoint: &Arc<Endpoint>) {
    let Some(engine) = &endpoint.ring else { return };
    loop {
        let reaped = reap(endpoint, Next::GoesOn);
        if !endpoint.needs_help(engine) {
            engine.give_up_helping();
            // A thread that has put I/O in, or has come to wait, either sees that no job helps, or
            // is seen here. SeqCst, as above.
            if !endpoint.needs_help(engine) || !engine.take_on_helping() {
                return;
            }
        }
        if reaped == Reaped::Nothing {
            engine.nap();
        }
    }
}
