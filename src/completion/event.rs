//! EVENTFD completion: callbacks that are due are kept until the caller's own thread asks for them.
//!
//! The lock guards the list of what is due and the descriptor; nothing else is taken while the lock
//! is held. The descriptor is made when the program first asks for it, so a program that only ever
//! polls pays nothing for it. Once the descriptor exists it is readable whenever something may be
//! due, unless a thread in `poll` is about to take that. A look that finds nothing is harmless.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use super::{Delivery, Left};
use crate::sync::{Condvar, Instant, Mutex};
use crate::sys::{Error, EventFd};

#[derive(Default)]
pub struct Events {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: VecDeque<Delivery>,
    fd: Option<EventFd>,
    /// How often `notify` was called. A waiter that sees the count change looks again.
    notices: u64,
}

impl Events {
    /// Adds a callback that is due. `looks`: this thread is about to take what is due, and tells
    /// others of what it leaves. Else a thread that sleeps is woken.
    pub fn push(&self, delivery: Delivery, looks: bool) {
        let mut state = self.state.lock();
        state.due.push_back(delivery);
        if !looks {
            state.signal();
            self.changed.notify_all();
        }
    }

    /// Appends up to `max` of what is due to `taken`, oldest first. Other threads are told if this
    /// leaves any.
    pub fn take(&self, max: usize, taken: &mut impl Extend<Delivery>) -> Left {
        let mut state = self.state.lock();
        let count = state.due.len().min(max);
        taken.extend(state.due.drain(..count));
        if state.due.is_empty() {
            return Left::Nothing;
        }
        state.signal();
        self.changed.notify_all();
        Left::Something
    }

    pub fn anything_due(&self) -> bool {
        self.count_due() > 0
    }

    pub fn count_due(&self) -> usize {
        self.state.lock().due.len()
    }

    /// Wakes the waiters for another reason than something due.
    pub fn notify(&self) {
        self.state.lock().notices += 1;
        self.changed.notify_all();
    }

    /// Waits until something is due, `notify` is called, or it is `until`.
    pub fn wait(&self, until: Option<Instant>) {
        let mut state = self.state.lock();
        let before = state.notices;
        while state.due.is_empty() && state.notices == before {
            match until {
                None => self.changed.wait(&mut state),
                Some(until) => {
                    if self.changed.wait_until(&mut state, until).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    /// The descriptor, and whether it is new. If it is, the caller has to connect the other source
    /// of signals to it, the ring.
    pub fn descriptor(&self) -> Result<(RawFd, bool), Error> {
        let mut state = self.state.lock();
        if let Some(fd) = &state.fd {
            return Ok((fd.raw(), false));
        }
        let fd = EventFd::new()?;
        // Something may be due already. A look for nothing is harmless.
        fd.signal();
        let raw = fd.raw();
        state.fd = Some(fd);
        Ok((raw, true))
    }

    /// The descriptor is of no use after all.
    pub fn forget_descriptor(&self) {
        self.state.lock().fd = None;
    }

    /// Before looking for what is due. What becomes due from here on makes the descriptor readable
    /// again, so the descriptor is cleared first, and only then does the caller look.
    pub fn begin_look(&self) {
        if let Some(fd) = &self.state.lock().fd {
            fd.clear();
        }
    }

    /// After a look that may have left something: then the descriptor stays readable. `left`:
    /// whether there may be more where the look has taken results in.
    pub fn end_look(&self, left: Left) {
        let state = self.state.lock();
        if left == Left::Something || !state.due.is_empty() {
            state.signal();
        }
    }
}

impl State {
    fn signal(&self) {
        if let Some(fd) = &self.fd {
            fd.signal();
        }
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
