use super::*;

const DIRECT: Wish = Wish { direct: true, either: false };
const BUFFERED: Wish = Wish { direct: false, either: true };
const EITHER: Wish = Wish { direct: true, either: true };

/// An object that no other test knows.
fn object(number: u64) -> Identity {
    Identity::File { dev: u64::MAX, ino: number }
}

fn enter(number: u64, wish: Wish) -> Option<Traveller> {
    Traveller::enter(object(number), wish)
}

#[test]
fn the_first_handle_decides_and_who_may_goes_along() {
    let first = enter(1, DIRECT).unwrap();
    assert!(first.is_direct() && enter(1, BUFFERED).unwrap().is_direct());
    assert!(enter(1, EITHER).unwrap().is_direct() && enter(1, DIRECT).is_some());
    let other = enter(2, BUFFERED).unwrap();
    assert!(!other.is_direct() && !enter(2, EITHER).unwrap().is_direct());
    assert!(enter(2, DIRECT).is_none());
}

#[test]
fn the_last_handle_takes_the_decision_with_it() {
    let (first, second) = (enter(3, BUFFERED), enter(3, EITHER));
    drop(first);
    assert!(enter(3, DIRECT).is_none());
    drop(second);
    assert!(enter(3, DIRECT).unwrap().is_direct());
}

#[test]
fn of_two_who_come_at_once_one_decides_for_both() {
    for round in 0..2000 {
        let at_once = std::sync::Barrier::new(2);
        let come = |wish| {
            at_once.wait();
            let came = enter(4, wish);
            at_once.wait();
            came.map(|came| came.is_direct())
        };
        let (direct, buffered) = std::thread::scope(|scope| {
            let other = scope.spawn(|| come(BUFFERED));
            (come(DIRECT), other.join().unwrap())
        });
        let ways = [(Some(true), Some(true)), (None, Some(false))];
        assert!(ways.contains(&(direct, buffered)), "{round}: {direct:?}, {buffered:?}");
    }
    assert!(enter(4, DIRECT).is_some(), "nothing is left of them");
}
