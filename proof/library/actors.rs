//! The program that uses the library: threads that submit, threads that poll, and callbacks.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::scenario::Poller;
use super::scene::{callback, Order, Place, Scene, State, SOMETHING_ENDED};
use crate::completion::inside_callback;
use crate::driver::{Op, Segment, Segments};
use crate::handle::{Callback, CompletionMode, Handle, RequestFlags, Submission};
use crate::handle::{TooLong, TooLongFn};
use crate::proof::world::memory::{self, Meeting};
use crate::proof::world::system::is_readable;
use crate::proof::world::thread::sleep_as;
use crate::proof::world::{
    block, choose, fail, me, outside_limits, percent, point, trace, wake_all,
};
use crate::proof::world::{Class, Key};
use crate::throttle::{Throttle, ThrottleLimits};

thread_local! {
    /// Inside a call that no callback may run in.
    static SUBMITTING: Cell<bool> = const { Cell::new(false) };
    /// The handle, counted from 1, whose callbacks this thread may run; 0: none, on a thread of
    /// the program; MAX: any, on one of the library.
    static TAKES: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread is the program's.
pub fn be_program() {
    TAKES.set(0);
}

/// Runs a call in which callbacks of that handle may run on this thread.
pub fn taking<R>(place: usize, call: impl FnOnce() -> R) -> R {
    let before = TAKES.replace(place + 1);
    let result = call();
    TAKES.set(before);
    result
}

fn submitting<R>(call: impl FnOnce() -> R) -> R {
    let before = SUBMITTING.replace(true);
    let result = call();
    SUBMITTING.set(before);
    result
}

/// A thread's use of a handle.
pub struct Use<'a>(Arc<Handle>, &'a Meeting);

impl Deref for Use<'_> {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.0
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.1.release();
    }
}

pub fn handle_of(place: &Place) -> Use<'_> {
    let handle = place.handle.lock().clone();
    Use(handle.unwrap_or_else(|| fail("a callback after close")), &place.used)
}

/// A request's callback runs.
pub fn called_back(scene: &Arc<Scene>, number: usize, ret: i32) {
    if SUBMITTING.get() {
        fail("a callback inside a submitting call");
    }
    let (at, asked, answered, id) = {
        let entry = &scene.ledger.lock().entries[number];
        (entry.place, entry.asked, entry.answered, entry.id)
    };
    if id.is_none() {
        fail("a callback before the id of its request was told");
    }
    if !asked.is_known() {
        fail("a callback may not see what was done before its request was submitted");
    }
    answered.done();
    let place = &scene.places[at];
    let mode = place.plan.options.completion;
    let its = TAKES.get();
    let allowed = match mode {
        CompletionMode::Eventfd => its == at + 1,
        _ => its == usize::MAX,
    };
    if !allowed {
        fail("a callback on a thread where it must not run");
    }
    if place.running.fetch_add(1, Ordering::Relaxed) > 0 && mode == CompletionMode::Serial {
        fail("two callbacks at once, SERIAL");
    }
    scene.over(number, ret);
    point();
    if percent(10) {
        // Some take so long that others have to take in what this thread would.
        let most = if percent(20) { 10_000_000 } else { 50_000 };
        sleep_as(Duration::from_nanos(choose(most)), Class::Outside);
    }
    if !place.closing.load(Ordering::Relaxed) {
        use_handle(scene, at, mode);
    }
    place.running.fetch_sub(1, Ordering::Relaxed);
    wake_all(SOMETHING_ENDED);
}

/// What a callback may do, and what it must not.
fn use_handle(scene: &Arc<Scene>, at: usize, mode: CompletionMode) {
    let place = &scene.places[at];
    let handle = handle_of(place);
    if percent(3) {
        let refused = [handle.drain().err(), handle.poll(1, None).err()];
        let errno = |error: &Option<crate::sys::Error>| error.as_ref().map(|its| its.errno);
        let polls = mode == CompletionMode::Eventfd;
        let expected = if polls { libc::EDEADLK } else { libc::EINVAL };
        let told = [errno(&refused[0]), errno(&refused[1])];
        if told != [Some(libc::EDEADLK), Some(expected)] || !inside_callback() {
            fail("drain or poll inside a callback");
        }
    }
    let left = place.follow_ups.load(Ordering::Relaxed);
    if left > 0 && percent(30) {
        place.follow_ups.store(left - 1, Ordering::Relaxed);
        let order = draw(scene, false);
        submit(scene, at, &handle, order);
    }
}

/// A request of any kind.
fn draw(scene: &Scene, synchronous: bool) -> Order {
    let unit = scene.scenario.unit;
    let length = scene.scenario.shape.bytes as u64;
    let units = length.div_ceil(unit);
    let hot = scene.scenario.hot.min(units);
    let first = match choose(10) {
        0 => choose(units),
        1..3 => units - 1 - choose(hot),
        _ => choose(hot),
    };
    let count = match choose(20) {
        0 => 1 + choose(16384 / unit.min(16384) + 1),
        1..6 => 1 + choose(8),
        _ => 1 + choose(2),
    };
    let offset = first * unit;
    let bytes = (count * unit).min(length - offset);
    let op = match choose(20) {
        0..11 => Op::Write,
        11..16 => Op::Read,
        16 => Op::WriteZeroes,
        17 => Op::Discard,
        _ => Op::Flush,
    };
    let (offset, bytes) = if op == Op::Flush { (0, 0) } else { (offset, bytes) };
    let margin = [0, 512, 4, 1, 700][choose(5) as usize] as usize;
    Order { op, offset, bytes, synchronous, no_wait: percent(5), margin }
}

fn segments(memory: Segment) -> Segments {
    let mut segments = Segments::new();
    let Segment { mut address, mut bytes } = memory;
    while bytes > 0 {
        let piece = match choose(4) {
            0 if bytes > 1 => 1 + choose(bytes as u64 - 1) as usize,
            1 if bytes > 512 => 512,
            _ => bytes,
        };
        segments.push(Segment { address, bytes: piece });
        address += piece;
        bytes -= piece;
    }
    segments
}

fn submission(order: Order, memory: Segment) -> Submission {
    let Order { op, offset, bytes, no_wait, .. } = order;
    let mut flags = RequestFlags { no_wait: no_wait && op != Op::Flush, ..RequestFlags::default() };
    if matches!(op, Op::Write | Op::WriteZeroes) {
        flags.fua = percent(8);
    }
    flags.may_unmap = op == Op::WriteZeroes && percent(50);
    flags.serialising = matches!(op, Op::Write | Op::Read) && percent(4);
    let guest_block = if percent(5) { 4096 } else { 0 };
    let bytes = if op == Op::Flush { 0 } else { bytes };
    trace(|| format!("as {flags:?}, guest block {guest_block}"));
    Submission { op, flags, guest_block, offset, bytes, segments: segments(memory) }
}

/// A request begins: its number, and what to submit.
fn begin(scene: &Scene, at: usize, order: Order) -> (usize, Submission) {
    let (number, memory) = scene.begin(at, order);
    let submission = submission(order, memory);
    let durable = submission.flags.fua || scene.places[at].plan.options.writethrough;
    scene.ledger.lock().entries[number].fua = durable;
    (number, submission)
}

/// Submits; its number, unless the call failed.
pub fn submit(scene: &Arc<Scene>, at: usize, handle: &Handle, order: Order) -> Option<usize> {
    let (number, submission) = begin(scene, at, order);
    let opaque = std::ptr::without_provenance_mut(number);
    let its = Callback { function: callback, opaque, on_failure: |_| {} };
    match submitting(|| handle.submit(submission, its, |id| scene.named(number, id))) {
        Ok(id) => {
            scene.submitted(number, id);
            Some(number)
        }
        Err(error) => {
            if error.errno != libc::ENOMEM || scene.scenario.refused_threads == 0 {
                fail(&format!("a request is refused: {error}"));
            }
            scene.refused(number);
            None
        }
    }
}

/// A synchronous call.
fn run(scene: &Arc<Scene>, at: usize, handle: &Handle, order: Order) {
    let (number, submission) = begin(scene, at, order);
    let result = submitting(|| handle.run(submission));
    scene.over(number, result.map_or_else(|error| -error.errno, |()| 0));
}

fn cancel(scene: &Arc<Scene>, at: usize, handle: &Handle) {
    let (number, id, known) = {
        let ledger = scene.ledger.lock();
        let mine = ledger.entries.iter().enumerate().filter(|(_, its)| its.place == at);
        let last: Vec<_> = mine.rev().take(8).collect();
        if last.is_empty() {
            return;
        }
        let (number, entry) = last[choose(last.len() as u64) as usize];
        (number, entry.id, entry.known.clone())
    };
    let Some(id) = id else { return };
    memory::acquire(&known);
    // Its callback may run before the call returns.
    let before = scene.ledger.lock().entries[number].state;
    scene.ledger.lock().entries[number].cancelling += 1;
    let answer = submitting(|| handle.cancel(id)).map_err(|error| error.errno);
    trace(|| format!("cancel of {number}: {answer:?}"));
    let mut ledger = scene.ledger.lock();
    let entry = &mut ledger.entries[number];
    entry.cancelling -= 1;
    let wrong = match answer {
        Ok(()) => {
            let twice = entry.cancelled;
            entry.cancelled = true;
            let over = matches!(entry.state, State::Over(ret) if ret != -libc::ECANCELED);
            over || twice || before != State::Underway
        }
        Err(libc::EBUSY) => before != State::Underway,
        Err(libc::ENOENT) => false,
        Err(_) => true,
    };
    if wrong {
        fail(&format!("cancel of request {number}: {answer:?}, {:?}", entry.state));
    }
}

/// Takes back whatever can be, of those that are underway when it begins or come meanwhile.
fn cancel_all(scene: &Arc<Scene>, at: usize, handle: &Handle) {
    let place = &scene.places[at];
    place.cancelling_all.fetch_add(1, Ordering::Relaxed);
    let mine = |its: &&mut super::scene::Entry| its.place == at && its.state == State::Underway;
    let mut ledger = scene.ledger.lock();
    ledger.entries.iter_mut().filter(mine).for_each(|its| its.with_all = true);
    drop(ledger);
    let count = submitting(|| handle.cancel_all());
    trace(|| format!("{count} requests of {at} are cancelled together"));
    place.cancelling_all.fetch_sub(1, Ordering::Relaxed);
    place.cancelled_together.fetch_add(count, Ordering::Relaxed);
}

/// The handle gets a throttle, or loses it, or its throttle gets other limits.
fn throttle(scene: &Arc<Scene>, handle: &Handle) {
    let its = &scene.throttles[choose(2) as usize];
    match choose(4) {
        0 => its.set(&throttle_limits()),
        1 => set_throttle(scene, handle, None),
        _ => set_throttle(scene, handle, Some(its)),
    }
}

fn throttle_limits() -> ThrottleLimits {
    let mut limits = ThrottleLimits::default();
    for (kind, bucket) in limits.buckets.iter_mut().enumerate().filter(|_| percent(30)) {
        bucket.rate = [1000, 30_000, 1_000_000, 100_000_000][choose(4) as usize];
        // Of bytes that would be a second for each request, and more steps than a run has.
        bucket.rate *= if kind < 3 { 100 } else { 1 };
        bucket.burst = [0, 1, 10, bucket.rate][choose(4) as usize];
    }
    limits.request_bytes = [0, 0, 512, 4096][choose(4) as usize];
    limits
}

fn set_throttle(scene: &Arc<Scene>, handle: &Handle, to: Option<&Arc<Throttle>>) {
    if let Err(error) = submitting(|| handle.set_throttle(to)) {
        if error.errno != libc::ENOMEM || scene.scenario.refused_threads == 0 {
            fail(&format!("a throttle is refused: {error}"));
        }
    }
}

/// The object is paused: whatever others do, nothing of it reaches the disk, and nothing is there.
fn pause(scene: &Arc<Scene>, at: usize, handle: &Handle) {
    scene.places[at].pauses.fetch_add(1, Ordering::Relaxed);
    scene.places[at].pausing.fetch_add(1, Ordering::Relaxed);
    if let Err(error) = handle.pause() {
        fail(&format!("pause: {error}"));
    }
    let counts = &scene.device.counts;
    let seen = || (counts.ios.load(Ordering::Relaxed), counts.bytes.load(Ordering::Relaxed));
    let before = seen();
    trace(|| format!("paused at {before:?}"));
    for _ in 0..choose(4) {
        submit(scene, at, handle, draw(scene, false));
    }
    sleep_as(Duration::from_nanos(choose(300_000)), Class::Outside);
    if percent(30) {
        cancel(scene, at, handle);
    }
    if seen() != before {
        fail(&format!("in a pause: I/Os and bytes {before:?}, then {:?}", seen()));
    }
    trace(|| "goes on".to_owned());
    if let Err(error) = submitting(|| handle.resume()) {
        fail(&format!("resume: {error}"));
    }
    scene.places[at].pausing.fetch_sub(1, Ordering::Relaxed);
}

/// The handle gets a limit of time, or loses it.
fn set_timeout(handle: &Handle) {
    let limit = percent(70).then(|| {
        let told = Box::new(|_: &TooLong| {
            if TAKES.get() != usize::MAX || !inside_callback() {
                fail("the program is told of a late request where no callback may run");
            }
            point();
        }) as TooLongFn;
        (Duration::from_millis(1 + choose(20)), told)
    });
    match handle.set_timeout(limit) {
        Ok(()) => {}
        Err(error) if error.errno == libc::ENOTSUP => {}
        Err(error) => fail(&format!("set_timeout: {error}")),
    }
}

/// A thread that submits.
pub fn submitter(scene: &Arc<Scene>, at: usize) {
    be_program();
    let place = &scene.places[at];
    let handle = handle_of(place);
    let mut plugged = 0;
    for _ in 0..place.plan.operations {
        match choose(40) {
            0 if percent(10) => cancel_all(scene, at, &handle),
            0..3 => cancel(scene, at, &handle),
            3..6 => {
                place.plugs.fetch_add(1, Ordering::Relaxed);
                handle.plug();
                plugged += 1;
            }
            6..9 if plugged > 0 => {
                submitting(|| handle.unplug());
                plugged -= 1;
                place.plugs.fetch_sub(1, Ordering::Relaxed);
            }
            9 if plugged == 0 || percent(20) => drain(scene, at, &handle),
            10 if percent(40) => throttle(scene, &handle),
            10 if percent(30) => pause(scene, at, &handle),
            10 if percent(40) => set_timeout(&handle),
            10..12 => sleep_as(Duration::from_nanos(choose(100_000)), Class::Outside),
            12..16 if plugged == 0 || percent(20) => run(scene, at, &handle, draw(scene, true)),
            _ => drop(submit(scene, at, &handle, draw(scene, false))),
        }
    }
    // What is held back when its thread ends is for the drain, or the close.
    if percent(10) {
        return;
    }
    for _ in 0..plugged {
        submitting(|| handle.unplug());
        place.plugs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns when all that was submitted before is over.
pub fn drain(scene: &Arc<Scene>, at: usize, handle: &Handle) {
    let place = &scene.places[at];
    let mine = |its: &super::scene::Entry| {
        its.place == at && its.state == State::Underway && !its.synchronous
    };
    let before: Vec<usize> = {
        let ledger = scene.ledger.lock();
        let all = ledger.entries.iter().enumerate();
        // Of those whose call has not returned it may not know yet.
        all.filter(|(_, its)| mine(its) && its.returned)
            .map(|(number, its)| {
                memory::acquire(&its.known);
                number
            })
            .collect()
    };
    place.draining.fetch_add(1, Ordering::Relaxed);
    let timeout = percent(20).then(|| Duration::from_nanos(choose(2_000_000)));
    let drain = || match timeout {
        Some(_) => outside_limits(|| handle.drain_within(timeout)),
        None => handle.drain(),
    };
    let result = match place.plan.options.completion {
        CompletionMode::Eventfd => taking(at, drain),
        _ => drain(),
    };
    place.draining.fetch_sub(1, Ordering::Relaxed);
    match result {
        Ok(()) => {}
        Err(error) if timeout.is_some() && error.errno == libc::ETIMEDOUT => return,
        Err(error) if error.errno == libc::EBUSY && place.pauses.load(Ordering::Relaxed) > 0 => {
            return;
        }
        Err(error) => fail(&format!("drain: {error}")),
    }
    let ledger = scene.ledger.lock();
    if let Some(number) = before.iter().find(|&&number| mine(&ledger.entries[number])) {
        fail(&format!("drain returned before request {number} was over"));
    }
    drop(ledger);
    scene.check_known(|number, _| before.contains(&number));
}

/// A thread that takes callbacks, until it is told to stop.
pub fn poller(scene: &Arc<Scene>, at: usize, kind: Poller) {
    be_program();
    poll_until_told(scene, at, kind);
    let place = &scene.places[at];
    place.polled.fetch_sub(1, Ordering::Relaxed);
    place.ended.lock().extend(me());
    wake_all(SOMETHING_ENDED);
}

fn poll_until_told(scene: &Arc<Scene>, at: usize, kind: Poller) {
    let place = &scene.places[at];
    let handle = handle_of(place);
    let stopping = || place.stopping.load(Ordering::Relaxed);
    let most = [1, 2, 64, usize::MAX][choose(4) as usize];
    let poll = |timeout: Option<Duration>| {
        let ran = taking(at, || handle.poll(most, timeout));
        match ran {
            Ok(ran) if ran <= most => ran,
            other => fail(&format!("poll of at most {most}: {other:?}")),
        }
    };
    match kind {
        Poller::Patient => {
            while !stopping() {
                if poll(None) == 0 {
                    fail("a poll without end that ran nothing");
                }
            }
        }
        Poller::Timed => {
            while !stopping() {
                let time = Duration::from_nanos(choose(3_000_000));
                outside_limits(|| poll(Some(time)));
            }
        }
        Poller::Descriptor => {
            let fd = handle.event_fd().unwrap_or_else(|error| fail(&format!("eventfd: {error}")));
            while !stopping() {
                point();
                if is_readable(fd) {
                    poll(Some(Duration::ZERO));
                } else if !stopping() {
                    block(Key::Readable(fd), None, Class::Library);
                }
            }
        }
    }
}
