//! One storage object per file identity, shared by its handles: its length, whether a flush has
//! failed, and the lock around the request machine. docs/DESIGN.md, "Inside the node", says which
//! of the files here stands on which.
//!
//! The lock guards the machine. While it is held nothing else is locked, no system call is made
//! but for memory, and no caller's code runs. What the machine wants done is appended to a list of
//! actions, and `dispatch` does it afterwards.

mod alignments;
mod announce;
mod answers;
mod deferred;
mod deliver;
mod dispatch;
mod endpoint;
mod favours;
mod help;
mod jobs;
mod late;
mod latency;
mod limit;
mod notifier;
mod notifying;
mod pause;
mod perform;
mod reap;
pub mod registry;
mod repair;
mod ring;
#[cfg(test)]
mod tests;
mod thread_key;
mod timeout;
mod tracing;
mod unpolled;
mod waiter;
mod watch;

pub use answers::{failure, tell_rest_left_out};
pub use deliver::release;
pub use dispatch::{dispatch, dispatch_elsewhere, unplug_and_dispatch};
pub use endpoint::{Endpoint, Owner, Work};
pub use latency::{bucket_end, LatencyCounts, BUCKETS};
pub use limit::{TooLong, TooLongFn};
pub use notifier::{Change, Notifier, Notify};
pub use notifying::{announce_within, answer_question};
pub use notifying::{begin_notifier, end_notifier, withdraw_notifier};
pub use perform::{perform, perform_only};
pub use reap::{sleep, take_in_for_poll};
pub use registry::{is_open, node_of, overlay_node};
pub use ring::RingEngine;
pub use thread_key::{new_key, thread_key};
pub use waiter::Waiter;

use std::cell::RefCell;
use std::sync::Arc;

use crate::driver::{kind_number, Io};
use crate::engine::ScratchCache;
use crate::log;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::Mutex;
use crate::sys::{caught, trace};
use blkalign_machine::{
    Alignments, Announcement, Asked, Late, Machine, NotifierId, PlugKey, ProbeOutcome, QueueConfig,
    QueueId,
};
use blkalign_machine::{OverlayState, Request, RequestId, Stats};

pub type Action = blkalign_machine::Action<Arc<Endpoint>, Owner>;
pub type Actions = Vec<Action>;

thread_local! {
    static SPARE: RefCell<Vec<Actions>> = const { RefCell::new(Vec::new()) };
}

/// Runs `code` with an empty list of actions. The list is kept for the next time on this thread, so
/// that the common request allocates nothing.
pub fn with_actions<R>(code: impl FnOnce(&mut Actions) -> R) -> R {
    // None while the thread ends: see `sys/spare.rs`.
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    let mut actions = spare.ok().flatten().unwrap_or_default();
    let result = code(&mut actions);
    debug_assert!(actions.is_empty(), "all that the machine asked for was done");
    let _ = SPARE.try_with(|spare| spare.borrow_mut().push(actions));
    result
}

pub struct Node {
    core: Mutex<Core>,
    /// The machine's length, as it was after its last step; for reading without the lock.
    length: AtomicU64,
    poisoned: AtomicBool,
    /// The object is an overlay.
    is_overlay: bool,
    /// A request may wait for I/O of another handle.
    waits_across: AtomicBool,
    /// Synchronous calls that wait for their results.
    sleeping_calls: AtomicUsize,
    /// Some handle has no threads: see `Endpoint::do_without_threads`. Relaxed: set while the
    /// handle opens.
    pub unmanned: AtomicBool,
}

type NodeMachine = Machine<Arc<Endpoint>, Owner, ScratchCache>;

struct Core {
    machine: NodeMachine,
    /// The machine panicked and has handed back all its requests. It must not be used again.
    broken: bool,
    /// The id of the request that the machine took in last.
    last_id: RequestId,
    /// Who waits until the storage is at rest: see `pause.rs`.
    pausers: Vec<Arc<Waiter>>,
    notifiers: Vec<Arc<Notifier>>,
}

impl Core {
    /// The notifiers that have come to be added.
    #[cold]
    fn take_added(&mut self) -> Vec<Arc<Notifier>> {
        let added = self.machine.take_added();
        let its = |notifier: &&Arc<Notifier>| added.contains(&notifier.id);
        self.notifiers.iter().filter(its).cloned().collect()
    }
}

impl Node {
    pub fn new(length: u64) -> Node {
        Node::with(Machine::new(ScratchCache::default(), length), false)
    }

    pub fn new_overlay(length: u64, state: OverlayState) -> Node {
        let mut machine = Machine::new(ScratchCache::default(), length);
        machine.make_overlay(state);
        Node::with(machine, true)
    }

    fn with(machine: NodeMachine, is_overlay: bool) -> Node {
        let length = machine.length();
        Node {
            core: Mutex::new(Core {
                machine,
                broken: false,
                last_id: 0,
                pausers: Vec::new(),
                notifiers: Vec::new(),
            }),
            length: AtomicU64::new(length),
            poisoned: AtomicBool::new(false),
            is_overlay,
            waits_across: AtomicBool::new(false),
            sleeping_calls: AtomicUsize::new(0),
            unmanned: AtomicBool::new(false),
        }
    }

    /// The object's length in bytes: as it was when a handle last looked at the storage, and as
    /// requests have changed it since.
    pub fn length(&self) -> u64 {
        // Acquire, with the Release in `with_core`: a thread that sees a length also sees what was
        // written to reach it.
        self.length.load(Ordering::Acquire)
    }

    pub fn add_queue(&self, endpoint: &Arc<Endpoint>, config: QueueConfig) -> QueueId {
        if endpoint.pool.is_unmanned() {
            self.unmanned.store(true, Ordering::Relaxed);
        }
        self.core.lock().machine.add_queue(endpoint.clone(), config)
    }

    pub fn is_overlay(&self) -> bool {
        self.is_overlay
    }

    /// Reads of this queue keep what they take from the backing object of the overlay.
    pub fn keep_reads(&self, queue: QueueId) {
        self.core.lock().machine.keep_reads(queue);
    }

    /// Of an overlay: whether the byte at `offset` is there, and up to where it is the same with
    /// all bytes, at most `end`. Of any other object all is there.
    pub fn overlay_run(&self, offset: u64, end: u64) -> (bool, u64) {
        self.core.lock().machine.overlay_run(offset, end).unwrap_or((true, end))
    }

    /// Whether the map of an overlay says of all clusters that are there; and whether all are.
    pub fn overlay_is_saved(&self) -> (bool, bool) {
        self.core.lock().machine.overlay_is_saved()
    }

    pub fn remove_queue(&self, queue: QueueId) {
        self.core.lock().machine.remove_queue(queue);
    }

    /// The handles that are open.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.core.lock().machine.owners().cloned().collect()
    }

    /// The id of the youngest request of all handles.
    pub fn last_id(&self) -> RequestId {
        self.core.lock().last_id
    }

    /// Requests of a queue that are no younger than `until` and have not come back.
    pub fn late(&self, queue: QueueId, until: RequestId) -> Vec<Late> {
        let core = self.core.lock();
        if core.broken {
            return Vec::new();
        }
        core.machine.late(queue, until)
    }

    /// The requests of a queue that are at the storage.
    pub fn at_storage(&self, queue: QueueId) -> Vec<(RequestId, Asked)> {
        let core = self.core.lock();
        if core.broken {
            return Vec::new();
        }
        core.machine.at_storage(queue)
    }

    pub fn stats(&self, queue: QueueId) -> Stats {
        self.core.lock().machine.stats(queue)
    }

    /// After a panic: every later request fails with EIO.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Takes a request in; what has to be done next is appended to `actions`. None: the machine
    /// takes no more, and nothing will come of the request. Else the completion of the request will
    /// be among some actions, once. `note_id` gets the id before another thread can cancel or
    /// finish the request.
    pub fn submit(
        &self,
        queue: QueueId,
        key: PlugKey,
        request: Request<Owner>,
        actions: &mut Actions,
        note_id: impl FnMut(RequestId),
    ) -> Option<RequestId> {
        let asked = Asked::of(&request);
        let step = |machine: &mut NodeMachine| machine.submit(queue, key, request);
        self.submit_by((queue, asked), actions, step, note_id)
    }

    /// As `submit`, even if the key is plugged. What the plug holds back goes first.
    pub fn submit_now(
        &self,
        queue: QueueId,
        key: PlugKey,
        request: Request<Owner>,
        actions: &mut Actions,
    ) -> Option<RequestId> {
        let asked = Asked::of(&request);
        let step = |machine: &mut NodeMachine| machine.submit_now(queue, key, request);
        self.submit_by((queue, asked), actions, step, |_| {})
    }

    /// Takes a request in that is one I/O and conflicts with nothing; else None, and nothing has
    /// happened. The calling thread does the I/O, and then calls `done_by_caller`. What the machine
    /// wants done besides is appended to `actions`, here and below.
    pub fn submit_for_caller(
        &self,
        queue: QueueId,
        key: PlugKey,
        request: &mut Request<()>,
        actions: &mut Actions,
    ) -> Option<Io> {
        let mut io = None;
        self.with_core(actions, |core| {
            let Core { machine, last_id, .. } = core;
            io = machine.submit_for_caller(queue, key, request, Owner::Caller).ok();
            if let Some(io) = &io {
                *last_id = machine.id_of(io);
                let (op, offset, bytes) = (request.op, request.offset, request.bytes);
                trace::request_begin(*last_id, kind_number(op), offset, bytes, queue);
            }
        });
        io
    }

    /// An I/O of `submit_for_caller` has moved all its bytes. Returns whether that was the end of
    /// the request; else `hand_over` is to be called.
    pub fn done_by_caller(&self, io: &Io, actions: &mut Actions) -> bool {
        let mut done = false;
        self.with_machine(actions, |machine| {
            let id = machine.id_of(io);
            done = machine.done_by_caller(io).is_some();
            if done {
                trace::request_end(id, kind_number(io.op), io.offset, io.bytes, 0);
            }
        });
        done
    }

    /// An I/O of `submit_for_caller` is over, and its request may not be: `owner` gets the result
    /// of the request. Returns whether it will: false if the machine takes nothing any more.
    pub fn hand_over(
        &self,
        io: Io,
        result: Result<u64, i32>,
        owner: Owner,
        actions: &mut Actions,
    ) -> bool {
        let mut told = false;
        self.with_machine(actions, |machine| {
            machine.set_token(&io, owner);
            told = true;
            machine.io_done(io, result);
            machine.join();
        });
        told
    }

    /// As `submit`, but a throttle holds the request back until `let_go`.
    pub fn hold(
        &self,
        queue: QueueId,
        key: PlugKey,
        request: Request<Owner>,
        actions: &mut Actions,
        note_id: impl FnMut(RequestId),
    ) -> Option<RequestId> {
        let asked = Asked::of(&request);
        let step = |machine: &mut NodeMachine| machine.hold(queue, Some(key), request);
        self.submit_by((queue, asked), actions, step, note_id)
    }

    /// As `submit_now`, but a throttle holds the request back until `let_go`.
    pub fn hold_now(
        &self,
        queue: QueueId,
        key: PlugKey,
        request: Request<Owner>,
        actions: &mut Actions,
    ) -> Option<RequestId> {
        let asked = Asked::of(&request);
        let step = |machine: &mut NodeMachine| machine.hold_now(queue, key, request);
        self.submit_by((queue, asked), actions, step, |_| {})
    }

    /// Submits what a throttle holds back of a queue, up to the request with the id `last`.
    pub fn let_go(&self, queue: QueueId, last: RequestId, actions: &mut Actions) {
        self.with_machine(actions, |machine| machine.let_go(queue, last));
    }

    /// Runs a step that takes one request in.
    fn submit_by(
        &self,
        (queue, asked): (QueueId, Asked),
        actions: &mut Actions,
        step: impl FnOnce(&mut NodeMachine) -> RequestId,
        mut note_id: impl FnMut(RequestId),
    ) -> Option<RequestId> {
        let first = actions.len();
        let mut before = RequestId::MAX;
        let mut taken_in = None;
        self.with_core(actions, |core| {
            before = core.last_id;
            core.last_id = step(&mut core.machine);
            let Asked { op, offset, bytes } = asked;
            trace::request_begin(core.last_id, kind_number(op), offset, bytes, queue);
            trace::request_waits(core.last_id, || {
                core.machine.waits_for(core.last_id).unwrap_or(0)
            });
            // Under the lock: a moment later another thread may cancel or finish the request.
            note_id(core.last_id);
            taken_in = Some(core.last_id);
        });
        if taken_in.is_some() {
            return taken_in;
        }
        // The step panicked. If the request was in by then its completion is among the actions,
        // with the highest id, since ids grow (but for the moment when ids start over).
        let completed = actions[first..].iter().filter_map(|action| match action {
            Action::Complete(completion) => Some(completion.id),
            Action::Io(..) | Action::Announce(..) | Action::Probe(..) | Action::Stalled(..) => None,
        });
        completed.filter(|id| *id > before).max().inspect(|&id| note_id(id))
    }

    /// Takes a request back: see `Machine::cancel`.
    pub fn cancel(&self, queue: QueueId, id: u64, actions: &mut Actions) -> Result<(), i32> {
        let mut answer = Err(libc::ENOENT);
        self.with_machine(actions, |machine| answer = machine.cancel(queue, id));
        answer
    }

    /// Takes back all requests of a queue that can be. Returns how many.
    pub fn cancel_all(&self, queue: QueueId, actions: &mut Actions) -> usize {
        let mut count = 0;
        self.with_machine(actions, |machine| count = machine.cancel_all(queue));
        count
    }

    pub fn plug(&self, queue: QueueId, key: PlugKey) {
        self.with_machine(&mut Actions::new(), |machine| machine.plug(queue, key));
    }

    pub fn unplug(&self, queue: QueueId, key: PlugKey, actions: &mut Actions) {
        self.with_machine(actions, |machine| machine.unplug(queue, key));
    }

    pub fn submit_held(&self, queue: QueueId, key: PlugKey, actions: &mut Actions) {
        self.with_machine(actions, |machine| machine.submit_plugged(queue, key));
    }

    pub fn submit_all_held(&self, queue: QueueId, actions: &mut Actions) {
        self.with_machine(actions, |machine| machine.submit_all_plugged(queue));
    }

    /// Tells the machine what trials have shown for a queue whose I/O the storage refuses. Returns
    /// the alignments that the queue has from now on; None: the machine has not asked, or takes
    /// nothing any more.
    pub fn repaired(&self, outcome: ProbeOutcome, actions: &mut Actions) -> Option<Alignments> {
        let mut now = None;
        self.with_machine(actions, |machine| {
            now = machine.repaired(outcome);
            machine.join();
        });
        now
    }

    /// I/Os are over, each with its result.
    pub fn io_done(
        &self,
        done: impl IntoIterator<Item = (Io, Result<u64, i32>)>,
        actions: &mut Actions,
    ) {
        self.with_machine(actions, |machine| {
            for (io, result) in done {
                machine.io_done(io, result);
            }
            machine.join();
        });
    }

    /// Adds a notifier. Its `added` is set when no change is under way that it was not told of.
    /// None: the machine takes nothing any more.
    fn take_notifier(
        &self,
        unit: u64,
        notify: Box<dyn Notify>,
        actions: &mut Actions,
    ) -> Option<Arc<Notifier>> {
        let mut added = None;
        self.with_core(actions, |core| {
            let id = core.machine.add_notifier(unit);
            let notifier = Arc::new(Notifier::new(id, notify));
            core.notifiers.push(notifier.clone());
            added = Some(notifier);
        });
        added
    }

    /// Nothing more is announced to the notifier, but what is among some actions already.
    fn drop_notifier(&self, id: NotifierId, actions: &mut Actions) {
        self.with_machine(actions, |machine| machine.remove_notifier(id));
        let mut core = self.core.lock();
        let at = core.notifiers.iter().position(|notifier| notifier.id == id);
        let gone = at.map(|at| core.notifiers.swap_remove(at));
        // The notifier is the program's.
        drop(core);
        drop(gone);
    }

    fn notifier(&self, id: NotifierId) -> Option<Arc<Notifier>> {
        let core = self.core.lock();
        core.notifiers.iter().find(|notifier| notifier.id == id).cloned()
    }

    /// Notifiers have answered.
    fn announced(
        &self,
        answers: impl IntoIterator<Item = (Announcement, Result<(), i32>)>,
        actions: &mut Actions,
    ) {
        self.with_machine(actions, |machine| {
            for (Announcement { request, notifier, .. }, result) in answers {
                machine.announced(request, notifier, result);
            }
            machine.join();
        });
    }

    fn with_machine(&self, actions: &mut Actions, step: impl FnOnce(&mut NodeMachine)) {
        self.with_core(actions, |core| step(&mut core.machine));
    }

    /// Runs one step of the machine, and takes out what the machine wants done. A panic is a fault
    /// of the library. What is half done then stays half done, but no request is left waiting: each
    /// fails with EIO.
    fn with_core(&self, actions: &mut Actions, step: impl FnOnce(&mut Core)) {
        let mut core = self.core.lock();
        if core.broken {
            return;
        }
        let first = actions.len();
        let stepped = caught(|| step(&mut core));
        core.machine.take_actions(actions);
        if let Err(panic) = stepped {
            core.broken = true;
            self.poison();
            // Requests that completed before the panic stay completed. I/O that the step has just
            // asked for is not carried out any more.
            let complete =
                |action: &Action| matches!(action, blkalign_machine::Action::Complete(_));
            let kept: Actions = actions.drain(first..).filter(complete).collect();
            actions.extend(kept);
            let failed = core.machine.abandon();
            actions.extend(failed.into_iter().map(blkalign_machine::Action::Complete));
            let name = core.machine.owners().next().map(|endpoint| endpoint.name.clone());
            let pausers = std::mem::take(&mut core.pausers);
            let notifiers = core.notifiers.clone();
            drop(core);
            pausers.iter().for_each(|pauser| pauser.set(Err(libc::EIO)));
            notifiers.iter().for_each(|notifier| notifier.added.set(Err(libc::EIO)));
            log::error!("{}: {panic}; the object takes no further I/O", name.unwrap_or_default());
            return;
        }
        self.length.store(core.machine.length(), Ordering::Release);
        let added = if core.machine.is_adding() { core.take_added() } else { Vec::new() };
        let waits = core.machine.waits_across_queues();
        let polled: Vec<Arc<Endpoint>> = if waits && !self.waits_across.load(Ordering::SeqCst) {
            core.machine.owners().filter(|endpoint| endpoint.is_polled()).cloned().collect()
        } else {
            Vec::new()
        };
        // SeqCst: see `unpolled.rs`. Written under the lock alone, and only
        // if it changes: such a store costs as much as a lock.
        if waits != self.waits_across.load(Ordering::Relaxed) {
            self.waits_across.store(waits, Ordering::SeqCst);
        }
        let rested = core.take_rested();
        drop(core);
        rested.iter().for_each(|pauser| pauser.set(Ok(())));
        added.iter().for_each(|notifier| notifier.added.set(Ok(())));
        polled.iter().for_each(Endpoint::ensure_unpolled_progress);
    }

    /// Whether a synchronous call, or a request of another handle, may wait for I/O whose results
    /// only a caller's thread takes in. That thread may not be polling: it may be the very thread
    /// that waits.
    pub fn is_waited_for(&self) -> bool {
        self.waits_across.load(Ordering::SeqCst) || self.has_sleeping_calls()
    }

    /// Whether synchronous calls wait for what others do.
    pub fn has_sleeping_calls(&self) -> bool {
        self.sleeping_calls.load(Ordering::SeqCst) > 0
    }

    /// Runs `wait`, in which a synchronous call waits for what others do.
    pub fn while_waited_for<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.sleeping_calls.fetch_add(1, Ordering::SeqCst);
        self.endpoints()
            .iter()
            .filter(|its| its.is_polled())
            .for_each(Endpoint::ensure_unpolled_progress);
        let result = wait();
        self.sleeping_calls.fetch_sub(1, Ordering::SeqCst);
        result
    }
}
