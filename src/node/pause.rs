//! Pauses of the object: who pauses waits until nothing of any handle is at the storage.

use std::sync::Arc;

use super::{Actions, Core, Node, Waiter};

impl Core {
    /// Those who have waited for the storage to come to rest, if it has. They are told when the
    /// lock is free.
    #[inline]
    pub fn take_rested(&mut self) -> Vec<Arc<Waiter>> {
        if self.pausers.is_empty() || !self.machine.is_at_rest() {
            return Vec::new();
        }
        std::mem::take(&mut self.pausers)
    }
}

impl Node {
    /// No request starts from here on, of any handle. Returns who is told when nothing is at the
    /// storage any more; EIO: the machine takes nothing any more.
    pub fn begin_pause(&self, actions: &mut Actions) -> Arc<Waiter> {
        let waiter = Arc::<Waiter>::default();
        let mut begun = false;
        self.with_core(actions, |core| {
            core.machine.pause();
            core.pausers.push(waiter.clone());
            begun = true;
        });
        if !begun && waiter.get().is_none() {
            waiter.set(Err(libc::EIO));
        }
        waiter
    }

    /// The counterpart of `begin_pause`.
    pub fn resume(&self, actions: &mut Actions) {
        self.with_machine(actions, |machine| machine.resume());
    }

    pub fn is_paused(&self) -> bool {
        let core = self.core.lock();
        !core.broken && core.machine.is_paused()
    }
}
