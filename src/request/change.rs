//! Requests that are more than one movement of bytes: zero writes, discards, changes of the
//! length. Each is a list of steps, done one after the other; a step issues what it can, and is
//! asked again whenever one of its I/Os is over.

use smallvec::SmallVec;

use super::entry::Phase;
use super::isolation::Claim;
use super::machine::Machine;
use super::splice;
use super::tracker::Access;
use super::zeroes::{discarded, Zeroes};
use super::{Action, ScratchPool};
use crate::driver::Op;

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Zeroes(Zeroes),
    /// Discards what is left of the range; its bounds are multiples of what the storage takes.
    Discard {
        position: u64,
        end: u64,
    },
}

/// What is left to be done for a request, last step first.
#[derive(Debug, Default)]
pub struct Change {
    pub(super) steps: SmallVec<[Step; 4]>,
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// What a request that is not a plain write claims among writes.
    pub(super) fn change_claim(&self, slot: u32) -> Option<Claim> {
        let limits = self.limits_of(slot);
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        let (start, end) = match entry.request.op {
            Op::Discard => discarded(&entry.request, limits),
            _ => (entry.request.offset, entry.end()),
        };
        let (from, to) = (splice::round_down(start, limits.granule), end);
        let to = to.next_multiple_of(limits.granule);
        (start < end).then_some(Claim { start: from, end: to, access: Access::Exclusive })
    }

    pub(super) fn start_change(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let limits = self.limits_of(slot);
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        let step = match entry.request.op {
            Op::Discard => {
                let (position, end) = discarded(&entry.request, limits);
                Step::Discard { position, end }
            }
            _ => Step::Zeroes(Zeroes::new(entry.request.offset, entry.end())),
        };
        self.begin_change(slot, &[step], actions);
    }

    /// `steps`: in order.
    pub(super) fn begin_change(
        &mut self,
        slot: u32,
        steps: &[Step],
        actions: &mut Vec<Action<Q, T>>,
    ) {
        let entry = self.entry(slot);
        entry.phase = Phase::Changing;
        let steps = steps.iter().rev().copied().collect();
        entry.change = Some(Box::new(Change { steps }));
        self.go_on_changing(slot, actions);
    }

    /// Goes on with the step that is due, and with the next when it is over.
    pub(super) fn go_on_changing(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        loop {
            let entry = self.entry(slot);
            let Some(step) = entry.change.as_mut().and_then(|change| change.steps.pop()) else {
                return;
            };
            let unfinished = match step {
                Step::Zeroes(zeroes) => self.write_zeroes(slot, zeroes, actions).map(Step::Zeroes),
                Step::Discard { position, end } => self
                    .discard(slot, position, end, actions)
                    .map(|position| Step::Discard { position, end }),
            };
            let entry = self.entry(slot);
            if let (Some(step), Some(change)) = (unfinished, entry.change.as_mut()) {
                change.steps.push(step);
                return;
            }
            if entry.error.is_some() {
                return;
            }
        }
    }
}
