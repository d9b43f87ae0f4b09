//! Which jobs of a pool may begin: each owner (a storage object, or a handle for its callbacks)
//! gets a share of the threads, so that jobs which hang keep no other owner's jobs from being done.
//! This file knows neither threads nor locks.
//!
//! A job is *admitted* as soon as its owner's share has room, and holds a place from then on until
//! it is over. Each owner may always have one place, beyond the bound if need be. For a further
//! place the owner must hold less than `SHARE` times as many places as are free. An example with 64
//! places: one owner alone takes 56 (with 55 held 9 are free, and 55 < 7 * 9; with 56 held 8 are
//! free, and 56 is not less than 7 * 8), the next one 7 of the 8 that are left. Jobs of one owner
//! are admitted in the order in which they came.

use std::collections::{HashMap, VecDeque};

/// See above: one owner leaves about an eighth of the places to others.
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
    /// Owners with jobs that wait, each at most once. An owner whose jobs have all been admitted
    /// meanwhile is dropped from here when its turn comes.
    turn: VecDeque<usize>,
}

/// What becomes of a job that was never pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The job holds a place until `end`.
    Begun,
    /// The job has to be pushed, and wait for its turn.
    NoRoom,
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

    /// A thread wants to go on with a job of `owner` that was never pushed: it may, and the job
    /// has its place, if the owner's share has room.
    pub fn try_begin(&mut self, owner: usize) -> Admission {
        let (places, shared, all) = (self.places, self.shared, self.taken);
        let its = self.owner(owner);
        if !has_room(places, shared, all, its.taken) {
            self.tidy(owner);
            return Admission::NoRoom;
        }
        its.taken += 1;
        self.taken += 1;
        Admission::Begun
    }

    /// Admits jobs of one owner after the other, as long as there are places. An owner that is
    /// passed over holds `SHARE` places or more, so there are few of them.
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

    /// Forgets an owner that holds no place and has no job waiting.
    fn tidy(&mut self, owner: usize) {
        let its = self.owner(owner);
        if its.taken == 0 && its.waiting.is_empty() && !its.in_turn {
            self.owners.remove(&owner);
        }
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
#[path = "shares_tests.rs"]
mod tests;
