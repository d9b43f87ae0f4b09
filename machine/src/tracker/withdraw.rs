//! What the tracker does for the rare requests: it says whether one would have to wait before that
//! one is entered, and takes out those that never ran.

use super::{Access, Slot, Spans, Tracked, Tracker};

impl Tracker {
    /// Whether a request of this kind would have to wait for somebody.
    pub fn conflicts(&self, start: u64, end: u64, access: Access) -> bool {
        self.spans.any(start, end, |span| match access {
            Access::Exclusive => true,
            // An exclusive one that waits is named by the span, one that shared ones wait for too.
            Access::Shared => span.last_exclusive().is_some(),
        })
    }

    /// Takes out requests that have not run, as if they had never been there: those that waited for
    /// them wait for what they waited for, where they overlap that. Those that wait for nobody any
    /// more are appended to `ready`, oldest first.
    pub fn withdraw(&mut self, slots: &[Slot], ready: &mut Vec<Slot>) {
        if let &[slot] = slots {
            if self.tracked[slot as usize].blockers == 0 {
                // Nobody before it is left that it conflicts with, so nobody waits through it.
                return self.remove(slot, ready);
            }
        }
        if slots.is_empty() {
            return;
        }
        // The others enter again, in their order. Who runs conflicts with nobody before it, so it
        // waits for nobody after that either.
        slots.iter().for_each(|&slot| self.tracked[slot as usize] = Tracked::default());
        self.spans = Spans::default();
        let mut others: Vec<(Slot, Tracked)> = (0..).zip(self.tracked.drain(..)).collect();
        self.tracked.resize_with(others.len(), Tracked::default);
        others.retain(|(_, tracked)| tracked.start < tracked.end);
        others.sort_unstable_by_key(|(_, tracked)| tracked.order);
        for (slot, Tracked { start, end, access, blockers, .. }) in others {
            let free = self.insert(slot, start, end, access);
            debug_assert!(free || blockers > 0, "nobody who runs comes to wait");
            if free && blockers > 0 {
                ready.push(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Access::{Exclusive, Shared};
    use super::*;

    /// All requests in order of arrival, each compared with each.
    #[derive(Default)]
    struct List(Vec<(Slot, u64, u64, Access)>);

    impl List {
        fn meets(a: (u64, u64, Access), b: (u64, u64, Access)) -> bool {
            a.0 < b.1 && b.0 < a.1 && (a.2 == Exclusive || b.2 == Exclusive)
        }

        fn conflicts(&self, start: u64, end: u64, access: Access) -> bool {
            let new = (start, end, access);
            self.0.iter().any(|&(_, start, end, access)| Self::meets((start, end, access), new))
        }

        fn may_run(&self) -> Vec<Slot> {
            let waits = |&at: &usize| {
                let (_, start, end, access) = self.0[at];
                List(self.0[..at].to_vec()).conflicts(start, end, access)
            };
            (0..self.0.len()).filter(|at| !waits(at)).map(|at| self.0[at].0).collect()
        }

        fn take_out(&mut self, slot: Slot) {
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
            let mut slots: Vec<Slot> = (0..12).rev().collect();
            for _ in 0..80 {
                let before = list.may_run();
                let mut ready = Vec::new();
                let slot = match random(4) {
                    0 | 1 if !slots.is_empty() => {
                        let slot = slots.swap_remove(random(slots.len() as u64) as usize);
                        let start = random(20);
                        let end = start + 1 + random(10);
                        let access = if random(2) == 0 { Shared } else { Exclusive };
                        let conflicts = list.conflicts(start, end, access);
                        assert_eq!(tracker.conflicts(start, end, access), conflicts);
                        assert_eq!(tracker.insert(slot, start, end, access), !conflicts);
                        list.0.push((slot, start, end, access));
                        continue;
                    }
                    2 if !before.is_empty() => {
                        let slot = before[random(before.len() as u64) as usize];
                        tracker.remove(slot, &mut ready);
                        slot
                    }
                    _ if !list.0.is_empty() => {
                        let slot = list.0[random(list.0.len() as u64) as usize].0;
                        withdrawn += u64::from(!before.contains(&slot));
                        tracker.withdraw(&[slot], &mut ready);
                        slot
                    }
                    _ => continue,
                };
                list.take_out(slot);
                slots.push(slot);
                let mut expected = list.may_run();
                expected.retain(|slot| !before.contains(slot));
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
        assert!(tracker.insert(0, 0, 8, Shared));
        assert!(!tracker.insert(1, 0, 16, Exclusive));
        assert!(!tracker.insert(2, 8, 16, Shared));
        assert!(!tracker.insert(3, 4, 8, Exclusive));
        assert!(!tracker.insert(4, 0, 4, Shared));
        let mut ready = Vec::new();
        tracker.withdraw(&[1], &mut ready);
        assert_eq!(ready, [2, 4]);
        assert!(!tracker.conflicts(0, 4, Shared));
        assert!(tracker.conflicts(4, 8, Shared));
        ready.clear();
        tracker.remove(0, &mut ready);
        assert_eq!(ready, [3]);
    }
}
