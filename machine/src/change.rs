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
use crate::io::Op;

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Zeroes(Zeroes),
    /// The storage gets the length that an object of this length needs.
    Truncate {
        length: u64,
        issued: bool,
    },
    /// There is nothing but zeros beyond the end now.
    Clean,
    /// From here on it is a write like any other.
    Move,
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
    /// The length that the object is to have afterwards, if it changes.
    pub(super) length: Option<u64>,
    /// The storage is as long as that needs.
    pub(super) reached: bool,
    /// It has failed, and the storage gets its old length back.
    pub(super) undoing: bool,
}

impl Change {
    /// `steps`: in order.
    pub(super) fn of(steps: &[Step]) -> Change {
        Change { steps: steps.iter().rev().copied().collect(), ..Change::default() }
    }
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// What a request that is not a plain write claims among writes.
    pub(super) fn change_claim(&self, slot: u32) -> Option<Claim> {
        let config = self.config_of(slot);
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        let (start, end) = match entry.request.op {
            Op::Discard => discarded(&entry.request, config, u64::MAX),
            _ => (entry.request.offset, entry.end()),
        };
        let (from, to) = (splice::round_down(start, config.granule), end);
        let to = to.next_multiple_of(config.granule);
        (start < end).then_some(Claim { start: from, end: to, access: Access::Exclusive })
    }

    pub(super) fn start_change(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        let config = self.config_of(slot);
        let entry = self.entries[slot as usize].as_ref().expect("a request in flight");
        let step = match entry.request.op {
            Op::Discard => {
                // Nothing of the last block, which the page cache has a part in.
                let bound = config.last_block.min(self.extent.length);
                let (position, end) = discarded(&entry.request, config, bound);
                Step::Discard { position, end }
            }
            _ => Step::Zeroes(Zeroes::new(entry.request.offset, entry.end())),
        };
        self.begin_change(slot, Change::of(&[step]), actions);
    }

    pub(super) fn begin_change(
        &mut self,
        slot: u32,
        change: Change,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        let entry = self.entry(slot);
        entry.phase = Phase::Changing;
        entry.change = Some(Box::new(change));
        self.go_on_changing(slot, actions);
    }

    /// Goes on with the step that is due, and with the next when it is over.
    pub(super) fn go_on_changing(&mut self, slot: u32, actions: &mut Vec<Action<Q, T>>) {
        loop {
            let entry = self.entry(slot);
            if entry.error.is_some() {
                return;
            }
            let Some(step) = entry.change.as_mut().and_then(|change| change.steps.pop()) else {
                return;
            };
            let unfinished = match step {
                Step::Zeroes(zeroes) => self.write_zeroes(slot, zeroes, actions).map(Step::Zeroes),
                Step::Truncate { length, issued } => {
                    let done = self.truncate(slot, length, issued, actions);
                    (!done).then_some(Step::Truncate { length, issued: true })
                }
                Step::Clean => {
                    self.set_clean();
                    None
                }
                Step::Move => return self.begin_write(slot, actions),
                Step::Discard { position, end } => self
                    .discard(slot, position, end, actions)
                    .map(|position| Step::Discard { position, end }),
            };
            let entry = self.entry(slot);
            if let (Some(step), Some(change)) = (unfinished, entry.change.as_mut()) {
                change.steps.push(step);
                return;
            }
        }
    }
}
