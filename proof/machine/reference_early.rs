//! The reference machine's requests that end before they start: NO_WAIT, and cancels; with the
//! flaws that these can have.

use super::flaws::Flaw;
use super::reference::{Entry, Reference};
use super::subject::SimAction;
use crate::RequestId;

impl Reference {
    /// Enters a request, unless it is one that does not wait and would have to.
    pub(super) fn enter(&mut self, entry: Entry, actions: &mut Vec<SimAction>) {
        let no_wait = self.scenario.plans[entry.number].asks.no_wait;
        let others = !self.entries.is_empty();
        self.entries.push(entry);
        let at = self.entries.len() - 1;
        let busy = match self.flaw {
            Flaw::NoWaitWaits => false,
            Flaw::NoWaitIsBusyForNothing => others,
            _ => self.waits(at),
        };
        if no_wait && busy {
            self.end_unstarted(at, libc::EBUSY, self.flaw == Flaw::NoWaitLeavesATrace, actions);
        }
    }

    fn end_unstarted(&mut self, at: usize, errno: i32, ghost: bool, actions: &mut Vec<SimAction>) {
        self.entries[at].error = Some(errno);
        let (id, number) = (self.entries[at].id, self.entries[at].number);
        self.complete(at, actions);
        if ghost {
            let entry = self.entry(&self.scenario.request(number));
            self.last_id -= 1;
            self.entries.insert(at, Entry { id, ghost, ..entry });
        }
    }

    pub(super) fn take_back(
        &mut self,
        queue: usize,
        id: RequestId,
        actions: &mut Vec<SimAction>,
    ) -> Result<(), i32> {
        let any = self.flaw == Flaw::CancelsForOtherQueues;
        let home = |entry: &Entry| self.scenario.plans[entry.number].queue;
        let is_it = |entry: &Entry| entry.id == id && (any || home(entry) == queue);
        let back = self.plugged.iter().chain(&self.held).flatten();
        if let Some(home) = back.map(|(_, entry)| entry).find(|entry| is_it(entry)).map(home) {
            let lists = [&mut self.plugged[home], &mut self.held[home]];
            let mut found = None;
            for list in lists {
                let at = list.iter().position(|(_, entry)| entry.id == id);
                found = found.or(at.map(|at| list.remove(at)));
            }
            let (_, entry) = found.expect("held back");
            self.entries.push(entry);
            self.end_unstarted(self.entries.len() - 1, libc::ECANCELED, false, actions);
            return Ok(());
        }
        let at = self.entries.iter().position(is_it).filter(|&at| !self.entries[at].ghost);
        let at = at.ok_or(libc::ENOENT)?;
        let busy = match self.flaw {
            Flaw::CancelsAtTheStorage => false,
            Flaw::CancelIsBusyWhileWaiting => self.entries[at].active || self.waits(at),
            _ => self.entries[at].active,
        };
        if busy {
            return Err(libc::EBUSY);
        }
        if self.flaw == Flaw::CancelLetsOthersPass {
            let number = self.entries[at].number;
            let conflict = |other: &Entry| self.scenario.conflict(number, other.number);
            let behind: Vec<usize> =
                (at + 1..self.entries.len()).filter(|&i| conflict(&self.entries[i])).collect();
            behind.into_iter().for_each(|i| self.entries[i].passes = true);
        }
        let ghost = self.flaw == Flaw::CancelledStillExcludes;
        self.end_unstarted(at, libc::ECANCELED, ghost, actions);
        self.run(actions);
        Ok(())
    }
}
