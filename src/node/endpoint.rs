//! What the node needs of one open handle: where its I/O goes, and where its results go.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use once_cell::sync::OnceCell;

use super::repair::CurrentAlignments;
use super::{failure, Node, RingEngine, Work};
use crate::completion::{Callback, CompletionMode, Completions, Generation};
use crate::driver::{Driver, Io, Op, ENDS_EARLY, NOT_NOW};
use crate::engine::{Pool, StableCopy};
use crate::log::{self, Level, RateLimit};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::sys::Error;

pub struct Endpoint {
    /// The io_uring engine; None: threads. First, so that it goes before the descriptor it uses.
    pub ring: Option<RingEngine>,
    pub node: Arc<Node>,
    pub driver: Arc<dyn Driver>,
    pub pool: Pool<Work>,
    pub completions: Completions,
    pub mode: CompletionMode,
    /// The name of the object in messages.
    pub name: String,
    /// Where the part of the object that the handle shows starts.
    pub window_offset: u64,
    id: AtomicU32,
    /// The alignments that hold now.
    pub alignments: CurrentAlignments,
    /// Of messages about I/O that failed.
    failures: RateLimit,
    /// Why threads do the I/O though io_uring was wanted; empty: they do not, or were asked for.
    why_threads: OnceCell<CString>,
    /// Last, so that all else is gone when it tells.
    gone: TellsGone,
}

/// When the last one lets go of a queue.
#[derive(Default)]
struct TellsGone(Arc<Waiter>);

impl Drop for TellsGone {
    fn drop(&mut self) {
        self.0.set(Ok(()));
    }
}

impl Endpoint {
    pub fn new(
        node: Arc<Node>,
        driver: Arc<dyn Driver>,
        pool: Pool<Work>,
        ring: Option<RingEngine>,
        mode: CompletionMode,
        name: String,
        window_offset: u64,
    ) -> Endpoint {
        let completions = Completions::default();
        Endpoint {
            node,
            driver,
            pool,
            ring,
            completions,
            mode,
            name,
            window_offset,
            id: AtomicU32::new(0),
            alignments: CurrentAlignments::default(),
            failures: RateLimit::default(),
            why_threads: OnceCell::new(),
            gone: TellsGone::default(),
        }
    }

    /// Lets go of the queue, and returns when all others have done so, too.
    pub fn part(self: Arc<Self>) {
        let gone = self.gone.0.clone();
        drop(self);
        let _ = gone.wait();
    }

    /// The machine's name for this queue; set once, before the first request.
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    pub fn set_id(&self, id: u32) {
        self.id.store(id, Ordering::Relaxed);
    }

    /// What the storage says of an I/O, as the machine is to hear it; failures are told to the log.
    pub fn heard(&self, io: &Io, result: Result<u64, i32>) -> Result<u64, i32> {
        match result {
            Ok(moved) if moved < io.bytes => self.heard_short(io, moved),
            Ok(_) => result,
            Err(errno) => {
                let errno = self.driver.meant(io, errno);
                self.say_failed(io, errno);
                Err(errno)
            }
        }
    }

    /// Short: either by chance, and the rest is asked for; or the storage ends there, since others
    /// have made it shorter than the object is known to be, and nothing will come of the rest.
    #[cold]
    fn heard_short(&self, io: &Io, moved: u64) -> Result<u64, i32> {
        // What was joined is tried again part by part.
        if !io.joined.is_empty() || !matches!(io.op, Op::Read | Op::Write) {
            return Ok(moved);
        }
        match self.driver.length() {
            Ok(length) if length <= io.offset + moved => {
                self.say_lost(io, libc::EIO, Some(length));
                Err(ENDS_EARLY)
            }
            _ => Ok(moved),
        }
    }

    /// Remembers, and tells the log, once, why threads do the I/O from now on.
    pub fn say_threads_from_now_on(&self, why: &Error) {
        let words = || format!("{}: threads instead of io_uring: {why}", self.name);
        let mut first = false;
        let words = self.why_threads.get_or_init(|| {
            first = true;
            CString::new(words().replace('\0', "?")).unwrap_or_default()
        });
        if first {
            log::warning!("{}", words.to_string_lossy());
        }
    }

    /// In words, for as long as the queue lives; "" if io_uring does the I/O or nobody wanted it.
    pub fn why_threads(&self) -> &CStr {
        self.why_threads.get().map_or(c"", |words| words)
    }

    /// Tells the log of an I/O that failed at the storage; what is tried again is no failure.
    pub fn say_failed(&self, io: &Io, errno: i32) {
        self.say_lost(io, errno, None);
    }

    /// `ends`: the length of the storage, where that is the reason.
    fn say_lost(&self, io: &Io, errno: i32, ends: Option<u64>) {
        if errno == libc::EINTR || !log::wants(Level::Error) {
            return;
        }
        let another_way = has_another_way(io, errno);
        let errno = if errno == NOT_NOW { libc::EBUSY } else { errno };
        let error = failure(self, io.op, io.offset, io.bytes, errno);
        if self.alignments.may_change(io, errno) {
            log::debug!("{error}; other alignments may help");
        } else if io.op == Op::Flush {
            log::error!(
                "{error}; all its flushes fail from now on, until its last handle is closed"
            );
        } else if another_way {
            log::debug!("{error}; another method is tried");
        } else if !io.joined.is_empty() {
            log::debug!("{error}; its {} parts are tried one at a time", io.joined.len());
        } else if let Some(left_out) = self.failures.allows() {
            self.say_left_out(left_out);
            match ends {
                Some(length) => log::error!(
                    "{error}; the storage ends at {length}: others have made it shorter, and \
                     blkalign_refresh_length() would learn that"
                ),
                None => log::error!("{error}"),
            }
        }
    }

    /// Tells the log how many messages it did not get.
    pub fn say_left_out(&self, left_out: u64) {
        if left_out > 0 {
            log::error!("{}: {left_out} more I/Os failed", self.name);
        }
    }

    /// As before, for those that no later message has made up for.
    pub fn say_rest_left_out(&self) {
        self.say_left_out(self.failures.left_out());
    }
}

/// What the request machine goes on from (`Machine::is_failure`), or whoever wants no fallback has
/// asked for.
fn has_another_way(io: &Io, errno: i32) -> bool {
    match io.op {
        Op::WriteZeroes => matches!(errno, libc::EOPNOTSUPP | NOT_NOW),
        Op::Discard => matches!(errno, libc::EOPNOTSUPP | NOT_NOW | libc::EINVAL),
        _ => false,
    }
}

/// Who gets the result of a request.
pub enum Owner {
    /// Where it is counted for `drain`, and the copy that a write is made from, if there is one.
    Callback(Arc<Endpoint>, Callback, Generation, Option<StableCopy>),
    /// A thread that waits for it.
    Waiter(Arc<Waiter>),
}

/// A thread that waits for a result; as a rule that of its synchronous call.
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
