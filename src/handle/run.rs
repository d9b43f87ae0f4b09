//! Synchronous calls. The caller's thread does the work itself as far as nothing conflicts. Then it
//! waits for what other threads do for its request.

use std::cell::Cell;
use std::sync::Arc;

use super::{Handle, Submission};
use crate::completion::Generation;
use crate::driver::{Io, Slot};
use crate::node::{announce_within, Action, Actions, Endpoint, Owner, Waiter};
use crate::node::{dispatch, failure, perform, perform_only, release, thread_key, with_actions};
use crate::sys::{keep_spare, take_spare, Error};
use blkalign_machine::Request;

thread_local! {
    /// The waiter of the last call on this thread, to spare an allocation.
    static SPARE_WAITER: Cell<Option<Arc<Waiter>>> = const { Cell::new(None) };
}

/// A waiter that no other thread has, so that none sets it.
fn fresh_waiter() -> Arc<Waiter> {
    let mut spare = take_spare(&SPARE_WAITER).unwrap_or_default();
    match Arc::get_mut(&mut spare) {
        Some(waiter) => {
            waiter.clear();
            spare
        }
        None => Arc::default(),
    }
}

/// What became of a request that was to be run without others hearing of it.
enum Alone {
    /// Its result; None: the machine takes nothing any more.
    Over(Option<Result<(), i32>>),
    /// Nothing has happened.
    NotOpen,
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
        let generation = self.count_in(&submission)?;
        let began = self.endpoint.latency.begin();
        let mut request = self.request(submission, ());
        let result = match self.run_alone(&mut request) {
            Alone::Over(result) => result,
            Alone::NotOpen => self.run_among_others(request, generation),
        };
        release(copy, &self.endpoint);
        result.iter().for_each(|result| self.endpoint.latency.note(op, began, *result));
        self.endpoint.completions.request_over(generation);
        match result {
            Some(result) => result.map_err(|errno| {
                failure(&self.endpoint, op, offset + self.endpoint.window_offset, bytes, errno)
            }),
            None => Err(self.poisoned()),
        }
    }

    /// The common request, which is one I/O and conflicts with nothing: this thread does the I/O,
    /// and no other thread hears of the request.
    fn run_alone(&self, request: &mut Request<()>) -> Alone {
        let endpoint = &*self.endpoint;
        if endpoint.driver.is_asynchronous(request.op) || self.throttled.is_throttled() {
            return Alone::NotOpen;
        }
        let mut actions = Actions::new();
        let (queue, key) = (endpoint.id(), thread_key());
        let io = endpoint.node.submit_for_caller(queue, key, request, &mut actions);
        dispatch(&mut actions);
        let Some(io) = io else { return Alone::NotOpen };
        let result = perform_only(endpoint, &io);
        let done = result == Ok(io.bytes) && endpoint.node.done_by_caller(&io, &mut actions);
        dispatch(&mut actions);
        match done {
            true => Alone::Over(Some(Ok(()))),
            false => Alone::Over(self.go_on_among_others(io, result)),
        }
    }

    /// More is to be done for the request than its one I/O, which is over.
    #[cold]
    fn go_on_among_others(&self, io: Io, result: Result<u64, i32>) -> Option<Result<(), i32>> {
        let waiter = fresh_waiter();
        let owner = Owner::Waiter(waiter.clone());
        let taken_over = with_actions(|actions| {
            let taken_over = self.endpoint.node.hand_over(io, result, owner, actions);
            self.carry_out(actions, &waiter);
            taken_over
        });
        taken_over.then(|| self.result_of(waiter))
    }

    fn run_among_others(
        &self,
        request: Request<()>,
        generation: Generation,
    ) -> Option<Result<(), i32>> {
        let waiter = fresh_waiter();
        let Request { op, flags, guest_block, offset, bytes, segments, .. } = request;
        let token = Owner::Waiter(waiter.clone());
        let request = Request { op, flags, guest_block, offset, bytes, segments, token };
        let taken_in = with_actions(|actions| {
            let Endpoint { node, .. } = &*self.endpoint;
            let id = match self.throttled.membership() {
                None => node.submit_now(self.endpoint.id(), thread_key(), request, actions),
                Some(membership) => {
                    let id = membership.submit_now(request, actions);
                    // As in `submit`.
                    if self.endpoint.completions.is_waited_for(generation) {
                        membership.let_go(actions);
                    }
                    id
                }
            };
            self.carry_out(actions, &waiter);
            id
        });
        taken_in?;
        Some(self.result_of(waiter))
    }

    /// The result that the waiter has or gets.
    fn result_of(&self, waiter: Arc<Waiter>) -> Result<(), i32> {
        let there = waiter.get();
        let result = there.unwrap_or_else(|| self.endpoint.node.wait_for(&waiter));
        keep_spare(&SPARE_WAITER, Some(waiter));
        result
    }

    /// Does what this call's own request needs, on this thread, and hands the rest on.
    fn carry_out(&self, actions: &mut Actions, waiter: &Arc<Waiter>) {
        // What a notifier answers at once this thread goes on with.
        announce_within(actions);
        // The last I/O that a submission asks for is its own. If the request has to wait, the last
        // I/O is one of those that were plugged, and this thread can carry that out as well.
        let slot = actions.iter().rev().find_map(|action| match action {
            Action::Io(_, io) => Some(io.id.slot),
            Action::Announce(..) | Action::Probe(..) => None,
            Action::Stalled(..) | Action::Complete(_) => None,
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
            Action::Announce(..) | Action::Probe(..) => false,
            Action::Stalled(..) | Action::Complete(_) => false,
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
        Action::Io(..) | Action::Announce(..) | Action::Probe(..) | Action::Stalled(..) => false,
    })
}
