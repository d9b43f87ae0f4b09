//! One open handle: its options, its statistics, its engine and completion mode.

use std::ffi::{c_int, c_void, CStr};
use std::os::fd::RawFd;

use crate::driver::{CDriver, Op, Segments};
use crate::probe::Limits;
use crate::request::Stats;
use crate::sys::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum EngineKind {
    #[default]
    Auto = 0,
    Threads = 1,
    IoUring = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum CompletionMode {
    #[default]
    Serial = 0,
    Concurrent = 1,
    Eventfd = 2,
}

/// `blkalign_open_options`, already checked for form (size, unknown bits, powers of two).
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub writable: bool,
    pub direct: bool,
    pub buffered_ok: bool,
    pub create: bool,
    pub resize: bool,
    pub unmap: bool,
    pub writethrough: bool,
    pub no_flush: bool,
    pub stable_writes: bool,
    pub no_merge: bool,
    pub lock: bool,
    pub engine: EngineKind,
    pub completion: CompletionMode,
    pub workers: u32,
    pub queue_depth: u32,
    pub request_alignment: u32,
    pub mem_alignment: u32,
    pub segment_alignment: u32,
    pub guest_block_size: u32,
    pub window_offset: u64,
    pub window_length: u64,
}

/// Where an asynchronous request's result goes.
#[derive(Debug, Clone, Copy)]
pub struct Callback {
    pub function: extern "C" fn(opaque: *mut c_void, ret: c_int),
    pub opaque: *mut c_void,
}

/// A request whose form is already checked: offset and bytes within bounds, segments without
/// empty elements and adding up to `bytes`.
pub struct Submission {
    pub op: Op,
    pub fua: bool,
    pub offset: u64,
    pub bytes: u64,
    pub segments: Segments,
}

pub struct Handle {}

impl Handle {
    pub fn open(_path: &CStr, _options: &Options) -> Result<Handle, Error> {
        todo!()
    }

    /// `fd` stays the caller's; the handle has its own descriptors.
    pub fn open_fd(_fd: RawFd, _options: &Options) -> Result<Handle, Error> {
        todo!()
    }

    pub fn open_driver(_driver: CDriver, _options: &Options) -> Result<Handle, Error> {
        todo!()
    }

    /// Another queue on the same object.
    pub fn dup(&self, _options: &Options) -> Result<Handle, Error> {
        todo!()
    }

    /// Drains, then gives everything back. EDEADLK (and the handle stays open) inside a callback.
    pub fn close(self: Box<Self>) -> Result<(), (Box<Self>, Error)> {
        todo!()
    }

    /// Returns the request's id; `callback` runs exactly once, later, never inside this call.
    /// An error (EPERM, EIO past the end, EIO on a poisoned handle) means that it never runs.
    pub fn submit(&self, _submission: Submission, _callback: Callback) -> Result<u64, Error> {
        todo!()
    }

    /// Runs the request to its end. EDEADLK inside a callback.
    pub fn run(&self, _submission: Submission) -> Result<(), Error> {
        todo!()
    }

    /// Returns when nothing is in flight and every callback has returned. EDEADLK in a callback.
    pub fn drain(&self) -> Result<(), Error> {
        todo!()
    }

    pub fn length(&self) -> u64 {
        todo!()
    }

    pub fn limits(&self) -> &Limits {
        todo!()
    }

    pub fn engine(&self) -> EngineKind {
        todo!()
    }

    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// After a panic at the C door: every later request fails with EIO.
    pub fn poison(&self) {
        todo!()
    }
}

/// Where a worker's callback finds words for `blkalign_errmsg` (see `capi`): called on the thread
/// that is about to run a callback with a failure.
pub type FailureHook = fn(&Error);

/// Sets the hook; `capi` does so once, before the first handle is opened.
pub fn set_failure_hook(_hook: FailureHook) {
    todo!()
}
