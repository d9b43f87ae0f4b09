//! One open handle: what it was opened with, and what it may do. Requests are checked here against
//! that, and handed to the node.

pub mod bounds;
mod buffers;
mod check_driver;
mod config;
mod events;
mod guarded;
#[cfg(test)]
mod holes_tests;
mod length;
mod messages;
mod notifiers;
mod open;
mod options;
mod overlay;
mod pause;
pub mod pools;
mod request_flags;
mod run;
mod status;
mod storage;
mod throttled;
mod timeout;
#[cfg(test)]
mod twice_tests;
mod window;

pub use crate::completion::{outside_callback, Callback, CompletionMode};
pub use crate::node::new_key;
use buffers::Buffers;
pub use check_driver::check_driver;
pub use notifiers::{answer_question, Added, Change, Notify, Token};
pub use options::{EngineKind, Options};
pub use overlay::{BackingHandle, OverlayOptions};
pub use request_flags::check_request_flags;

use std::ffi::CStr;
use std::sync::Arc;

use smallvec::smallvec;

use crate::completion::{inside_callback, Generation};
use crate::driver::{Alignments, ImageLock, Op, Segments};
use crate::engine::{Headroom, PoolOwner, StableCopy};
pub use crate::node::{bucket_end, LatencyCounts, BUCKETS};
use crate::node::{dispatch, thread_key, with_actions, Endpoint, Owner, Work};
pub use crate::node::{TooLong, TooLongFn};
use crate::probe::Limits;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::Mutex;
use crate::sys::{page_bytes, Claim, Error};
pub use blkalign_machine::RequestFlags;
use blkalign_machine::{PlugKey, Request, Stats};
use storage::Storage;
use throttled::Throttled;
use window::Window;

/// A request whose form is already checked: offset and bytes within bounds, segments without
/// empty elements and adding up to `bytes`.
pub struct Submission {
    pub op: Op,
    pub flags: RequestFlags,
    /// Torn-read promise of this request; 0: the handle's.
    pub guest_block: u32,
    /// From the start of the window. For a Truncate the new length; for a Length the length that
    /// the storage seems to have.
    pub offset: u64,
    pub bytes: u64,
    pub segments: Segments,
}

/// At this alignment the processor copies with least effort.
const COPY_ALIGNMENT_MIN: usize = 64;

pub struct Handle {
    pub(crate) endpoint: Arc<Endpoint>,
    storage: Storage,
    limits: Limits,
    writable: bool,
    /// Writes past the end extend the object.
    resize: bool,
    /// The part of the object that the handle shows.
    window: Option<Window>,
    guest_block: u32,
    /// Memory that the caller has registered.
    buffers: Buffers,
    /// Whether memory is left for more requests in flight.
    headroom: Headroom,
    /// Every write is as if FUA.
    writethrough: AtomicBool,
    throttled: Throttled,
    /// How many pauses of the object are this handle's. Nothing is taken while the lock is held.
    pauses: Mutex<u32>,
    held: Held,
    /// The data of a write is copied before the call returns or waits.
    stable_writes: bool,
    /// Dropped last: threads of the pool may still use the rest.
    pool: Arc<PoolOwner<Work>>,
}

/// What keeps others from the object, as long as the handle's threads may use it.
#[derive(Default)]
struct Held {
    /// Other processes.
    #[allow(dead_code, reason = "kept for its drop")]
    lock: Option<ImageLock>,
    /// Other copies of the library in this process.
    #[allow(dead_code, reason = "kept for its drop")]
    claim: Option<Claim>,
}

impl Handle {
    /// Drains, then gives everything back. EDEADLK (and the handle stays open) inside a callback.
    pub fn close(self: Box<Self>) -> Result<(), (Box<Self>, Error)> {
        self.end_own_pauses();
        loop {
            if let Err(error) = self.drain() {
                return Err((self, error));
            }
            // Nobody uses the handle any more but callbacks, and what these have submitted.
            if self.endpoint.completions.is_drained() {
                break;
            }
        }
        if let Storage::Overlay(_) = self.storage {
            self.save_overlay();
        }
        messages::closing(&self);
        self.take_apart();
        Ok(())
    }

    /// Nothing is in flight.
    fn take_apart(self) {
        // Nothing is held, so this submits nothing.
        let _ = self.set_throttle(None);
        let complete = self.writable && self.is_complete_overlay();
        let Handle { endpoint, storage, held, pool, throttled, .. } = self;
        drop(throttled);
        endpoint.node.remove_queue(endpoint.id());
        if let Some(engine) = &endpoint.ring {
            engine.stop();
        }
        while pool.pool().is_unmanned() && pool.pool().do_one() {}
        // A thread that ran the last callback may still hold a reference to the endpoint for a
        // moment. When this function returns the storage must be gone, and this thread must have
        // called a driver's `close`.
        endpoint.release_and_wait();
        if let Storage::Overlay(driver) = &storage {
            Handle::leave_overlay(&driver.layers, complete);
        }
        drop(storage);
        // Not before the last thread has let go of the file: the image lock covers its I/O.
        drop(held);
        drop(pool);
    }

    /// Returns the request's id, which `note_id` gets before `callback` can run. The callback
    /// runs exactly once, later, never inside this call. An error (EPERM, EIO past the end, EIO on
    /// a poisoned handle, ENOMEM) means that the callback never runs.
    pub fn submit(
        &self,
        submission: Submission,
        callback: Callback,
        note_id: impl FnMut(u64),
    ) -> Result<u64, Error> {
        self.submit_by(thread_key(), submission, callback, note_id)
    }

    /// As `submit`. If whoever has this key has plugged, the request is held back.
    pub fn submit_by(
        &self,
        key: PlugKey,
        mut submission: Submission,
        callback: Callback,
        note_id: impl FnMut(u64),
    ) -> Result<u64, Error> {
        self.check(&submission)?;
        let copy = self.stabilise(&mut submission)?;
        let generation = self.count_in(&submission)?;
        let began = self.endpoint.latency.begin();
        let owner = Owner::Callback(self.endpoint.clone(), callback, generation, copy, began);
        let request = self.request(submission, owner);
        let id = with_actions(|actions| {
            let Endpoint { node, .. } = &*self.endpoint;
            let membership = self.throttled.membership();
            let id = match &membership {
                None => node.submit(self.endpoint.id(), key, request, actions, note_id),
                Some(membership) => membership.submit(key, request, actions, note_id),
            };
            // A drain may have come after the request was counted. Then that drain waits for the
            // request, and may have submitted what plugs hold back before this request was plugged.
            // The core lock orders that and this submission.
            if self.endpoint.completions.is_waited_for(generation) {
                membership.iter().for_each(|its| its.let_go(actions));
                node.submit_held(self.endpoint.id(), key, actions);
            }
            dispatch(actions);
            id
        });
        id.ok_or_else(|| {
            self.endpoint.completions.request_over(generation);
            self.poisoned()
        })
    }

    /// Takes a request back. EBUSY: the request is at the storage; ENOENT: there is none with this
    /// id, or its result is decided.
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        let answer = with_actions(|actions| {
            let answer = match self.throttled.membership() {
                None => self.endpoint.node.cancel(self.endpoint.id(), id, actions),
                Some(membership) => membership.cancel(id, actions),
            };
            dispatch(actions);
            answer
        });
        answer.map_err(|errno| {
            let why = if errno == libc::EBUSY { "is at the storage" } else { "is not in flight" };
            Error::new(errno, format!("{}: cancel: request {id} {why}", self.endpoint.name))
        })
    }

    /// Takes back each request that has not reached the storage. Returns how many.
    pub fn cancel_all(&self) -> usize {
        with_actions(|actions| {
            let count = match self.throttled.membership() {
                None => self.endpoint.node.cancel_all(self.endpoint.id(), actions),
                Some(membership) => membership.cancel_all(actions),
            };
            dispatch(actions);
            count
        })
    }

    /// Whether writes may linger in a cache below until the next flush. Else every later write is
    /// carried out as if it had FUA.
    pub fn set_write_cache(&self, enable: bool) {
        self.writethrough.store(!enable, Ordering::Relaxed);
    }

    /// The present limits: since open the storage may have come to refuse smaller alignments.
    pub fn limits(&self) -> Limits {
        let mut limits = self.limits.clone();
        self.endpoint.alignments.overlay(&mut limits);
        limits
    }

    /// What a buffer that needs no copy starts at a multiple of: a page at least.
    pub fn buffer_alignment(&self) -> usize {
        let Alignments { request, memory, .. } = self.limits().alignments;
        memory.max(request as usize).max(page_bytes() as usize)
    }

    pub fn engine(&self) -> EngineKind {
        if self.endpoint.ring_in_use().is_some() {
            EngineKind::IoUring
        } else {
            EngineKind::Threads
        }
    }

    /// Why threads do the I/O though io_uring was not ruled out; else "". The words stay as long as
    /// the handle.
    pub fn engine_reason(&self) -> &CStr {
        self.endpoint.why_threads()
    }

    pub fn stats(&self) -> Stats {
        self.endpoint.node.stats(self.endpoint.id())
    }

    /// How long requests of one kind took; counted from the first call on. None: that kind is not
    /// counted.
    pub fn latency(&self, op: Op) -> Option<LatencyCounts> {
        self.endpoint.latency.counts(op)
    }

    /// How many requests a throttle has held, and for how many nanoseconds.
    pub fn throttled(&self) -> (u64, u64) {
        self.throttled.counts()
    }

    /// After a panic at the C door: every later request fails with EIO.
    pub fn poison(&self) {
        self.endpoint.node.poison();
    }

    /// What is wrong with the call itself, whatever the storage would say.
    fn check(&self, submission: &Submission) -> Result<(), Error> {
        let Submission { op, offset, bytes, .. } = *submission;
        if self.endpoint.node.is_poisoned() {
            return Err(self.poisoned());
        }
        if submission.flags.registered {
            self.check_registered(&submission.segments)?;
        }
        if matches!(op, Op::Flush | Op::Length) {
            return Ok(());
        }
        let name = &self.endpoint.name;
        if op != Op::Read && !self.writable {
            let words = format!("{name}: the handle was opened for reading only");
            return Err(Error::new(libc::EPERM, words));
        }
        if op == Op::Populate {
            return Ok(());
        }
        if op == Op::Truncate {
            return self.check_truncate(offset);
        }
        let verb = match op {
            Op::Read => "read",
            Op::Write => "write",
            Op::WriteZeroes => "zero write",
            _ => "discard",
        };
        let length = self.length();
        if offset + bytes > length && !self.resize {
            let words = format!(
                "{name}: {verb} of {bytes} bytes at offset {offset} passes the end at {length}"
            );
            return Err(Error::new(libc::EIO, words));
        }
        Ok(())
    }

    fn check_truncate(&self, length: u64) -> Result<(), Error> {
        let name = &self.endpoint.name;
        let refuse = |errno, why| Err(Error::new(errno, format!("{name}: truncate: {why}")));
        if self.window.is_some() {
            return refuse(libc::EINVAL, "the handle shows only a window");
        }
        match &self.storage {
            Storage::File(driver) if driver.is_device() => {
                refuse(libc::EINVAL, "the length of a block device is fixed")
            }
            Storage::File(driver) => driver.check_may_end_at(length),
            Storage::Overlay(_) => refuse(libc::ENOTSUP, "the length of an overlay is fixed"),
            Storage::Callbacks(driver) if !driver.can_truncate() => {
                refuse(libc::ENOTSUP, "the driver has no truncate function")
            }
            _ => Ok(()),
        }
    }

    fn check_may_wait(&self, what: &str) -> Result<(), Error> {
        if inside_callback() {
            let words = format!(
                "{}: {what} inside a callback would wait for that callback",
                self.endpoint.name
            );
            return Err(Error::new(libc::EDEADLK, words));
        }
        Ok(())
    }

    /// Where the handle promises stable writes, a write goes on with a copy of its data, which must
    /// stay until the request is over. The copy lies as far into a block as the write does, so that
    /// whole blocks of the copy are aligned. ENOMEM: nothing has happened.
    fn stabilise(&self, submission: &mut Submission) -> Result<Option<StableCopy>, Error> {
        let Submission { op, offset, bytes, .. } = *submission;
        if !self.stable_writes || op != Op::Write || bytes == 0 {
            return Ok(None);
        }
        let limits = self.limits();
        let block = limits.alignments.request;
        let shift = (offset + self.endpoint.window_offset) % block;
        let alignment = limits.alignments.memory.max(COPY_ALIGNMENT_MIN);
        let copy = StableCopy::new(&submission.segments, bytes as usize, alignment, shift as usize);
        let copy = copy.ok_or_else(|| {
            let words = format!("{}: copying the {bytes} bytes of a write", self.endpoint.name);
            Error::new(libc::ENOMEM, words)
        })?;
        submission.segments = smallvec![copy.data()];
        submission.flags.registered = false;
        submission.flags.copied = true;
        Ok(Some(copy))
    }

    #[inline]
    fn request<T>(&self, submission: Submission, token: T) -> Request<T> {
        let Submission { op, mut flags, guest_block, mut offset, bytes, segments } = submission;
        let writes = matches!(op, Op::Write | Op::WriteZeroes);
        flags.fua = writes && (flags.fua || self.writethrough.load(Ordering::Relaxed));
        let guest_block = u64::from(if guest_block == 0 { self.guest_block } else { guest_block });
        if let (Some(window), false) = (self.window, matches!(op, Op::Flush | Op::Length)) {
            offset += window.offset;
        }
        Request { op, flags, guest_block, offset, bytes, segments, token }
    }

    /// Counts a request for `drain`. ENOMEM: too little memory is left for bringing the request to
    /// its end.
    fn count_in(&self, submission: &Submission) -> Result<Generation, Error> {
        let Submission { bytes, ref segments, flags, .. } = *submission;
        let vector = if segments.spilled() { size_of_val(segments.as_slice()) } else { 0 };
        let copied = if flags.copied { bytes as usize } else { 0 };
        let completions = &self.endpoint.completions;
        let generation = completions.request_taken_in();
        let pending = completions.pending_with(generation);
        if self.headroom.allows(pending, vector + copied) {
            self.endpoint.watch_for_late();
            self.endpoint.watch_for_timeout();
            return Ok(generation);
        }
        completions.request_over(generation);
        let words =
            format!("{}: a request with {} others in flight", self.endpoint.name, pending - 1);
        Err(Error::new(libc::ENOMEM, words))
    }

    fn poisoned(&self) -> Error {
        let words =
            format!("{}: takes no I/O after an internal error of the library", self.endpoint.name);
        Error::new(libc::EIO, words)
    }
}
