//! What is under test: the request machine, or the reference machine with a flaw put into it.

use super::memory::Pool;
use super::scenario::Scenario;
use crate::io::Io;
use crate::table::Among;
use crate::tracker::{Access, Claim, BEYOND};
use crate::{Action, Machine, PlugKey, QueueId, Request, RequestId, Stats};

/// The owner of a queue is its number in the scenario.
pub type SimAction = Action<usize, usize>;

pub trait Subject {
    /// Whether requests share I/O where they have to.
    const SHARES: bool;
    /// Whether requests may change the length.
    const RESIZES: bool;

    fn plug(&mut self, queue: usize, key: PlugKey);
    fn unplug(&mut self, queue: usize, key: PlugKey, actions: &mut Vec<SimAction>);
    fn submit_all_plugged(&mut self, queue: usize, actions: &mut Vec<SimAction>);
    /// For a throttle, which holds it back.
    fn hold(&mut self, queue: usize, key: PlugKey, request: Request<usize>) -> RequestId;
    fn let_go(&mut self, queue: usize, last: RequestId, actions: &mut Vec<SimAction>);
    fn submit_now(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId;
    fn submit(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId;
    fn io_done(&mut self, io: Io, result: Result<u64, i32>, actions: &mut Vec<SimAction>);
    fn cancel(
        &mut self,
        queue: usize,
        id: RequestId,
        actions: &mut Vec<SimAction>,
    ) -> Result<(), i32>;
    /// How many were taken back.
    fn cancel_all(&mut self, queue: usize, actions: &mut Vec<SimAction>) -> usize;
    /// Of the object; None: it is not known.
    fn length(&self) -> Option<u64>;
    /// None: it keeps none.
    fn stats(&self, queue: usize) -> Option<Stats>;
    /// Nothing is in flight any more: take the queues down.
    fn retire(&mut self);
}

/// The real one.
pub struct RealMachine {
    machine: Machine<usize, usize, Pool>,
    queues: Vec<QueueId>,
}

impl RealMachine {
    pub fn new(pool: Pool, scenario: &Scenario) -> Self {
        let config = &scenario.config;
        let mut machine = Machine::new(pool, scenario.length);
        let queues = (0..config.len()).map(|q| machine.add_queue(q, config[q].clone())).collect();
        RealMachine { machine, queues }
    }
}

impl Subject for RealMachine {
    const SHARES: bool = true;
    const RESIZES: bool = true;

    fn plug(&mut self, queue: usize, key: PlugKey) {
        self.machine.plug(self.queues[queue], key);
    }

    fn unplug(&mut self, queue: usize, key: PlugKey, actions: &mut Vec<SimAction>) {
        self.machine.unplug(self.queues[queue], key);
        self.machine.take_actions(actions);
    }

    fn submit_all_plugged(&mut self, queue: usize, actions: &mut Vec<SimAction>) {
        self.machine.submit_all_plugged(self.queues[queue]);
        self.machine.take_actions(actions);
    }

    fn hold(&mut self, queue: usize, key: PlugKey, request: Request<usize>) -> RequestId {
        self.machine.hold(self.queues[queue], Some(key), request)
    }

    fn let_go(&mut self, queue: usize, last: RequestId, actions: &mut Vec<SimAction>) {
        self.machine.let_go(self.queues[queue], last);
        self.machine.take_actions(actions);
    }

    fn submit_now(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        let id = self.machine.submit_now(self.queues[queue], key, request);
        self.machine.take_actions(actions);
        id
    }

    fn submit(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        let id = self.machine.submit(self.queues[queue], key, request);
        self.machine.take_actions(actions);
        id
    }

    fn io_done(&mut self, io: Io, result: Result<u64, i32>, actions: &mut Vec<SimAction>) {
        self.machine.io_done(io, result);
        self.machine.take_actions(actions);
    }

    fn cancel(
        &mut self,
        queue: usize,
        id: RequestId,
        actions: &mut Vec<SimAction>,
    ) -> Result<(), i32> {
        let answer = self.machine.cancel(self.queues[queue], id);
        self.machine.take_actions(actions);
        answer
    }

    fn cancel_all(&mut self, queue: usize, actions: &mut Vec<SimAction>) -> usize {
        let count = self.machine.cancel_all(self.queues[queue]);
        self.machine.take_actions(actions);
        count
    }

    fn length(&self) -> Option<u64> {
        Some(self.machine.length())
    }

    fn stats(&self, queue: usize) -> Option<Stats> {
        Some(self.machine.stats(self.queues[queue]))
    }

    fn retire(&mut self) {
        assert!(is_idle(&self.machine), "something is left of those that are over");
        for queue in self.queues.drain(..) {
            self.machine.remove_queue(queue);
        }
    }
}

/// Whether nothing is left of those that were in flight.
pub fn is_idle(machine: &Machine<usize, usize, Pool>) -> bool {
    let all = Claim { start: 0, end: BEYOND, access: Access::Exclusive };
    machine.table.waiting == 0
        && machine.table.riding == 0
        && machine.isolation.excluding == 0
        && machine.isolation.staged == 0
        && machine.table.images_kept == 0
        && machine.table.unannounced.is_empty()
        && Among::ALL.into_iter().all(|among| !machine.isolation.among(among).conflicts(all))
}
