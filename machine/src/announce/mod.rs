//! Before-write notifiers: whoever makes a backup, or keeps track of changes, is told of a change
//! before anything of it reaches the storage, and the change waits for the answer. Reads do not
//! wait: they see the old bytes.
//!
//! While there are notifiers, requests that keep writes out enter in two stages. In the first
//! (`Standing::Before`) a request is among the writes only, and waits for what it conflicts with
//! there. When it conflicts with nothing it is announced, to one notifier after the other. Then it
//! enters the other trackers, where reads see it (`Standing::Past`), and goes on as any request.
//!
//! To be announced a request needs its *turn*: it claims its range, rounded out to the notifier's
//! unit, in a tracker of its own (`Among::Turns`) until the notifier has answered. So ranges of one
//! unit are announced one after the other. A request that waits for its turn, or for an answer, has
//! no place among its queue's `depth`: the notifier may read by the same queue.
//!
//! Nothing waits in a circle. A request waits among the writes for those that came before it, then
//! among the turns for those that wanted a turn before it, then among guests and barriers for those
//! that entered there before it; and it claims nothing in a later tracker while it waits in an
//! earlier one. Reads are among guests and barriers only, so no read waits for a request that is
//! not past the notifiers. Requests that came before all notifiers are in all trackers at once.
//! While any request is `Before`, all that come enter in two stages, also when the last notifier
//! has gone: so those are in all trackers before any that are not.
//!
//! A write of a part of a block may get members (`merge.rs`). Those that wait behind it when it is
//! announced are announced with it. When it starts, what it takes in must lie in the range that all
//! notifiers know (`pass_along`); the rest waits until it is over, and is announced then.
//!
//! Example, with blocks of 4096 and a notifier whose unit is 65536. Writes A [0, 512), B
//! [512, 1024) and C [8192, 12288) come. A is told as [0, 65536). B waits for A among the writes. C
//! conflicts with none, and waits for its turn. A read of [0, 4096) comes, and goes out. The
//! notifier answers: A starts, with B as its member, since B lies in what the notifier knows. C has
//! its turn now, and is told as [0, 65536), too.

mod notifiers;

pub use notifiers::{Notifier, Notifiers};

use crate::entering::Entering;
use crate::extent::Extent;
use crate::io::{Op, Slot};
use crate::isolation::Isolation;
use crate::leaving::Leaving;
use crate::merge::{Merger, MEMBERS_MAX};
use crate::splice::round_down;
use crate::table::{slot_of, Among, Announced, Entry, Phase, Standing, Table};
use crate::tracker::{Access, Claim, Entered};
use crate::{Action, Announcement, NotifierId, RequestId, ScratchPool};

/// Announces requests, and sees all that they may be in.
pub struct Announcing<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a mut Isolation,
    pub extent: &'a mut Extent,
    pub notifiers: &'a mut Notifiers,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// No such question is open.
    Unknown,
}

/// Whether a request is one that notifiers are told of.
pub fn is_change<T>(entry: &Entry<T>) -> bool {
    match entry.request.op {
        Op::Write | Op::WriteZeroes | Op::Discard => entry.request.bytes > 0,
        Op::Truncate => true,
        // What a fill writes has been the bytes of the overlay all the time.
        Op::Read | Op::Flush | Op::Length | Op::Fill | Op::Populate | Op::SaveMap => false,
    }
}

impl<Q: Clone, T, S: ScratchPool> Announcing<'_, Q, T, S> {
    /// As `Machine::add_notifier`.
    pub fn add(&mut self, unit: u64) -> NotifierId {
        let untold = |(_, entry): (Slot, &Entry<T>)| {
            let passed =
                entry.phase != Phase::Plugged && entry.announced.standing != Standing::Before;
            (passed && is_change(entry)).then_some(entry.id)
        };
        let untold = self.table.in_flight().filter_map(untold).collect();
        let id = self.notifiers.add(unit, untold);
        self.isolation.notifiers = self.notifiers.count();
        id
    }

    /// As `Machine::remove_notifier`.
    pub fn remove(&mut self, id: NotifierId) {
        self.notifiers.remove(id);
        self.isolation.notifiers = self.notifiers.count();
    }

    /// Goes on with the requests that conflict with nothing and are not past the notifiers.
    pub fn go_on(&mut self) {
        let mut next = 0;
        while let Some(&slot) = self.table.unannounced.get(next) {
            next += 1;
            self.announce(slot);
        }
        self.table.unannounced.clear();
    }

    /// The answer of a notifier.
    pub fn answered(
        &mut self,
        request: RequestId,
        notifier: NotifierId,
        result: Result<(), i32>,
    ) -> Answer {
        let slot = slot_of(request);
        let asked = |entry: &&Entry<T>| {
            let Announced { asked, next, .. } = entry.announced;
            entry.id == request && asked && next == notifier
        };
        if self.table.get(slot).filter(asked).is_none() {
            return Answer::Unknown;
        }
        self.table.entry(slot).announced.answered();
        self.give_turn_up(slot);
        match result {
            Err(errno) => self.fail(slot, errno),
            Ok(()) => self.table.enqueue(slot),
        }
        Answer::Taken
    }

    /// The next notifier is told, or the request waits for its turn, or is past them all.
    fn announce(&mut self, slot: Slot) {
        while self.table.known(slot).tracked.contains(Among::Turns) {
            // The request has got its turn.
            if let Some(notifier) = self.notifiers.get(self.table.known(slot).announced.next) {
                return self.tell(slot, notifier);
            }
            self.give_turn_up(slot);
        }
        let Some(notifier) = self.next_notifier(slot) else { return self.pass(slot) };
        let turn = self.turn(slot, notifier.unit);
        let claim = Claim { start: turn.0, end: turn.1, access: Access::Exclusive };
        let entered = self.isolation.among_mut(Among::Turns).insert(slot, claim);
        let entry = self.table.entry(slot);
        (entry.announced.next, entry.announced.turn) = (notifier.id, turn);
        entry.tracked.insert(Among::Turns);
        if entered == Entered::Free {
            return self.tell(slot, notifier);
        }
        entry.waits_among.insert(Among::Turns);
        entry.phase = Phase::Waiting;
        self.table.waiting += 1;
    }

    fn next_notifier(&self, slot: Slot) -> Option<Notifier> {
        let entry = self.table.known(slot);
        let (start, end) = self.changed(entry);
        let told = is_change(entry) && start < end;
        told.then(|| self.notifiers.next_after(entry.announced.last)).flatten()
    }

    fn tell(&mut self, slot: Slot, notifier: Notifier) {
        let told = self.range_to_tell(slot, notifier.unit);
        let owner = self.table.home(slot).owner.clone();
        let entry = self.table.entry(slot);
        debug_assert!(entry.announced.turn.0 <= told.0 && told.1 <= entry.announced.turn.1);
        entry.phase = Phase::Announcing;
        (entry.announced.asked, entry.announced.told) = (true, told);
        let announcement = Announcement {
            notifier: notifier.id,
            request: entry.id,
            op: entry.request.op,
            offset: told.0,
            bytes: told.1 - told.0,
        };
        self.table.actions.push(Action::Announce(owner, announcement));
    }

    fn give_turn_up(&mut self, slot: Slot) {
        self.table.entry(slot).tracked.remove(Among::Turns);
        self.isolation.remove(self.table, slot, Among::Turns);
    }

    /// All notifiers have answered: from here on others than writes see the request, too.
    fn pass(&mut self, slot: Slot) {
        self.table.entry(slot).announced.standing = Standing::Past;
        self.isolation.staged -= 1;
        self.entering().admit_rest(slot);
    }

    fn fail(&mut self, slot: Slot, errno: i32) {
        let Announcing { table, isolation, extent, .. } = self;
        isolation.withdraw(table, &[slot]);
        extent.forget_truncate(slot);
        Leaving { table, isolation, extent }.end_unstarted(slot, errno);
    }

    // ----- writes that share an I/O -----

    /// A write that is past the notifiers starts: what waits behind it and will be its member is
    /// past them as well, if it lies in what they know.
    pub fn pass_along(&mut self, leader: Slot) {
        let Announced { standing, last, known: Some(known), .. } =
            self.table.known(leader).announced
        else {
            return;
        };
        if standing != Standing::Past || self.notifiers.next_after(last).is_some() {
            return;
        }
        let mut before = leader;
        for _ in 0..MEMBERS_MAX {
            let Some(next) = self.merger().follower(before, leader) else { return };
            let entry = self.table.known(next);
            if entry.announced.standing == Standing::Before {
                let inside = known.0 <= entry.request.offset && entry.end() <= known.1;
                // A question that is open (it was asked before a repair) has to be answered first.
                let is_asked = entry.announced.asked;
                if !inside || is_asked || !self.entering().claim_rest_where_free(next) {
                    return;
                }
                let entry = self.table.entry(next);
                entry.announced.standing = Standing::Past;
                (entry.announced.last, entry.announced.known) = (last, Some(known));
                self.isolation.staged -= 1;
            }
            before = next;
        }
    }

    // ----- ranges -----

    /// The bytes that a request changes, [start, end). Of a truncate: those that go, or come.
    fn changed(&self, entry: &Entry<T>) -> (u64, u64) {
        let (offset, length) = (entry.request.offset, self.extent.length);
        match entry.request.op {
            Op::Truncate => (offset.min(length), offset.max(length)),
            _ => (offset, entry.end()),
        }
    }

    /// What a request claims among the turns: all that it may tell.
    fn turn(&mut self, slot: Slot, unit: u64) -> (u64, u64) {
        let (mut start, mut end) = self.changed(self.table.known(slot));
        if let Some(block) = self.merger().block_of(slot) {
            let request = self.table.config_of(slot).alignments.request;
            (start, end) = (start.min(block), end.max(block + request));
        }
        (round_down(start, unit), end.next_multiple_of(unit))
    }

    /// What a notifier is told: the bytes that change, also those of the members that wait by now,
    /// rounded out, and no more behind the end of the object than what changes there.
    fn range_to_tell(&mut self, slot: Slot, unit: u64) -> (u64, u64) {
        let (mut start, mut end) = self.changed(self.table.known(slot));
        let mut last = slot;
        // Members lie in one block: a larger unit has them all.
        let block = self.table.config_of(slot).alignments.request;
        let members_max = if unit < block { MEMBERS_MAX } else { 0 };
        for _ in 0..members_max {
            let Some(next) = self.merger().follower(last, slot) else { break };
            let entry = self.table.known(next);
            (start, end) = (start.min(entry.request.offset), end.max(entry.end()));
            last = next;
        }
        let rounded = end.next_multiple_of(unit);
        (round_down(start, unit), rounded.min(end.max(self.extent.length)))
    }

    fn merger(&mut self) -> Merger<'_, Q, T, S> {
        let writes = self.isolation.among(Among::Writes);
        Merger { table: self.table, writes, length: self.extent.length }
    }

    fn entering(&mut self) -> Entering<'_, Q, T, S> {
        Entering { table: self.table, isolation: self.isolation, extent: self.extent }
    }
}
