use super::super::Access::{Exclusive, Shared};
use super::*;

/// Few in a chunk, so that there are many chunks.
type Tracker = super::Tracker<4>;

/// Whether it may start at once.
fn insert(tracker: &mut Tracker, slot: u32, start: u64, end: u64, access: Access) -> bool {
    tracker.insert(Slot(slot), Claim { start, end, access }) == Entered::Free
}

fn conflicts(tracker: &Tracker, start: u64, end: u64, access: Access) -> bool {
    tracker.conflicts(Claim { start, end, access })
}

/// All requests in order of arrival, each compared with each.
#[derive(Default)]
struct List(Vec<(u32, u64, u64, Access)>);

impl List {
    fn meets(a: (u64, u64, Access), b: (u64, u64, Access)) -> bool {
        a.0 < b.1 && b.0 < a.1 && (a.2 == Exclusive || b.2 == Exclusive)
    }

    fn conflicts(&self, start: u64, end: u64, access: Access) -> bool {
        let new = (start, end, access);
        self.0.iter().any(|&(_, start, end, access)| Self::meets((start, end, access), new))
    }

    fn may_run(&self) -> Vec<u32> {
        let waits = |&at: &usize| {
            let (_, start, end, access) = self.0[at];
            List(self.0[..at].to_vec()).conflicts(start, end, access)
        };
        (0..self.0.len()).filter(|at| !waits(at)).map(|at| self.0[at].0).collect()
    }

    fn take_out(&mut self, slot: u32) {
        self.0.retain(|&(other, ..)| other != slot);
    }
}

#[test]
fn withdrawing_and_asking_agree_with_a_list_of_all_requests() {
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    let mut withdrawn = 0;
    for _ in 0..3000 {
        let (mut tracker, mut list) = (Tracker::default(), List::default());
        // Slots come again, and not in the order of arrival.
        let mut slots: Vec<u32> = (0..12).rev().collect();
        for _ in 0..80 {
            let before = list.may_run();
            let mut ready = Vec::new();
            let slot = match random(4) {
                0 | 1 if !slots.is_empty() => {
                    let slot = slots.swap_remove(random(slots.len() as u64) as usize);
                    let start = random(20);
                    let end = start + 1 + random(10);
                    let access = if random(2) == 0 { Shared } else { Exclusive };
                    let expected = list.conflicts(start, end, access);
                    assert_eq!(conflicts(&tracker, start, end, access), expected);
                    assert_eq!(insert(&mut tracker, slot, start, end, access), !expected);
                    list.0.push((slot, start, end, access));
                    continue;
                }
                2 if !before.is_empty() => {
                    let slot = before[random(before.len() as u64) as usize];
                    tracker.remove(Slot(slot), &mut ready);
                    slot
                }
                _ if !list.0.is_empty() => {
                    let slot = list.0[random(list.0.len() as u64) as usize].0;
                    withdrawn += u64::from(!before.contains(&slot));
                    tracker.withdraw(&[Slot(slot)], &mut ready);
                    slot
                }
                _ => continue,
            };
            list.take_out(slot);
            slots.push(slot);
            let mut expected = list.may_run();
            expected.retain(|slot| !before.contains(slot));
            let mut ready: Vec<u32> = ready.into_iter().map(|Slot(slot)| slot).collect();
            ready.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ready, expected);
        }
    }
    assert!(withdrawn > 10_000, "{withdrawn} requests were withdrawn while they waited");
}

#[test]
fn those_behind_a_withdrawn_request_wait_for_those_before_it_where_they_overlap() {
    let mut tracker = Tracker::default();
    assert!(insert(&mut tracker, 0, 0, 8, Shared));
    assert!(!insert(&mut tracker, 1, 0, 16, Exclusive));
    assert!(!insert(&mut tracker, 2, 8, 16, Shared));
    assert!(!insert(&mut tracker, 3, 4, 8, Exclusive));
    assert!(!insert(&mut tracker, 4, 0, 4, Shared));
    let mut ready = Vec::new();
    tracker.withdraw(&[Slot(1)], &mut ready);
    assert_eq!(ready, [Slot(2), Slot(4)]);
    assert!(!conflicts(&tracker, 0, 4, Shared));
    assert!(conflicts(&tracker, 4, 8, Shared));
    ready.clear();
    tracker.remove(Slot(0), &mut ready);
    assert_eq!(ready, [Slot(3)]);
}
