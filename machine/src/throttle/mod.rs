//! How fast the requests of a group of members (open handles) may go: PURE as the machine is. A
//! request asks here before it enters the machine. The time comes from the caller, in nanoseconds
//! since a moment that the caller chooses.
//!
//! Requests of one member go in order of submission, members take turns request by request. The
//! first in the turn that lacks tokens keeps those that are there for it, and closes the buckets
//! that it lacks tokens of to those behind it in the turn. So a request that needs many tokens is
//! not starved by small ones, and a member that waits for one bucket holds up nobody who needs
//! none of it.
//!
//! Example: 100 bytes a second in all, and 10 a second for reads. A's read has got its bytes and
//! waits for the bucket of reads. B's write takes bytes and goes. C's read waits behind A's, since
//! the bucket of reads is closed to it.

mod bucket;

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::Op;
use bucket::Bucket;
pub use bucket::BucketLimits;

/// A time, in nanoseconds.
pub type Nanos = u64;
/// Names a member of a throttle.
pub type MemberId = usize;

/// What a throttle allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// By `Kind`, as in `KINDS`.
    pub buckets: [BucketLimits; 6],
    /// A request of more bytes counts as several requests; 0: each is one.
    pub request_bytes: u64,
}

/// What a bucket counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bytes,
    ReadBytes,
    WriteBytes,
    Requests,
    ReadRequests,
    WriteRequests,
}

pub const KINDS: [Kind; 6] = [
    Kind::Bytes,
    Kind::ReadBytes,
    Kind::WriteBytes,
    Kind::Requests,
    Kind::ReadRequests,
    Kind::WriteRequests,
];

/// What a request is to a throttle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    reads: bool,
    bytes: u64,
}

impl Load {
    /// None: requests of this kind are not counted.
    pub fn of(op: Op, bytes: u64) -> Option<Load> {
        match op {
            Op::Read => Some(Load { reads: true, bytes }),
            Op::Write | Op::WriteZeroes | Op::Discard => Some(Load { reads: false, bytes }),
            Op::Flush | Op::Truncate | Op::Length => None,
            Op::Fill | Op::Populate | Op::SaveMap => None,
        }
    }
}

/// A set of buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Set(u8);

impl Set {
    fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    fn insert(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u8;
    }
}

/// A request that is held back.
#[derive(Debug)]
struct Held<T> {
    tag: T,
    load: Load,
    since: Nanos,
    /// The buckets that it has its tokens of.
    paid: Set,
}

/// A request that may go now.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<T> {
    pub member: MemberId,
    pub tag: T,
    /// For how long it was held.
    pub held: Nanos,
}

/// The buckets of a group, and the requests that wait for tokens. `T` names a request.
#[derive(Debug)]
pub struct Throttle<T> {
    buckets: [Bucket; 6],
    request_bytes: u64,
    members: Vec<Option<VecDeque<Held<T>>>>,
    /// Those that have something held, the one whose turn it is first.
    turns: VecDeque<MemberId>,
}

impl<T: Copy + PartialEq> Throttle<T> {
    pub fn new(limits: &ThrottleLimits, now: Nanos) -> Self {
        Throttle {
            buckets: limits.buckets.map(|its| Bucket::new(its, now)),
            request_bytes: limits.request_bytes,
            members: Vec::new(),
            turns: VecDeque::new(),
        }
    }

    /// Other limits hold from now on. Call `release` afterwards.
    pub fn set(&mut self, limits: &ThrottleLimits, now: Nanos) {
        for member in self.turns.clone() {
            if let Some(head) = self.queue(member).pop_front() {
                self.give_back(&head);
                self.queue(member).push_front(Held { paid: Set::default(), ..head });
            }
        }
        for (bucket, its) in self.buckets.iter_mut().zip(limits.buckets) {
            bucket.set(its, now);
        }
        self.request_bytes = limits.request_bytes;
    }

    pub fn join(&mut self) -> MemberId {
        let unused = self.members.iter().position(Option::is_none);
        let place = unused.unwrap_or(self.members.len());
        if unused.is_none() {
            self.members.push(None);
        }
        self.members[place] = Some(VecDeque::new());
        place
    }

    /// The member must have nothing held.
    pub fn leave(&mut self, member: MemberId) {
        let gone = self.members[member].take();
        assert!(gone.is_some_and(|held| held.is_empty()));
    }

    /// Whether a request may go at once; then its tokens are taken. Else call `hold`.
    pub fn try_pass(&mut self, load: Load, now: Nanos) -> bool {
        // Who comes while others wait has to wait for the turn.
        if !self.turns.is_empty() {
            return false;
        }
        let mut paid = Set::default();
        let lacks = self.pay(load, &mut paid, Set::default(), now);
        if lacks != Set::default() {
            // If the request is held it asks again.
            self.give_back(&Held { tag: (), load, since: now, paid });
        }
        lacks == Set::default()
    }

    /// Takes in a request that waits for its tokens, or for its turn. Returns whether `release` has
    /// to be called now: the request is the first of its member, and may go if those who wait need
    /// other buckets.
    pub fn hold(&mut self, member: MemberId, tag: T, load: Load, now: Nanos) -> bool {
        let queue = self.queue(member);
        queue.push_back(Held { tag, load, since: now, paid: Set::default() });
        let first = queue.len() == 1;
        if first {
            self.turns.push_back(member);
        }
        first
    }

    /// Appends to `released` what may go now, in this order.
    pub fn release(&mut self, now: Nanos, released: &mut Vec<Released<T>>) {
        let mut closed = Set::default();
        let mut at = 0;
        while at < self.turns.len() {
            let member = self.turns[at];
            let mut head = self.queue(member).pop_front().expect("a member in the turn");
            let lacks = self.pay(head.load, &mut head.paid, closed, now);
            if lacks == Set::default() {
                let held = now.saturating_sub(head.since);
                released.push(Released { member, tag: head.tag, held });
                self.turns.remove(at);
                if !self.queue(member).is_empty() {
                    self.turns.push_back(member);
                }
            } else {
                self.queue(member).push_front(head);
                closed.0 |= lacks.0;
                at += 1;
            }
        }
    }

    /// When `release` is to be called again; None: nothing is held. To be asked right after it.
    pub fn next_due(&self, now: Nanos) -> Option<Nanos> {
        let mut closed = Set::default();
        let mut due = None;
        for &member in &self.turns {
            let head = self.members[member].as_ref().and_then(VecDeque::front)?;
            let needs = |&kind: &Kind| !head.paid.has(kind) && self.cost(head.load, kind) > 0;
            let needs: SmallVec<[Kind; 6]> = KINDS.into_iter().filter(needs).collect();
            if needs.iter().any(|&kind| closed.has(kind)) {
                continue;
            }
            for kind in needs {
                let tokens = self.cost(head.load, kind);
                closed.insert(kind);
                let when = self.buckets[kind as usize].when(tokens, now);
                due = Some(due.map_or(when, |due: Nanos| due.min(when)));
            }
        }
        due
    }

    /// A request does not want to go any more. Returns for how long it was held; None: it was not.
    pub fn forget(&mut self, member: MemberId, tag: T, now: Nanos) -> Option<Nanos> {
        let queue = self.queue(member);
        let at = queue.iter().position(|held| held.tag == tag)?;
        let gone = queue.remove(at)?;
        if queue.is_empty() {
            self.turns.retain(|&other| other != member);
        }
        self.give_back(&gone);
        Some(now.saturating_sub(gone.since))
    }

    /// Appends to `released` all of a member, whether there are tokens or not; none are taken.
    pub fn let_go(&mut self, member: MemberId, now: Nanos, released: &mut Vec<Released<T>>) {
        let queue = std::mem::take(self.queue(member));
        self.turns.retain(|&other| other != member);
        for held in queue {
            self.give_back(&held);
            let since = now.saturating_sub(held.since);
            released.push(Released { member, tag: held.tag, held: since });
        }
    }

    /// Whether something of a member is held.
    pub fn holds(&self, member: MemberId) -> bool {
        self.members[member].as_ref().is_some_and(|held| !held.is_empty())
    }

    fn queue(&mut self, member: MemberId) -> &mut VecDeque<Held<T>> {
        self.members[member].as_mut().expect("a member")
    }

    /// Takes what is there of what a request still needs; nothing if it needs a bucket that is
    /// closed, for it is not the first who waits then. Returns the buckets that it lacks tokens of.
    fn pay(&mut self, load: Load, paid: &mut Set, closed: Set, now: Nanos) -> Set {
        let needs = |kind: &Kind| !paid.has(*kind) && self.cost(load, *kind) > 0;
        let needs: SmallVec<[Kind; 6]> = KINDS.into_iter().filter(needs).collect();
        let mut lacks = Set::default();
        needs.iter().filter(|&&kind| closed.has(kind)).for_each(|&kind| lacks.insert(kind));
        if lacks != Set::default() {
            return lacks;
        }
        for kind in needs {
            let tokens = self.cost(load, kind);
            match self.buckets[kind as usize].take(tokens, now) {
                true => paid.insert(kind),
                false => lacks.insert(kind),
            }
        }
        lacks
    }

    fn give_back<U>(&mut self, held: &Held<U>) {
        for kind in KINDS {
            let tokens = self.cost(held.load, kind);
            if held.paid.has(kind) {
                self.buckets[kind as usize].give_back(tokens);
            } else if tokens > 0 {
                self.buckets[kind as usize].forsake();
            }
        }
    }

    /// How many tokens of a bucket a request costs.
    fn cost(&self, load: Load, kind: Kind) -> u64 {
        let concerned = match kind {
            Kind::Bytes | Kind::Requests => true,
            Kind::ReadBytes | Kind::ReadRequests => load.reads,
            Kind::WriteBytes | Kind::WriteRequests => !load.reads,
        };
        if !concerned || !self.buckets[kind as usize].is_limited() {
            return 0;
        }
        match kind {
            Kind::Bytes | Kind::ReadBytes | Kind::WriteBytes => load.bytes,
            _ if self.request_bytes == 0 => 1,
            _ => load.bytes.div_ceil(self.request_bytes).max(1),
        }
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
