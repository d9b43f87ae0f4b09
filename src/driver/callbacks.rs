//! A C caller's driver: the table of callbacks of `blkalign_open_driver`.

use std::ffi::{c_int, c_void, CStr};

use libc::iovec;

use super::{Alignments, BlockStatus, Done, Driver, Io, Op};
use super::{Token, Unanswered};
use crate::header::{blkalign_driver, BLKALIGN_REQ_FUA, BLKALIGN_REQ_MAY_UNMAP};
use crate::header::{BLKALIGN_REQ_NO_FALLBACK, BLKALIGN_STATUS_DATA};
use crate::header::{BLKALIGN_STATUS_HOLE, BLKALIGN_STATUS_ZERO};
use crate::log;
use crate::probe::{AlignmentSources, Limits, Source};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::Mutex;
use crate::sys::{answer_of, caught, known_errno, outside, uncancelled, Error};

/// offset, bytes, iov, iovcnt, flags
type IoArguments = (i64, i64, *const iovec, c_int, u32);

/// A C caller's storage behind the `Driver` trait.
pub struct CallbackDriver {
    table: blkalign_driver,
    /// What the caller wants each function to be called with.
    opaque: *mut c_void,
    name: String,
    limits: Limits,
    /// An open has succeeded: when the last owner goes the caller's `close` is called.
    opened: AtomicBool,
}

// SAFETY: the contract of `blkalign_open_driver` is that the functions may be called from any
// thread with the opaque pointer; the library itself never looks behind it.
unsafe impl Send for CallbackDriver {}
// SAFETY: as above.
unsafe impl Sync for CallbackDriver {}

impl CallbackDriver {
    /// `table`: checked for form by the C door, which has put 1 in the place of alignments of 0.
    pub fn new(table: blkalign_driver, opaque: *mut c_void) -> CallbackDriver {
        let limits = Limits {
            alignments: Alignments {
                request: u64::from(table.request_alignment),
                memory: table.mem_alignment as usize,
                segment: table.segment_alignment as usize,
            },
            sources: AlignmentSources::all(Source::Driver),
            max_transfer: table.max_transfer,
            max_segments: table.max_segments,
            ..Limits::default()
        };
        let name = if table.name.is_null() {
            "driver".to_owned()
        } else {
            // SAFETY: the caller's `name` is NULL or a C string, and open has not returned.
            unsafe { CStr::from_ptr(table.name) }.to_string_lossy().into_owned()
        };
        CallbackDriver { table, opaque, name, limits, opened: AtomicBool::new(false) }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn can_write(&self) -> bool {
        self.table.pwritev.is_some() || self.table.aio_pwritev.is_some()
    }

    /// The handle is open: from now on `close` is owed to the caller.
    pub fn set_opened(&self) {
        self.opened.store(true, Ordering::Relaxed);
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// I/O that needs no memory: zeros, discard, truncate. ENOTSUP where the caller has no
    /// function.
    fn change(&self, io: &Io) -> Result<u64, i32> {
        let (offset, bytes, _, _, flags) = Self::io_arguments(io);
        let blkalign_driver { pwrite_zeroes, pdiscard, truncate, .. } = self.table;
        let opaque = self.opaque;
        let ret = match io.op {
            // SAFETY: the caller's function, called as its contract says.
            Op::WriteZeroes => pwrite_zeroes.map(|f| unsafe { f(opaque, offset, bytes, flags) }),
            // SAFETY: as above.
            Op::Discard => pdiscard.map(|f| unsafe { f(opaque, offset, bytes) }),
            // SAFETY: as above.
            _ => truncate.map(|f| unsafe { f(opaque, offset) }),
        };
        ret.map_or(Err(libc::ENOTSUP), |ret| result_of(ret, io))
    }

    pub fn can_truncate(&self) -> bool {
        self.table.truncate.is_some()
    }

    fn io_arguments(io: &Io) -> IoArguments {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = flag(io.fua, BLKALIGN_REQ_FUA)
            | flag(io.may_unmap, BLKALIGN_REQ_MAY_UNMAP)
            | flag(io.no_fallback, BLKALIGN_REQ_NO_FALLBACK);
        let count = io.segments.len() as c_int;
        (io.offset as i64, io.bytes as i64, io.segments.as_ptr().cast(), count, flags)
    }

    /// Calls the asynchronous function for an I/O that is in `PENDING`, and returns what that
    /// returns. The I/O may be over, and gone, by then.
    fn call_asynchronous(&self, op: Op, arguments: IoArguments, token: *mut c_void) -> c_int {
        let (offset, bytes, segments, count, flags) = arguments;
        let opaque = self.opaque;
        let function = match op {
            Op::Read => self.table.aio_preadv,
            Op::Write => self.table.aio_pwritev,
            Op::Flush => {
                let function = self.table.aio_flush.expect("asynchronous flush");
                // SAFETY: the caller's function, called as its contract says.
                return outside(|| unsafe { function(opaque, driver_done, token) });
            }
            _ => unreachable!("has no asynchronous function"),
        };
        let function = function.expect("an asynchronous function");
        // SAFETY: the caller's function, called as its contract says; the vector stays until the
        // I/O is done, because it lies in the box that `PENDING` keeps.
        outside(|| unsafe {
            function(opaque, offset, bytes, segments, count, flags, driver_done, token)
        })
    }
}

/// Zeroes the scratch that a read will fill. A driver in C that says 0 may have filled nothing, and
/// the library cannot see that. What the driver leaves out is to be zeros, not what scratch holds
/// from earlier requests. The guest's own memory is left alone: its bytes are the guest's own.
fn clear_scratch(io: &Io) {
    if !io.joined.is_empty() {
        return io.joined.iter().for_each(clear_scratch);
    }
    let clear = |address: usize, bytes| {
        // SAFETY: scratch that the I/O holds until it is done, and it has not begun.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) }
    };
    if io.into_scratch {
        io.segments.iter().for_each(|segment| clear(segment.address, segment.bytes));
    }
    // Nothing is read from the rest of scratch.
    io.copies.iter().for_each(|copy| clear(copy.from, copy.bytes));
}

impl Driver for CallbackDriver {
    fn perform(&self, io: &Io) -> Result<u64, i32> {
        if io.op == Op::Read {
            clear_scratch(io);
        }
        let (offset, bytes, segments, count, flags) = Self::io_arguments(io);
        let opaque = self.opaque;
        let function = match io.op {
            Op::Read => self.table.preadv,
            Op::Write => self.table.pwritev,
            Op::Flush => {
                // SAFETY: the caller's function, called as its contract says.
                let ret = self.table.flush.map_or(0, |flush| outside(|| unsafe { flush(opaque) }));
                return result_of(ret, io);
            }
            Op::WriteZeroes | Op::Discard | Op::Truncate => return self.change(io),
            Op::Length => return self.length().map_err(|error| error.errno),
            Op::Fill | Op::Populate | Op::SaveMap => unreachable!("not the storage's business"),
        };
        let Some(function) = function else { return Err(libc::EIO) };
        // SAFETY: the caller's function, called as its contract says; the vector outlives the
        // call.
        let ret = outside(|| unsafe { function(opaque, offset, bytes, segments, count, flags) });
        result_of(ret, io)
    }

    fn is_asynchronous(&self, op: Op) -> bool {
        match op {
            Op::Read => self.table.aio_preadv.is_some(),
            Op::Write => self.table.aio_pwritev.is_some(),
            Op::Flush => self.table.aio_flush.is_some(),
            _ => false,
        }
    }

    fn is_synchronous(&self, op: Op) -> bool {
        match op {
            Op::Read => self.table.preadv.is_some(),
            Op::Write => self.table.pwritev.is_some(),
            Op::Flush => self.table.flush.is_some() || self.table.aio_flush.is_none(),
            _ => true,
        }
    }

    fn start(&self, io: Io, done: Done) {
        let op = io.op;
        if op == Op::Read {
            clear_scratch(&io);
        }
        let pending = Box::new(Pending { io, done });
        let arguments = CallbackDriver::io_arguments(&pending.io);
        let token = PENDING.lock().add(pending);
        let token = token.get() as usize as *mut c_void;
        let ret = self.call_asynchronous(op, arguments, token);
        if ret != 0 {
            finish(token, if ret < 0 { ret } else { -libc::EIO });
        }
    }

    fn block_status(&self, offset: u64, bytes: u64) -> Result<(BlockStatus, u64), i32> {
        let Some(function) = self.table.block_status else {
            return Ok((BlockStatus::Data, bytes));
        };
        let (offset, bytes, mut run) = (offset as i64, bytes as i64, 0);
        // SAFETY: the caller's function, called as its contract says; `run` can be written.
        let ret = outside(|| unsafe { function(self.opaque, offset, bytes, &raw mut run) });
        if ret < 0 {
            return Err(known_errno(ret.unsigned_abs().into()));
        }
        // An answer that is none, of 0 bytes: the handle refuses it.
        let status = match ret as u32 {
            BLKALIGN_STATUS_ZERO => BlockStatus::Zero,
            BLKALIGN_STATUS_HOLE => BlockStatus::Hole,
            BLKALIGN_STATUS_DATA => BlockStatus::Data,
            _ => return Ok((BlockStatus::Data, 0)),
        };
        Ok((status, u64::try_from(run).unwrap_or(0)))
    }

    fn length(&self) -> Result<u64, Error> {
        let getlength = self.table.getlength.expect("checked at the C door");
        // SAFETY: the caller's function, called as its contract says.
        let length = outside(|| unsafe { getlength(self.opaque) });
        u64::try_from(length).map_err(|_| {
            let errno = known_errno(length.unsigned_abs());
            Error::new(errno, format!("{}: the driver's getlength", self.name))
        })
    }
}

impl Drop for CallbackDriver {
    fn drop(&mut self) {
        if let (true, Some(close)) = (*self.opened.get_mut(), self.table.close) {
            // SAFETY: the caller's function; nothing is in flight and no handle is left.
            outside(|| unsafe { close(self.opaque) });
        }
    }
}

/// A driver's answer: 0 for all of the I/O, or -errno.
fn result_of(ret: c_int, io: &Io) -> Result<u64, i32> {
    answer_of(ret).map(|()| io.bytes)
}

/// What asynchronous drivers have been asked for and have not answered.
///
/// The lock guards the table; nothing else is taken while it is held.
pub static PENDING: Mutex<Unanswered<Box<Pending>>> = Mutex::new(Unanswered::new());

pub struct Pending {
    io: Io,
    done: Done,
}

/// What a driver calls when an I/O is done.
extern "C-unwind" fn driver_done(token: *mut c_void, ret: c_int) {
    uncancelled(|| {
        // A panic must not travel into the caller's code. A panic of the machine is caught further
        // down.
        if let Err(panic) = caught(|| finish(token, ret)) {
            log::error!("a driver's answer: {panic}");
        }
    });
}

/// Takes the first answer to an I/O; a second one changes nothing.
fn finish(token: *mut c_void, ret: c_int) {
    let pending = Token::new(token.addr() as u64).and_then(|token| PENDING.lock().take(token));
    if let Some(pending) = pending {
        let Pending { io, done } = *pending;
        let result = result_of(ret, &io);
        done(io, result);
    }
}
