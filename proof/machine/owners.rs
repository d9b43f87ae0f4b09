//! Whose I/O it is that the machine asks for, and who has a place at the storage: told from the
//! outside, the machine is not asked.

use super::ledger::{bit, members, Checked, Set};
use super::scenario::inside;
use super::subject::Subject;
use super::world::World;
use crate::io::{Io, Op};

impl<S: Subject> World<'_, S> {
    /// Whose I/O this is, and who shares it: told by the guest memory that it names, and by its
    /// slot; and the first I/O of a slot that names only scratch is an edge read, or a flush, of
    /// the first request that can have one.
    pub(super) fn owners(&mut self, queue: usize, io: &Io) -> Checked<(usize, Set)> {
        let memory = self.memory.borrow();
        let guest = io.segments.iter().map(|segment| segment.address);
        let guest = guest.chain(io.copies.iter().flat_map(|copy| [copy.from, copy.to]));
        let named = guest
            .filter(|&address| memory.is_guest(address))
            .filter_map(|address| self.scenario.owner_of_memory(address))
            .fold(0, |set, number| set | bit(number));
        let slot = io.id.slot;
        let bound = self.slots.iter().find(|(known, _)| *known == slot).map(|(_, number)| *number);
        // Of several threads the first to submit need not be the first to enter.
        let entered = |number: usize| self.ledger.entries[number].admitted.map(|a| a.at);
        let first = members(named).min_by_key(|&number| entered(number));
        let leader = match (first, bound) {
            (Some(_), Some(bound)) if named & bit(bound) == 0 => {
                return Err(format!("slot {slot:?} is of request {bound}: {io:x?}"));
            }
            (_, Some(number)) | (Some(number), None) => number,
            (None, None) => {
                let fits = members(self.ledger.in_flight)
                    .filter(|&number| !self.slots.iter().any(|&(_, known)| known == number))
                    .filter(|&number| self.may_be_first(number, queue, io));
                // Who may run, if there is one.
                fits.min_by_key(|&number| (self.ledger.is_blocked(number, 0), entered(number)))
                    .ok_or_else(|| format!("nobody's I/O: {io:x?}"))?
            }
        };
        if self.scenario.plans[leader].queue != queue {
            return Err(format!("goes another way than request {leader} came: {io:x?}"));
        }
        if bound.is_none() {
            self.slots.push((slot, leader));
        }
        Ok((leader, named | bit(leader)))
    }

    fn may_be_first(&self, number: usize, queue: usize, io: &Io) -> bool {
        let plan = &self.scenario.plans[number];
        let range = io.offset..io.offset + io.bytes;
        let shape = &self.ledger.entries[number].shape;
        if plan.op == Op::Length || io.op == Op::Length {
            return plan.queue == queue && plan.op == io.op;
        }
        if let (Some(shape), Op::Truncate | Op::Read | Op::Write | Op::WriteZeroes) = (shape, io.op)
        {
            return plan.queue == queue && (io.op == Op::Truncate || io.offset >= shape.start);
        }
        plan.queue == queue
            && match (io.op, plan.op) {
                (Op::Flush, Op::Flush) => true,
                (Op::Read, Op::Write | Op::WriteZeroes) => inside(&range, &plan.padded),
                (Op::Write | Op::WriteZeroes, Op::WriteZeroes) => inside(&range, &plan.padded),
                (Op::Discard, Op::Discard) => inside(&range, &plan.whole),
                _ => false,
            }
    }

    /// A request waits only for conflicting ones and for a place among its queue's `depth`, and
    /// places are given in order. `started`: who issued I/O just now.
    pub(super) fn check_places(&self, started: Set) -> Checked {
        let entries = &self.ledger.entries;
        let idle = |number: &usize| entries[*number].outstanding == 0;
        for (queue, config) in self.scenario.config.iter().enumerate() {
            let here = members(self.ledger.in_flight)
                .filter(|&number| self.scenario.plans[number].queue == queue);
            let waiting = here.clone().filter(idle).filter(|&n| !self.ledger.is_blocked(n, 0));
            // Those that share an I/O share a place.
            let at_storage = here.filter(|number| !idle(number));
            let led = |number: usize| {
                self.flights
                    .iter()
                    .any(|flight| flight.request != number && flight.sharers & bit(number) != 0)
                    || self.joints.iter().any(|joint| joint.leads(number))
            };
            let active = at_storage.filter(|&number| !led(number)).count();
            if active > config.depth {
                return Err(format!("{active} requests of queue {queue} at the storage"));
            }
            if active == config.depth {
                let came = |number: usize| entries[number].admitted.map(|admitted| admitted.at);
                let later = |&(first, other): &(usize, usize)| {
                    came(other) > came(first) && entries[other].ready_at > entries[first].ready_at
                };
                let here = |&number: &usize| self.scenario.plans[number].queue == queue;
                let others = || members(started).filter(here).filter(|&other| !led(other));
                let pair = waiting.flat_map(|first| others().map(move |other| (first, other)));
                if let Some((first, other)) = pair.clone().find(later) {
                    return Err(format!("request {other} overtakes {first}"));
                }
            } else if let Some(first) = waiting.clone().next() {
                return Err(format!("request {first} waits for nothing"));
            }
        }
        Ok(())
    }
}
