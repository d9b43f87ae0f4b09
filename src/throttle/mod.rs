//! Throttles: requests wait for their time before they wait for each other. `blkalign_machine`'s
//! `throttle` decides who may go; this room has the clock and the lock, and brings what may go to
//! the node.
//!
//! A request that is held is in the request machine already, as `Machine::hold` keeps it: it has an
//! id, can be cancelled, counts as in flight, but no other request sees it. Its order is that of
//! the throttle, since both are changed under the throttle's lock.
//!
//! That lock guards the buckets and the list of handles. While it is held the node's lock may be
//! taken, and that of the alarm clock. What the node wants done is done when the lock is free.

mod timer;

use std::sync::{Arc, Weak};
use std::time::Duration;

use smallvec::SmallVec;

use crate::node::{
    dispatch, dispatch_elsewhere, thread_key, with_actions, Actions, Endpoint, Node, Owner,
};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Instant, Mutex};
use crate::sys::Error;
pub use blkalign_machine::throttle::{BucketLimits, ThrottleLimits};
use blkalign_machine::throttle::{Load, MemberId, Nanos, Released};
use blkalign_machine::{PlugKey, Request, RequestId};
use timer::{AlarmClock, Alarmed, Timer};

/// The least time between two looks of the timer. What may go meanwhile goes together.
const TICK: Nanos = 200_000;

/// A group of handles that share buckets.
pub struct Throttle {
    /// Times count from here.
    start: Instant,
    me: Weak<dyn Alarmed>,
    state: Mutex<State>,
}

struct State {
    throttle: blkalign_machine::throttle::Throttle<RequestId>,
    /// By `MemberId`.
    homes: Vec<Option<Home>>,
    /// There is one while there are members.
    clock: Option<Arc<AlarmClock>>,
    /// What the alarm is set to.
    alarm: Option<Nanos>,
    /// Kept to spare allocations.
    released: Vec<Released<RequestId>>,
}

/// Where the requests of a member go.
struct Home {
    endpoint: Arc<Endpoint>,
    counts: Arc<Counts>,
}

/// What throttles have done to the requests of one handle.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests that were held.
    pub throttled: AtomicU64,
    /// For how long, all together.
    pub throttled_ns: AtomicU64,
}

/// A handle's place in a throttle.
pub struct Membership {
    throttle: Arc<Throttle>,
    id: MemberId,
    endpoint: Arc<Endpoint>,
    counts: Arc<Counts>,
    /// Written under the throttle's lock.
    left: AtomicBool,
    /// Keeps the thread.
    _timer: Arc<Timer>,
}

impl Throttle {
    pub fn new(limits: &ThrottleLimits) -> Arc<Throttle> {
        Arc::new_cyclic(|me: &Weak<Throttle>| {
            let state = State {
                throttle: blkalign_machine::throttle::Throttle::new(limits, 0),
                homes: Vec::new(),
                clock: None,
                alarm: None,
                released: Vec::new(),
            };
            Throttle { start: Instant::now(), me: me.clone(), state: Mutex::new(state) }
        })
    }

    /// Other limits hold from now on, also for what is held.
    pub fn set(&self, limits: &ThrottleLimits) {
        with_actions(|actions| {
            let mut state = self.state.lock();
            let now = self.now();
            state.throttle.set(limits, now);
            self.release(&mut state, now, actions);
            drop(state);
            dispatch(actions);
        });
    }

    fn now(&self) -> Nanos {
        let passed = Instant::now().saturating_duration_since(self.start).as_nanos();
        Nanos::try_from(passed).unwrap_or(Nanos::MAX)
    }

    /// Lets go of what may go now, and sets the alarm for the next.
    fn release(&self, state: &mut State, now: Nanos, actions: &mut Actions) {
        let mut released = std::mem::take(&mut state.released);
        state.throttle.release(now, &mut released);
        state.submit(&mut released, actions);
        state.released = released;
        self.set_alarm(state, now);
    }

    fn set_alarm(&self, state: &mut State, now: Nanos) {
        let Some(clock) = &state.clock else { return };
        let Some(due) = state.throttle.next_due(now) else { return };
        let due = due.max(now.saturating_add(TICK));
        // An alarm that comes too early does no harm.
        if state.alarm.is_none_or(|alarm| due < alarm) {
            state.alarm = Some(due);
            clock.set(self.start + Duration::from_nanos(due), &self.me);
        }
    }
}

impl Alarmed for Throttle {
    fn wake(&self) {
        with_actions(|actions| {
            let mut state = self.state.lock();
            state.alarm = None;
            self.release(&mut state, self.now(), actions);
            drop(state);
            // A driver may call back into the library, and wait there for this very thread.
            dispatch_elsewhere(actions);
        });
    }
}

impl State {
    /// Submits what the throttle has let go, one batch for each member.
    fn submit(&mut self, released: &mut Vec<Released<RequestId>>, actions: &mut Actions) {
        let mut last: SmallVec<[(MemberId, RequestId); 4]> = SmallVec::new();
        for Released { member, tag, held } in released.drain(..) {
            self.home(member).counts.throttled_ns.fetch_add(held, Ordering::Relaxed);
            match last.iter_mut().find(|(other, _)| *other == member) {
                Some(its) => its.1 = tag,
                None => last.push((member, tag)),
            }
        }
        for (member, tag) in last {
            let Endpoint { node, .. } = &*self.home(member).endpoint;
            node.let_go(self.home(member).endpoint.id(), tag, actions);
        }
    }

    fn home(&self, member: MemberId) -> &Home {
        self.homes[member].as_ref().expect("a member")
    }
}

impl Membership {
    /// Starts the timer's thread if it is not there yet. ENOMEM: there is none to be had.
    pub fn join(
        throttle: &Arc<Throttle>,
        endpoint: &Arc<Endpoint>,
        counts: &Arc<Counts>,
    ) -> Result<Membership, Error> {
        let timer = Timer::get(&endpoint.pool)?;
        let mut state = throttle.state.lock();
        let id = state.throttle.join();
        if state.homes.len() <= id {
            state.homes.resize_with(id + 1, || None);
        }
        state.homes[id] = Some(Home { endpoint: endpoint.clone(), counts: counts.clone() });
        state.clock = Some(timer.clock().clone());
        // The alarm may have been that of a timer that is gone.
        state.alarm = None;
        drop(state);
        Ok(Membership {
            throttle: throttle.clone(),
            id,
            endpoint: endpoint.clone(),
            counts: counts.clone(),
            left: AtomicBool::new(false),
            _timer: timer,
        })
    }

    /// Lets go of all; whoever still submits here passes. To be called once.
    pub fn leave(&self, actions: &mut Actions) {
        let mut state = self.throttle.state.lock();
        self.let_all_go(&mut state, actions);
        state.throttle.leave(self.id);
        state.homes[self.id] = None;
        self.left.store(true, Ordering::Relaxed);
    }

    /// Lets go of what is held of this handle.
    pub fn let_go(&self, actions: &mut Actions) {
        let mut state = self.throttle.state.lock();
        if !self.left.load(Ordering::Relaxed) {
            self.let_all_go(&mut state, actions);
        }
    }

    /// As `Node::submit`.
    pub fn submit(
        &self,
        key: PlugKey,
        request: Request<Owner>,
        actions: &mut Actions,
        mut note_id: impl FnMut(RequestId),
    ) -> Option<RequestId> {
        let queue = self.endpoint.id();
        let note_id = &mut note_id;
        self.enter(request, actions, |node, pass, request, actions| match pass {
            Pass::AtOnce => node.submit(queue, key, request, actions, note_id),
            Pass::Later => node.hold(queue, key, request, actions, note_id),
        })
    }

    /// As `Node::submit_now`.
    pub fn submit_now(&self, request: Request<Owner>, actions: &mut Actions) -> Option<RequestId> {
        let (queue, key) = (self.endpoint.id(), thread_key());
        self.enter(request, actions, |node, pass, request, actions| match pass {
            Pass::AtOnce => node.submit_now(queue, key, request, actions),
            Pass::Later => node.hold_now(queue, key, request, actions),
        })
    }

    /// As `Node::cancel`.
    pub fn cancel(&self, id: RequestId, actions: &mut Actions) -> Result<(), i32> {
        let mut state = self.throttle.state.lock();
        let answer = self.endpoint.node.cancel(self.endpoint.id(), id, actions);
        if answer.is_ok() && !self.left.load(Ordering::Relaxed) {
            let now = self.throttle.now();
            if let Some(held) = state.throttle.forget(self.id, id, now) {
                self.counts.throttled_ns.fetch_add(held, Ordering::Relaxed);
                self.throttle.release(&mut state, now, actions);
            }
        }
        answer
    }

    /// As `Node::cancel_all`.
    pub fn cancel_all(&self, actions: &mut Actions) -> usize {
        let mut state = self.throttle.state.lock();
        let count = self.endpoint.node.cancel_all(self.endpoint.id(), actions);
        if !self.left.load(Ordering::Relaxed) {
            // Nothing is left of them that could be submitted.
            self.let_all_go(&mut state, actions);
        }
        count
    }

    /// Asks whether a request may go at once; `enter` brings it to the node, in one way or the
    /// other, under the throttle's lock.
    fn enter(
        &self,
        request: Request<Owner>,
        actions: &mut Actions,
        enter: impl FnOnce(&Node, Pass, Request<Owner>, &mut Actions) -> Option<RequestId>,
    ) -> Option<RequestId> {
        let node = &self.endpoint.node;
        let Some(load) = Load::of(request.op, request.bytes) else {
            return enter(node, Pass::AtOnce, request, actions);
        };
        let mut state = self.throttle.state.lock();
        let now = self.throttle.now();
        if self.left.load(Ordering::Relaxed) || state.throttle.try_pass(load, now) {
            return enter(node, Pass::AtOnce, request, actions);
        }
        let id = enter(node, Pass::Later, request, actions)?;
        if state.throttle.hold(self.id, id, load, now) {
            self.throttle.release(&mut state, now, actions);
        }
        let held = state.throttle.holds(self.id);
        self.counts.throttled.fetch_add(u64::from(held), Ordering::Relaxed);
        Some(id)
    }

    fn let_all_go(&self, state: &mut State, actions: &mut Actions) {
        let now = self.throttle.now();
        let mut released = std::mem::take(&mut state.released);
        state.throttle.let_go(self.id, now, &mut released);
        state.submit(&mut released, actions);
        state.released = released;
        // Others may have waited behind them.
        self.throttle.release(state, now, actions);
    }
}

/// How a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    AtOnce,
    Later,
}
