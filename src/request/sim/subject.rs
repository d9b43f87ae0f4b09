//! What is under test: the request machine, or the reference machine with a flaw put into it.

use super::memory::Pool;
use crate::driver::Io;
use crate::request::{Action, Machine, QueueId, QueueLimits, Request, RequestId, Stats};

/// The owner of a queue is its number in the scenario.
pub type SimAction = Action<usize, usize>;

pub trait Subject {
    fn submit(
        &mut self,
        queue: usize,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId;
    fn io_done(&mut self, io: Io, result: Result<u64, i32>, actions: &mut Vec<SimAction>);
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
    pub fn new(pool: Pool, limits: &[QueueLimits]) -> Self {
        let mut machine = Machine::new(pool);
        let queues = (0..limits.len()).map(|q| machine.add_queue(q, limits[q].clone())).collect();
        RealMachine { machine, queues }
    }
}

impl Subject for RealMachine {
    fn submit(
        &mut self,
        queue: usize,
        request: Request<usize>,
        actions: &mut Vec<SimAction>,
    ) -> RequestId {
        self.machine.submit(self.queues[queue], request, actions)
    }

    fn io_done(&mut self, io: Io, result: Result<u64, i32>, actions: &mut Vec<SimAction>) {
        self.machine.io_done(io, result, actions);
    }

    fn stats(&self, queue: usize) -> Option<Stats> {
        Some(self.machine.stats(self.queues[queue]))
    }

    fn retire(&mut self) {
        for queue in self.queues.drain(..) {
            self.machine.remove_queue(queue);
        }
    }
}
