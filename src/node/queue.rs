//! What the node needs of one open handle: where its I/O goes, and where its results go.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{Node, RingEngine, Work};
use crate::completion::{Callback, Completions, Mode};
use crate::driver::Driver;
use crate::engine::Pool;

pub struct Queue {
    /// The io_uring engine; None: threads. First, so that it goes before the descriptor it uses.
    pub ring: Option<RingEngine>,
    pub node: Arc<Node>,
    pub driver: Arc<dyn Driver>,
    pub pool: Pool<Work>,
    pub completions: Completions,
    pub mode: Mode,
    /// The name of the object in messages.
    pub name: String,
    id: AtomicU32,
}

impl Queue {
    pub fn new(
        node: Arc<Node>,
        driver: Arc<dyn Driver>,
        pool: Pool<Work>,
        ring: Option<RingEngine>,
        mode: Mode,
        name: String,
    ) -> Queue {
        let completions = Completions::default();
        Queue { node, driver, pool, ring, completions, mode, name, id: AtomicU32::new(0) }
    }

    /// The machine's name for this queue; set once, before the first request.
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    pub fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }
}

/// Who gets the result of a request.
pub enum Owner {
    Callback(Arc<Queue>, Callback),
    /// A thread that waits for it.
    Waiter(Arc<Waiter>),
}

/// A synchronous call that waits for its result.
#[derive(Default)]
pub struct Waiter {
    result: Mutex<Option<Result<(), i32>>>,
    there: Condvar,
}

impl Waiter {
    pub fn set(&self, result: Result<(), i32>) {
        *self.result.lock() = Some(result);
        self.there.notify_one();
    }

    pub fn clear(&mut self) {
        *self.result.get_mut() = None;
    }

    pub fn get(&self) -> Option<Result<(), i32>> {
        *self.result.lock()
    }

    pub fn wait(&self) -> Result<(), i32> {
        let mut result = self.result.lock();
        loop {
            if let Some(result) = *result {
                return result;
            }
            self.there.wait(&mut result);
        }
    }
}
