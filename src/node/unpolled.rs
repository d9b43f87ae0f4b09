//! EVENTFD: a handle whose results somebody else waits for, while nobody may be polling it. A
//! synchronous call, or a request of another handle of the object, may wait for I/O whose results
//! only the handle's own `poll` takes in. Then a job on the pool takes them in (`ReapUnpolled`).
//!
//! For a synchronous call the job comes at once. For requests of other handles it comes at once if
//! nobody has polled the handle since the last job; else a look sees after a while whether anybody
//! has polled meanwhile. Where each handle has a thread that polls, handles wait for each other all
//! the time, and jobs would only get in the way: with eight handles that write the sectors of one
//! block half of all processor time went into that.
//!
//! A thread that waits says so and then looks at what is in the ring; a thread that puts I/O in
//! counts it and then looks whether any thread waits. Each then looks whether a look is due; a look
//! says that it is over, and then looks again at all of this. All of it is SeqCst, so each time one
//! of the two sees the other.

use std::sync::Arc;

use super::ring::Beat;
use super::{Endpoint, Node, RingEngine, Work};
use crate::sync::atomic::Ordering;

impl Endpoint {
    /// Called when a wait begins, and when I/O comes to the ring meanwhile.
    pub fn ensure_unpolled_progress(self: &Arc<Self>) {
        let Some(engine) = &self.ring else { return };
        // Where there is no thread for that, one that polls any handle does it, or one that waits.
        if self.pool.is_unmanned() {
            return self.call_for_help();
        }
        if !self.needs_help(engine) {
            return;
        }
        if self.node.has_sleeping_calls() || !engine.was_polled_since_help() {
            self.help(engine);
        } else {
            self.ensure_look(engine);
        }
    }

    fn help(self: &Arc<Self>, engine: &RingEngine) {
        if engine.take_on_helping() {
            self.pool.push(Work::ReapUnpolled(self.clone()));
        }
    }

    /// A look at the handle. `polls`: as it was when the look was ordered.
    pub fn look_at_polls(self: &Arc<Self>, polls: Beat) {
        let Some(engine) = &self.ring else { return };
        engine.look_is_due.store(false, Ordering::SeqCst);
        engine.ring.submit_handed_over();
        self.hand_on_refused();
        if self.needs_help(engine) {
            match engine.polls() == polls {
                true => self.help(engine),
                false => self.ensure_look(engine),
            }
        }
        self.ensure_handed_over_goes_on();
    }

    pub fn needs_help(&self, engine: &RingEngine) -> bool {
        engine.has_any_inside() && self.node.is_waited_for()
    }
}

impl Node {
    /// This thread is going to sleep in a `poll` of `but`. It will not poll the other handles that
    /// it has polled so far, so these are not polled at all.
    pub fn ensure_unpolled_progress_of_others(&self, but: &Endpoint) {
        if !self.is_waited_for() {
            return;
        }
        for its in self.endpoints().iter().filter(|its| !std::ptr::eq(&***its, but)) {
            let engine = its.ring.as_ref().filter(|_| its.is_polled());
            if let Some(engine) = engine.filter(|engine| engine.ring.was_reaped_here()) {
                if its.pool.is_unmanned() {
                    its.call_for_help();
                } else if its.needs_help(engine) {
                    its.help(engine);
                }
            }
        }
    }
}
