//! Who is kept apart from whom. A request is tracked in up to three trackers, each with the same
//! rules and the same order of arrival:
//!
//! - `Among::Writes`: writes of parts of blocks keep other writes out.
//! - `Among::Guests`: requests with a guest block, over their ranges rounded out to it. Those that
//!   change bytes keep the others out, so a read sees all or nothing of a write to one guest block.
//! - `Among::Barriers`: requests that *keep readers out* (`Entering::excludes_readers`), which keep
//!   writers out among the writes; and all reads, shared, but only while there is a request that
//!   keeps them out. When the first of these comes the reads in flight are entered before it: no
//!   request keeps them out at that moment.
//!
//! A request may start when it waits in none of the three. It waits only for those that came before
//! it, in each of them, so there is no cycle here either. Guests and barriers are two trackers,
//! since a plain read that runs beside a write with a guest block would otherwise have to be
//! entered as one that waits for it.
//!
//! Example, with blocks of 512 and a guest block of 4096. A write G of [0, 512) with the guest
//! block is tracked among the writes, shared [0, 512), and among the guests, exclusive [0, 4096). A
//! plain read R of [0, 4096) is tracked nowhere, and runs beside G. A read H of [512, 1024) with
//! the guest block waits for G among the guests. Now comes a SERIALISING write B of [0, 512): R and
//! H are entered among the barriers, shared over their ranges; B waits for R there, and for G among
//! the writes. A plain read that comes after B is entered among the barriers, too, and waits for B.
//!
//! NO_WAIT asks first: a request that would have to wait is never entered.

use crate::io::Slot;
use crate::table::{Among, AmongSet, Phase, Standing, Table};
use crate::tracker::Tracker;

/// The trackers: those three, and that of the turns (`announce/mod.rs`).
#[derive(Debug, Default)]
pub struct Isolation {
    trackers: [Tracker; Among::ALL.len()],
    /// Requests that keep readers out, waiting or not.
    pub excluding: usize,
    /// Notifiers that there are, and requests that are not past them.
    pub notifiers: usize,
    pub staged: usize,
    /// Kept to spare allocations: the waiters that a leaving request sets free.
    freed: Vec<Slot>,
}

impl Isolation {
    /// Without requests.
    pub fn with_notifiers(notifiers: usize) -> Isolation {
        Isolation { notifiers, ..Isolation::default() }
    }

    /// Whether requests that keep writes out enter in two stages: see `announce/mod.rs`.
    #[inline(always)]
    pub fn has_stages(&self) -> bool {
        self.notifiers + self.staged > 0
    }

    pub fn among(&self, among: Among) -> &Tracker {
        &self.trackers[among as usize]
    }

    pub fn among_mut(&mut self, among: Among) -> &mut Tracker {
        &mut self.trackers[among as usize]
    }

    /// A request is over: those that waited for it alone may start.
    pub fn remove<Q, T, S>(&mut self, table: &mut Table<Q, T, S>, slot: Slot, among: Among) {
        let mut freed = std::mem::take(&mut self.freed);
        self.among_mut(among).remove(slot, &mut freed);
        set_free(table, &mut freed, among);
        self.freed = freed;
    }

    /// Requests that have not started are taken out of all trackers, as if they had never been
    /// there.
    pub fn withdraw<Q, T, S>(&mut self, table: &mut Table<Q, T, S>, slots: &[Slot]) {
        for among in Among::ALL {
            let there = |&&slot: &&Slot| table.known(slot).tracked.contains(among);
            let its: Vec<Slot> = slots.iter().filter(there).copied().collect();
            let mut freed = Vec::new();
            self.among_mut(among).withdraw(&its, &mut freed);
            set_free(table, &mut freed, among);
        }
        for &slot in slots {
            let entry = table.entry(slot);
            entry.tracked = AmongSet::NONE;
            self.excluding -= usize::from(std::mem::take(&mut entry.excludes_readers));
            if entry.announced.standing == Standing::Before {
                entry.announced.standing = Standing::Past;
                self.staged -= 1;
            }
        }
    }
}

/// `waiters` wait for no request any more in this tracker.
fn set_free<Q, T, S>(table: &mut Table<Q, T, S>, waiters: &mut Vec<Slot>, among: Among) {
    for waiter in waiters.drain(..) {
        let entry = table.entry(waiter);
        entry.waits_among.remove(among);
        if entry.waits_among.is_empty() && entry.phase == Phase::Waiting {
            table.enqueue(waiter);
        }
    }
}
