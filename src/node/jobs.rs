//! What library threads do. The pool knows only that there are jobs, and the files below this one
//! make `Work` without knowing how it is done. Here each kind of work calls down to what it needs,
//! and then dispatches what the machine asks for.

use std::sync::Arc;

use super::dispatch::dispatch_keeping_one;
use super::perform::perform;
use super::reap::{look, reap_in_turn, reap_unpolled};
use super::repair::probe_again;
use super::timeout::look_for_timeouts;
use super::watch::watch;
use super::{with_actions, Action, Work};
use crate::completion::Left;
use crate::engine::{Job, Kind, Pool};

impl Job for Work {
    fn kind(&self) -> Kind {
        match self {
            Work::Io(..) | Work::Probe(..) => Kind::Work,
            Work::Callbacks(_) | Work::Callback(..) | Work::Timeout(_) | Work::Announce(..) => {
                Kind::Callback
            }
            Work::Reap(..) | Work::ReapUnpolled(_) => Kind::Watcher,
            Work::Look { .. } | Work::Watch(_) | Work::Call(_) => Kind::Watcher,
        }
    }

    /// Whose share of the threads the job takes: for I/O its object's, since I/O hangs if the
    /// object does; for a callback its handle's.
    fn owner(&self) -> usize {
        match self {
            Work::Io(endpoint, _) | Work::Probe(endpoint, _) => Arc::as_ptr(&endpoint.node).addr(),
            Work::Callbacks(endpoint) | Work::Callback(endpoint, _) => Arc::as_ptr(endpoint).addr(),
            Work::Announce(endpoint, _) => Arc::as_ptr(endpoint).addr(),
            Work::Reap(endpoint, _) | Work::ReapUnpolled(endpoint) => Arc::as_ptr(endpoint).addr(),
            Work::Look { endpoint, .. } | Work::Watch(endpoint) => endpoint.as_ptr().addr(),
            Work::Timeout(endpoint) => endpoint.as_ptr().addr(),
            Work::Call(_) => 0,
        }
    }

    fn is_brief(&self) -> bool {
        matches!(self, Work::Look { .. } | Work::Watch(_) | Work::Call(_))
    }

    fn run(self, pool: &Pool<Work>) -> Option<Work> {
        match self {
            Work::Io(endpoint, io) => {
                return with_actions(|actions| {
                    match endpoint.driver.is_asynchronous(io.op) {
                        true => actions.push(Action::Io(endpoint, io)),
                        false => perform(&endpoint, io, actions),
                    }
                    dispatch_keeping_one(actions, pool)
                });
            }
            Work::Announce(endpoint, what) => {
                return with_actions(|actions| {
                    actions.push(Action::Announce(endpoint, what));
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
                return match endpoint.completions.run_due().1 {
                    Left::Something => Some(Work::Callbacks(endpoint)),
                    Left::Nothing => None,
                };
            }
            Work::Callback(endpoint, delivery) => endpoint.completions.run(delivery),
            Work::Reap(endpoint, turn) => return reap_in_turn(&endpoint, turn),
            Work::Look { endpoint, beat } => look(&endpoint, beat),
            Work::Watch(endpoint) => watch(&endpoint),
            Work::Timeout(endpoint) => look_for_timeouts(&endpoint),
            Work::Call(body) => body(),
            Work::ReapUnpolled(endpoint) => reap_unpolled(&endpoint),
        }
        None
    }
}
