//! The descriptors that threads and frontends wake each other with.

use std::fs::File;
use std::io::{Error, Result, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

/// An eventfd of our own.
pub struct Event(File);

impl Event {
    pub fn new() -> Result<Event> {
        // SAFETY: makes a descriptor, which nobody else has.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Event(unsafe { File::from_raw_fd(fd) }))
    }

    pub fn signal(&self) {
        signal(&self.0);
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A frontend's eventfd, which it may replace at any time. The lock is held for a single write.
#[derive(Default)]
pub struct Call(Mutex<Option<File>>);

impl Call {
    pub fn replace(&self, file: Option<File>) {
        *self.0.lock().expect("nothing panics here") = file;
    }

    pub fn signal(&self) {
        if let Some(file) = &*self.0.lock().expect("nothing panics here") {
            signal(file);
        }
    }
}

fn signal(mut file: &File) {
    // It fails where the eventfd is full: then it is readable anyway.
    let _ = file.write_all(&1u64.to_ne_bytes());
}

/// Descriptors to wait for.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> Result<Epoll> {
        // SAFETY: makes a descriptor, which nobody else has.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// `edges`: returns for each write to `fd` once, so that nobody has to read it.
    pub fn add(&self, fd: RawFd, edges: bool) -> Result<()> {
        let edge_flag = if edges { libc::EPOLLET as u32 } else { 0 };
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32 | edge_flag, u64: 0 };
        let epoll = self.0.as_raw_fd();
        // SAFETY: `event` lives through the call.
        match unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    }

    /// Returns when one of them is readable; sometimes earlier.
    pub fn wait(&self) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        // SAFETY: there is room for four.
        unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 4, -1) };
    }
}
