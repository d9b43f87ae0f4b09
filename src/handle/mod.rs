//! One open handle: its options, its statistics, its engine and completion mode. Requests are
//! checked here against what the handle may do, and handed to the node.

mod events;
mod open;
mod options;
mod pools;
mod run;

pub use crate::completion::{set_failure_hook, Callback};
pub use options::{CompletionMode, EngineKind, Options};

use std::sync::Arc;

use crate::completion::inside_callback;
use crate::driver::{CallbackDriver, FileDriver, Op, Segments};
use crate::engine::PoolOwner;
use crate::node::{dispatch, with_actions, Owner, Queue, Work};
use crate::probe::Limits;
use crate::request::{Request, Stats};
use crate::sys::Error;

/// A request whose form is already checked: offset and bytes within bounds, segments without
/// empty elements and adding up to `bytes`.
pub struct Submission {
    pub op: Op,
    pub fua: bool,
    pub offset: u64,
    pub bytes: u64,
    pub segments: Segments,
}

pub struct Handle {
    queue: Arc<Queue>,
    storage: Storage,
    limits: Limits,
    writable: bool,
    writethrough: bool,
    /// Dropped last: its threads may have the rest in their hands.
    pool: Arc<PoolOwner<Work>>,
}

/// What is underneath, for opening it once more.
enum Storage {
    File(Arc<FileDriver>),
    Callbacks(Arc<CallbackDriver>),
}

impl Handle {
    /// Drains, then gives everything back. EDEADLK (and the handle stays open) inside a callback.
    pub fn close(self: Box<Self>) -> Result<(), (Box<Self>, Error)> {
        if let Err(error) = self.drain() {
            return Err((self, error));
        }
        let Handle { queue, storage, pool, .. } = *self;
        queue.node.remove_queue(queue.id());
        if let Some(engine) = &queue.ring {
            engine.stop();
        }
        // A thread that ran the last callback may still be on its way out with its reference.
        // The storage, and a caller's `close`, are to be gone when this returns, and by this
        // thread.
        queue.part();
        drop(storage);
        drop(pool);
        Ok(())
    }

    /// Returns the request's id; `callback` runs exactly once, later, never inside this call.
    /// An error (EPERM, EIO past the end, EIO on a poisoned handle) means that it never runs.
    pub fn submit(&self, submission: Submission, callback: Callback) -> Result<u64, Error> {
        self.check(&submission)?;
        self.queue.pool.ensure_thread()?;
        let owner = Owner::Callback(self.queue.clone(), callback);
        self.queue.completions.request_taken_in();
        let request = self.request(submission, owner);
        let id = with_actions(|actions| {
            let id = self.queue.node.submit(self.queue.id(), request, actions);
            dispatch(actions);
            id
        });
        id.ok_or_else(|| {
            self.queue.completions.request_over();
            self.poisoned()
        })
    }

    pub fn length(&self) -> u64 {
        self.queue.node.length()
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn engine(&self) -> EngineKind {
        if self.queue.ring.is_some() {
            EngineKind::IoUring
        } else {
            EngineKind::Threads
        }
    }

    pub fn stats(&self) -> Stats {
        self.queue.node.stats(self.queue.id())
    }

    /// After a panic at the C door: every later request fails with EIO.
    pub fn poison(&self) {
        self.queue.node.poison();
    }

    /// What is wrong with the call itself, whatever the storage would say.
    fn check(&self, submission: &Submission) -> Result<(), Error> {
        let Submission { op, offset, bytes, .. } = *submission;
        if self.queue.node.is_poisoned() {
            return Err(self.poisoned());
        }
        if op == Op::Flush {
            return Ok(());
        }
        let name = &self.queue.name;
        let verb = if op == Op::Write { "write" } else { "read" };
        if op == Op::Write && !self.writable {
            let words = format!("{name}: the handle was opened for reading only");
            return Err(Error::new(libc::EPERM, words));
        }
        let length = self.length();
        if offset + bytes > length {
            let words = format!(
                "{name}: {verb} of {bytes} bytes at offset {offset} passes the end at {length}"
            );
            return Err(Error::new(libc::EIO, words));
        }
        Ok(())
    }

    fn check_may_wait(&self, what: &str) -> Result<(), Error> {
        if inside_callback() {
            let words = format!("{}: {what} inside a callback would wait for it", self.queue.name);
            return Err(Error::new(libc::EDEADLK, words));
        }
        Ok(())
    }

    fn request(&self, submission: Submission, token: Owner) -> Request<Owner> {
        let Submission { op, fua, offset, bytes, segments } = submission;
        let fua = op == Op::Write && (fua || self.writethrough);
        Request { op, fua, offset, bytes, segments, token }
    }

    fn poisoned(&self) -> Error {
        let words =
            format!("{}: closed to I/O by an earlier fault of the library", self.queue.name);
        Error::new(libc::EIO, words)
    }
}
