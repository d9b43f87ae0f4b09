//! A queue of requests that go on after the call, for one event loop.

use std::collections::VecDeque;
use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use libc::iovec;

use super::facts::{limits_of, stats_of};
use super::open_handle::{Call, OpenHandle};
use super::requests::{Asker, Keeps, Over, Requests};
use super::{Buffer, Error, Flags, Limits, Stats};
use crate::driver::Op;
use crate::handle::{bounds::check_region, new_key, Callback, Handle};

/// Requests of an event loop: they are queued, go out as a batch with `submit`, and `poll` tells of
/// those that are over.
///
/// Requests that share a block, or lie side by side, cost least in one batch. None waits for
/// another but where their ranges overlap.
///
/// A request is queued with a number of the caller's choice, `user_data`, by which `poll` tells of
/// it. Each function that queues one returns its id, for `cancel`; an error means that nothing will
/// come of the request. The errors are those of [`Disk`](crate::Disk), and ENOMEM.
///
/// The queue is a descriptor, too ([`AsFd`]): readable means that `poll` may have something to do.
/// `poll` with a timeout of zero then takes all of it in, so this suits level and edge triggers
/// (for an edge, poll once more after registering).
///
/// **Memory.** [`read`](Queue::read) and [`write`](Queue::write) take a [`Buffer`] and give it back
/// with the result. [`read_vectored`](Queue::read_vectored) and
/// [`write_vectored`](Queue::write_vectored) borrow memory that the caller has to keep.
///
/// **Dropping** a queue submits what is queued and waits until every request is over; nobody gets
/// their results. A queue that is leaked (`mem::forget`) goes on, and what it owns is leaked with
/// it.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("blkalign-queue-{}", std::process::id()));
/// # std::fs::write(&path, [0; 8192]).unwrap();
/// use blkalign::{Buffer, Flags, OpenOptions, Queue};
/// let disk = OpenOptions::new().write(true).open(&path)?;
/// let queue: Queue = disk.queue()?;
/// queue.write(Buffer::from(vec![1; 512]), 512, Flags::empty(), 1)?;
/// queue.write(Buffer::from(vec![2; 512]), 1024, Flags::empty(), 2)?;
/// queue.submit();
/// let mut over = 0;
/// while over < 2 {
///     over += queue.poll(None, |user_data, result| {
///         println!("{user_data}: {result:?}");
///     })?;
/// }
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), blkalign::Error>(())
/// ```
pub struct Queue {
    handle: OpenHandle,
    /// Dropped only when nothing is in flight.
    requests: ManuallyDrop<Requests>,
}

impl Queue {
    pub(super) fn new(handle: OpenHandle) -> Queue {
        Queue { handle, requests: ManuallyDrop::default() }
    }

    pub(super) fn handle(&self) -> &OpenHandle {
        &self.handle
    }

    #[cfg(feature = "async")]
    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Queues a read into `buffer`, all of it, from `offset` on. The closure of
    /// [`poll_buffers`](Queue::poll_buffers) gets the buffer; that of `poll` does not, and then it
    /// is gone.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-owned-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::OpenOptions;
    /// let disk = OpenOptions::new().open(&path)?;
    /// let queue = disk.queue()?;
    /// queue.read(disk.buffer(512)?, 4000, 0)?;
    /// queue.poll_buffers(None, |_, result, buffer| {
    ///     assert_eq!(result, Ok(()));
    ///     assert_eq!(buffer.unwrap()[..], [7; 512]);
    /// })?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn read(&self, buffer: Buffer, offset: u64, user_data: u64) -> Result<u64, Error> {
        let call = on_buffer(Op::Read, Flags::empty(), offset, &buffer)?;
        self.queue_call(call, Keeps::Buffer(buffer), user_data)
    }

    /// Queues a write of `buffer`, all of it, to `offset`. The buffer comes back as from `read`.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-qw-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// let queue = disk.queue()?;
    /// queue.write(Buffer::from(vec![1; 512]), 512, Flags::FUA, 1)?;
    /// queue.poll(None, |_, result| assert_eq!(result, Ok(())))?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn write(
        &self,
        buffer: Buffer,
        offset: u64,
        flags: Flags,
        user_data: u64,
    ) -> Result<u64, Error> {
        let call = on_buffer(Op::Write, flags, offset, &buffer)?;
        self.queue_call(call, Keeps::Buffer(buffer), user_data)
    }

    /// Queues a read into the memory that `iovecs` name. There may be any number of them, also
    /// empty ones, and memory that is named twice. The array itself is copied.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-qv-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// let queue = disk.queue()?;
    /// let mut memory = vec![0u8; 512];
    /// let part = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: 512 };
    /// // SAFETY: the memory stays, and is not looked at, until `poll` has told of the request.
    /// unsafe { queue.read_vectored(1024, &[part], 1) }?;
    /// queue.poll(None, |_, result| assert_eq!(result, Ok(())))?;
    /// assert_eq!(memory, [7; 512]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Safety
    ///
    /// The memory must be valid for writes until `poll` has told of the request or the queue has
    /// been dropped (not leaked), and no reference to it may be used meanwhile.
    pub unsafe fn read_vectored(
        &self,
        offset: u64,
        iovecs: &[iovec],
        user_data: u64,
    ) -> Result<u64, Error> {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.read_vectored_with(offset, iovecs, Flags::empty(), user_data) }
    }

    /// As `read_vectored`, with flags.
    ///
    /// # Safety
    ///
    /// As for `read_vectored`.
    pub unsafe fn read_vectored_with(
        &self,
        offset: u64,
        iovecs: &[iovec],
        flags: Flags,
        user_data: u64,
    ) -> Result<u64, Error> {
        self.queue_call(on_iovecs(Op::Read, flags, offset, iovecs)?, Keeps::Nothing, user_data)
    }

    /// Queues a write of the memory that `iovecs` name, as `read_vectored` a read.
    ///
    /// # Safety
    ///
    /// The memory must be valid for reads until `poll` has told of the request or the queue has
    /// been dropped (not leaked). If it changes meanwhile, either bytes may be written
    /// ([`OpenOptions::stable_writes`](crate::OpenOptions::stable_writes): those of this moment).
    pub unsafe fn write_vectored(
        &self,
        offset: u64,
        iovecs: &[iovec],
        flags: Flags,
        user_data: u64,
    ) -> Result<u64, Error> {
        self.queue_call(on_iovecs(Op::Write, flags, offset, iovecs)?, Keeps::Nothing, user_data)
    }

    /// Reads on this thread, and returns when that is done. What is queued goes out first. For a
    /// loop that has nothing else to do: that is faster than a request of its own.
    ///
    /// # Safety
    ///
    /// The memory must be valid for writes, and no reference to it may be used meanwhile.
    pub unsafe fn read_vectored_now(
        &self,
        offset: u64,
        iovecs: &[iovec],
        flags: Flags,
    ) -> Result<(), Error> {
        self.submit();
        self.handle.run(on_iovecs(Op::Read, flags, offset, iovecs)?)
    }

    /// Writes on this thread, as `read_vectored_now` reads.
    ///
    /// # Safety
    ///
    /// The memory must be valid for reads.
    pub unsafe fn write_vectored_now(
        &self,
        offset: u64,
        iovecs: &[iovec],
        flags: Flags,
    ) -> Result<(), Error> {
        self.submit();
        self.handle.run(on_iovecs(Op::Write, flags, offset, iovecs)?)
    }

    /// Queues a write of `bytes` zeros.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-qz-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// let queue = disk.queue()?;
    /// queue.write_zeroes(512, 512, Flags::MAY_UNMAP, 1)?;
    /// queue.discard(4096, 4096, 2)?;
    /// queue.flush(3)?;
    /// queue.submit();
    /// let mut over = 0;
    /// while over < 3 {
    ///     over += queue.poll(None, |_, result| assert_eq!(result, Ok(())))?;
    /// }
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn write_zeroes(
        &self,
        offset: u64,
        bytes: u64,
        flags: Flags,
        user_data: u64,
    ) -> Result<u64, Error> {
        let call = Call::without_memory(Op::WriteZeroes, flags.bits(), offset, bytes);
        self.queue_call(call, Keeps::Nothing, user_data)
    }

    /// Queues a discard: see [`Disk::discard`](crate::Disk::discard).
    pub fn discard(&self, offset: u64, bytes: u64, user_data: u64) -> Result<u64, Error> {
        let call = Call::without_memory(Op::Discard, 0, offset, bytes);
        self.queue_call(call, Keeps::Nothing, user_data)
    }

    /// Queues a flush: of what was over when it is submitted, whichever disk or queue of the object
    /// that came by.
    pub fn flush(&self, user_data: u64) -> Result<u64, Error> {
        self.queue_call(Call::without_memory(Op::Flush, 0, 0, 0), Keeps::Nothing, user_data)
    }

    pub(super) fn check_overlay(&self) -> Result<(), Error> {
        self.handle.guarded(Handle::check_overlay)
    }

    pub(super) fn queue_without_memory(&self, call: Call, user_data: u64) -> Result<u64, Error> {
        self.queue_call(call, Keeps::Nothing, user_data)
    }

    /// What was queued since the last call goes out as one batch.
    pub fn submit(&self) {
        if let Some(key) = self.requests.end_batch() {
            // A failure of the library is told by the requests.
            let _ = self.handle.guarded(|handle| {
                handle.unplug_by(key);
                Ok(())
            });
        }
    }

    /// Hands each request that is over to `each`: its `user_data` and its result. If none is, the
    /// call waits for one, up to `timeout`; None: without end. Returns how many were over, with
    /// those that futures wait for.
    ///
    /// Submits first what is queued, and last what `each` has queued. `each` may use the queue, and
    /// any disk. If it panics the panic goes on to the caller, and the next `poll` tells of the
    /// rest. A `poll` inside `each` tells only of what was not over when this one looked: what this
    /// one still has to tell, that one would wait for in vain.
    ///
    /// Errors: EDEADLK inside a callback of the C interface; EIO after a fault of the library.
    pub fn poll(
        &self,
        timeout: Option<Duration>,
        mut each: impl FnMut(u64, Result<(), Error>),
    ) -> Result<usize, Error> {
        self.poll_buffers(timeout, |user_data, result, _| each(user_data, result))
    }

    /// As `poll`; `each` also gets the buffer that the request took along.
    pub fn poll_buffers(
        &self,
        timeout: Option<Duration>,
        mut each: impl FnMut(u64, Result<(), Error>, Option<Buffer>),
    ) -> Result<usize, Error> {
        self.submit();
        let earlier = self.requests.count_over();
        let timeout = if earlier > 0 { Some(Duration::ZERO) } else { timeout };
        let mut results = self.requests.spare();
        let polled = self.handle.poll_results(timeout, &mut results);
        let mut left = Left { queue: self, over: self.requests.take_in(results) };
        while let Some(over) = left.over.pop_front() {
            match over {
                Over::Closure { user_data, result, keeps } => {
                    keeps.request_is_over();
                    each(user_data, result.map_err(Error::from), keeps.into_buffer());
                }
                #[cfg(feature = "async")]
                Over::Future(waker) => waker.wake(),
            }
        }
        drop(left);
        self.submit();
        Ok(earlier + polled?)
    }

    /// Takes a request back: `poll` tells of it with ECANCELED, and it has written nothing. EBUSY:
    /// it is at the storage; ENOENT: there is none with this id, or its result is decided.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-cancel-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::{Buffer, Flags, OpenOptions};
    /// # let queue = OpenOptions::new().write(true).open(&path)?.queue()?;
    /// let id = queue.write(Buffer::from(vec![1; 512]), 0, Flags::empty(), 5)?;
    /// queue.cancel(id)?; // it is not submitted yet
    /// queue.poll(None, |user_data, result| {
    ///     assert_eq!(user_data, 5);
    ///     assert_eq!(result.unwrap_err().raw_os_error(), libc::ECANCELED);
    /// })?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        self.handle.guarded(|handle| handle.cancel(id))
    }

    /// Takes back each request that has not reached the storage. Returns how many.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-qc-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// let queue = disk.queue()?;
    /// queue.flush(1)?;
    /// assert_eq!(queue.cancel_all(), 1);
    /// queue.poll(None, |_, result| assert!(result.is_err()))?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cancel_all(&self) -> usize {
        self.handle.guarded(|handle| Ok(handle.cancel_all())).unwrap_or(0)
    }

    /// Makes memory known for requests with [`Flags::REGISTERED_BUF`], which then cost less.
    /// EEXIST: it overlaps a region that is registered.
    ///
    /// # Safety
    ///
    /// The memory must stay mapped, with the same pages (no madvise(2) that drops them), until
    /// `unregister`, or until the queue has been dropped.
    pub unsafe fn register(&self, start: *mut u8, bytes: usize) -> Result<(), Error> {
        let address = start.expose_provenance();
        self.handle.guarded(|handle| handle.register_buffer(check_region(address, bytes)?))
    }

    /// Undoes `register`, while nothing is in flight there. ENOENT: no such region is registered.
    pub fn unregister(&self, start: *mut u8, bytes: usize) -> Result<(), Error> {
        let address = start.addr();
        self.handle.guarded(|handle| handle.unregister_buffer(check_region(address, bytes)?))
    }

    /// Whether writes of this queue may stay in a cache until the next flush. Else each is as if it
    /// had [`Flags::FUA`].
    pub fn set_write_cache(&self, on: bool) {
        self.handle.handle().set_write_cache(on);
    }

    /// The length in bytes: that of the object, or of the window.
    #[allow(clippy::len_without_is_empty, reason = "the length of a disk, as of a file")]
    pub fn len(&self) -> u64 {
        self.handle.handle().length()
    }

    /// As `len`, once the storage was asked anew: other programs may have changed it.
    pub fn refresh_len(&self) -> Result<u64, Error> {
        self.handle.guarded(|handle| handle.refresh_length())
    }

    /// What the storage requires and can do.
    pub fn limits(&self) -> Limits {
        limits_of(self.handle.handle())
    }

    /// What was done through this queue.
    pub fn stats(&self) -> Stats {
        stats_of(self.handle.handle())
    }

    /// A descriptor that is readable when `poll` may have something to do. It is made by the first
    /// call: EMFILE and the like, or what io_uring_register(2) says.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-fd-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::OpenOptions;
    /// use std::os::fd::AsRawFd;
    /// let queue = OpenOptions::new().open(&path)?.queue()?;
    /// let mut wait = libc::pollfd {
    ///     fd: queue.event_fd()?.as_raw_fd(),
    ///     events: libc::POLLIN,
    ///     revents: 0,
    /// };
    /// queue.flush(9)?;
    /// queue.submit();
    /// // SAFETY: one element.
    /// unsafe { libc::poll(&mut wait, 1, -1) };
    /// queue.poll(Some(std::time::Duration::ZERO), |_, _| {})?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn event_fd(&self) -> Result<BorrowedFd<'_>, Error> {
        let fd = self.handle.event_fd()?;
        // SAFETY: the descriptor is open as long as the queue.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    fn queue_call(&self, call: Call, keeps: Keeps, user_data: u64) -> Result<u64, Error> {
        let (_, id) = self.start(call, Asker::Closure { user_data }, keeps).map_err(|(e, _)| e)?;
        Ok(id)
    }

    /// Puts a request into the present batch. Returns its token and its id. An error gives back
    /// what the request kept.
    pub(super) fn start(
        &self,
        call: Call,
        asker: Asker,
        keeps: Keeps,
    ) -> Result<(usize, u64), (Error, Keeps)> {
        let submission = match call.submission() {
            Ok(submission) => submission,
            Err(error) => return Err((error.into(), keeps)),
        };
        let plug = || {
            let key = new_key();
            // A failure of the library is told by the request.
            let _ = self.handle.guarded(|handle| {
                handle.plug_by(key);
                Ok(())
            });
            key
        };
        let (token, key) = self.requests.add(asker, keeps, plug);
        let mut returned = false;
        let result = self.handle.guarded(|handle| {
            let result = handle.submit_by(key, submission, Callback::by_token(token), |_| {});
            returned = true;
            result
        });
        match result {
            Ok(id) => Ok((token, id)),
            Err(error) if returned => Err((error, self.requests.remove(token))),
            // A fault of the library: who knows whether the request is in flight. Its memory stays.
            Err(error) => Err((error, Keeps::Nothing)),
        }
    }
}

fn on_buffer(op: Op, flags: Flags, offset: u64, buffer: &Buffer) -> Result<Call, Error> {
    Call::with_memory(op, flags.bits(), offset, [buffer.place()].into_iter())
}

fn on_iovecs(op: Op, flags: Flags, offset: u64, iovecs: &[iovec]) -> Result<Call, Error> {
    let memory = iovecs.iter().map(|part| (part.iov_base.expose_provenance(), part.iov_len));
    Call::with_memory(op, flags.bits(), offset, memory)
}

/// What was not told yet. If a closure or a waker panics the next poll has the rest.
struct Left<'q> {
    queue: &'q Queue,
    over: VecDeque<Over>,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if self.queue.requests.put_back(std::mem::take(&mut self.over)) {
            self.queue.handle.handle().signal();
        }
    }
}

/// Panics where [`Queue::event_fd`] would fail; call that once before to have the error instead.
impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event_fd().unwrap_or_else(|error| panic!("no descriptor for a queue: {error}"))
    }
}

/// As [`AsFd`].
impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.submit();
        if self.handle.close() {
            // SAFETY: taken once, here. Nothing is in flight.
            unsafe { ManuallyDrop::take(&mut self.requests) }.end();
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("in_flight", &self.stats().in_flight).finish_non_exhaustive()
    }
}
