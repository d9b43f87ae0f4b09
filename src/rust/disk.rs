//! An open disk: calls that return when the work is done.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::facts::{limits_of, stats_of};
use super::notifier::Closure;
use super::open_handle::{Call, OpenHandle};
use super::{Buffer, Change, Done, Error, Flags, Limits, Notifier, OpenOptions, Queue, Stats};
use crate::driver::Op;
use crate::handle::{CompletionMode, Handle, Options};

/// An open file, block device or driver. Clones are the same disk; it is closed with the last one.
/// Queues of the disk are independent of that.
///
/// Each function may be called from any thread at any time, and returns when it is done. Reads and
/// writes may have any offset, length and memory; each does all of it or fails. A write changes no
/// byte but its own, whatever else is in flight.
///
/// Errors of all functions that do I/O: EINVAL, offset and length pass 2^63 - 2^30; EPERM, a change
/// of a disk that was opened for reading; EIO, the range passes the end and nothing has moved;
/// EDEADLK, inside a callback of the C interface; else what the storage says.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("blkalign-disk-{}", std::process::id()));
/// # std::fs::write(&path, [0; 8192]).unwrap();
/// use blkalign::{Disk, OpenOptions};
/// let disk: Disk = OpenOptions::new().write(true).open(&path)?;
/// disk.write_at(b"any bytes, anywhere", 4090)?;
/// let mut back = [0; 3];
/// disk.read_at(&mut back, 4094)?;
/// assert_eq!(&back, b"byt");
/// disk.flush()?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), blkalign::Error>(())
/// ```
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    handle: OpenHandle,
    options: Options,
}

impl Disk {
    pub(super) fn new(handle: OpenHandle, options: Options) -> Disk {
        Disk(Arc::new(Inner { handle, options }))
    }

    pub(super) fn handle(&self) -> &OpenHandle {
        &self.0.handle
    }

    /// A queue of its own on the same object, with the options that the disk was opened with.
    /// Errors: as for [`OpenOptions::open`].
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-dq-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// let queue = disk.queue()?;
    /// queue.flush(1)?;
    /// queue.poll(None, |number, result| assert_eq!((number, result), (1, Ok(()))))?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn queue(&self) -> Result<Queue, Error> {
        self.open_queue(&self.0.options)
    }

    /// The options that the disk was opened with: a start for those of a queue.
    pub fn options(&self) -> OpenOptions {
        OpenOptions::from(self.0.options.clone())
    }

    /// As `queue`, with options of its own: the disk's count for nothing.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-with-{}", std::process::id()));
    /// # std::fs::write(&path, [0; 8192]).unwrap();
    /// # use blkalign::OpenOptions;
    /// let disk = OpenOptions::new().open(&path)?;
    /// let queue = disk.queue_with(disk.options().queue_depth(256))?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn queue_with(&self, options: &OpenOptions) -> Result<Queue, Error> {
        self.open_queue(options.inner())
    }

    fn open_queue(&self, options: &Options) -> Result<Queue, Error> {
        let mode = CompletionMode::Eventfd;
        let options = Options { completion: mode, create: false, ..options.clone() };
        Ok(Queue::new(self.handle().dup(&options)?))
    }

    /// The length in bytes: that of the object, or of the window.
    #[allow(clippy::len_without_is_empty, reason = "the length of a disk, as of a file")]
    pub fn len(&self) -> u64 {
        self.handle().handle().length()
    }

    /// As `len`, once the storage was asked anew: other programs may have changed it.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-dr-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// std::fs::write(&path, [7; 9000]).unwrap();
    /// assert_eq!((disk.len(), disk.refresh_len()?), (8192, 9000));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn refresh_len(&self) -> Result<u64, Error> {
        self.handle().guarded(|handle| handle.refresh_length())
    }

    /// What the storage requires and can do.
    pub fn limits(&self) -> Limits {
        limits_of(self.handle().handle())
    }

    /// What was done through this disk, without its queues.
    pub fn stats(&self) -> Stats {
        stats_of(self.handle().handle())
    }

    /// Why threads do the I/O though io_uring was not ruled out; else "".
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-de-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// if !disk.engine_reason().is_empty() {
    ///     eprintln!("no io_uring: {}", disk.engine_reason());
    /// }
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn engine_reason(&self) -> &str {
        self.handle().handle().engine_reason().to_str().unwrap_or_default()
    }

    /// Fills `buf` with what lies at `offset`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        let memory = (buf.as_mut_ptr().expose_provenance(), buf.len());
        self.run_on(Op::Read, Flags::empty(), offset, [memory].into_iter())
    }

    /// Writes `buf` at `offset`.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Error> {
        self.write_at_with(buf, offset, Flags::empty())
    }

    /// As `write_at`, with flags.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-fua-{}", std::process::id()));
    /// # std::fs::write(&path, [0; 8192]).unwrap();
    /// # use blkalign::{Flags, OpenOptions};
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// disk.write_at_with(b"durable", 512, Flags::FUA)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn write_at_with(&self, buf: &[u8], offset: u64, flags: Flags) -> Result<(), Error> {
        let memory = (buf.as_ptr().expose_provenance(), buf.len());
        self.run_on(Op::Write, flags, offset, [memory].into_iter())
    }

    /// Fills each of `bufs`, one after the other. There may be any number of them.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-drv-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// use std::io::IoSliceMut;
    /// let (mut head, mut body) = ([0; 16], [0; 496]);
    /// let mut bufs = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
    /// disk.read_vectored_at(&mut bufs, 512)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<(), Error> {
        let memory = bufs.iter_mut().map(|buf| (buf.as_mut_ptr().expose_provenance(), buf.len()));
        self.run_on(Op::Read, Flags::empty(), offset, memory)
    }

    /// Writes each of `bufs`, one after the other. There may be any number of them.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-vec-{}", std::process::id()));
    /// # std::fs::write(&path, [0; 8192]).unwrap();
    /// # use blkalign::{Flags, OpenOptions};
    /// # use std::io::IoSlice;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// disk.write_vectored_at(&[IoSlice::new(b"one"), IoSlice::new(b"two")], 7, Flags::empty())?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn write_vectored_at(
        &self,
        bufs: &[IoSlice<'_>],
        offset: u64,
        flags: Flags,
    ) -> Result<(), Error> {
        let memory = bufs.iter().map(|buf| (buf.as_ptr().expose_provenance(), buf.len()));
        self.run_on(Op::Write, flags, offset, memory)
    }

    /// The memory is borrowed by the caller of this function until it returns, as the request needs
    /// it.
    pub(super) fn run_on(
        &self,
        op: Op,
        flags: Flags,
        offset: u64,
        memory: impl Iterator<Item = (usize, usize)>,
    ) -> Result<(), Error> {
        self.handle().run(Call::with_memory(op, flags.bits(), offset, memory)?)
    }

    fn run(&self, op: Op, flags: Flags, offset: u64, bytes: u64) -> Result<(), Error> {
        self.handle().run(Call::without_memory(op, flags.bits(), offset, bytes))
    }

    /// Makes `bytes` bytes from `offset` on read as zeros.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-zero-{}", std::process::id()));
    /// # std::fs::write(&path, [9; 8192]).unwrap();
    /// # use blkalign::{Flags, OpenOptions};
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// disk.write_zeroes(100, 8000, Flags::MAY_UNMAP)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn write_zeroes(&self, offset: u64, bytes: u64, flags: Flags) -> Result<(), Error> {
        self.run(Op::WriteZeroes, flags, offset, bytes)
    }

    /// The bytes are of no more use. Does something only with [`OpenOptions::unmap`], to whole
    /// blocks, where the storage can.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-dd-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// let disk = OpenOptions::new().write(true).unmap(true).open(&path)?;
    /// disk.discard(0, 4096)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn discard(&self, offset: u64, bytes: u64) -> Result<(), Error> {
        self.run(Op::Discard, Flags::empty(), offset, bytes)
    }

    /// Every write that was over before is on stable storage afterwards, whichever disk or queue of
    /// the object it came by. After a flush has failed every later one fails until the object is
    /// opened anew.
    pub fn flush(&self) -> Result<(), Error> {
        self.run(Op::Flush, Flags::empty(), 0, 0)
    }

    /// Changes the length; what is new reads as zeros. EINVAL: of a device or a window; ENOTSUP:
    /// the driver cannot.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-ds-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// disk.set_len(10_000)?;
    /// assert_eq!(disk.len(), 10_000);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_len(&self, bytes: u64) -> Result<(), Error> {
        self.run(Op::Truncate, Flags::empty(), bytes, 0)
    }

    /// Whether writes through this disk, not its queues, may stay in a cache until the next flush.
    /// Else each is as if it had [`Flags::FUA`].
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-dw-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// disk.set_write_cache(false);
    /// disk.write_at(b"durable when this returns", 100)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_write_cache(&self, on: bool) {
        self.handle().handle().set_write_cache(on);
    }

    /// Calls `before` before anything changes bytes of the object, by whichever disk, queue or
    /// handle: writes, zero writes, discards and new lengths. That is what a backup of a disk in
    /// use is made with, and how changes are tracked.
    ///
    /// The change, and all that change bytes of the same units, wait until [`Done`] is answered;
    /// reads do not. Ranges are rounded out to `unit`, a power of two of 1 byte to 1 GiB, and
    /// those of one unit are announced one after the other. Offsets count from the start of the
    /// object, not of a window. When this returns each change that is not over was announced, or
    /// will be.
    ///
    /// The closure runs on any thread, several calls at a time, also inside calls of the library.
    /// It must not wait; blocking calls are EDEADLK in it. Errors: EINVAL, the unit; EDEADLK,
    /// inside a notifier or a callback of the C interface.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-bw-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// # use blkalign::*;
    /// use std::sync::{Arc, Mutex};
    /// # let disk = OpenOptions::new().write(true).open(&path)?;
    /// let changed = Arc::new(Mutex::new(Vec::new()));
    /// let noted = changed.clone();
    /// let notifier = disk.before_write(4096, move |change: Change, done: Done| {
    ///     noted.lock().unwrap().push(change.offset / 4096);
    ///     done.proceed();
    /// })?;
    /// disk.write_at(b"these", 5000)?;
    /// notifier.remove()?;
    /// assert_eq!(*changed.lock().unwrap(), [1]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn before_write(
        &self,
        unit: u32,
        before: impl Fn(Change, Done) + Send + Sync + 'static,
    ) -> Result<Notifier, Error> {
        let notify = Box::new(Closure(before));
        let add = |handle: &Handle| handle.add_notifier(unit, notify);
        Ok(Notifier::new(self.handle().guarded(add)?))
    }

    /// So many zeros, in memory that the storage takes without a copy. ENOMEM.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-buf-{}", std::process::id()));
    /// # std::fs::write(&path, [9; 8192]).unwrap();
    /// # use blkalign::OpenOptions;
    /// # let disk = OpenOptions::new().open(&path)?;
    /// let mut buffer = disk.buffer(4096)?;
    /// disk.read_at(&mut buffer, 0)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn buffer(&self, bytes: usize) -> Result<Buffer, Error> {
        Buffer::zeroed(bytes, self.handle().handle().buffer_alignment())
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("len", &self.len()).finish_non_exhaustive()
    }
}
