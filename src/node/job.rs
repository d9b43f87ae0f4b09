//! What library threads do: I/O that blocks, taking in a ring's results, and callbacks.

use std::sync::Arc;

use super::dispatch::dispatch_keeping_one;
use super::repair::probe_again;
use super::{with_actions, Actions, Queue};
use crate::completion::{outside_callback, Delivery};
use crate::driver::{Io, Op};
use crate::engine::{fill, run_copies, Job, Kind, Pool};
use crate::log;
use crate::sys::caught;
use blkalign_machine::Refusal;

pub enum Work {
    Io(Arc<Queue>, Io),
    /// Trying what alignments the storage takes.
    Probe(Arc<Queue>, Box<Refusal>),
    /// SERIAL: the callbacks of a handle that are due.
    Callbacks(Arc<Queue>),
    /// CONCURRENT: one of them.
    Callback(Arc<Queue>, Delivery),
    /// Taking a ring's results in.
    Reap(Arc<Queue>),
    /// EVENTFD: the same, while synchronous calls or requests of other handles wait.
    ReapUnpolled(Arc<Queue>),
}

impl Job for Work {
    fn kind(&self) -> Kind {
        match self {
            Work::Io(..) | Work::Probe(..) => Kind::Work,
            Work::Callbacks(_) | Work::Callback(..) => Kind::Callback,
            Work::Reap(_) | Work::ReapUnpolled(_) => Kind::Watcher,
        }
    }

    /// I/O hangs with its object, a callback with its handle.
    fn owner(&self) -> usize {
        match self {
            Work::Io(queue, _) | Work::Probe(queue, _) => Arc::as_ptr(&queue.node).addr(),
            Work::Callbacks(queue) | Work::Callback(queue, _) => Arc::as_ptr(queue).addr(),
            Work::Reap(queue) | Work::ReapUnpolled(queue) => Arc::as_ptr(queue).addr(),
        }
    }

    fn run(self, pool: &Pool<Work>) -> Option<Work> {
        match self {
            Work::Io(queue, io) => {
                return with_actions(|actions| {
                    perform(&queue, io, actions);
                    dispatch_keeping_one(actions, pool)
                });
            }
            Work::Probe(queue, refusal) => {
                return with_actions(|actions| {
                    probe_again(&queue, &refusal, actions);
                    dispatch_keeping_one(actions, pool)
                });
            }
            Work::Callbacks(queue) => {
                return queue.completions.run_serially().then_some(Work::Callbacks(queue));
            }
            Work::Callback(queue, delivery) => queue.completions.run(delivery),
            Work::Reap(queue) => queue.reap_until_idle(),
            Work::ReapUnpolled(queue) => queue.reap_unpolled(),
        }
        None
    }
}

/// Carries out one I/O on this thread and tells the machine.
pub fn perform(queue: &Queue, io: Io, actions: &mut Actions) {
    if io.op == Op::Fill {
        fill(&io.segments);
        let bytes = io.bytes;
        return queue.node.io_done([(io, Ok(bytes))], actions);
    }
    if io.op == Op::Write {
        run_copies(&io.copies);
    }
    let result = caught(|| outside_callback(|| queue.driver.perform(&io)));
    let result = result.unwrap_or_else(|panic| {
        log::error!("{}: {panic}; the object takes no further I/O", queue.name);
        queue.node.poison();
        Err(libc::EIO)
    });
    io_done(queue, io, result, actions);
}

/// An I/O is over: brings a read's bounced bytes home, then tells the machine.
pub fn io_done(queue: &Queue, io: Io, result: Result<u64, i32>, actions: &mut Actions) {
    let result = queue.heard(&io, result);
    bring_home(&io, result);
    queue.node.io_done([(io, result)], actions);
}

/// Copies what a read has brought into scratch to the guest, if it brought all of it.
pub fn bring_home(io: &Io, result: Result<u64, i32>) {
    if io.op == Op::Read && result == Ok(io.bytes) {
        run_copies(&io.copies);
    }
}
