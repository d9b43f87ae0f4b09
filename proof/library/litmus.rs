//! Tests of the simulation itself: what small programs may see of atomics and locks, and what they
//! must not, as C++20 and Rust have it. Each program is run under all schedules with up to two
//! preemptions and two loads of an old value, which is enough for each of these.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex as Real;

use super::small::join;
use crate::proof::world::thread::spawn;
use crate::proof::world::{memory, Choice, Key, Paths, World};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::Mutex;

use Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// What the threads of a program saw.
type Seen = [u32; 2];

/// All that `program` can see.
fn outcomes(program: impl Fn() -> Seen) -> BTreeSet<Seen> {
    let mut paths = Paths::new(2, 2);
    let mut all = BTreeSet::new();
    loop {
        let choice = Choice::Path(paths);
        let (seen, choice) = World::run("litmus".to_owned(), choice, 0, false, &program);
        all.insert(seen);
        let Choice::Path(next) = choice else { unreachable!() };
        paths = next;
        if !paths.advance() {
            return all;
        }
    }
}

fn both<A, B>(first: A, second: B) -> Seen
where
    A: FnOnce() -> u32 + Send + 'static,
    B: FnOnce() -> u32 + Send + 'static,
{
    let first = spawn("first", first);
    let second = spawn("second", second);
    [join(first), join(second)]
}

#[derive(Default)]
struct Places {
    x: AtomicU32,
    y: AtomicU32,
    lock: Mutex<u32>,
    flag: AtomicBool,
}

fn with(code: impl Fn(Arc<Places>) -> Seen) -> BTreeSet<Seen> {
    outcomes(|| code(Arc::default()))
}

/// 1 and 1: the message was read; 1 and 0: it was announced, and not seen.
fn message(stores: Ordering, loads: Ordering) -> BTreeSet<Seen> {
    with(|places| {
        let its = places.clone();
        let writer = spawn("writer", move || {
            its.x.store(1, Relaxed);
            its.y.store(1, stores);
        });
        let reader = spawn("reader", move || [places.y.load(loads), places.x.load(Relaxed)]);
        join(writer);
        join(reader)
    })
}

pub fn a_message_is_seen_by_release_and_acquire_only() {
    for (stores, loads) in [(Release, Acquire), (SeqCst, SeqCst), (SeqCst, Acquire)] {
        let seen = message(stores, loads);
        assert_eq!(seen, BTreeSet::from([[0, 0], [0, 1], [1, 1]]), "{stores:?} {loads:?}");
    }
    for (stores, loads) in [(Relaxed, Acquire), (Release, Relaxed), (Relaxed, Relaxed)] {
        assert!(message(stores, loads).contains(&[1, 0]), "{stores:?} {loads:?}");
    }
}

/// Each makes its mark, then looks at the other's place.
fn crossing(mark: impl Fn(&AtomicU32) + Copy + Send + 'static, loads: Ordering) -> BTreeSet<Seen> {
    with(|places| {
        let its = places.clone();
        both(
            move || {
                mark(&its.x);
                its.y.load(loads)
            },
            move || {
                mark(&places.y);
                places.x.load(loads)
            },
        )
    })
}

fn buffered(stores: Ordering, loads: Ordering) -> BTreeSet<Seen> {
    crossing(move |place| place.store(1, stores), loads)
}

pub fn of_two_that_store_and_look_one_sees_the_other_by_seqcst_only() {
    assert_eq!(buffered(SeqCst, SeqCst), BTreeSet::from([[0, 1], [1, 0], [1, 1]]));
    for (stores, loads) in [(Release, Acquire), (SeqCst, Acquire), (Release, SeqCst)] {
        assert!(buffered(stores, loads).contains(&[0, 0]), "{stores:?} {loads:?}");
    }
}

/// The same where each counts itself in, as most of the library's do.
pub fn of_two_that_count_and_look_one_sees_the_other_by_seqcst_only() {
    let counted = |counts: Ordering, loads: Ordering| {
        crossing(move |place| _ = place.fetch_add(1, counts), loads)
    };
    assert!(!counted(SeqCst, SeqCst).contains(&[0, 0]));
    assert!(counted(AcqRel, Acquire).contains(&[0, 0]));
    assert!(counted(AcqRel, SeqCst).contains(&[0, 0]));
}

pub fn nobody_sees_a_place_go_back() {
    let seen = with(|places| {
        let its = places.clone();
        let writer = spawn("writer", move || {
            its.x.store(1, Relaxed);
            its.x.store(2, Relaxed);
        });
        let its = places.clone();
        let reader = spawn("reader", move || [its.x.load(Relaxed), its.x.load(Relaxed)]);
        join(writer);
        assert_eq!(places.x.load(Relaxed), 2, "a thread was joined, and not heard");
        join(reader)
    });
    assert_eq!(seen, [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].into());
    // What one has seen, whom it tells has seen.
    let told = with(|places| {
        let (one, two, three) = (places.clone(), places.clone(), places);
        let writer = spawn("writer", move || one.x.store(1, Relaxed));
        let first = spawn("first", move || {
            let seen = two.x.load(Relaxed);
            two.y.store(1 + seen, Release);
        });
        let second = spawn("second", move || [three.y.load(Acquire), three.x.load(Relaxed)]);
        join(writer);
        join(first);
        join(second)
    });
    assert!(told.contains(&[2, 1]) && !told.contains(&[2, 0]), "{told:?}");
}

pub fn of_what_counts_at_once_nothing_is_lost() {
    let seen = with(|places| {
        let (one, two) = (places.clone(), places);
        both(move || one.x.fetch_add(1, Relaxed), move || two.x.fetch_add(1, Relaxed))
    });
    assert_eq!(seen, [[0, 1], [1, 0]].into());
    let seen = with(|places| {
        let (one, two) = (places.clone(), places);
        both(
            move || u32::from(one.flag.swap(true, Relaxed)),
            move || u32::from(two.flag.swap(true, Relaxed)),
        )
    });
    assert_eq!(seen, [[0, 1], [1, 0]].into());
}

/// A thread that counts between release and acquire passes on what it need not know itself.
pub fn who_counts_in_between_passes_a_release_on() {
    let passed = |breaks: bool| {
        with(|places| {
            let (one, two, three) = (places.clone(), places.clone(), places);
            let writer = spawn("writer", move || {
                one.x.store(1, Relaxed);
                one.y.fetch_add(1, Release);
            });
            let counter = spawn("counter", move || match breaks {
                false => drop(two.y.fetch_add(1, Relaxed)),
                true => two.y.store(2, Relaxed),
            });
            let reader = spawn("reader", move || [three.y.load(Acquire), three.x.load(Relaxed)]);
            join(writer);
            join(counter);
            join(reader)
        })
    };
    assert!(!passed(false).contains(&[2, 0]));
    assert!(passed(true).contains(&[2, 0]));
}

pub fn what_a_lock_guards_is_seen_and_the_lock_from_outside_may_not_be() {
    let seen = with(|places| {
        let its = places.clone();
        let writer = spawn("writer", move || {
            let mut number = its.lock.lock();
            its.x.store(1, Relaxed);
            *number = 1;
        });
        let reader = spawn("reader", move || {
            let number = places.lock.lock();
            [*number, places.x.load(Relaxed)]
        });
        join(writer);
        join(reader)
    });
    assert_eq!(seen, [[0, 0], [1, 1]].into());
    let seen = with(|places| {
        assert!(!places.lock.is_locked());
        let (one, two) = (places.clone(), places);
        both(
            move || {
                let _guard = one.lock.lock();
                one.x.load(Relaxed)
            },
            move || {
                two.x.store(1, Relaxed);
                u32::from(two.lock.is_locked())
            },
        )
    });
    assert!(seen.contains(&[0, 0]), "{seen:?}");
}

pub fn a_signal_is_heard_by_whoever_reads_it_and_a_value_is_not_old_for_ever() {
    let key = Key::Readable(-7);
    let seen = with(|places| {
        let its = places.clone();
        let told = Arc::new(Real::new(false));
        let tells = told.clone();
        let writer = spawn("writer", move || {
            its.x.store(1, Relaxed);
            memory::tell(key);
            *tells.lock() = true;
        });
        let reader = spawn("reader", move || {
            let heard = *told.lock();
            if heard {
                memory::hear(key);
            }
            [u32::from(heard), places.x.load(Relaxed)]
        });
        join(writer);
        join(reader)
    });
    assert!(seen.contains(&[1, 1]) && !seen.contains(&[1, 0]), "{seen:?}");
    // Random runs may read an old value wherever they can, and this ends all the same.
    for seed in 0..100 {
        World::run(format!("litmus {seed}"), Choice::random(seed, 3), 10, false, || {
            let places: Arc<Places> = Arc::default();
            let its = places.clone();
            let writer = spawn("writer", move || its.flag.store(true, Relaxed));
            while !places.flag.load(Relaxed) {}
            join(writer);
        });
    }
}
