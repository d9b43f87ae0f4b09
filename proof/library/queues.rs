//! The queues of callbacks and the pool, by themselves.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::small::{explore, join};
use crate::completion::{Callback, Completions, Delivery, Generation, Left, Runner};
use crate::engine::{Job, Kind, Pool, PoolOwner};
use crate::proof::world::system::is_readable;
use crate::proof::world::thread::spawn;
use crate::proof::world::{block, fail, outside_limits, point, wake_all, world, Class, Key};
use crate::sync::on_time;

/// Callbacks that ran, and whether one is running.
static RAN: Mutex<(Vec<usize>, bool)> = Mutex::new((Vec::new(), false));

extern "C" fn note(opaque: *mut c_void, _ret: c_int) {
    if std::mem::replace(&mut RAN.lock().1, true) {
        fail("two callbacks at once");
    }
    point();
    let mut ran = RAN.lock();
    ran.0.push(opaque.addr());
    ran.1 = false;
}

fn delivery(number: usize, generation: Generation) -> Delivery {
    let opaque = std::ptr::without_provenance_mut(number);
    Delivery {
        callback: Callback { function: note, opaque, on_failure: |_| {} },
        generation,
        result: Ok(()),
    }
}

/// All of `numbers` ran, each once, and those of one thread (of ten) in order.
fn check_ran(numbers: &[usize]) {
    let ran = std::mem::take(&mut RAN.lock().0);
    let mut sorted = ran.clone();
    sorted.sort_unstable();
    let of = |ten: usize| ran.iter().filter(move |number| *number / 10 == ten);
    if sorted != numbers || !(0..10).all(|ten| of(ten).is_sorted()) {
        fail(&format!("ran {ran:?} instead of {numbers:?}"));
    }
}

/// SERIAL: two threads push, whoever is told to runs what is due; a third drains.
pub fn serial_callbacks_run_once_in_order_and_drain_sees_the_last() -> (usize, bool) {
    explore("serial", 2, 4000, 2000, || {
        let completions = Arc::new(Completions::default());
        let generations = [(); 4].map(|()| completions.request_taken_in());
        let pushers: Vec<_> = (1..3)
            .map(|thread| {
                let its = completions.clone();
                spawn("pusher", move || {
                    for last in [0, 1] {
                        let generation = generations[2 * (thread - 1) + last];
                        if its.push(delivery(10 * thread + last, generation)) == Runner::Needed {
                            its.run_due();
                        }
                    }
                })
            })
            .collect();
        let its = completions.clone();
        let drainer = spawn("drainer", move || {
            if !its.wait_over(its.mark(), None) || !its.is_drained() {
                fail("not drained");
            }
        });
        pushers.into_iter().for_each(join);
        join(drainer);
        check_ran(&[10, 11, 20, 21]);
    })
}

/// Two threads of which each always has a request, the next one before the last one is over, also
/// while two others drain: the drains return all the same, and not before what came before them
/// is over.
pub fn drains_return_though_others_never_cease() -> (usize, bool) {
    explore("drain", 2, 4000, 3000, || {
        let completions = Arc::new(Completions::default());
        let before = completions.request_taken_in();
        // Drains that have begun, that have returned, and whether `before` is over.
        let counts: Arc<[AtomicUsize; 3]> = Arc::default();
        let reached = |counts: &[AtomicUsize; 3], which: usize, number: usize| {
            while counts[which].load(Ordering::Relaxed) < number {
                block(COUNTED, None, Class::Library);
            }
        };
        let submitters = [1, 2].map(|rounds| {
            let (its, counts) = (completions.clone(), counts.clone());
            spawn("submitter", move || {
                let mut last = its.request_taken_in();
                for round in 0..=rounds {
                    // The last one surely comes after both have begun.
                    reached(&counts, 0, if round == rounds { 2 } else { 0 });
                    let next = its.request_taken_in();
                    its.request_over(last);
                    last = next;
                }
                reached(&counts, 1, 2);
                its.request_over(last);
            })
        });
        let drainers = [(); 2].map(|()| {
            let (its, counts) = (completions.clone(), counts.clone());
            spawn("drainer", move || {
                let mark = its.mark();
                counts[0].fetch_add(1, Ordering::Relaxed);
                wake_all(COUNTED);
                if !its.wait_over(mark, None) || counts[2].load(Ordering::Relaxed) == 0 {
                    fail("a drain has returned too early");
                }
                counts[1].fetch_add(1, Ordering::Relaxed);
                wake_all(COUNTED);
            })
        });
        point();
        counts[2].store(1, Ordering::Relaxed);
        completions.request_over(before);
        drainers.into_iter().for_each(join);
        submitters.into_iter().for_each(join);
        if !completions.is_drained() {
            fail("something is left");
        }
    })
}

const COUNTED: Key = Key::Thing(4);

/// EVENTFD: two threads push, a third waits for the descriptor and looks as `poll` does, taking
/// one at a time.
pub fn nothing_is_due_behind_a_descriptor_that_is_not_readable() -> (usize, bool) {
    explore("eventfd", 2, 3000, 2000, || {
        let completions = Arc::new(Completions::default());
        let (fd, _) = completions.events.descriptor().unwrap_or_else(|error| fail(&error.words));
        let pushers: Vec<_> = (1..3)
            .map(|thread| {
                let its = completions.clone();
                spawn("pusher", move || {
                    let generation = its.request_taken_in();
                    its.events.push(delivery(10 * thread, generation), false);
                })
            })
            .collect();
        let mut ran = 0;
        while ran < 2 {
            point();
            if !is_readable(fd) {
                block(Key::Readable(fd), None, Class::Library);
                continue;
            }
            let mut due = Vec::new();
            completions.events.begin_look();
            completions.events.take(1, &mut due);
            ran += due.len();
            due.drain(..).for_each(|delivery| completions.run(delivery));
            completions.events.end_look(Left::Nothing);
        }
        pushers.into_iter().for_each(join);
        check_ran(&[10, 20]);
    })
}

/// EVENTFD without a descriptor: a thread that waits hears of what is pushed, and of what it
/// leaves.
pub fn a_thread_that_waits_for_what_is_due_hears_of_it() -> (usize, bool) {
    explore("events", 2, 3000, 1000, || {
        let completions = Arc::new(Completions::default());
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let its = completions.clone();
                spawn("waiter", move || loop {
                    let mut due = Vec::new();
                    its.events.take(1, &mut due);
                    if let Some(delivery) = due.pop() {
                        return RAN.lock().0.push(delivery.callback.opaque.addr());
                    }
                    its.events.wait(None);
                })
            })
            .collect();
        for number in [10, 20] {
            completions.events.push(delivery(number, completions.request_taken_in()), false);
        }
        waiters.into_iter().for_each(join);
        check_ran(&[10, 20]);
    })
}

const JOB_DONE: Key = Key::Thing(2);

/// A job that says that it ran, or one that stays until it is told.
enum Test {
    Note(usize, Kind),
    Watch(Arc<Told>),
    /// Work of this owner that hangs until it is told.
    Hang(usize, Arc<Told>),
}

type Told = (crate::sync::Mutex<bool>, crate::sync::Condvar);

fn tell(told: &Told) {
    *told.0.lock() = true;
    told.1.notify_all();
}

impl Job for Test {
    fn kind(&self) -> Kind {
        match self {
            Test::Note(_, kind) => *kind,
            Test::Watch(_) => Kind::Watcher,
            Test::Hang(..) => Kind::Work,
        }
    }

    fn owner(&self) -> usize {
        match self {
            Test::Note(number, _) => number / 10,
            Test::Watch(_) => 0,
            Test::Hang(owner, _) => *owner,
        }
    }

    fn run(self, pool: &Pool<Test>) -> Option<Test> {
        match self {
            Test::Note(number, kind) => {
                point();
                RAN.lock().0.push(number);
                wake_all(JOB_DONE);
                // Once, to go on with one of another kind.
                let other = if kind == Kind::Work { Kind::Callback } else { Kind::Work };
                return (number % 10 == 5).then(|| Test::Note(number + 1, other));
            }
            Test::Watch(told) => {
                let mut end = told.0.lock();
                while !*end {
                    if pool.is_short() && pool.try_again().is_err() {
                        drop(end);
                        pool.push(Test::Watch(told));
                        return None;
                    }
                    on_time(|| told.1.wait_for(&mut end, Duration::from_millis(5)));
                }
            }
            Test::Hang(_, told) => {
                let mut end = told.0.lock();
                while !*end {
                    told.1.wait(&mut end);
                }
            }
        }
        None
    }
}

/// Two threads push jobs of both kinds, a watcher stays among them, threads are refused at times;
/// then the owner goes.
pub fn a_pool_does_every_job_and_ends_its_threads() -> (usize, bool) {
    explore("pool", 1, 1500, 3000, || {
        let owner = PoolOwner::new(1);
        world().expect("inside").refuse_threads(60);
        let told = Arc::new((crate::sync::Mutex::new(false), crate::sync::Condvar::new()));
        while owner.pool().man(1).is_err() {}
        let pushers: Vec<_> = (1..3)
            .map(|thread| {
                let (pool, told) = (owner.pool().clone(), told.clone());
                spawn("pusher", move || {
                    pool.push(Test::Note(10 * thread, Kind::Callback));
                    if thread == 1 {
                        pool.push(Test::Watch(told));
                    }
                    pool.push(Test::Note(10 * thread + 5, Kind::Work));
                })
            })
            .collect();
        pushers.into_iter().for_each(join);
        // While the watcher is there.
        while RAN.lock().0.len() < 6 {
            block(JOB_DONE, None, Class::Library);
        }
        tell(&told);
        outside_limits(|| drop(owner));
        let mut ran = std::mem::take(&mut RAN.lock().0);
        ran.sort_unstable();
        if ran != [10, 15, 16, 20, 25, 26] {
            fail(&format!("ran {ran:?}"));
        }
    })
}

/// Two owners hang with all that they push; two threads push jobs of others, which are done
/// meanwhile.
pub fn owners_that_hang_stop_no_other() -> (usize, bool) {
    explore("shares", 1, 1500, 2000, || {
        let owner = PoolOwner::shared(2);
        while owner.pool().man(1).is_err() {}
        let told = Arc::new(Told::default());
        let pushers: Vec<_> = (1..3)
            .map(|thread| {
                let (pool, told) = (owner.pool().clone(), told.clone());
                spawn("pusher", move || {
                    for _ in 0..3 {
                        pool.push(Test::Hang(100 + thread, told.clone()));
                    }
                    for number in [1, 2, 5] {
                        pool.push(Test::Note(10 * thread + number, Kind::Work));
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(join);
        while RAN.lock().0.len() < 8 {
            block(JOB_DONE, None, Class::Library);
        }
        tell(&told);
        outside_limits(|| drop(owner));
        let mut ran = std::mem::take(&mut RAN.lock().0);
        ran.sort_unstable();
        if ran != [11, 12, 15, 16, 21, 22, 25, 26] {
            fail(&format!("ran {ran:?}"));
        }
    })
}
