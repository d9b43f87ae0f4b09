//! Synchronous calls. The caller's thread does the work itself as far as nothing conflicts. Then it
//! waits for what other threads do for its request.

use std::cell::Cell;
use std::sync::Arc;

use super::{Handle, Submission};
use crate::driver::Slot;
use crate::node::{dispatch, failure, perform, release, thread_key, with_actions};
use crate::node::{Action, Actions, Endpoint, Owner, Waiter};
use crate::sys::Error;

thread_local! {
    /// The waiter of the last call on this thread, to spare an allocation.
    static SPARE_WAITER: Cell<Option<Arc<Waiter>>> = const { Cell::new(None) };
}

/// A waiter that no other thread has, so that none sets it.
fn fresh_waiter() -> Arc<Waiter> {
    let mut spare = SPARE_WAITER.take().unwrap_or_default();
    match Arc::get_mut(&mut spare) {
        Some(waiter) => {
            waiter.clear();
            spare
        }
        None => Arc::default(),
    }
}

impl Handle {
    /// Runs the request to its end. EDEADLK inside a callback.
    pub fn run(&self, submission: Submission) -> Result<(), Error> {
        self.check_may_wait("a synchronous call")?;
        self.run_anywhere(submission)
    }

    /// As `run`, also inside a callback: only for requests that wait for nothing but I/O.
    pub(super) fn run_anywhere(&self, mut submission: Submission) -> Result<(), Error> {
        self.check(&submission)?;
        let copy = self.stabilise(&mut submission)?;
        let Submission { op, offset, bytes, .. } = submission;
        let waiter = fresh_waiter();
        let generation = self.count_in(&submission)?;
        let result = self.run_taken_in(submission, &waiter);
        release(copy, &self.endpoint);
        self.endpoint.completions.request_over(generation);
        SPARE_WAITER.set(Some(waiter));
        match result {
            Some(result) => result.map_err(|errno| {
                failure(&self.endpoint, op, offset + self.endpoint.window_offset, bytes, errno)
            }),
            None => Err(self.poisoned()),
        }
    }

    fn run_taken_in(
        &self,
        submission: Submission,
        waiter: &Arc<Waiter>,
    ) -> Option<Result<(), i32>> {
        let request = self.request(submission, Owner::Waiter(waiter.clone()));
        let taken_in = with_actions(|actions| {
            let Endpoint { node, .. } = &*self.endpoint;
            let id = node.submit_now(self.endpoint.id(), thread_key(), request, actions);
            self.carry_out(actions, waiter);
            id
        });
        taken_in?;
        Some(match waiter.get() {
            Some(result) => result,
            None => self.endpoint.node.while_waited_for(|| waiter.wait()),
        })
    }

    /// Does what this call's own request needs, on this thread, and hands the rest on.
    fn carry_out(&self, actions: &mut Actions, waiter: &Arc<Waiter>) {
        // The last I/O that a submission asks for is its own. If the request has to wait, the last
        // I/O is one of those that were plugged, and this thread can carry that out as well.
        let slot = actions.iter().rev().find_map(|action| match action {
            Action::Io(_, io) => Some(io.id.slot),
            Action::Probe(..) | Action::Stalled(..) | Action::Complete(_) => None,
        });
        while let Some(at) = actions.iter().rposition(|action| self.is_own(action, slot)) {
            let Action::Io(_, io) = actions.swap_remove(at) else { unreachable!("is_own") };
            // I/O that may go on beside this one, such as that of the other edge, is handed on
            // first.
            dispatch(actions);
            perform(&self.endpoint, io, actions);
            if waiter.get().is_some() || completes(actions, waiter) {
                break;
            }
        }
        dispatch(actions);
    }

    /// Whether this thread can carry `action` out as part of its own request.
    fn is_own(&self, action: &Action, slot: Option<Slot>) -> bool {
        match action {
            Action::Io(endpoint, io) => {
                Arc::ptr_eq(endpoint, &self.endpoint)
                    && Some(io.id.slot) == slot
                    && endpoint.driver.is_synchronous(io.op)
            }
            Action::Probe(..) | Action::Stalled(..) | Action::Complete(_) => false,
        }
    }
}

/// Whether the result of this call's own request is among `actions`. Then another request may have
/// its slot already.
fn completes(actions: &Actions, waiter: &Arc<Waiter>) -> bool {
    actions.iter().any(|action| match action {
        Action::Complete(completion) => {
            matches!(&completion.token, Owner::Waiter(its) if Arc::ptr_eq(its, waiter))
        }
        Action::Io(..) | Action::Probe(..) | Action::Stalled(..) => false,
    })
}
