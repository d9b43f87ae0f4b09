use super::Access::{Exclusive, Shared};
use super::*;

/// Few in a chunk, so that there are many chunks.
type Tracker = super::Tracker<4>;

/// Whether it may start at once.
fn insert(tracker: &mut Tracker, slot: u32, start: u64, end: u64, access: Access) -> bool {
    tracker.insert(Slot(slot), Claim { start, end, access }) == Entered::Free
}

fn is_empty(tracker: &Tracker) -> bool {
    !tracker.conflicts(Claim { start: 0, end: BEYOND, access: Exclusive })
}

fn left(tracker: &mut Tracker, slot: u32) -> Vec<u32> {
    let mut ready = Vec::new();
    tracker.remove(Slot(slot), &mut ready);
    ready.into_iter().map(|Slot(slot)| slot).collect()
}

#[test]
fn shared_ranges_never_wait_for_each_other() {
    let mut tracker = Tracker::default();
    assert!(insert(&mut tracker, 0, 0, 100, Shared));
    assert!(insert(&mut tracker, 1, 50, 150, Shared));
    assert!(insert(&mut tracker, 2, 0, 150, Shared));
    for slot in 0..3 {
        assert_eq!(left(&mut tracker, slot), []);
    }
    assert!(is_empty(&tracker));
}

#[test]
fn exclusive_ranges_form_a_chain_in_arrival_order() {
    let mut tracker = Tracker::default();
    assert!(insert(&mut tracker, 0, 0, 8, Exclusive));
    assert!(!insert(&mut tracker, 1, 4, 12, Exclusive));
    assert!(!insert(&mut tracker, 2, 0, 16, Exclusive));
    assert_eq!(left(&mut tracker, 0), [1]);
    assert_eq!(left(&mut tracker, 1), [2]);
    assert_eq!(left(&mut tracker, 2), []);
    assert!(is_empty(&tracker));
}

#[test]
fn a_waiting_exclusive_request_is_not_overtaken_by_shared_ones() {
    let mut tracker = Tracker::default();
    assert!(insert(&mut tracker, 0, 0, 8, Shared));
    assert!(!insert(&mut tracker, 1, 0, 8, Exclusive));
    assert!(!insert(&mut tracker, 2, 0, 8, Shared));
    assert!(insert(&mut tracker, 3, 8, 16, Shared));
    assert_eq!(left(&mut tracker, 0), [1]);
    assert_eq!(left(&mut tracker, 1), [2]);
    assert_eq!(left(&mut tracker, 2), []);
    assert_eq!(left(&mut tracker, 3), []);
    assert!(is_empty(&tracker));
}

#[test]
fn one_wait_is_counted_once_across_split_spans() {
    let mut tracker = Tracker::default();
    assert!(insert(&mut tracker, 0, 0, 30, Shared));
    assert!(insert(&mut tracker, 1, 10, 20, Shared));
    assert!(!insert(&mut tracker, 2, 0, 30, Exclusive));
    assert_eq!(left(&mut tracker, 0), []);
    assert_eq!(left(&mut tracker, 1), [2]);
    assert_eq!(left(&mut tracker, 2), []);
    assert!(is_empty(&tracker));
}

#[test]
fn agrees_with_a_list_of_all_requests() {
    struct Naive {
        slot: u32,
        start: u64,
        end: u64,
        access: Access,
    }
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    for _ in 0..2000 {
        let mut tracker = Tracker::default();
        let mut list: Vec<Naive> = Vec::new();
        let mut running: Vec<u32> = Vec::new();
        let may_run = |list: &[Naive], i: usize| {
            let me = &list[i];
            list[..i].iter().all(|other| {
                let apart = other.end <= me.start || me.end <= other.start;
                apart || (other.access == Shared && me.access == Shared)
            })
        };
        for slot in 0..40 {
            let start = random(20);
            let end = start + 1 + random(10);
            let access = if random(2) == 0 { Shared } else { Exclusive };
            list.push(Naive { slot, start, end, access });
            let free = insert(&mut tracker, slot, start, end, access);
            assert_eq!(free, may_run(&list, list.len() - 1));
            if free {
                running.push(slot);
            }
            if !running.is_empty() && random(2) == 0 {
                let gone = running.swap_remove(random(running.len() as u64) as usize);
                let at = list.iter().position(|r| r.slot == gone).unwrap();
                let before: Vec<_> = (0..list.len()).map(|i| may_run(&list, i)).collect();
                list.remove(at);
                let mut before = before;
                before.remove(at);
                let expected: Vec<u32> = (0..list.len())
                    .filter(|&i| !before[i] && may_run(&list, i))
                    .map(|i| list[i].slot)
                    .collect();
                let mut ready = left(&mut tracker, gone);
                running.extend(&ready);
                ready.sort_unstable();
                assert_eq!(ready, expected);
            }
        }
    }
}
