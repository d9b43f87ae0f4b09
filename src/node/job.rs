//! What library threads do: I/O that blocks, taking in a ring's results, and callbacks.

use std::sync::Arc;

use super::dispatch::dispatch_keeping_one;
use super::repair::probe_again;
use super::{with_actions, Actions, Endpoint};
use crate::completion::{outside_callback, Delivery};
use crate::driver::{Io, Op};
use crate::engine::{fill, run_copies, Job, Kind, Pool};
use crate::log;
use crate::sys::caught;
use blkalign_machine::RefusedIo;

pub enum Work {
    Io(Arc<Endpoint>, Io),
    /// Trying what alignments the storage takes.
    Probe(Arc<Endpoint>, Box<RefusedIo>),
    /// SERIAL: the callbacks of a handle that are due.
    Callbacks(Arc<Endpoint>),
    /// CONCURRENT: one of them.
    Callback(Arc<Endpoint>, Delivery),
    /// Taking a ring's results in.
    Reap(Arc<Endpoint>),
    /// EVENTFD: the same, while synchronous calls or requests of other handles wait.
    ReapUnpolled(Arc<Endpoint>),
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
            Work::Io(endpoint, _) | Work::Probe(endpoint, _) => Arc::as_ptr(&endpoint.node).addr(),
            Work::Callbacks(endpoint) | Work::Callback(endpoint, _) => Arc::as_ptr(endpoint).addr(),
            Work::Reap(endpoint) | Work::ReapUnpolled(endpoint) => Arc::as_ptr(endpoint).addr(),
        }
    }

    fn run(self, pool: &Pool<Work>) -> Option<Work> {
        match self {
            Work::Io(endpoint, io) => {
                return with_actions(|actions| {
                    perform(&endpoint, io, actions);
                    dispatch_keeping_one(actions, pool)
                });
            }
            Work::Probe(endpoint, refused) => {
                return with_actions(|actions| {
                    probe_again(&endpoint, &refused, actions);
                    dispatch_keeping_one(actions, pool)
                });
            }
            Work::Callbacks(endpoint) => {
                return endpoint.completions.run_serially().then_some(Work::Callbacks(endpoint));
            }
            Work::Callback(endpoint, delivery) => endpoint.completions.run(delivery),
            Work::Reap(endpoint) => endpoint.reap_until_idle(),
            Work::ReapUnpolled(endpoint) => endpoint.reap_unpolled(),
        }
        None
    }
}

/// Carries out one I/O on this thread and tells the machine.
pub fn perform(endpoint: &Endpoint, io: Io, actions: &mut Actions) {
    if io.op == Op::Fill {
        fill(&io.segments);
        let bytes = io.bytes;
        return endpoint.node.io_done([(io, Ok(bytes))], actions);
    }
    if io.op == Op::Write {
        run_copies(&io.copies);
    }
    let result = caught(|| outside_callback(|| endpoint.driver.perform(&io)));
    let result = result.unwrap_or_else(|panic| {
        log::error!("{}: {panic}; the object takes no further I/O", endpoint.name);
        endpoint.node.poison();
        Err(libc::EIO)
    });
    io_done(endpoint, io, result, actions);
}

/// An I/O is over: brings a read's bounced bytes home, then tells the machine.
pub fn io_done(endpoint: &Endpoint, io: Io, result: Result<u64, i32>, actions: &mut Actions) {
    let result = endpoint.heard(&io, result);
    bring_home(&io, result);
    endpoint.node.io_done([(io, result)], actions);
}

/// Copies what a read has brought into scratch to the guest, if it brought all of it.
pub fn bring_home(io: &Io, result: Result<u64, i32>) {
    if io.op == Op::Read && result == Ok(io.bytes) {
        run_copies(&io.copies);
    }
}
