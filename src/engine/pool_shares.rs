//! Which jobs of a pool may begin: each owner (a storage object, or a handle for its callbacks) gets
//! a share of the threads, so that jobs which hang keep none of another's from being done. Knows
//! neither threads nor locks.
//!
//! A job is *admitted* as soon as its owner's share has room, and holds a place from then on until
//! it is over. Each owner may always have one place, beyond the bound if need be. For more it must
//! hold less than `SHARE` times as many as are left free: of 64 places one owner alone can take 56,
//! the next one 7 of what is left. Jobs of one owner are admitted in order.

use std::collections::{HashMap, VecDeque};

/// See above: what one owner leaves to others is about an eighth.
const SHARE: usize = 7;

/// Jobs of one kind.
pub struct Shares<J> {
    places: usize,
    /// Owners share the places; else the first to come takes what there is.
    shared: bool,
    /// Admitted, and not begun.
    ready: VecDeque<J>,
    /// Places that are held.
    taken: usize,
    owners: HashMap<usize, Owner<J>>,
    /// Owners with jobs that wait, each at most once. One that has none any more is dropped when
    /// its turn comes.
    turn: VecDeque<usize>,
}

struct Owner<J> {
    taken: usize,
    waiting: VecDeque<J>,
    in_turn: bool,
}

impl<J> Shares<J> {
    pub fn new(places: usize, shared: bool) -> Shares<J> {
        Shares {
            places,
            shared,
            ready: VecDeque::new(),
            taken: 0,
            owners: HashMap::new(),
            turn: VecDeque::new(),
        }
    }

    /// Jobs that could be begun now, had they threads.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes in a job of `owner`.
    pub fn push(&mut self, owner: usize, job: J) {
        let (places, shared, all) = (self.places, self.shared, self.taken);
        let its = self.owner(owner);
        if its.waiting.is_empty() && has_room(places, shared, all, its.taken) {
            its.taken += 1;
            self.taken += 1;
            self.ready.push_back(job);
            return;
        }
        its.waiting.push_back(job);
        if !std::mem::replace(&mut its.in_turn, true) {
            self.turn.push_back(owner);
        }
    }

    /// The next to be begun.
    pub fn begin(&mut self) -> Option<J> {
        self.ready.pop_front()
    }

    /// A job of `owner` is over. How many jobs may be begun because of that.
    pub fn end(&mut self, owner: usize) -> usize {
        let before = self.ready.len();
        self.taken -= 1;
        let its = self.owner(owner);
        its.taken -= 1;
        if its.taken == 0 {
            self.admit(owner);
        }
        self.tidy(owner);
        self.admit_in_turn();
        self.ready.len() - before
    }

    /// A thread wants to go on with a job of `owner` that was never pushed. True: it may.
    pub fn try_begin(&mut self, owner: usize) -> bool {
        let (places, shared, all) = (self.places, self.shared, self.taken);
        let its = self.owner(owner);
        let may = has_room(places, shared, all, its.taken);
        if may {
            its.taken += 1;
            self.taken += 1;
        } else {
            self.tidy(owner);
        }
        may
    }

    /// Admits jobs of one owner after the other, as long as there are places. Whoever is passed over
    /// holds `SHARE` places or more, so it does not take long to find one who is not.
    fn admit_in_turn(&mut self) {
        let mut passed = 0;
        while self.taken < self.places && passed < self.turn.len() {
            let Some(owner) = self.turn.pop_front() else { return };
            let (places, shared, all) = (self.places, self.shared, self.taken);
            let its = self.owner(owner);
            if its.waiting.is_empty() {
                its.in_turn = false;
                self.tidy(owner);
                continue;
            }
            if has_room(places, shared, all, its.taken) {
                self.admit(owner);
                passed = 0;
            } else {
                passed += 1;
            }
            self.turn.push_back(owner);
        }
    }

    /// The first waiting job of an owner, if it has one, gets a place.
    fn admit(&mut self, owner: usize) {
        let its = self.owner(owner);
        if let Some(job) = its.waiting.pop_front() {
            its.taken += 1;
            self.taken += 1;
            self.ready.push_back(job);
        }
    }

    fn owner(&mut self, owner: usize) -> &mut Owner<J> {
        let new = || Owner { taken: 0, waiting: VecDeque::new(), in_turn: false };
        self.owners.entry(owner).or_insert_with(new)
    }

    /// Forgets an owner of whom there is nothing.
    fn tidy(&mut self, owner: usize) {
        let its = self.owner(owner);
        if its.taken == 0 && its.waiting.is_empty() && !its.in_turn {
            self.owners.remove(&owner);
        }
    }

    /// Jobs that wait or hold a place.
    #[cfg(test)]
    pub fn load(&self) -> usize {
        self.taken + self.owners.values().map(|its| its.waiting.len()).sum::<usize>()
    }
}

/// Whether an owner that holds `taken` of `places`, of which `all` are held, may have one more.
fn has_room(places: usize, shared: bool, all: usize, taken: usize) -> bool {
    let free = places.saturating_sub(all);
    if shared {
        taken == 0 || taken < SHARE.saturating_mul(free)
    } else {
        free > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(shares: &mut Shares<(usize, usize)>, owner: usize) -> Vec<usize> {
        let jobs: Vec<_> = std::iter::from_fn(|| shares.begin()).collect();
        assert!(jobs.iter().all(|&(its, _)| its == owner), "{jobs:?}");
        jobs.into_iter().map(|(_, number)| number).collect()
    }

    fn push(shares: &mut Shares<(usize, usize)>, owner: usize, numbers: std::ops::Range<usize>) {
        numbers.for_each(|number| shares.push(owner, (owner, number)));
    }

    #[test]
    fn one_owner_takes_nearly_all_and_each_other_one_at_least() {
        let mut shares = Shares::new(64, true);
        push(&mut shares, 1, 0..1000);
        assert_eq!(begun(&mut shares, 1), (0..56).collect::<Vec<_>>());
        push(&mut shares, 2, 0..1000);
        assert_eq!(begun(&mut shares, 2), (0..7).collect::<Vec<_>>());
        for owner in 3..200 {
            push(&mut shares, owner, 0..9);
            assert_eq!(begun(&mut shares, owner), [0], "it is never left without");
        }
        for round in 1..9 {
            for owner in 3..200 {
                assert_eq!(shares.end(owner), 1);
                assert_eq!(begun(&mut shares, owner), [round], "in order");
            }
        }
        // What hangs leaves what the others have given back alone.
        (3..200).for_each(|owner| assert_eq!(shares.end(owner), 0));
        assert_eq!(shares.owners.len(), 2, "of the others nothing is kept");
    }

    #[test]
    fn places_that_come_free_go_to_those_with_few() {
        let mut shares = Shares::new(64, true);
        push(&mut shares, 1, 0..100);
        push(&mut shares, 2, 0..100);
        begun_any(&mut shares);
        // The first gives back all but a few of its own, one by one: the second gets them.
        for _ in 0..40 {
            shares.end(1);
        }
        begun_any(&mut shares);
        let (first, second) = (shares.owners[&1].taken, shares.owners[&2].taken);
        assert!(second > 20, "{first} and {second}");
        assert!(shares.taken <= 64);
    }

    fn begun_any(shares: &mut Shares<(usize, usize)>) {
        while shares.begin().is_some() {}
    }

    #[test]
    fn a_pool_of_one_handle_gives_all_its_places() {
        for places in [1, 4, 16] {
            let mut shares = Shares::new(places, false);
            push(&mut shares, 1, 0..100);
            assert_eq!(begun(&mut shares, 1).len(), places);
            assert!(!shares.try_begin(1));
            (0..100).for_each(|_| {
                shares.end(1);
                begun(&mut shares, 1);
            });
            assert_eq!((shares.taken, shares.owners.len()), (0, 0));
        }
    }

    /// Any order of pushes and ends: no job is lost, none waits while its owner has nothing, and
    /// none while places are free that it may have.
    #[test]
    fn nobody_waits_without_reason() {
        for seed in 0..200 {
            let mut random = fastrand_of(seed);
            let mut shares = Shares::new(1 + random(20), true);
            let (mut running, mut pushed, mut ended) = (Vec::new(), 0, 0);
            for _ in 0..2000 {
                let owner = random(7);
                match random(9) {
                    0..=4 => {
                        shares.push(owner, (owner, pushed));
                        pushed += 1;
                    }
                    5 if shares.try_begin(owner) => {
                        running.push(owner);
                        pushed += 1;
                    }
                    _ if !running.is_empty() => {
                        let owner = running.swap_remove(random(running.len()));
                        shares.end(owner);
                        ended += 1;
                    }
                    _ => {}
                }
                running.extend(std::iter::from_fn(|| shares.begin()).map(|(owner, _)| owner));
                let waiting: usize = shares.owners.values().map(|its| its.waiting.len()).sum();
                assert_eq!(pushed, ended + running.len() + waiting);
                assert_eq!(shares.taken, running.len());
                for its in shares.owners.values().filter(|its| !its.waiting.is_empty()) {
                    let room = has_room(shares.places, true, shares.taken, its.taken);
                    assert!(!room && its.in_turn);
                }
            }
        }
    }

    fn fastrand_of(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed + 1;
        move |bound| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound
        }
    }
}
