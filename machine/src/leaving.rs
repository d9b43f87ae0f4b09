//! How a request leaves: first the trackers, so that those that waited for it alone may start, and
//! only then comes its result among the actions.

use crate::entering::{Admission, Entering};
use crate::extent::Extent;
use crate::io::Slot;
use crate::isolation::Isolation;
use crate::merge::Merger;
use crate::overlay::Gaps;
use crate::table::{Among, AmongSet, Table};
use crate::ScratchPool;

/// Takes requests out, and sees all that they are in.
pub struct Leaving<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a mut Isolation,
    pub extent: &'a mut Extent,
}

impl<Q: Clone, T, S: ScratchPool> Leaving<'_, Q, T, S> {
    /// Enters a request; one that is NO_WAIT and would have to wait leaves at once, with EBUSY.
    pub fn admit_or_refuse(&mut self, slot: Slot) -> Admission {
        let Leaving { table, isolation, extent } = self;
        let admission = Entering { table, isolation, extent }.admit(slot);
        if admission == Admission::Busy {
            self.end_unstarted(slot, libc::EBUSY);
        }
        admission
    }

    /// The request and its members leave.
    pub fn finish(&mut self, slot: Slot) {
        self.merger().bequeath_image(slot);
        if self.table.known(slot).overlaid.is_some() {
            Gaps { table: self.table }.narrow(slot);
        }
        let entry = self.table.entry(slot);
        debug_assert!(entry.outstanding == 0 && entry.parts.is_empty());
        let images = entry.images.take();
        let members = std::mem::take(&mut entry.members);
        let (queue, error, bounced) = (entry.queue, entry.error, entry.bounced);
        if let Some(images) = images {
            self.table.scratch.give(images);
        }
        self.table.queue(queue).active -= 1;
        self.table.runnable.push(queue);
        self.leave(slot);
        for &member in &members {
            let entry = self.table.entry(member);
            entry.error = error;
            entry.bounced = bounced;
            let guest = entry.queue != queue;
            self.table.riding -= usize::from(guest);
            self.leave(member);
        }
    }

    /// Completes a request that is in no tracker and no member of another.
    pub fn end_unstarted(&mut self, slot: Slot, errno: i32) {
        let entry = self.table.entry(slot);
        debug_assert!(entry.outstanding == 0 && entry.members.is_empty());
        debug_assert!(entry.tracked.is_empty());
        entry.error = Some(errno);
        self.table.note_image_not_kept(slot);
        // The request may have inherited an image.
        let entry = self.table.entry(slot);
        if let Some(images) = entry.images.take() {
            self.table.scratch.give(images);
        }
        self.leave(slot);
    }

    /// One request leaves. If it is a leader its members leave right after it. The members may be
    /// among the requests that its leaving sets free.
    #[inline(always)]
    fn leave(&mut self, slot: Slot) {
        self.leave_trackers(slot);
        self.table.complete(slot);
    }

    /// Takes a request out of its trackers: those that waited for it alone may start.
    pub fn leave_trackers(&mut self, slot: Slot) {
        let tracked = self.table.known(slot).tracked;
        if tracked.contains(Among::Writes) {
            self.isolation.remove(self.table, slot, Among::Writes);
        }
        if tracked != AmongSet::WRITES && !tracked.is_empty() {
            self.leave_isolation(slot);
        }
    }

    /// A request that was in the other trackers, too, is over.
    #[cold]
    fn leave_isolation(&mut self, slot: Slot) {
        let entry = self.table.known(slot);
        let (tracked, excludes) = (entry.tracked, entry.excludes_readers);
        for among in [Among::Guests, Among::Barriers] {
            if tracked.contains(among) {
                self.isolation.remove(self.table, slot, among);
            }
        }
        self.isolation.excluding -= usize::from(excludes);
        self.extent.forget_truncate(slot);
    }

    fn merger(&mut self) -> Merger<'_, Q, T, S> {
        Merger {
            table: self.table,
            writes: self.isolation.among(Among::Writes),
            length: self.extent.length,
        }
    }
}
