//! What each thread sees of memory: C11's, and Rust's, model of atomics as one that can be run,
//! after Kang and others, "A Promising Semantics for Relaxed-Memory Concurrency" (without its
//! promises).
//!
//! Each place in memory keeps its latest stores, numbered in modification order. A thread's `View`
//! says for each place how old a store it may still read; it grows with what the thread reads and
//! writes, and with the views of others that it comes to know by synchronising: a release gives
//! the thread's view away, an acquire takes it in. Happens-before, coherence and release
//! sequences follow from that. A load reads any store from there on; the run's choice says which.
//!
//! `SeqCst`: the total order is that in which the simulation runs. Hence a `SeqCst` load reads
//! nothing older than the newest `SeqCst` store; between other accesses it orders nothing, as C++20
//! has it. All this shows less than the language allows, never more: stores to one place are
//! ordered as they run, and no load sees a store that has not run.
//!
//! An old value is not read for ever: not after `PATIENCE` times in a row, nor `STEPS_MAX` steps
//! after the store that replaced it, nor once no thread could run and time has passed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::scheduler::{trace, with, Key, World};

/// Stores that a place keeps.
const KEPT: usize = 8;
const PATIENCE: u8 = 3;
const STEPS_MAX: u64 = 300;

/// By the number of a place: the oldest store to it that may still be read.
#[derive(Debug, Clone, Default)]
pub struct View(Vec<u32>);

impl View {
    pub const fn new() -> View {
        View(Vec::new())
    }

    fn at(&self, place: usize) -> u32 {
        self.0.get(place).copied().unwrap_or(0)
    }

    fn raise(&mut self, place: usize, store: u32) {
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        self.0[place] = self.0[place].max(store);
    }

    fn join(&mut self, other: &View) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, its) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*its);
        }
    }
}

thread_local! {
    static MINE: RefCell<View> = const { RefCell::new(View::new()) };
}

fn mine<R>(code: impl FnOnce(&mut View) -> R) -> R {
    MINE.with_borrow_mut(code)
}

/// What this thread knows.
pub fn view() -> View {
    mine(|view| view.clone())
}

pub(super) fn set_view(view: View) -> View {
    MINE.replace(view)
}

/// This thread comes to know what another one knew.
pub fn acquire(view: &View) {
    mine(|mine| mine.join(view));
}

/// Runs `code` as a thread that knows `view` and nothing else: what it learns it forgets.
pub fn knowing<R>(view: View, code: impl FnOnce() -> R) -> R {
    let before = set_view(view);
    let result = code();
    set_view(before);
    result
}

/// Where threads meet that synchronise by something else than an atomic.
#[derive(Debug, Default)]
pub struct Meeting(parking_lot::Mutex<(u64, View)>);

impl Meeting {
    pub const fn new() -> Meeting {
        Meeting(parking_lot::Mutex::new((0, View::new())))
    }

    fn with(&self, code: impl FnOnce(&mut View)) {
        with(|world, _| {
            let mut met = self.0.lock();
            if met.0 != world.number {
                *met = (world.number, View::new());
            }
            code(&mut met.1);
        });
    }

    /// A thread that acquires after this knows what this thread knows now.
    pub fn release(&self) {
        self.with(|met| mine(|mine| met.join(mine)));
    }

    pub fn acquire(&self) {
        self.with(|met| acquire(met));
    }
}

/// Something that a thread did, and that others must, or need not, know of.
#[derive(Debug, Clone, Copy)]
pub struct Deed(usize);

impl Deed {
    pub fn new() -> Deed {
        Deed(with(|world, _| world.new_place()).unwrap_or(0))
    }

    pub fn done(self) {
        mine(|mine| mine.raise(self.0, 1));
    }

    pub fn is_known(self) -> bool {
        mine(|mine| mine.at(self.0) > 0)
    }
}

/// The latest stores to an atomic. Its newest value is kept elsewhere, too, for threads that are in
/// no simulation.
#[derive(Debug)]
pub struct History<T>(parking_lot::Mutex<Option<Box<Stores<T>>>>);

#[derive(Debug)]
struct Stores<T> {
    /// The simulation that this is of.
    world: u64,
    place: usize,
    /// The number of the first that is kept.
    first: u32,
    kept: VecDeque<Store<T>>,
    /// The number of the last that was SeqCst, or that a SeqCst load has read.
    strong: u32,
    /// By thread: how often in a row it has read an old value.
    patience: Vec<u8>,
}

#[derive(Debug)]
struct Store<T> {
    value: T,
    /// What a thread that acquires it learns.
    view: Option<Arc<View>>,
    /// When the next one came: the step, and how often time had passed.
    replaced: (u64, u64),
}

fn acquires(order: Ordering) -> bool {
    matches!(order, Ordering::Acquire | Ordering::AcqRel | Ordering::SeqCst)
}

fn releases(order: Ordering) -> bool {
    matches!(order, Ordering::Release | Ordering::AcqRel | Ordering::SeqCst)
}

impl<T> Default for History<T> {
    fn default() -> History<T> {
        History::new()
    }
}

impl<T> History<T> {
    pub const fn new() -> History<T> {
        History(parking_lot::Mutex::new(None))
    }

    /// A thread has the atomic to itself.
    pub fn forget(&mut self) {
        *self.0.get_mut() = None;
    }
}

impl<T: Copy + std::fmt::Debug> History<T> {
    /// `newest`: the value before this access.
    fn with<R>(
        &self,
        newest: T,
        code: impl FnOnce(&mut Stores<T>, &World, usize) -> R,
    ) -> Option<R> {
        with(|world, me| {
            let mut stores = self.0.lock();
            match &mut *stores {
                Some(stores) if stores.world == world.number => code(stores, world, me),
                stores => code(stores.insert(Box::new(Stores::new(world, newest))), world, me),
            }
        })
    }

    /// A load: what it reads.
    #[track_caller]
    pub fn load(&self, newest: T, order: Ordering) -> T {
        let caller = Location::caller();
        self.with(newest, |stores, world, me| {
            let (first, last) = (stores.first, stores.last());
            let strong = if order == Ordering::SeqCst { stores.strong } else { 0 };
            let from = mine(|mine| mine.at(stores.place)).max(first).max(strong);
            let back = if from < last { stores.back(from, world, me, caller) } else { 0 };
            if stores.patience.len() <= me {
                stores.patience.resize(me + 1, 0);
            }
            stores.patience[me] = if back > 0 { stores.patience[me] + 1 } else { 0 };
            stores.read(last - back, order)
        })
        .unwrap_or(newest)
    }

    /// The load of a reader that looks at the place itself, such as the kernel: the newest value.
    pub fn load_newest(&self, newest: T, order: Ordering) -> T {
        self.with(newest, |stores, _, _| stores.read(stores.last(), order));
        newest
    }

    pub fn store(&self, before: T, value: T, order: Ordering) {
        self.with(before, |stores, world, _| stores.push(world, value, order, None));
    }

    /// A store that belongs to a load of the newest value.
    pub fn update(&self, before: T, value: T, order: Ordering) {
        self.with(before, |stores, world, _| {
            let sequence = stores.kept.back().and_then(|store| store.view.clone());
            stores.read(stores.last(), order);
            stores.push(world, value, order, sequence);
        });
    }
}

impl<T: Copy + std::fmt::Debug> Stores<T> {
    fn new(world: &World, value: T) -> Stores<T> {
        Stores {
            world: world.number,
            place: world.new_place(),
            first: 0,
            kept: VecDeque::from([Store { value, view: None, replaced: (0, 0) }]),
            strong: 0,
            patience: Vec::new(),
        }
    }

    fn last(&self) -> u32 {
        self.first + self.kept.len() as u32 - 1
    }

    /// How many stores before the last, `from` or a later one, a load reads.
    fn back(&self, from: u32, world: &World, me: usize, caller: &Location) -> u32 {
        if self.patience.get(me).is_some_and(|&times| times >= PATIENCE) {
            return 0;
        }
        let last = self.last();
        let mut state = world.state.lock();
        let readable = |at: &u32| {
            let (step, pauses) = self.kept[(at - self.first) as usize].replaced;
            pauses == state.pauses && state.steps - step <= STEPS_MAX
        };
        let from = (from..last).find(readable).unwrap_or(last);
        let back = state.choice.old((last - from) as usize) as u32;
        drop(state);
        if back > 0 {
            let value = |at: u32| self.kept[(at - self.first) as usize].value;
            let (old, new) = (value(last - back), value(last));
            trace(|| format!("reads {old:?} instead of {new:?}, {caller}"));
        }
        back
    }

    /// What one SeqCst load has read none after it reads behind.
    fn read(&mut self, at: u32, order: Ordering) -> T {
        if order == Ordering::SeqCst {
            self.strong = self.strong.max(at);
        }
        let store = &self.kept[(at - self.first) as usize];
        mine(|mine| {
            mine.raise(self.place, at);
            match &store.view {
                Some(view) if acquires(order) => mine.join(view),
                _ => {}
            }
        });
        store.value
    }

    /// `sequence`: what readers learn whatever `order` says, being part of a release sequence.
    fn push(&mut self, world: &World, value: T, order: Ordering, sequence: Option<Arc<View>>) {
        let state = world.state.lock();
        let now = (state.steps, state.pauses);
        drop(state);
        if let Some(before) = self.kept.back_mut() {
            before.replaced = now;
        }
        let at = self.last() + 1;
        if order == Ordering::SeqCst {
            self.strong = at;
        }
        let view = mine(|mine| {
            mine.raise(self.place, at);
            match (releases(order), sequence) {
                (false, sequence) => sequence,
                (true, None) => Some(Arc::new(mine.clone())),
                (true, Some(sequence)) => {
                    let mut view = mine.clone();
                    view.join(&sequence);
                    Some(Arc::new(view))
                }
            }
        });
        self.kept.push_back(Store { value, view, replaced: (0, 0) });
        if self.kept.len() > KEPT {
            self.kept.pop_front();
            self.first += 1;
        }
    }
}

/// A system call that makes others go on, and that these see: an eventfd, written.
pub fn tell(key: Key) {
    with(|world, _| world.meeting(key).release());
}

/// This thread sees it.
pub fn hear(key: Key) {
    with(|world, _| world.meeting(key).acquire());
}
