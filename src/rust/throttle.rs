//! Throttles: how fast the requests of disks and queues may go.

use std::fmt;
use std::sync::Arc;

use super::{Disk, Error, Queue};
use crate::handle::bounds::check_bucket;
use crate::handle::Handle;
use crate::sys::{self, caught};
use crate::throttle;

/// One limit of a throttle, as a token bucket: `rate` tokens come each second, and at most `burst`
/// of them are kept. Without a rate there is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes, or requests, a second. 0: no limit.
    pub rate: u64,
    /// Bytes, or requests, that may go at once after a pause. 0: a tenth of `rate`, at least 1. A
    /// request that needs more than `burst` goes when the bucket is full; those behind it wait
    /// until what it took has come again.
    pub burst: u64,
}

impl Bucket {
    /// So many bytes, or requests, a second; a tenth of that may go at once.
    pub const fn per_second(rate: u64) -> Bucket {
        Bucket { rate, burst: 0 }
    }

    /// The same rate, with a burst of its own.
    pub const fn with_burst(self, burst: u64) -> Bucket {
        Bucket { burst, ..self }
    }
}

/// The limits of a [`Throttle`]; by default none. A request goes when every bucket that counts it
/// has tokens for it. Zero writes and discards count as writes of their length.
///
/// ```
/// use blkalign::{Bucket, ThrottleLimits};
/// let mut limits = ThrottleLimits::default();
/// limits.bytes = Bucket::per_second(100 << 20).with_burst(16 << 20);
/// limits.write_requests = Bucket::per_second(2000);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThrottleLimits {
    /// Limit of bytes that are read or written.
    pub bytes: Bucket,
    /// Limit of bytes that are read.
    pub read_bytes: Bucket,
    /// Limit of bytes that are written.
    pub write_bytes: Bucket,
    /// Limit of reads and writes together.
    pub requests: Bucket,
    /// Limit of reads.
    pub read_requests: Bucket,
    /// Limit of writes.
    pub write_requests: Bucket,
    /// In the buckets of requests a request of more bytes counts as several: its length divided by
    /// this number, rounded up. 0: each request is one.
    pub request_bytes: u64,
}

impl ThrottleLimits {
    fn checked(&self) -> Result<throttle::ThrottleLimits, sys::Error> {
        let check = |name, Bucket { rate, burst }| check_bucket(name, rate, burst);
        // In the order of `Kind`.
        let buckets = [
            check("bytes", self.bytes)?,
            check("read_bytes", self.read_bytes)?,
            check("write_bytes", self.write_bytes)?,
            check("requests", self.requests)?,
            check("read_requests", self.read_requests)?,
            check("write_requests", self.write_requests)?,
        ];
        Ok(throttle::ThrottleLimits { buckets, request_bytes: self.request_bytes })
    }
}

/// A group of disks and queues, also of several objects, that share limits. Clones are the same
/// group. Disks and queues that have the throttle keep it.
///
/// Requests are held before they wait for any other request, and nobody who is not held waits for
/// one that is. Requests of one disk, or of one queue, go in order of submission; the members of a
/// group take turns request by request. In any second the requests of a group move at most `rate` +
/// `burst`, and at least 95 percent of `rate` if there are requests for that. Flushes and changes
/// of the length are never held.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("blkalign-throttle-{}", std::process::id()));
/// # std::fs::write(&path, [0; 8192]).unwrap();
/// use blkalign::{Bucket, OpenOptions, Throttle, ThrottleLimits};
/// let mut limits = ThrottleLimits::default();
/// limits.requests = Bucket::per_second(1000).with_burst(1);
/// let throttle = Throttle::new(&limits)?;
///
/// let disk = OpenOptions::new().write(true).open(&path)?;
/// let queue = disk.queue()?;
/// disk.set_throttle(Some(&throttle))?;
/// queue.set_throttle(Some(&throttle))?;
/// disk.write_at(b"goes at once", 0)?;
/// disk.write_at(b"a millisecond later", 0)?;
/// assert_eq!(disk.stats().throttled, 1);
///
/// limits.requests = Bucket::per_second(50_000);
/// throttle.set(&limits)?; // holds at once, also for what waits
/// disk.set_throttle(None)?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), blkalign::Error>(())
/// ```
#[derive(Clone)]
pub struct Throttle(Arc<throttle::Throttle>);

impl Throttle {
    /// A group without members. EINVAL: a bucket has a burst and no rate.
    pub fn new(limits: &ThrottleLimits) -> Result<Throttle, Error> {
        let limits = limits.checked()?;
        Ok(Throttle(caught(|| throttle::Throttle::new(&limits))?))
    }

    /// Changes the limits, at any time. They hold at once, also for requests that are held. The
    /// call does not wait. Errors: as for `new`.
    pub fn set(&self, limits: &ThrottleLimits) -> Result<(), Error> {
        let limits = limits.checked()?;
        Ok(caught(|| self.0.set(&limits))?)
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

impl Disk {
    /// Requests of this disk, not of its queues, keep to the limits of `throttle` from now on.
    /// None: to no limits. What the throttle of before holds is let go at once. The call does not
    /// wait. A call that reads or writes waits in the throttle.
    ///
    /// While any disk or queue has a throttle the library has one more thread. ENOMEM: the system
    /// gives no thread, and nothing has changed.
    pub fn set_throttle(&self, throttle: Option<&Throttle>) -> Result<(), Error> {
        self.handle().guarded(|handle| set_throttle(handle, throttle))
    }
}

impl Queue {
    /// Requests of this queue keep to the limits of `throttle` from now on: see
    /// [`Disk::set_throttle`]. What is held can be cancelled, and counts as in flight. Dropping the
    /// queue lets it go at once.
    pub fn set_throttle(&self, throttle: Option<&Throttle>) -> Result<(), Error> {
        self.handle().guarded(|handle| set_throttle(handle, throttle))
    }
}

fn set_throttle(handle: &Handle, throttle: Option<&Throttle>) -> Result<(), sys::Error> {
    handle.set_throttle(throttle.map(|its| &its.0))
}
