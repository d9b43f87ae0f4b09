//! An eventfd: a descriptor that others can wait for. See eventfd(2).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{Error, Outside};
use crate::sync;
use crate::table::calls;

pub struct EventFd(OwnedFd);

impl EventFd {
    pub fn new() -> Result<EventFd, Error> {
        let failed = |errno| Error::new(errno, "making an eventfd");
        calls().admit(Outside::Eventfd).map_err(failed)?;
        // SAFETY: takes two numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            return Err(failed(errno));
        }
        // SAFETY: the descriptor is new, and has no other owner.
        Ok(EventFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes the eventfd readable. That fails only where it is readable already.
    pub fn signal(&self) {
        signal_eventfd(self.raw());
    }

    /// Waits until the eventfd is readable, for `timeout` at most. May return earlier.
    pub fn wait(&self, timeout: Duration) {
        sync::waiting(self.raw(), timeout, || {
            let mut poll = libc::pollfd { fd: self.raw(), events: libc::POLLIN, revents: 0 };
            let time = libc::timespec {
                tv_sec: timeout.as_secs() as libc::time_t,
                tv_nsec: timeout.subsec_nanos().into(),
            };
            // SAFETY: one element and a time, which live through the call; no mask of signals.
            unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) };
        });
    }

    /// Makes the eventfd not readable. That fails only where it is not readable already.
    pub fn clear(&self) {
        sync::clearing(self.raw(), || {
            let mut count = 0u64;
            // SAFETY: eight bytes are written to `count`.
            let read = unsafe { libc::read(self.raw(), (&raw mut count).cast(), size_of::<u64>()) };
            read == size_of::<u64>() as isize
        });
    }
}

/// Makes an eventfd readable, whoever owns it. That fails only where it is readable already.
pub fn signal_eventfd(fd: RawFd) {
    sync::signalling(fd, || {
        let one = 1u64;
        // SAFETY: eight bytes are read from `one`.
        unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
    });
}

#[cfg(test)]
#[path = "eventfd_tests.rs"]
mod tests;
