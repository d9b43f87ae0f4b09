//! What threads of the program do for handles without threads (`Endpoint::do_without_threads`) while
//! they wait for something themselves.

use std::sync::Arc;
use std::time::Duration;

use super::reap::help;
use super::{Endpoint, Node, Waiter};
use crate::sync::atomic::Ordering;

/// How long a thread that waits sleeps before it looks again what is to be done for handles without
/// threads.
const HELP_SLICE: Duration = Duration::from_micros(500);

impl Node {
    /// Waits for the result of what others do for this thread.
    pub fn wait_for(&self, waiter: &Waiter) -> Result<(), i32> {
        self.while_waited_for(|| match self.unmanned.load(Ordering::Relaxed) {
            true => self.wait_and_help(waiter),
            false => waiter.wait(),
        })
    }

    /// Some handles have no threads: this one does, meanwhile, what is to be done for them.
    fn wait_and_help(&self, waiter: &Waiter) -> Result<(), i32> {
        let endpoints = self.endpoints();
        loop {
            if let Some(result) = waiter.get() {
                return result;
            }
            let mut unmanned = endpoints.iter().filter(|its| its.pool.is_unmanned());
            if !unmanned.any(help) {
                waiter.wait_at_most(HELP_SLICE);
            }
        }
    }

    /// For a handle without threads: its requests may wait for those of others, whose threads may
    /// not be polling.
    pub fn help_others(&self, endpoint: &Arc<Endpoint>) {
        if !self.is_waited_for() {
            return;
        }
        for other in self.endpoints() {
            if other.pool.is_unmanned() && !Arc::ptr_eq(&other, endpoint) {
                help(&other);
            }
        }
    }
}
