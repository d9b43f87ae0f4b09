use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_mark_is_over_when_what_was_before_it_is_whatever_came_later() {
    let all = Generations::default();
    assert!(all.are_empty() && all.are_over(all.mark()));
    let before = [all.enter(), all.enter()];
    let first = all.mark();
    let between = all.enter();
    let second = all.mark();
    let after = all.enter();
    assert!(all.leave(before[0]) == Ended::Request && !all.are_over(first));
    assert!(all.leave(before[1]) == Ended::Generation && all.are_over(first));
    assert!(!all.are_over(second) && !all.are_empty());
    assert!(all.leave(between) == Ended::Generation && all.are_over(second));
    assert!(all.leave(after) == Ended::Request && all.are_empty(), "nobody waits for it");
}

#[test]
fn what_was_before_an_earlier_mark_was_before_a_later_one() {
    let all = Generations::default();
    let request = all.enter();
    let marks = [all.mark(), all.mark(), all.mark()];
    let later = all.enter();
    assert!(marks.iter().all(|&mark| !all.are_over(mark)));
    all.leave(request);
    assert!(marks.iter().all(|&mark| all.are_over(mark)));
    all.leave(later);
}

#[test]
fn without_a_free_place_a_mark_is_over_once_one_was() {
    let all = Generations::default();
    let hung: Vec<_> = (0..PLACES - 1).map(|_| (all.enter(), all.mark())).collect();
    let late = all.enter();
    let marks = [all.mark(), all.mark()];
    assert_eq!(all.current.load(Ordering::SeqCst), PLACES - 1);
    let now = Instant::now();
    assert!(!all.wait(marks[0], Some(now)));
    all.leave(hung[5].0);
    assert!(!all.are_over(marks[0]), "it is closed by this");
    let after = all.enter();
    assert_ne!(after, late);
    all.leave(late);
    assert!(!all.are_over(marks[0]), "others came before it");
    let others = hung.iter().filter(|its| its.0 != hung[5].0);
    others.for_each(|its| assert_eq!(all.leave(its.0), Ended::Generation));
    assert!(hung.iter().chain(&marks.map(|mark| (late, mark))).all(|its| all.are_over(its.1)));
    all.leave(after);
    assert!(all.are_empty());
}

/// The last request of a closed generation counts itself out; before it looks whether anybody
/// waits, others find the place free, and make it the current one.
#[test]
fn a_drain_is_told_though_the_place_it_waits_for_is_current_again() {
    let all = Generations::default();
    let Generation(at) = all.enter();
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| all.wait(all.mark(), Some(Instant::now() + LONG)));
        while all.current.load(Ordering::SeqCst) == usize::from(at) {
            std::thread::yield_now();
        }
        // By then it sleeps; if not, it needs nobody to tell it.
        std::thread::sleep(LONG / 100);
        let later = all.enter();
        all.counts[usize::from(at)].fetch_sub(1, Ordering::SeqCst);
        assert!(!all.are_empty());
        all.mark();
        assert_eq!(all.current.load(Ordering::SeqCst), usize::from(at));
        let started = Instant::now();
        assert!(drain.join().unwrap());
        assert!(started.elapsed() < LONG / 2, "nobody told it");
        all.leave(later);
    });
}

#[test]
fn drains_return_though_others_never_cease() {
    use std::sync::atomic::AtomicBool;
    let (all, stop) = (Generations::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Never without one.
                let mut last = all.enter();
                while !stop.load(Ordering::Relaxed) {
                    let next = all.enter();
                    all.leave(last);
                    last = next;
                }
                all.leave(last);
            });
        }
        let drains: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (0..2000).all(|_| all.wait(all.mark(), None)))).collect();
        assert!(drains.into_iter().all(|drain| drain.join().unwrap()));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(all.are_empty());
}
