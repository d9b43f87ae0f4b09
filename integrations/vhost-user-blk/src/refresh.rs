//! SIGHUP: storage that others have made longer or shorter. Its length is looked up anew, and the
//! guest is told that its disk has changed. Limits of a file are read again, too.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use vhost::vhost_user::message::BackendReq;

use crate::device::Device;
use crate::{foreign, report};

/// SIGHUP as a descriptor: all threads of the daemon have it blocked.
pub struct Hangups(OwnedFd);

impl Hangups {
    /// Before any other thread is there.
    pub fn block() -> Result<Hangups> {
        // SAFETY: a set of signals on the stack, made empty before it is used; the descriptor is
        // nobody else's.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGHUP);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(Error::last_os_error());
            }
            Ok(Hangups(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// From here on each of them refreshes the device. A thread of its own does that: it waits
    /// where a message is being carried out, and the storage may take long.
    pub fn refresh(self, device: Arc<Mutex<Device>>) -> Result<()> {
        Builder::new().name("refresh".into()).spawn(move || {
            while self.wait() {
                let mut device = device.lock().expect("panics end the daemon");
                device.refresh_limits();
                device.refresh();
            }
        })?;
        Ok(())
    }

    fn wait(&self) -> bool {
        let mut signal = [0u8; size_of::<libc::signalfd_siginfo>()];
        loop {
            // SAFETY: there is room for one.
            let read =
                unsafe { libc::read(self.0.as_raw_fd(), signal.as_mut_ptr().cast(), signal.len()) };
            if read > 0 || Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return read > 0;
            }
        }
    }
}

/// The socket on which a frontend takes messages of ours (VHOST_USER_SET_BACKEND_REQ_FD). The crate
/// `vhost` has no message for a configuration that has changed.
pub struct Notices(Option<OwnedFd>);

impl Notices {
    pub fn new(socket: OwnedFd) -> Notices {
        Notices(Some(socket))
    }

    /// Tells the frontend to ask for the configuration, if there is room to tell it: nobody waits.
    pub fn configuration_changed(&self) {
        let Some(socket) = &self.0 else { return };
        let version = 1u32;
        let message = [BackendReq::CONFIG_CHANGE_MSG as u32, version, 0].map(u32::to_ne_bytes);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let (start, bytes) = (message.as_ptr().cast(), size_of_val(&message));
        // SAFETY: the message lives through the call.
        if unsafe { libc::send(socket.as_raw_fd(), start, bytes, flags) } < 0 {
            let error = Error::last_os_error();
            report::say(&format!("the guest cannot be told the new length of its disk: {error}"));
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        // What nobody has read may have descriptors with it, which the socket closes.
        foreign::close(self.0.take().into_iter().collect());
    }
}
