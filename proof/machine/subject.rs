//! What is under test: the request machine, or the reference machine with a flaw put into it.

use super::memory::Pool;
use super::scenario::Scenario;
use crate::io::Io;
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
    fn submit_all_held(&mut self, queue: usize, actions: &mut Vec<SimAction>);
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
        self.machine.unplug(self.queues[queue], key, actions);
    }

    fn submit_all_held(&mut self, queue: usize, actions: &mut Vec<SimAction>) {
        self.machine.submit_all_held(self.queues[queue], actions);
    }

    fn submit_now(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        self.machine.submit_now(self.queues[queue], key, request, actions)
    }

    fn submit(
        &mut self,
        queue: usize,
        key: PlugKey,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        self.machine.submit(self.queues[queue], key, request, actions)
    }

    fn io_done(&mut self, io: Io, result: Result<u64, i32>, actions: &mut Vec<SimAction>) {
        self.machine.io_done(io, result, actions);
    }

    fn cancel(
        &mut self,
        queue: usize,
        id: RequestId,
        actions: &mut Vec<SimAction>,
    ) -> Result<(), i32> {
        self.machine.cancel(self.queues[queue], id, actions)
    }

    fn cancel_all(&mut self, queue: usize, actions: &mut Vec<SimAction>) -> usize {
        self.machine.cancel_all(self.queues[queue], actions)
    }

    fn length(&self) -> Option<u64> {
        Some(self.machine.length())
    }

    fn stats(&self, queue: usize) -> Option<Stats> {
        Some(self.machine.stats(self.queues[queue]))
    }

    fn retire(&mut self) {
        assert!(self.machine.is_idle(), "something is left of those that are over");
        for queue in self.queues.drain(..) {
            self.machine.remove_queue(queue);
        }
    }
}
