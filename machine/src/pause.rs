//! A pause: no request starts, those that have started go on to their end, and the storage comes to
//! rest. What comes meanwhile waits as it would for a place, in order, and can be cancelled.
//!
//! Pauses nest. A repair (`repair.rs`) stops requests in the same way, so the places of a queue are
//! given back only when neither holds them: `Table::gives_places`.
//!
//! Example. A write A is at the storage, B waits for A, and the machine is paused: A ends, B has no
//! place. Nothing is at the storage then. `resume` gives the places back, and B starts.

use crate::table::Table;
use crate::QueueId;

impl<Q, T, S> Table<Q, T, S> {
    /// Whether requests may start at all; `repairing`: a repair is under way.
    pub fn gives_places(&self, repairing: bool) -> bool {
        self.pauses == 0 && !repairing
    }

    /// Queues get their places back, or lose them.
    pub fn set_places(&mut self, given: bool) {
        for (id, queue) in self.queues.iter_mut().enumerate() {
            let Some(queue) = queue else { continue };
            queue.places = if given { queue.config.depth } else { 0 };
            if given {
                self.runnable.push(id as QueueId);
            }
        }
    }

    /// No request has a place.
    pub fn nothing_runs(&self) -> bool {
        self.open_queues().all(|queue| queue.active == 0)
    }
}
