//! The scheduler: which thread of a simulation runs, and what time it is.
//!
//! Each thread is a real one, and all but one are parked. `point` is a place where another one
//! may go on, `block` one where another one must. When no thread can, time passes up to the next
//! end of a wait; when there is none either, that is a deadlock, and the run has failed.

use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use super::choice::Choice;
use super::memory::{self, Meeting, View};
use super::state::{Slot, State};

/// What a thread sleeps on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Lock(usize),
    Condition(usize),
    Join(usize),
    Sleep,
    /// A descriptor that is to become readable.
    Readable(i32),
    /// A simulated thing, by its address.
    Thing(usize),
}

/// Whose a time limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The library's. It must never take one for its requests to go on.
    Library,
    /// The storage's, and the test's own.
    Outside,
    /// The storage's, for I/O that hangs.
    Hung,
}

/// What to say when no thread can run and only such time limits are left: `Hung` and the library's.
/// Words are a failure.
pub type IdleHook = Box<dyn Fn() -> Option<String> + Send>;

const STEPS_MAX: u64 = 2_000_000;
const NANOS_MAX: u64 = 1 << 42;

pub struct World {
    label: String,
    /// Different for each.
    pub(super) number: u64,
    pub trace: bool,
    running: AtomicUsize,
    /// Places in memory that threads may see differently.
    places: AtomicUsize,
    pub(super) state: parking_lot::Mutex<State>,
    /// Where threads meet in the kernel.
    meetings: parking_lot::Mutex<Vec<(Key, Arc<Meeting>)>>,
    idle: parking_lot::Mutex<Option<IdleHook>>,
}

thread_local! {
    static HERE: RefCell<Option<(Arc<World>, usize)>> = const { RefCell::new(None) };
}

pub(super) fn with<R>(code: impl FnOnce(&Arc<World>, usize) -> R) -> Option<R> {
    HERE.try_with(|here| here.borrow().as_ref().map(|(world, me)| code(world, *me))).ok()?
}

pub fn world() -> Option<Arc<World>> {
    with(|world, _| world.clone())
}

pub fn me() -> Option<usize> {
    with(|_, me| me)
}

pub fn in_simulation() -> bool {
    with(|_, _| ()).is_some()
}

/// Nanoseconds since the run began.
pub fn now() -> Option<u64> {
    with(|world, _| world.state.lock().now)
}

pub fn steps() -> u64 {
    with(|world, _| world.state.lock().steps).unwrap_or(0)
}

/// Another thread may go on here.
pub fn point() {
    with(|world, me| world.step(me));
}

/// Why a thread that slept goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    BySomebody,
    ByTime,
}

/// Whose turn it is after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Still that of the thread which made it.
    Stays,
    PassedOn,
}

/// Sleeps until another thread wakes `key`, or until that time.
pub fn block(key: Key, until: Option<u64>, class: Class) -> Woken {
    with(|world, me| world.block(me, key, until, class)).expect("in a simulation")
}

pub fn wake_all(key: Key) {
    with(|world, _| world.state.lock().wake(key, usize::MAX));
}

pub fn wake_one(key: Key) {
    with(|world, _| world.state.lock().wake(key, 1));
}

/// One of `bound` things; 0 outside of a simulation.
pub fn choose(bound: u64) -> u64 {
    with(|world, _| world.state.lock().choice.below(bound)).unwrap_or(0)
}

pub fn percent(chance: u64) -> bool {
    with(|world, _| world.state.lock().choice.percent(chance)).unwrap_or(false)
}

/// The run has failed: says why and how to have it again, and ends the process, whose other
/// threads are in the middle of something.
pub fn fail(why: &str) -> ! {
    match world() {
        Some(world) => world.fail(why),
        None => panic!("{why}"),
    }
}

pub fn idle_hook(hook: IdleHook) {
    with(|world, _| *world.idle.lock() = Some(hook));
}

/// What `code` waits for with a time limit is no time limit of the library's.
pub fn outside_limits<R>(code: impl FnOnce() -> R) -> R {
    let set = |value| {
        with(|world, me| std::mem::replace(&mut world.state.lock().slots[me].outside, value))
    };
    let before = set(true);
    let result = code();
    set(before.unwrap_or(false));
    result
}

/// Prints what happens, where a single run is looked at.
pub fn trace(words: impl FnOnce() -> String) {
    with(|world, me| {
        if world.trace {
            let state = world.state.lock();
            eprintln!("{:>12} {:<12} {}", state.now, state.slots[me].name, words());
        }
    });
}

impl World {
    /// Runs `body` as the first thread of a new simulation. `label`: how to have it again.
    pub fn run<R>(
        label: String,
        choice: Choice,
        tick: u64,
        trace: bool,
        body: impl FnOnce() -> R,
    ) -> (R, Choice) {
        end_the_run_where_it_panics();
        let state = State {
            choice,
            now: 0,
            tick,
            earliest: u64::MAX,
            steps: 0,
            pauses: 0,
            refused_threads: 0,
            able: Vec::new(),
            slots: Vec::new(),
        };
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let world = Arc::new(World {
            label,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            trace,
            running: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
            meetings: parking_lot::Mutex::default(),
            state: parking_lot::Mutex::new(state),
            idle: parking_lot::Mutex::default(),
        });
        let me = world.add_thread("main".to_owned());
        world.set_handle(me, std::thread::current());
        HERE.set(Some((world.clone(), me)));
        memory::set_view(View::new());
        let result = catch_unwind(AssertUnwindSafe(body));
        let result = result.unwrap_or_else(|panic| world.fail(&words_of(&*panic)));
        // Threads that are about to end.
        while world.state.lock().slots.iter().skip(1).any(|slot| slot.alive) {
            if world.state.lock().able.len() == 1 {
                world.fail("a thread is left at the end");
            }
            point();
        }
        HERE.set(None);
        *world.idle.lock() = None;
        let mut state = world.state.lock();
        let choice = std::mem::replace(&mut state.choice, Choice::random(0, 1));
        drop(state);
        (result, choice)
    }

    /// How many of a hundred attempts to start a thread fail, for the library.
    pub fn refuse_threads(&self, percent: u64) {
        self.state.lock().refused_threads = percent;
    }

    pub(super) fn refuses_thread(&self) -> bool {
        let mut state = self.state.lock();
        let percent = state.refused_threads;
        state.choice.percent(percent)
    }

    pub(super) fn add_thread(&self, name: String) -> usize {
        let mut state = self.state.lock();
        let me = state.slots.len();
        state.slots.push(Slot {
            name,
            handle: None,
            sleeps: None,
            timed_out: false,
            alive: true,
            outside: false,
            view: View::new(),
        });
        state.able.push(me);
        me
    }

    pub(super) fn set_handle(&self, thread: usize, handle: std::thread::Thread) {
        self.state.lock().slots[thread].handle = Some(handle);
    }

    pub fn is_alive(&self, thread: usize) -> bool {
        self.state.lock().slots[thread].alive
    }

    /// What a thread that has ended knew.
    pub(super) fn view_of(&self, thread: usize) -> View {
        self.state.lock().slots[thread].view.clone()
    }

    pub(super) fn new_place(&self) -> usize {
        self.places.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn meeting(&self, key: Key) -> Arc<Meeting> {
        let mut all = self.meetings.lock();
        if let Some((_, there)) = all.iter().find(|(its, _)| *its == key) {
            return there.clone();
        }
        all.push((key, Arc::default()));
        all[all.len() - 1].1.clone()
    }

    /// Whether that thread sleeps or has ended: it is in no code of its own.
    pub fn is_asleep(&self, thread: usize) -> bool {
        let state = self.state.lock();
        !state.slots[thread].alive || state.slots[thread].sleeps.is_some()
    }

    /// The whole life of a thread other than the first, which knows `view` when it begins.
    pub(super) fn run_thread<T>(
        world: &Arc<World>,
        me: usize,
        view: View,
        body: impl FnOnce() -> T,
    ) -> T {
        HERE.set(Some((world.clone(), me)));
        memory::set_view(view);
        world.wait_turn(me);
        let result = catch_unwind(AssertUnwindSafe(body));
        if let Err(panic) = &result {
            world.fail(&words_of(&**panic));
        }
        let mut state = world.state.lock();
        state.slots[me].alive = false;
        state.slots[me].view = memory::set_view(View::new());
        state.able.retain(|&thread| thread != me);
        state.wake(Key::Join(me), usize::MAX);
        world.pass_on(&mut state, None);
        drop(state);
        HERE.set(None);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn step(&self, me: usize) {
        if std::thread::panicking() {
            return;
        }
        let mut state = self.state.lock();
        state.steps += 1;
        state.now += state.tick;
        state.expire();
        if state.steps > STEPS_MAX || state.now > NANOS_MAX {
            drop(state);
            self.fail("the run does not end");
        }
        if state.able.len() == 1 {
            return;
        }
        let turn = self.pass_on(&mut state, Some(me));
        drop(state);
        if turn == Turn::PassedOn {
            self.wait_turn(me);
        }
    }

    fn block(&self, me: usize, key: Key, until: Option<u64>, class: Class) -> Woken {
        let mut state = self.state.lock();
        state.now += state.tick;
        let class = if state.slots[me].outside { Class::Outside } else { class };
        state.slots[me].sleeps = Some((key, until, class));
        state.slots[me].timed_out = false;
        state.able.retain(|&thread| thread != me);
        state.earliest = state.earliest.min(until.unwrap_or(u64::MAX));
        state.expire();
        self.pass_on(&mut state, None);
        drop(state);
        self.wait_turn(me);
        match self.state.lock().slots[me].timed_out {
            true => Woken::ByTime,
            false => Woken::BySomebody,
        }
    }

    /// Lets the next thread go on, which may be the current one.
    fn pass_on(&self, state: &mut State, current: Option<usize>) -> Turn {
        while state.able.is_empty() {
            self.pass_time(state);
        }
        let State { choice, able, .. } = state;
        let next = choice.next(able, current);
        if Some(next) == current {
            return Turn::Stays;
        }
        self.running.store(next, Ordering::Release);
        if let Some(handle) = &state.slots[next].handle {
            handle.unpark();
        }
        Turn::PassedOn
    }

    /// No thread can run.
    fn pass_time(&self, state: &mut State) {
        let waits = state.slots.iter().filter_map(|slot| match (slot.alive, slot.sleeps) {
            (true, Some((_, Some(until), class))) => Some((until, class)),
            _ => None,
        });
        let waits: Vec<(u64, Class)> = waits.collect();
        let Some((next, _)) = waits.iter().min_by_key(|(until, _)| *until) else {
            let words = format!("deadlock: {}", state.sleepers());
            self.fail_with(state, &words);
        };
        if waits.iter().all(|(_, class)| *class != Class::Outside) {
            let words = self.idle.lock().as_ref().and_then(|hook| hook());
            if let Some(words) = words {
                let words = format!("{words}; {}", state.sleepers());
                self.fail_with(state, &words);
            }
        }
        state.now = state.now.max(*next);
        state.pauses += 1;
        state.expire();
        if state.now > NANOS_MAX {
            self.fail_with(state, "the run does not end");
        }
    }

    fn wait_turn(&self, me: usize) {
        while self.running.load(Ordering::Acquire) != me {
            std::thread::park();
        }
    }

    pub fn fail(&self, why: &str) -> ! {
        // A panic of the scheduler itself may come while its thread holds the lock.
        match self.state.try_lock_for(Duration::from_secs(1)) {
            Some(state) => self.fail_with(&state, why),
            None => self.end(&format!("{why} (inside the scheduler)")),
        }
    }

    fn fail_with(&self, state: &State, why: &str) -> ! {
        let State { now, steps, .. } = state;
        self.end(&format!("{why} (after {steps} steps, {now} ns)"))
    }

    fn end(&self, why: &str) -> ! {
        use std::io::Write;
        let words = format!("{}: {why}\n", self.label);
        let _ = std::io::stderr().write_all(words.as_bytes());
        std::process::exit(101);
    }
}

/// A panic on a thread of a simulation ends the run, with the place where it was: also one of the
/// library, which would make an error of it. The library's own hook has to be there first.
fn end_the_run_where_it_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = crate::sys::caught(|| ());
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if in_simulation() {
                fail(&info.to_string());
            }
            next(info);
        }));
    });
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_default())
}
