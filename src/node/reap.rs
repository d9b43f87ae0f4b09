//! Takes the results of a ring in: on the caller's thread that polls, or in a job on the pool that
//! stays as long as there is something to wait for. That job also runs the callbacks of SERIAL and
//! CONCURRENT.

use std::cell::Cell;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::deferred::Pace;
use super::deliver::while_taking_in;
use super::dispatch::{dispatch, unplug_and_dispatch};
use super::perform::{perform, take_in};
use super::ring::{Beat, LOOK_AFTER, SLEEP_SLICE};
use super::{favours, thread_key, with_actions, Action, Actions, Endpoint, RingEngine, Work};
use crate::completion::{CompletionMode, Left};
use crate::driver::Io;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{on_time, processors, Instant, SPINS};
use crate::sys::{keep_spare, take_spare};

/// Most results taken in at once.
const REAP_MAX: usize = 256;
/// How many times one look takes up to `REAP_MAX` results in.
const REAPS_MAX: usize = 16;
/// Most I/Os of other handles that one look carries out.
const FAVOURS_MAX: usize = 16;
/// How long a job stays when nothing is in flight any more.
const LINGER: Duration = Duration::from_millis(500);
/// CONCURRENT, and callbacks run as a favour: those that take longer, on average, run on threads of
/// their own.
const CALLBACK_TIME_MAX: Duration = Duration::from_micros(50);
/// How long a thread sleeps at most that does other handles' work, too.
const UNMANNED_SLICE: Duration = Duration::from_millis(1);
/// How often in a row spinning may be of no use before it is left out for a while.
const FUTILE_MAX: u32 = 4;

thread_local! {
    /// Kept for the next time, as the list of actions is.
    static SPARE_RESULTS: Cell<Vec<(Io, Result<u64, i32>)>> = const { Cell::new(Vec::new()) };
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
    /// It runs callbacks, and then waits, as far as it knows. Deferred I/O stays deferred.
    ComesBack,
}

/// EVENTFD: takes in what the ring has done, on a thread that then runs what is due. `waits`: the
/// thread will wait without a time limit if nothing is due. Other threads may submit as fast as
/// this one takes results in, so there may be something left when this returns.
pub fn take_in_for_poll(endpoint: &Arc<Endpoint>, waits: bool) -> Left {
    let take_in = || {
        for _ in 0..REAPS_MAX {
            let next = match waits {
                true if endpoint.completions.events.anything_due() => Next::ComesBack,
                true => Next::Waits,
                false => Next::GoesOn,
            };
            if reap(endpoint, next) == Reaped::Nothing {
                return Left::Nothing;
            }
        }
        Left::Something
    };
    endpoint.ring.iter().for_each(RingEngine::note_poll);
    while_taking_in(endpoint, || match waits {
        true => favours::as_poller(endpoint, || {
            let left = take_in();
            do_favours_of_poll(endpoint);
            left
        }),
        false => take_in(),
    })
}

/// Carries out what this poll has started of other handles' I/O, and what follows on that. Nothing
/// is left when the callbacks of this handle begin, which may take long.
fn do_favours_of_poll(host: &Arc<Endpoint>) {
    let mut begin = None;
    for _ in 0..FAVOURS_MAX {
        let Some((guest, io)) = favours::next_io(host) else { return };
        let begin = *begin.get_or_insert_with(Instant::now);
        perform_deferred_one(&guest, io);
        let its = guest.ring.as_ref().map(|engine| engine.deferred.look_at_pace(begin));
        if its == Some(Pace::Slow) {
            break;
        }
    }
    favours::hand_on(host);
}

fn reap(endpoint: &Arc<Endpoint>, next: Next) -> Reaped {
    let Some(engine) = &endpoint.ring else { return Reaped::Nothing };
    if engine.deferred.count() > 0 {
        match next {
            Next::Waits => {
                perform_deferred(endpoint, engine);
                return Reaped::Results;
            }
            Next::GoesOn => engine.submit_deferred(),
            Next::ComesBack => {}
        }
    }
    let mut results = take_spare(&SPARE_RESULTS);
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
    keep_spare(&SPARE_RESULTS, results);
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

/// Carries out what is deferred, on this thread, but not what becomes deferred meanwhile. If that
/// takes long, the rest goes to the ring. What follows on each I/O is dispatched before the next
/// one begins, which may hang: then `take_over` brings those that are left to the ring.
fn perform_deferred(endpoint: &Arc<Endpoint>, engine: &RingEngine) {
    let begin = Instant::now();
    for _ in 0..engine.deferred.count() {
        let Some(io) = engine.deferred.take_one() else { return };
        perform_deferred_one(endpoint, io);
        if engine.deferred.look_at_pace(begin) == Pace::Slow {
            return engine.submit_deferred();
        }
    }
}

fn perform_deferred_one(endpoint: &Arc<Endpoint>, io: Io) {
    with_actions(|actions| {
        perform(endpoint, io, actions);
        // Before `dispatch`: what follows on the I/O is deferred, too.
        endpoint.ring.iter().for_each(|engine| engine.note_out(1));
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
    endpoint.node.ensure_unpolled_progress_of_others(endpoint);
    let events = &endpoint.completions.events;
    let engine = endpoint.ring.as_ref().filter(|engine| !engine.ring.is_spent());
    // Work may have come before this thread waits; or what it waits for is in another ring.
    if endpoint.pool.is_unmanned() && (engine.is_none() || endpoint.node.is_waited_for()) {
        let slice = Instant::now() + UNMANNED_SLICE;
        return on_time(|| events.wait(Some(until.map_or(slice, |until| until.min(slice)))));
    }
    let Some(engine) = engine else { return events.wait(until) };
    match engine.sleeper.try_lock() {
        // Looked at with `sleeper` held: see `RingEngine::wake_sleeper` and `submit_or_defer`.
        Some(_sleeper) if events.anything_due() || engine.deferred.has_any() => {}
        Some(_sleeper) if endpoint.pool.is_unmanned() && endpoint.pool.has_job() => {}
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

/// The job of SERIAL and CONCURRENT: takes results in, and runs their callbacks, until there has
/// been nothing in flight for a while. `turn`: the job's number. Returns what else its thread has
/// to do.
///
/// Callbacks run here because a change of thread costs more than most callbacks do. But a callback
/// may take long, or wait for a result that this job has to take in. So while the job is busy
/// `look` sees now and then whether the job gets on. If it does not, a job with another number
/// takes its place, and callbacks run on threads of their own for a while. Example: the callback of
/// request 1 waits for a synchronous write, which waits for request 2, whose result is in the ring.
/// After 4 to 8 ms `look` starts job 2, which takes that result in; the write ends, and so does the
/// callback. Job 1 then sees that its turn is over, and ends.
pub fn reap_in_turn(endpoint: &Arc<Endpoint>, turn: u32) -> Option<Work> {
    let engine = endpoint.ring.as_ref()?;
    let attendance = endpoint.attend();
    engine.deferred.note_awake();
    let next = favours::as_job(endpoint, turn, || reap_until_idle(endpoint, engine, turn));
    engine.deferred.note_asleep();
    favours::hand_on(endpoint);
    drop(attendance);
    next
}

fn reap_until_idle(endpoint: &Arc<Endpoint>, engine: &RingEngine, turn: u32) -> Option<Work> {
    let mut idle_since = None;
    let mut spin = Spin::default();
    let mut left = Left::Nothing;
    loop {
        let next = if left == Left::Something { Next::GoesOn } else { Next::Waits };
        begin_to_be_busy(endpoint, engine, turn);
        let reaped = while_taking_in(endpoint, || reap(endpoint, next));
        let runs = endpoint.completions.claim_from_job();
        left = if runs { run_callbacks(endpoint, engine, turn) } else { Left::Nothing };
        let obliged = do_favours(endpoint, engine, turn);
        engine.end_to_be_busy(turn);
        if engine.turn() != turn {
            return (left == Left::Something).then(|| Work::Callbacks(endpoint.clone()));
        }
        if left == Left::Something {
            endpoint.completions.leave_to_job();
        }
        if endpoint.pool.is_short() && endpoint.pool.try_again().is_err() {
            // This thread does what waits, and the job comes after that.
            endpoint.pool.push(Work::Reap(endpoint.clone(), turn));
            return None;
        }
        if runs || obliged || reaped == Reaped::Results {
            spin.begins_anew();
            idle_since = None;
            continue;
        }
        // A spent ring stays spent: a thread that puts I/O into a broken ring takes that I/O back.
        if engine.is_stopping() || engine.ring.is_spent() {
            return None;
        }
        if engine.has_any_inside() && spin.finds_something(engine) {
            continue;
        }
        spin.begins_anew();
        {
            // Looked at with `sleeper` held: see `RingEngine::submit_or_defer`.
            let _sleeper = engine.sleeper.try_lock();
            engine.deferred.note_asleep();
            if !engine.deferred.has_any() {
                engine.ring.wait(Some(LINGER));
            }
            engine.deferred.note_awake();
        }
        if !endpoint.completions.is_drained() {
            idle_since = None;
            continue;
        }
        if idle_since.get_or_insert_with(Instant::now).elapsed() < LINGER {
            continue;
        }
        if engine.turn() != turn {
            return None;
        }
        // A submitter counts its request and then looks whether a job reaps. This job says that
        // it does not, and then looks whether a request is counted. All of it is SeqCst, so one of
        // the two sees the other.
        engine.give_up_reaping();
        if endpoint.completions.is_drained() || !engine.take_on_reaping() {
            return None;
        }
    }
}

/// Does what the job has taken on for other handles, but not what it takes on meanwhile. Returns
/// whether there was anything.
fn do_favours(host: &Arc<Endpoint>, engine: &RingEngine, turn: u32) -> bool {
    let (ios, any) = favours::count(host);
    if !any {
        return false;
    }
    let begin = Instant::now();
    for _ in 0..ios {
        let Some((guest, io)) = favours::next_io(host) else { break };
        while_taking_in(host, || perform_deferred_one(&guest, io));
        let its = guest.ring.as_ref().map(|engine| engine.deferred.look_at_pace(begin));
        if its == Some(Pace::Slow) {
            favours::hand_on(host);
        }
    }
    while let Some(guest) = favours::next_due(host, turn) {
        if guest.completions.claim_from_job() {
            // Not held up, as long as each handle gets on.
            engine.begin_to_be_busy(turn);
            if run_callbacks(&guest, engine, turn) == Left::Something {
                guest.pool.push(Work::Callbacks(guest.clone()));
            }
        }
    }
    true
}

/// Jobs that look for results before they go to sleep. Relaxed: a hint.
static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// Looking for results before going to sleep. Where the next result comes soon, that spares the
/// time that waking takes.
#[derive(Default)]
struct Spin {
    /// How often in a row looking was of no use.
    futile: u32,
    /// Looking has found something since this thread last slept, or last took results in. That may
    /// be something that this thread cannot take in: then it has to sleep.
    found: bool,
}

impl Spin {
    /// The thread goes to sleep, or has taken results in.
    fn begins_anew(&mut self) {
        self.found = false;
    }

    fn finds_something(&mut self, engine: &RingEngine) -> bool {
        if self.found {
            return false;
        }
        if self.futile >= FUTILE_MAX {
            self.futile = if self.futile > 4 * FUTILE_MAX { 0 } else { self.futile + 1 };
            return false;
        }
        // One processor at least is left to those that do something: with many handles that have
        // little in flight each, most of the time would go into looking.
        let others = SPINNING.fetch_add(1, Ordering::Relaxed);
        self.found = others + 1 < processors() && (0..SPINS).any(|_| engine.ring.may_be_ready());
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        self.futile = if self.found { 0 } else { self.futile + 1 };
        self.found
    }
}

/// The job begins with what may take long: callbacks, and I/O that it carries out itself.
fn begin_to_be_busy(endpoint: &Arc<Endpoint>, engine: &RingEngine, turn: u32) {
    // SeqCst, here and in `look`. This thread changes the beat, and then looks whether a look is
    // due. A look that is the last one says so, and then looks at the beat. One of the two sees the
    // other.
    let beat = engine.begin_to_be_busy(turn);
    if !engine.look_is_due.swap(true, Ordering::SeqCst) {
        let look = Work::Look { endpoint: Arc::downgrade(endpoint), beat };
        endpoint.pool.push_later(LOOK_AFTER, look);
    }
}

/// Runs callbacks of a handle that are due, on the thread of the job whose `engine` this is. What
/// they submit goes out as one batch.
fn run_callbacks(endpoint: &Arc<Endpoint>, engine: &RingEngine, turn: u32) -> Left {
    let (queue, key) = (endpoint.id(), thread_key());
    endpoint.node.plug(queue, key);
    let plugged = engine.note_plug(turn, queue, key);
    let concurrent = endpoint.mode == CompletionMode::Concurrent;
    let its = endpoint.ring.as_ref();
    let guest = its.is_some_and(|its| !std::ptr::eq(its, engine));
    let begin = (concurrent || guest).then(Instant::now);
    let mut pace = Pace::Quick;
    // To look at the clock each time would cost more than some callbacks do.
    let (_, mut left) = endpoint.completions.run_due_while(|ran| {
        let slow = |begin: Instant| begin.elapsed() > CALLBACK_TIME_MAX * ran;
        if ran.is_power_of_two() && begin.is_some_and(slow) {
            pace = Pace::Slow;
        }
        pace == Pace::Quick
    });
    if pace == Pace::Slow && concurrent && left == Left::Something {
        // Beside each other they are done sooner.
        endpoint.completions.leave_to_job();
        favours::hand_callbacks_on(endpoint);
        left = Left::Nothing;
    }
    if engine.turn() == turn {
        its.iter().for_each(|its| its.note_callbacks(pace));
    }
    // If this job was replaced meanwhile `take_over` has unplugged.
    if !plugged || engine.forget_plug(turn) {
        unplug_and_dispatch(&endpoint.node, queue, key);
    }
    left
}

/// Sees whether the job that takes results in gets on. `beat`: that of the job when it began to be
/// busy, or at the look before this one. EVENTFD: there is no job, but a thread that polls.
pub fn look(endpoint: &Weak<Endpoint>, beat: Beat) {
    let Some(endpoint) = endpoint.upgrade() else { return };
    let Some(engine) = &endpoint.ring else { return };
    if endpoint.is_polled() {
        return endpoint.look_at_polls(beat);
    }
    let (now, busy) = engine.beat();
    if now == beat && busy {
        take_over(&endpoint, engine);
        return engine.look_is_due.store(false, Ordering::SeqCst);
    }
    if now == beat {
        engine.look_is_due.store(false, Ordering::SeqCst);
        if engine.beat().0 == now || engine.look_is_due.swap(true, Ordering::SeqCst) {
            return;
        }
    }
    let look = Work::Look { endpoint: Arc::downgrade(&endpoint), beat: now };
    endpoint.pool.push_later(LOOK_AFTER, look);
}

/// The job that takes results in is held up, by a callback or by I/O that it carries out. Another
/// job takes its place, what the job holds back goes out, and callbacks that are due run elsewhere;
/// but SERIAL ones do not if one of them holds the job up.
fn take_over(endpoint: &Arc<Endpoint>, engine: &RingEngine) {
    engine.note_callbacks(Pace::Slow);
    let (turn, plug) = engine.replace_job();
    // What the job has deferred, if it is an I/O that holds the job up.
    engine.submit_deferred();
    endpoint.pool.push(Work::Reap(endpoint.clone(), turn));
    if let Some((queue, key)) = plug {
        unplug_and_dispatch(&endpoint.node, queue, key);
    }
    favours::hand_callbacks_on(endpoint);
    favours::hand_on(endpoint);
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
        if endpoint.pool.is_short() && endpoint.pool.try_again().is_err() {
            return endpoint.pool.push(Work::ReapUnpolled(endpoint.clone()));
        }
        if reaped == Reaped::Nothing {
            engine.nap();
        }
    }
}

/// For a handle without threads, on a thread of the program that waits: does one piece of work, and
/// takes in what the ring has done. Returns whether there was anything.
pub fn help(endpoint: &Arc<Endpoint>) -> bool {
    let did = endpoint.pool.do_one();
    reap(endpoint, Next::GoesOn) == Reaped::Results || did
}
