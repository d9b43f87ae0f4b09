//! Storage of a Rust program's own: the trait `Driver`, behind the table of functions that a C
//! program gives.

use std::ffi::{c_int, c_void, CString};
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};

use libc::iovec;

use super::driver_memory::{Pieces, ReadTarget, WriteSource};
use super::driver_pending::{Done, PendingFlush, PendingRead, PendingWrite};
use super::error::errno_of;
use super::{BlockStatus, Flags};
use crate::handle::{check_driver, Handle, Options};
use crate::header::{blkalign_driver, BLKALIGN_STATUS_DATA};
use crate::header::{BLKALIGN_STATUS_HOLE, BLKALIGN_STATUS_ZERO};
use crate::sys;

/// Storage of the program's own in place of a file: see
/// [`OpenOptions::open_driver`](crate::OpenOptions::open_driver).
///
/// The library calls the functions from any of its threads, several at a time, and from threads
/// that are in a call of the library. Offsets and lengths are multiples of `request_alignment`, no
/// call passes the length (except after `set_len`), `max_transfer` or `max_segments`, addresses and
/// lengths of single pieces of memory are multiples of `mem_alignment` and `segment_alignment`.
/// These functions are asked once, when the disk is opened. The library keeps overlapping writes
/// apart where that is needed.
///
/// A read or write moves all of its bytes or returns an error. The errno of an error is that of
/// [`io::Error::raw_os_error`], or suits its kind, or is EIO. A function that panics fails with
/// EIO.
///
/// A driver may use other disks (stacking); then its own should have `workers` of its own. It is
/// dropped with the last disk and queue of it.
///
/// ```
/// use blkalign::{Driver, Flags, OpenOptions, ReadTarget, WriteSource};
/// use std::{io, sync::Mutex};
///
/// /// A disk in memory that takes only whole blocks.
/// struct Ram(Mutex<Vec<u8>>);
///
/// impl Driver for Ram {
///     fn request_alignment(&self) -> u32 {
///         4096
///     }
///     fn len(&self) -> io::Result<u64> {
///         Ok(self.0.lock().unwrap().len() as u64)
///     }
///     fn read(&self, offset: u64, target: &mut ReadTarget<'_>) -> io::Result<()> {
///         let bytes = self.0.lock().unwrap();
///         target.put(0, &bytes[offset as usize..][..target.len()]);
///         Ok(())
///     }
///     fn write(&self, offset: u64, source: &WriteSource<'_>, _: Flags) -> io::Result<()> {
///         let mut bytes = self.0.lock().unwrap();
///         source.get(0, &mut bytes[offset as usize..][..source.len()]);
///         Ok(())
///     }
/// }
///
/// let disk = OpenOptions::new().write(true).open_driver(Ram(Mutex::new(vec![0; 1 << 20])))?;
/// disk.write_at(b"any bytes", 4093)?;
/// # Ok::<(), blkalign::Error>(())
/// ```
#[allow(clippy::len_without_is_empty, reason = "the length of a disk, as of a file")]
pub trait Driver: Send + Sync + 'static {
    /// What messages call the storage.
    fn name(&self) -> String {
        "driver".into()
    }

    /// Alignment of offset and length of each I/O, a power of two.
    fn request_alignment(&self) -> u32 {
        1
    }

    /// Alignment of addresses of memory, a power of two.
    fn mem_alignment(&self) -> u32 {
        1
    }

    /// Alignment of lengths of single pieces of memory, a power of two, at most
    /// `request_alignment`.
    fn segment_alignment(&self) -> u32 {
        1
    }

    /// Most bytes in one call; 0: no limit.
    fn max_transfer(&self) -> u32 {
        0
    }

    /// Most pieces of memory in one call; 0: no limit.
    fn max_segments(&self) -> u32 {
        0
    }

    /// The length in bytes, a multiple of `request_alignment`.
    fn len(&self) -> io::Result<u64>;

    /// Fills `target`, all of it, with what lies at `offset`. What it leaves out keeps the bytes
    /// that were there; nothing of another request is among them.
    fn read(&self, offset: u64, target: &mut ReadTarget<'_>) -> io::Result<()>;

    /// Writes `source`, all of it, to `offset`. With [`Flags::FUA`] it is durable afterwards.
    fn write(&self, offset: u64, source: &WriteSource<'_>, flags: Flags) -> io::Result<()>;

    /// Makes durable what was written before.
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// The bytes are of no more use. Unless there is such a thing: [`io::ErrorKind::Unsupported`].
    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let _ = (offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the bytes zeros. Unless there is a fast way: [`io::ErrorKind::Unsupported`], and zeros
    /// are written. Flags: FUA, MAY_UNMAP, NO_FALLBACK.
    fn write_zeroes(&self, offset: u64, bytes: u64, flags: Flags) -> io::Result<()> {
        let _ = (offset, bytes, flags);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether reads, writes and flushes come to `start_read`, `start_write` and `start_flush`,
    /// which return at once, instead of `read`, `write` and `flush`, which keep a thread for as
    /// long. Then the library never calls `read`, `write` and `flush` itself. Asked once.
    fn is_asynchronous(&self) -> bool {
        false
    }

    /// As `read`, but answered by [`PendingRead::finish`], at any time, by any thread.
    fn start_read(&self, offset: u64, mut read: PendingRead) {
        let result = self.read(offset, &mut read.target());
        read.finish(result);
    }

    /// As `write`, but answered by [`PendingWrite::finish`], at any time, by any thread.
    fn start_write(&self, offset: u64, write: PendingWrite, flags: Flags) {
        let result = self.write(offset, &write.source(), flags);
        write.finish(result);
    }

    /// As `flush`, but answered by [`PendingFlush::finish`], at any time, by any thread.
    fn start_flush(&self, flush: PendingFlush) {
        flush.finish(self.flush());
    }

    /// What lies at `offset`, and for how many bytes from there on, at most `bytes`: see
    /// [`Disk::block_status`](crate::Disk::block_status).
    fn block_status(&self, offset: u64, bytes: u64) -> io::Result<(BlockStatus, u64)> {
        let _ = offset;
        Ok((BlockStatus::Data, bytes))
    }

    /// Whether there is `set_len`. Asked once.
    fn can_set_len(&self) -> bool {
        false
    }

    /// Changes the length.
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A driver on its way behind the table. Its own code runs in `new` and when this is dropped, and
/// not in `open`, where a panic would be taken for the library's.
pub struct Adapter {
    /// None: the table's functions have it, until `close` drops it.
    driver: Option<Box<Box<dyn Driver>>>,
    name: CString,
    table: blkalign_driver,
}

impl Adapter {
    pub fn new(driver: impl Driver) -> Adapter {
        let asynchronous = driver.is_asynchronous();
        let name = CString::new(driver.name().replace('\0', "?")).expect("has no zero byte");
        let table = blkalign_driver {
            size: size_of::<blkalign_driver>(),
            name: std::ptr::null(),
            request_alignment: driver.request_alignment(),
            mem_alignment: driver.mem_alignment(),
            segment_alignment: driver.segment_alignment(),
            max_transfer: driver.max_transfer(),
            max_segments: driver.max_segments(),
            getlength: Some(getlength),
            preadv: (!asynchronous).then_some(preadv),
            pwritev: (!asynchronous).then_some(pwritev),
            flush: (!asynchronous).then_some(flush),
            pdiscard: Some(pdiscard),
            pwrite_zeroes: Some(pwrite_zeroes),
            truncate: driver.can_set_len().then_some(truncate),
            close: Some(close),
            aio_preadv: asynchronous.then_some(aio_preadv),
            aio_pwritev: asynchronous.then_some(aio_pwritev),
            aio_flush: asynchronous.then_some(aio_flush),
            block_status: Some(block_status),
        };
        Adapter { driver: Some(Box::new(Box::new(driver))), name, table }
    }

    /// Once.
    pub fn open(&mut self, options: &Options) -> Result<Handle, sys::Error> {
        let table = blkalign_driver { name: self.name.as_ptr(), ..self.table };
        let table = check_driver(&table, options.writable)?;
        let driver = self.driver.take().expect("is opened once");
        let opaque = Box::into_raw(driver);
        Handle::open_driver(table, opaque.cast(), options).inspect_err(|_| {
            // SAFETY: a driver that was not opened is not closed, so nobody else has the box.
            self.driver = Some(unsafe { Box::from_raw(opaque) });
        })
    }
}

/// Runs a function of the driver behind `opaque`; a panic stops here. The result, or -errno.
fn call(opaque: *mut c_void, body: impl FnOnce(&dyn Driver) -> io::Result<i64>) -> i64 {
    // SAFETY: `opaque` is the box of an `Adapter`, which `close` alone takes back.
    let driver = unsafe { &**opaque.cast::<Box<dyn Driver>>() };
    // Inside, too: to drop an error may run code of the program, which may panic.
    let value = || body(driver).unwrap_or_else(|error| -i64::from(errno_of(&error)));
    catch_unwind(AssertUnwindSafe(value)).unwrap_or_else(|panic| {
        // What a panic carries may panic again when it is dropped.
        std::mem::forget(panic);
        -i64::from(libc::EIO)
    })
}

fn flags_of(flags: u32) -> Flags {
    Flags::from_bits_retain(flags)
}

unsafe extern "C" fn getlength(opaque: *mut c_void) -> i64 {
    let too_long = || io::Error::from_raw_os_error(libc::EOVERFLOW);
    call(opaque, |driver| i64::try_from(driver.len()?).map_err(|_| too_long()))
}

unsafe extern "C" fn preadv(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    iov: *const iovec,
    iovcnt: c_int,
    _flags: u32,
) -> c_int {
    // SAFETY: what the table's contract says of these arguments.
    let mut target = ReadTarget(unsafe { Pieces::new(iov, iovcnt, bytes) });
    call(opaque, |driver| driver.read(offset as u64, &mut target).map(|()| 0)) as c_int
}

unsafe extern "C" fn pwritev(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
) -> c_int {
    // SAFETY: what the table's contract says of these arguments.
    let source = WriteSource(unsafe { Pieces::new(iov, iovcnt, bytes) });
    let flags = flags_of(flags);
    call(opaque, |driver| driver.write(offset as u64, &source, flags).map(|()| 0)) as c_int
}

unsafe extern "C" fn flush(opaque: *mut c_void) -> c_int {
    call(opaque, |driver| driver.flush().map(|()| 0)) as c_int
}

unsafe extern "C" fn pdiscard(opaque: *mut c_void, offset: i64, bytes: i64) -> c_int {
    call(opaque, |driver| driver.discard(offset as u64, bytes as u64).map(|()| 0)) as c_int
}

unsafe extern "C" fn pwrite_zeroes(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    flags: u32,
) -> c_int {
    let flags = flags_of(flags);
    let body = |driver: &dyn Driver| driver.write_zeroes(offset as u64, bytes as u64, flags);
    call(opaque, |driver| body(driver).map(|()| 0)) as c_int
}

unsafe extern "C" fn block_status(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    run: *mut i64,
) -> c_int {
    call(opaque, |driver| {
        let (status, its) = driver.block_status(offset as u64, bytes as u64)?;
        // SAFETY: what the table's contract says of this argument.
        unsafe { run.write(i64::try_from(its).unwrap_or(i64::MAX)) };
        Ok(match status {
            BlockStatus::Data => i64::from(BLKALIGN_STATUS_DATA),
            BlockStatus::Zero => i64::from(BLKALIGN_STATUS_ZERO),
            BlockStatus::Hole => i64::from(BLKALIGN_STATUS_HOLE),
        })
    }) as c_int
}

unsafe extern "C" fn truncate(opaque: *mut c_void, length: i64) -> c_int {
    call(opaque, |driver| driver.set_len(length as u64).map(|()| 0)) as c_int
}

// The asynchronous functions return 0 whatever happens: what a driver drops without an answer, also
// by a panic, answers by itself.

unsafe extern "C" fn aio_preadv(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    iov: *const iovec,
    iovcnt: c_int,
    _flags: u32,
    done: Done,
    token: *mut c_void,
) -> c_int {
    // SAFETY: what the table's contract says of these arguments: they hold until the answer.
    let read = unsafe { PendingRead::new(Pieces::new(iov, iovcnt, bytes), done, token) };
    start(opaque, |driver| driver.start_read(offset as u64, read))
}

unsafe extern "C" fn aio_pwritev(
    opaque: *mut c_void,
    offset: i64,
    bytes: i64,
    iov: *const iovec,
    iovcnt: c_int,
    flags: u32,
    done: Done,
    token: *mut c_void,
) -> c_int {
    // SAFETY: what the table's contract says of these arguments: they hold until the answer.
    let write = unsafe { PendingWrite::new(Pieces::new(iov, iovcnt, bytes), done, token) };
    start(opaque, |driver| driver.start_write(offset as u64, write, flags_of(flags)))
}

unsafe extern "C" fn aio_flush(opaque: *mut c_void, done: Done, token: *mut c_void) -> c_int {
    start(opaque, |driver| driver.start_flush(PendingFlush::new(done, token)))
}

fn start(opaque: *mut c_void, body: impl FnOnce(&dyn Driver)) -> c_int {
    call(opaque, |driver| {
        body(driver);
        Ok(0)
    });
    0
}

unsafe extern "C" fn close(opaque: *mut c_void) {
    // SAFETY: the box of an `Adapter`; this is called once, and nothing else afterwards.
    let driver = unsafe { Box::from_raw(opaque.cast::<Box<dyn Driver>>()) };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(driver))) {
        std::mem::forget(panic);
    }
}
