//! For those who operate a program: pauses, limits of time, how long requests took, what lies
//! where.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use super::{Disk, Error, Queue};
pub use crate::driver::BlockStatus;
use crate::driver::Op;
use crate::handle::{Handle, LatencyCounts, TooLong, TooLongFn};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A zero write.
    WriteZeroes,
    /// A discard.
    Discard,
    /// A flush.
    Flush,
    /// A change of the length.
    SetLen,
}

impl Operation {
    fn op(self) -> Op {
        match self {
            Operation::Read => Op::Read,
            Operation::Write => Op::Write,
            Operation::WriteZeroes => Op::WriteZeroes,
            Operation::Discard => Op::Discard,
            Operation::Flush => Op::Flush,
            Operation::SetLen => Op::Truncate,
        }
    }

    fn of(op: Op) -> Operation {
        match op {
            Op::Read | Op::Fill => Operation::Read,
            Op::Write | Op::Populate | Op::SaveMap => Operation::Write,
            Op::WriteZeroes => Operation::WriteZeroes,
            Op::Discard => Operation::Discard,
            Op::Flush => Operation::Flush,
            Op::Truncate | Op::Length => Operation::SetLen,
        }
    }
}

/// A request that is at the storage for too long: see [`Disk::set_timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LateRequest {
    /// Its kind.
    pub operation: Operation,
    /// Its offset, as submitted.
    pub offset: u64,
    /// Its length, as submitted.
    pub bytes: u64,
    /// Its id, as [`Queue::read`] and its like return it.
    pub id: u64,
}

/// How long requests of one kind took, from the submission until the result was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency(LatencyCounts);

impl Latency {
    /// How many requests were over; those that were cancelled are not counted.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// The sum of their times.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.total_ns)
    }

    /// The longest time.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max_ns)
    }

    /// The time that so many of a thousand requests did not exceed: at most an eighth too long.
    pub fn quantile(&self, of_thousand: u64) -> Duration {
        Duration::from_nanos(self.0.quantile(of_thousand))
    }
}

/// The object is paused until this is dropped: see [`Disk::pause`].
#[derive(Debug)]
#[must_use = "the object goes on when this is dropped"]
pub struct Paused<'disk>(&'disk Disk);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let _ = self.0.handle().guarded(|handle| handle.resume());
    }
}

impl Disk {
    /// Pauses the object: no request of any disk or queue of it in this process starts any more,
    /// and the call returns when nothing of them is at the storage. What is submitted meanwhile
    /// waits in order, and can be cancelled; calls that block wait until the pause is over.
    ///
    /// # Errors
    ///
    /// EDEADLK: called where the program may not wait, such as in a function that
    /// [`Disk::set_timeout`] has set.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-pause-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// disk.flush()?;
    /// let paused = disk.pause()?;
    /// let copy = std::fs::read(&path).unwrap(); // nothing changes meanwhile
    /// drop(paused);
    /// # assert_eq!(copy.len(), 8192);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn pause(&self) -> Result<Paused<'_>, Error> {
        self.handle().guarded(|handle| handle.pause())?;
        Ok(Paused(self))
    }

    /// What lies at `offset`, and for how many bytes from there on, at most `bytes`: what the
    /// storage says at this moment. Where it does not tell, it is data.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-bs-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// assert_eq!(disk.block_status(100, 1000)?, (BlockStatus::Data, 1000));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn block_status(&self, offset: u64, bytes: u64) -> Result<(BlockStatus, u64), Error> {
        crate::handle::bounds::check_range(offset, bytes)?;
        self.handle().guarded(|handle| handle.block_status(offset, bytes))
    }

    /// Sets the time after which `told` hears of a request of this disk that is at the storage,
    /// once for each; waiting for others does not count. None: no limit. `told` runs on a thread of
    /// the library, and must not wait for a disk or queue; a panic of it ends there.
    ///
    /// # Errors
    ///
    /// EINVAL: the limit is zero. ENOTSUP: the disk has no threads.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-to-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// use std::time::Duration;
    /// disk.set_timeout(Some(Duration::from_secs(5)), |late| eprintln!("hangs: {late:?}"))?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_timeout(
        &self,
        limit: Option<Duration>,
        told: impl Fn(LateRequest) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.handle().guarded(|handle| set_timeout(handle, limit, told))
    }

    /// How long the requests of one kind took that came by this disk. They are counted from the
    /// first call on, for any kind. None: that kind is not counted (`SetLen`).
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-la-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// disk.latency(Operation::Read);
    /// disk.read_at(&mut [0; 100], 7)?;
    /// assert_eq!(disk.latency(Operation::Read).map(|its| its.count()), Some(1));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn latency(&self, operation: Operation) -> Option<Latency> {
        self.handle().handle().latency(operation.op()).map(Latency)
    }
}

impl Queue {
    /// As [`Disk::set_timeout`], for the requests of this queue.
    pub fn set_timeout(
        &self,
        limit: Option<Duration>,
        told: impl Fn(LateRequest) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.handle().guarded(|handle| set_timeout(handle, limit, told))
    }

    /// As [`Disk::latency`], for the requests of this queue.
    pub fn latency(&self, operation: Operation) -> Option<Latency> {
        self.handle().handle().latency(operation.op()).map(Latency)
    }
}

fn set_timeout(
    handle: &Handle,
    limit: Option<Duration>,
    told: impl Fn(LateRequest) + Send + Sync + 'static,
) -> Result<(), crate::sys::Error> {
    let call: TooLongFn = Box::new(move |&TooLong { id, op, offset, bytes }| {
        let late = LateRequest { operation: Operation::of(op), offset, bytes, id };
        // What a panic carries may panic again when it is dropped.
        catch_unwind(AssertUnwindSafe(|| told(late))).unwrap_or_else(std::mem::forget);
    });
    if limit.is_some_and(|limit| limit.is_zero()) {
        return Err(crate::sys::Error::new(libc::EINVAL, "a limit of no time"));
    }
    handle.set_timeout(limit.map(|limit| (limit, call)))
}
