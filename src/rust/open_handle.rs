//! A handle that closes itself, and through which all calls of the Rust door go.

use std::os::fd::RawFd;
use std::time::Duration;

use super::Error;
use crate::driver::{Op, Segments};
use crate::handle::bounds::{add_segment, check_range};
use crate::handle::{check_request_flags, outside_callback, Handle, Options, Submission};
use crate::log;
use crate::sys::{self, caught};

pub struct OpenHandle {
    /// None: closed.
    handle: Option<Box<Handle>>,
}

/// A request as the Rust door gets it.
pub struct Call {
    pub op: Op,
    pub flags: u32,
    pub offset: u64,
    pub bytes: u64,
    pub segments: Segments,
}

impl Call {
    /// A request that moves no data of the caller's.
    pub fn without_memory(op: Op, flags: u32, offset: u64, bytes: u64) -> Call {
        Call { op, flags, offset, bytes, segments: Segments::new() }
    }

    /// A request that moves what lies in this memory, one piece after the other.
    pub fn with_memory(
        op: Op,
        flags: u32,
        offset: u64,
        memory: impl Iterator<Item = (usize, usize)>,
    ) -> Result<Call, Error> {
        let mut segments = Segments::new();
        let mut total = 0u64;
        for (address, bytes) in memory {
            add_segment(&mut segments, address, bytes)?;
            // A sum that is too great for the object is refused by `check_range`.
            total = total.saturating_add(bytes as u64);
        }
        Ok(Call { op, flags, offset, bytes: total, segments })
    }

    pub fn submission(self) -> Result<Submission, sys::Error> {
        let Call { op, flags, offset, bytes, segments } = self;
        check_range(offset, bytes)?;
        let flags = check_request_flags(op, flags)?;
        Ok(Submission { op, flags, guest_block: 0, offset, bytes, segments })
    }
}

impl OpenHandle {
    /// `open`: gives the handle.
    pub fn new(open: impl FnOnce() -> Result<Handle, sys::Error>) -> Result<OpenHandle, Error> {
        let result = caught(open).and_then(|result| result);
        let handle = result.inspect_err(|error| log::error!("open failed: {error}"))?;
        Ok(OpenHandle { handle: Some(Box::new(handle)) })
    }

    pub fn adopt(handle: Box<Handle>) -> OpenHandle {
        OpenHandle { handle: Some(handle) }
    }

    pub fn dup(&self, options: &Options) -> Result<OpenHandle, Error> {
        OpenHandle::new(|| self.handle().dup(options))
    }

    /// Outside of `guarded` only for what cannot panic.
    pub fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("closed last")
    }

    /// Runs a call of the library. A panic of the library is an error, EIO, and the handle takes no
    /// more requests.
    pub fn guarded<T>(
        &self,
        body: impl FnOnce(&Handle) -> Result<T, sys::Error>,
    ) -> Result<T, Error> {
        Ok(self.handle().guarded(body)?)
    }

    /// Runs a request to its end.
    pub fn run(&self, call: Call) -> Result<(), Error> {
        self.guarded(|handle| handle.run(call.submission()?))
    }

    pub fn event_fd(&self) -> Result<RawFd, Error> {
        self.guarded(Handle::event_fd)
    }

    /// Adds token and result of each request that is over to `results`. Returns how many.
    pub fn poll_results(
        &self,
        timeout: Option<Duration>,
        results: &mut impl Extend<(usize, Result<(), sys::Error>)>,
    ) -> Result<usize, Error> {
        self.guarded(|handle| handle.poll_results(timeout, results))
    }

    /// Waits until nothing is in flight, and closes. False: the library has failed, and it is not
    /// known what is in flight.
    pub fn close(&mut self) -> bool {
        let Some(handle) = self.handle.take() else { return true };
        // Also inside a C callback. The wait is for requests of this handle alone, and nobody could
        // be told that it is refused.
        let closed = caught(|| outside_callback(|| handle.close()));
        match closed {
            Ok(Ok(())) => true,
            Ok(Err((handle, error))) => {
                log::error!("a handle stays open: {error}");
                std::mem::forget(handle);
                false
            }
            Err(panic) => {
                log::error!("{panic}");
                false
            }
        }
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        self.close();
    }
}
