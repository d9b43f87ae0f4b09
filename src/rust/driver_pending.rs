//! I/O that an asynchronous `Driver` has been asked for and has not answered yet.
//!
//! The library keeps memory and vector of such I/O until the answer (`PENDING` in
//! `driver/callbacks.rs`), and closes the driver only after it. So each value here may be moved to
//! any thread and kept for any time. A value that is leaked is I/O that never ends; one that is
//! dropped answers EIO.

use std::ffi::{c_int, c_void};
use std::io;

use super::driver_memory::{Pieces, ReadTarget, WriteSource};
use super::error::errno_of;

/// What answers, as the table of functions gives it.
pub type Done = extern "C-unwind" fn(token: *mut c_void, ret: c_int);

/// An answer that is owed.
#[derive(Debug)]
struct Owed {
    done: Done,
    token: *mut c_void,
}

// SAFETY: the library's function may be called from any thread, and the token is a number to it.
unsafe impl Send for Owed {}
// SAFETY: as above; and a shared reference does nothing.
unsafe impl Sync for Owed {}

impl Owed {
    fn answer(self, result: io::Result<()>) {
        let ret = result.map_or_else(|error| -errno_of(&error), |()| 0);
        self.call(ret);
        std::mem::forget(self);
    }

    fn call(&self, ret: c_int) {
        (self.done)(self.token, ret);
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.call(-libc::EIO);
    }
}

/// A read that an asynchronous [`Driver`](crate::Driver) was asked for. Dropped without an answer
/// it fails with EIO.
#[derive(Debug)]
pub struct PendingRead {
    pieces: Pieces<'static>,
    owed: Owed,
}

/// A write that an asynchronous [`Driver`](crate::Driver) was asked for. Dropped without an answer
/// it fails with EIO.
#[derive(Debug)]
pub struct PendingWrite {
    pieces: Pieces<'static>,
    owed: Owed,
}

/// A flush that an asynchronous [`Driver`](crate::Driver) was asked for. Dropped without an answer
/// it fails with EIO.
#[derive(Debug)]
pub struct PendingFlush(Owed);

// SAFETY: the memory stays until the answer, which only the one owner of this can give, so it may
// be used from any thread.
unsafe impl Send for PendingRead {}
// SAFETY: as above; and nothing can be done with a shared reference.
unsafe impl Sync for PendingRead {}
// SAFETY: as for reads; `source` copies from memory and changes nothing.
unsafe impl Send for PendingWrite {}
// SAFETY: as above.
unsafe impl Sync for PendingWrite {}

impl PendingRead {
    /// # Safety
    ///
    /// `pieces` is valid until `done(token, ..)` is called.
    pub unsafe fn new(pieces: Pieces<'static>, done: Done, token: *mut c_void) -> PendingRead {
        PendingRead { pieces, owed: Owed { done, token } }
    }

    /// The memory to fill.
    pub fn target(&mut self) -> ReadTarget<'_> {
        ReadTarget(self.pieces.again())
    }

    /// The read is over: all of it is filled, or it has failed.
    pub fn finish(self, result: io::Result<()>) {
        self.owed.answer(result);
    }
}

impl PendingWrite {
    /// # Safety
    ///
    /// `pieces` is valid until `done(token, ..)` is called.
    pub unsafe fn new(pieces: Pieces<'static>, done: Done, token: *mut c_void) -> PendingWrite {
        PendingWrite { pieces, owed: Owed { done, token } }
    }

    /// The bytes to write.
    pub fn source(&self) -> WriteSource<'_> {
        WriteSource(self.pieces.again())
    }

    /// The write is over: all of it is written, or it has failed.
    pub fn finish(self, result: io::Result<()>) {
        self.owed.answer(result);
    }
}

impl PendingFlush {
    pub fn new(done: Done, token: *mut c_void) -> PendingFlush {
        PendingFlush(Owed { done, token })
    }

    /// The flush is over.
    pub fn finish(self, result: io::Result<()>) {
        self.0.answer(result);
    }
}
