//! The notifiers of an object, in order of their adding, and which of them are not added yet: one
//! is added when every change is over that was not announced to it.

use crate::table::{slot_of, Table};
use crate::{NotifierId, RequestId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notifier {
    pub id: NotifierId,
    /// Ranges are rounded out to multiples of this power of two before they are announced.
    pub unit: u64,
}

#[derive(Debug, Default)]
pub struct Notifiers {
    list: Vec<Notifier>,
    last_id: NotifierId,
    adding: Vec<Adding>,
    /// Those that have come to be added since the machine's caller asked last.
    added: Vec<NotifierId>,
}

/// A notifier that is not added yet.
#[derive(Debug)]
struct Adding {
    id: NotifierId,
    /// Changes that it was not told of; perhaps some that are over by now.
    untold: Vec<RequestId>,
}

impl Notifiers {
    /// `untold`: the changes that this notifier will not be told of.
    pub fn add(&mut self, unit: u64, untold: Vec<RequestId>) -> NotifierId {
        assert!(unit.is_power_of_two());
        self.last_id += 1;
        let id = self.last_id;
        self.list.push(Notifier { id, unit });
        self.adding.push(Adding { id, untold });
        id
    }

    pub fn remove(&mut self, id: NotifierId) {
        self.list.retain(|notifier| notifier.id != id);
        self.adding.retain(|adding| adding.id != id);
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The first notifier that was added after this one.
    pub fn next_after(&self, id: NotifierId) -> Option<Notifier> {
        self.list.iter().find(|notifier| notifier.id > id).copied()
    }

    pub fn get(&self, id: NotifierId) -> Option<Notifier> {
        self.list.iter().find(|notifier| notifier.id == id).copied()
    }

    pub fn is_adding(&self) -> bool {
        !self.adding.is_empty()
    }

    /// Looks which changes are over. From the end of the list, and only until one is not: so all
    /// looks together cost no more than the list is long, and one for each step.
    #[cold]
    pub fn look<Q, T, S>(&mut self, table: &Table<Q, T, S>) {
        let is_over = |id: RequestId| table.get(slot_of(id)).is_none_or(|entry| entry.id != id);
        for Adding { untold, .. } in &mut self.adding {
            while untold.pop_if(|id| is_over(*id)).is_some() {}
        }
        for at in (0..self.adding.len()).rev() {
            if self.adding[at].untold.is_empty() {
                self.added.push(self.adding.remove(at).id);
            }
        }
    }

    pub fn take_added(&mut self) -> Vec<NotifierId> {
        std::mem::take(&mut self.added)
    }
}
