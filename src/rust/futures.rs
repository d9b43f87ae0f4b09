//! A future for each request of a queue, for whatever executor: something has to call
//! `Queue::poll` when the queue's descriptor is readable, and that wakes the futures.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::open_handle::Call;
use super::requests::{Asker, Awaited, Keeps};
use super::{Buffer, Error, Flags, Queue};
use crate::driver::Op;

/// With feature `async`: a future for each request. A future queues its request when it is first
/// polled, and submits it with all else that is queued. Something has to call [`Queue::poll`] when
/// the queue's descriptor is readable: that wakes the futures.
///
/// A future that is dropped gives up its result alone: its request goes on, and keeps its buffer.
impl Queue {
    /// Fills `buffer` with what lies at `offset`, and gives it back.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-fr-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// use std::future::Future;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let queue = disk.queue()?;
    /// let mut read = std::pin::pin!(queue.read_async(disk.buffer(512)?, 1000));
    /// // An executor does this; `tokio_zero.rs` among the examples shows tokio's.
    /// let mut context = Context::from_waker(Waker::noop());
    /// let (buffer, result) = loop {
    ///     match read.as_mut().poll(&mut context) {
    ///         Poll::Ready(done) => break done,
    ///         Poll::Pending => _ = queue.poll(None, |_, _| ())?,
    ///     };
    /// };
    /// assert_eq!((result, &buffer[..]), (Ok(()), &[7; 512][..]));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn read_async(&self, buffer: Buffer, offset: u64) -> (Buffer, Result<(), Error>) {
        self.run_on_buffer(Op::Read, Flags::empty(), offset, buffer).await
    }

    /// Writes `buffer` to `offset`, and gives it back.
    pub async fn write_async(
        &self,
        buffer: Buffer,
        offset: u64,
        flags: Flags,
    ) -> (Buffer, Result<(), Error>) {
        self.run_on_buffer(Op::Write, flags, offset, buffer).await
    }

    /// Writes `bytes` zeros.
    pub async fn write_zeroes_async(
        &self,
        offset: u64,
        bytes: u64,
        flags: Flags,
    ) -> Result<(), Error> {
        let call = Call::without_memory(Op::WriteZeroes, flags.bits(), offset, bytes);
        self.run(call, Keeps::Nothing).await.1
    }

    /// Discards: see [`Disk::discard`](crate::Disk::discard).
    pub async fn discard_async(&self, offset: u64, bytes: u64) -> Result<(), Error> {
        let call = Call::without_memory(Op::Discard, 0, offset, bytes);
        self.run(call, Keeps::Nothing).await.1
    }

    /// Makes durable what was over before.
    pub async fn flush_async(&self) -> Result<(), Error> {
        self.run(Call::without_memory(Op::Flush, 0, 0, 0), Keeps::Nothing).await.1
    }

    async fn run_on_buffer(
        &self,
        op: Op,
        flags: Flags,
        offset: u64,
        buffer: Buffer,
    ) -> (Buffer, Result<(), Error>) {
        let memory = [buffer.place()].into_iter();
        let call = match Call::with_memory(op, flags.bits(), offset, memory) {
            Ok(call) => call,
            Err(error) => return (buffer, Err(error)),
        };
        let (keeps, result) = self.run(call, Keeps::Buffer(buffer)).await;
        // After a fault of the library the buffer is gone: it may be in use.
        (keeps.into_buffer().unwrap_or_else(|| Buffer::from(Vec::new())), result)
    }

    async fn run(&self, call: Call, keeps: Keeps) -> (Keeps, Result<(), Error>) {
        match self.start(call, Asker::Future(Awaited::Unpolled), keeps) {
            Ok((token, _)) => {
                let pending = Pending { queue: self, token: Some(token) };
                self.submit();
                pending.await
            }
            Err((error, keeps)) => (keeps, Err(error)),
        }
    }
}

/// A request that is on its way.
struct Pending<'q> {
    queue: &'q Queue,
    /// None: it is over, and the result was given.
    token: Option<usize>,
}

impl Future for Pending<'_> {
    type Output = (Keeps, Result<(), Error>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let token = self.token.expect("is not polled after its result");
        let requests = self.queue.requests();
        requests.poll(token, context).map(|result| {
            self.token = None;
            (requests.remove(token), result.map_err(Error::from))
        })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.queue.requests().abandon(token);
        }
    }
}
