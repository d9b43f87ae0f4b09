//! The descriptors that threads and frontends wake each other with.

use std::fs::File;
use std::io::{Error, Result, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

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
        signal_once(&self.0);
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A frontend's eventfd, which it may replace at any time.
///
/// It may be one that blocks, and the flag that says so belongs to the frontend as well: we leave
/// it alone. A write blocks only where the eventfd is full, so that it is readable anyway: then
/// nothing is written. A frontend that fills it just after we have looked, or changes the flag,
/// holds that queue's thread, until `Call::interrupt`.
#[derive(Default)]
pub struct Call {
    /// Held for a look only, never for a write.
    file: Mutex<Option<Arc<Foreign>>>,
    /// A thread is about to write, or writes.
    writes: AtomicBool,
}

struct Foreign {
    file: File,
    /// As it was when it came.
    blocks: bool,
}

impl Call {
    pub fn replace(&self, file: Option<File>) {
        let foreign = file.map(|file| Arc::new(Foreign { blocks: blocks(&file), file }));
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = foreign;
    }

    /// Only one thread calls this.
    pub fn signal(&self) {
        let foreign = self.file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(foreign) = foreign else { return };
        self.writes.store(true, Ordering::SeqCst);
        if !foreign.blocks || is_writable(&foreign.file) {
            signal_once(&foreign.file);
        }
        self.writes.store(false, Ordering::SeqCst);
    }

    /// Makes `thread` go on if it hangs in a write. In vain if it only is about to: call again.
    pub fn interrupt(&self, thread: &JoinHandle<u16>) {
        if self.writes.load(Ordering::SeqCst) {
            // SAFETY: the thread was not joined. The signal has a handler, which does nothing.
            unsafe { libc::pthread_kill(thread.as_pthread_t(), WAKE_UP) };
        }
    }
}

/// Interrupts a system call of the thread that gets it; it does nothing else.
const WAKE_UP: libc::c_int = libc::SIGUSR1;

/// Makes `Call::interrupt` work, in this thread and those that it starts.
pub fn prepare_interrupts() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: an action and a set of signals on the stack; the handler does nothing. Without
    // SA_RESTART, so that the system call ends.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        libc::sigemptyset(&mut action.sa_mask);
        if libc::sigaction(WAKE_UP, &action, std::ptr::null_mut()) < 0 {
            return Err(Error::last_os_error());
        }
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, WAKE_UP);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
    Ok(())
}

fn blocks(file: &File) -> bool {
    // SAFETY: asks for an integer.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_NONBLOCK == 0
}

fn is_writable(file: &File) -> bool {
    let mut entry = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry.
    unsafe { libc::poll(&mut entry, 1, 0) > 0 && entry.revents & libc::POLLOUT != 0 }
}

fn signal_once(mut file: &File) {
    // Not `write_all`, which would not let itself be interrupted. An eventfd takes all or nothing;
    // it fails where it is full: then it is readable anyway.
    let _ = file.write(&1u64.to_ne_bytes());
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
