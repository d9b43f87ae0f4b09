//! Requests that are more than one movement of bytes: zero writes, discards, changes of the
//! length. Each is a list of steps, done one after the other; a step issues what it can, and is
//! asked again whenever one of its I/Os is over. Example: a write past the end of an empty file
//! has the steps Truncate (the file gets its new length), then Move (a write like any other).

use crate::extent::Extent;
use crate::io::{Op, Slot};
use crate::isolation::Isolation;
use crate::overlay::Copying;
use crate::resize::{Resize, Truncate};
use crate::table::{discarded, Among, Change, Phase, Step, Table, Zeroes};
use crate::writing::Writing;
use crate::zeroes::{UnsupportedOps, Zeroing};
use crate::ScratchPool;

/// Carries out steps. It enters and frees no request, so it only looks at the isolation.
pub struct Changing<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a Isolation,
    pub extent: &'a mut Extent,
    pub unsupported: &'a mut UnsupportedOps,
}

impl<Q: Clone, T, S: ScratchPool> Changing<'_, Q, T, S> {
    /// A zero write or a discard, inside the object, starts.
    pub fn start(&mut self, slot: Slot) {
        let config = self.table.config_of(slot);
        let entry = self.table.known(slot);
        let step = match entry.request.op {
            Op::Discard => {
                // Nothing of the last block: I/O there goes through the page cache.
                let bound = config.last_block.min(self.extent.length);
                let (position, end) = discarded(&entry.request, config, bound);
                Step::Discard { position, end }
            }
            _ => Step::Zeroes(Zeroes::new(entry.request.offset, entry.end())),
        };
        if self.table.is_unsettled() && matches!(step, Step::Zeroes(_)) {
            return self.begin(slot, Change::of(&[Step::CopyUp { asked: false }, step]));
        }
        self.begin(slot, Change::of(&[step]));
    }

    pub fn start_truncate(&mut self, slot: Slot) {
        let change = self.resize().truncate_steps(slot);
        self.begin(slot, change);
    }

    /// A request that has bytes beyond the end starts.
    pub fn start_past_end(&mut self, slot: Slot) {
        let resize = self.table.config_of(slot).resize;
        let entry = self.table.entry(slot);
        match entry.request.op {
            // Another request has made the object shorter since this one was submitted.
            _ if !resize => entry.error = Some(libc::EIO),
            Op::Read => {
                self.resize().fill_past_end(slot);
                if self.table.known(slot).request.bytes > 0 {
                    self.writing().begin_moving(slot);
                }
            }
            Op::Write | Op::WriteZeroes => {
                let change = self.resize().extend_steps(slot);
                self.begin(slot, change);
            }
            _ => self.start(slot),
        }
    }

    fn begin(&mut self, slot: Slot, change: Change) {
        let entry = self.table.entry(slot);
        entry.phase = Phase::Changing;
        entry.change = Some(Box::new(change));
        self.go_on(slot);
    }

    /// Goes on with the step that is due, and with the next when it is over.
    pub fn go_on(&mut self, slot: Slot) {
        loop {
            let entry = self.table.entry(slot);
            if entry.error.is_some() {
                return;
            }
            let Some(step) = entry.change.as_mut().and_then(|change| change.steps.pop()) else {
                return;
            };
            let unfinished = match step {
                Step::Zeroes(zeroes) => self.zeroing().go_on(slot, zeroes).map(Step::Zeroes),
                Step::Truncate { length, issued } => {
                    match self.resize().truncate(slot, length, issued) {
                        Truncate::Done => None,
                        Truncate::UnderWay => Some(Step::Truncate { length, issued: true }),
                    }
                }
                Step::Clean => {
                    self.extent.dirty = false;
                    None
                }
                Step::CopyUp { asked } => {
                    if !asked {
                        Copying { table: self.table }.copy_gaps(slot);
                    }
                    let under_way = self.table.known(slot).outstanding > 0;
                    under_way.then_some(Step::CopyUp { asked: true })
                }
                Step::Move => return self.writing().begin_write(slot),
                Step::Discard { position, end } => self
                    .zeroing()
                    .discard(slot, position, end)
                    .map(|position| Step::Discard { position, end }),
            };
            let entry = self.table.entry(slot);
            if let (Some(step), Some(change)) = (unfinished, entry.change.as_mut()) {
                change.steps.push(step);
                return;
            }
        }
    }

    fn resize(&mut self) -> Resize<'_, Q, T, S> {
        Resize { table: self.table, extent: self.extent }
    }

    fn zeroing(&mut self) -> Zeroing<'_, Q, T, S> {
        Zeroing { table: self.table, unsupported: self.unsupported }
    }

    fn writing(&mut self) -> Writing<'_, Q, T, S> {
        let writes = self.isolation.among(Among::Writes);
        Writing { table: self.table, writes, length: self.extent.length }
    }
}
