//! Does what the request machine asks for: hands I/O to engines, and results to their owners.
//! Nothing here waits for I/O. What takes a thread of its own is pushed to a pool as `Work`, which
//! is plain data to this file: `jobs.rs` does the work, and dispatches what follows from it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::LocalKey;

use super::announce::{announce, to_announce};
use super::answers::tell_failed;
use super::deliver::deliver;
use super::perform::io_done;
use super::tracing::io_begins;
use super::{favours, with_actions, Action, Actions, Endpoint, Node, Work};
use crate::completion::outside_callback;
use crate::driver::{Io, Op};
use crate::engine::{run_copies, Pool};
use crate::sys::{keep_spare, take_spare};
use blkalign_machine::{PlugKey, QueueId};

/// Does all of `actions`. No callback runs in here, and this thread does not wait for I/O; but
/// where memory or threads are short it may sleep for moments.
pub fn dispatch(actions: &mut Actions) {
    if actions.is_empty() {
        return;
    }
    let mut batch = RingBatch::new();
    for action in actions.drain(..) {
        if let Some((pool, work)) = work_for(action, &mut batch) {
            push(&pool, work);
        }
    }
    batch.submit();
    announce();
}

/// Pushes work. If no thread may be free for it, and the system gives none, the thread that watches
/// the handle's ring has to come and do it.
fn push(pool: &Pool<Work>, work: Work) {
    let home = match &work {
        Work::Io(endpoint, _) | Work::Probe(endpoint, _) => Some(endpoint.clone()),
        Work::Callback(endpoint, _) | Work::Callbacks(endpoint) => Some(endpoint.clone()),
        Work::Announce(endpoint, _) => Some(endpoint.clone()),
        _ => None,
    };
    pool.push(work);
    if pool.is_short() {
        home.iter().filter_map(|its| its.ring.as_ref()).for_each(|engine| engine.ring.wake());
    }
}

/// As `dispatch`, but no code of a driver or a notifier runs on this thread: that might wait for
/// what this thread does.
pub fn dispatch_elsewhere(actions: &mut Actions) {
    for action in actions.extract_if(.., calls_the_program) {
        match action {
            Action::Io(endpoint, io) => push(&endpoint.pool.clone(), Work::Io(endpoint, io)),
            Action::Announce(endpoint, what) => {
                push(&endpoint.pool.clone(), Work::Announce(endpoint, what));
            }
            _ => unreachable!("calls_the_program"),
        }
    }
    dispatch(actions);
}

fn calls_the_program(action: &mut Action) -> bool {
    match action {
        Action::Io(endpoint, io) => endpoint.driver.is_asynchronous(io.op),
        Action::Announce(..) => true,
        _ => false,
    }
}

/// The counterpart of a plug with this key: the outermost one submits what the plug held back.
pub fn unplug_and_dispatch(node: &Node, queue: QueueId, key: PlugKey) {
    with_actions(|actions| {
        node.unplug(queue, key, actions);
        dispatch(actions);
    });
}

/// As `dispatch`, on a thread of `pool`. Returns one piece of work that this thread should go on
/// with, which saves waking another thread.
pub fn dispatch_keeping_one(actions: &mut Actions, pool: &Pool<Work>) -> Option<Work> {
    let mut kept = None;
    let mut batch = RingBatch::new();
    for action in actions.drain(..) {
        match work_for(action, &mut batch) {
            Some((its_pool, work)) if kept.is_none() && its_pool.is(pool) => kept = Some(work),
            Some((its_pool, work)) => push(&its_pool, work),
            None => {}
        }
    }
    batch.submit();
    announce();
    kept
}

/// I/Os of one handle for its ring: one system call for all of them.
struct RingBatch {
    endpoint: Option<Arc<Endpoint>>,
    ios: Vec<Io>,
}

thread_local! {
    static SPARE_IOS: Cell<Vec<Io>> = const { Cell::new(Vec::new()) };
}

impl Drop for RingBatch {
    fn drop(&mut self) {
        // The list is kept for the next time, as the list of actions is.
        if self.ios.capacity() > 0 {
            keep_spare(&SPARE_IOS, std::mem::take(&mut self.ios));
        }
    }
}

impl RingBatch {
    fn new() -> RingBatch {
        RingBatch { endpoint: None, ios: Vec::new() }
    }

    fn add(&mut self, endpoint: Arc<Endpoint>, mut io: Io) {
        if io.op == Op::Write {
            io.atomic = io.atomic && endpoint.driver.takes_atomic(&io);
            run_copies(&io.copies);
        }
        if let (true, Some(engine)) = (io.registered, &endpoint.ring) {
            io.buffer = engine.ring.fixed_buffer(&io);
        }
        if !self.endpoint.as_ref().is_some_and(|its| Arc::ptr_eq(its, &endpoint)) {
            self.submit();
            self.endpoint = Some(endpoint);
        }
        io_begins(&io);
        if self.ios.capacity() == 0 {
            self.ios = take_spare(&SPARE_IOS);
        }
        self.ios.push(io);
    }

    fn submit(&mut self) {
        let Some(endpoint) = self.endpoint.take() else { return };
        let Some(engine) = &endpoint.ring else { unreachable!("added for its ring") };
        if favours::carry_out_for(&endpoint, engine, &mut self.ios) {
            return;
        }
        endpoint.submit_to_ring(|engine| engine.submit_or_defer(&mut self.ios));
    }
}

/// Does what `action` asks for. Returns what a library thread has to do for that, if one is needed.
fn work_for(action: Action, batch: &mut RingBatch) -> Option<(Pool<Work>, Work)> {
    match action {
        Action::Io(endpoint, io) => {
            if endpoint.driver.is_asynchronous(io.op) {
                start(endpoint, io);
                return None;
            }
            if endpoint.is_for_ring(&io) {
                batch.add(endpoint, io);
                return None;
            }
            Some((endpoint.pool.clone(), Work::Io(endpoint, io)))
        }
        Action::Announce(endpoint, what) => {
            to_announce(endpoint, what);
            None
        }
        Action::Probe(endpoint, refused) => {
            Some((endpoint.pool.clone(), Work::Probe(endpoint, refused)))
        }
        Action::Stalled(endpoint, io) => {
            tell_failed(&endpoint, &io, libc::EIO);
            None
        }
        Action::Complete(completion) => deliver(completion),
    }
}

thread_local! {
    /// I/Os that this thread still has to start.
    static TO_START: RefCell<VecDeque<(Arc<Endpoint>, Io)>> =
        const { RefCell::new(VecDeque::new()) };
    /// How deep this thread is in calls of `Driver::start`, one inside another.
    static STARTING: Cell<u32> = const { Cell::new(0) };
    /// A result is being taken in while a driver starts an I/O. I/O that follows is started later.
    static LATER: Cell<bool> = const { Cell::new(false) };
}

/// Sets a mark of this thread until dropped.
struct Marked<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);

impl<T: Copy> Marked<T> {
    fn new(key: &'static LocalKey<Cell<T>>, value: T) -> Self {
        Marked(key, key.replace(value))
    }
}

impl<T: Copy + 'static> Drop for Marked<T> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Starts an I/O of an asynchronous driver. A driver may finish the I/O before its `start` returns;
/// then the machine asks for the next I/O from within, and so on. The list turns that recursion
/// into a loop. A driver may also use another handle from within its `start`, and wait for that
/// handle: I/O of that handle is started at once.
fn start(endpoint: Arc<Endpoint>, io: Io) {
    let mut next = Some((endpoint, io));
    let listed = TO_START.try_with(|list| list.borrow_mut().extend(next.take()));
    // While the thread ends there may be no list any more: then it is recursion.
    if listed.is_ok() && LATER.get() {
        return;
    }
    while let Some((endpoint, io)) = next.take().or_else(next_to_start) {
        start_now(endpoint, io);
    }
}

fn next_to_start() -> Option<(Arc<Endpoint>, Io)> {
    TO_START.try_with(|list| list.borrow_mut().pop_front()).ok().flatten()
}

fn start_now(endpoint: Arc<Endpoint>, io: Io) {
    if io.op == Op::Write {
        run_copies(&io.copies);
    }
    io_begins(&io);
    let driver = endpoint.driver.clone();
    let done = Box::new(move |io: Io, result| {
        let _later = Marked::new(&LATER, STARTING.get() > 0);
        with_actions(|actions| {
            io_done(&endpoint, io, result, actions);
            dispatch(actions);
        });
    });
    let _starting = Marked::new(&STARTING, STARTING.get() + 1);
    outside_callback(|| driver.start(io, done));
}
