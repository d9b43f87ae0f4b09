//! Frontends come, one at a time, and go; signals end the daemon.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use vhost::vhost_user::message::FrontendReq;
use vhost::vhost_user::BackendReqHandler;

use crate::channel::{Channel, Ending};
use crate::device::Device;
use crate::door::Door;
use crate::fault;
use crate::refresh::Hangups;
use crate::report;

/// SIGINT and SIGTERM, as a descriptor: all threads of the daemon have them blocked.
pub struct Signals(OwnedFd);

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    Ready,
    /// A signal, which stays: every wait from here on ends so.
    Signal,
    /// The time is over.
    Late,
    /// Memory of the frontend has gone away.
    Broken,
}

impl Signals {
    /// Before any other thread is there.
    pub fn block() -> Result<Signals> {
        // SAFETY: a set of signals on the stack, made empty before it is used; the descriptor is
        // nobody else's.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(Error::last_os_error());
            }
            Ok(Signals(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub fn try_clone(&self) -> Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Waits until one of `events` is there at `fd`; without `until` for as long as it takes.
    pub fn wait_for(&self, fd: RawFd, events: i16, until: Option<Instant>) -> Result<Wake> {
        let mut fds = [
            libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd, events, revents: 0 },
            libc::pollfd { fd: fault::event_fd(), events: libc::POLLIN, revents: 0 },
        ];
        loop {
            let timeout = until.map_or(-1, |until| {
                let left = until.saturating_duration_since(Instant::now()).as_millis();
                i32::try_from(left).unwrap_or(i32::MAX - 1) + 1
            });
            // SAFETY: three entries.
            match unsafe { libc::poll(fds.as_mut_ptr(), 3, timeout) } {
                1.. if fds[0].revents != 0 => return Ok(Wake::Signal),
                1.. if fds[2].revents != 0 => return Ok(Wake::Broken),
                1.. => return Ok(Wake::Ready),
                0 if until.is_some_and(|until| Instant::now() >= until) => return Ok(Wake::Late),
                0 => {}
                _ => {
                    let error = Error::last_os_error();
                    if error.raw_os_error() != Some(libc::EINTR) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Waits for a signal alone.
    pub fn wait_until(&self, until: Instant) -> Result<Wake> {
        // A negative descriptor is never ready.
        self.wait_for(-1, 0, Some(until))
    }
}

/// Serves frontends until a signal comes, or there can be no other.
pub fn serve(
    mut door: Door,
    device: &Arc<Mutex<Device>>,
    signals: &Signals,
    hangups: Hangups,
) -> Result<()> {
    hangups.refresh(device.clone())?;
    while let Some(stream) = door.next(signals)? {
        let ending = serve_one(stream, device, signals);
        device.lock().expect("panics end the daemon").disconnected();
        match ending {
            Ending::Signal => break,
            Ending::Gone => {}
            Ending::Fault(words) => report::say(&format!("the frontend is disconnected: {words}")),
        }
    }
    Ok(())
}

/// Serves one frontend until it goes, or has to.
fn serve_one(stream: UnixStream, device: &Arc<Mutex<Device>>, signals: &Signals) -> Ending {
    match Channel::new(stream, signals) {
        Ok((mut channel, socket)) => {
            let mut handler = BackendReqHandler::from_stream(socket, device.clone());
            let ending = loop {
                if let Err(ending) = serve_message(&mut channel, &mut handler) {
                    break ending;
                }
                if let Some(notices) = channel.take_notices() {
                    device.lock().expect("panics end the daemon").set_notices(notices);
                }
            };
            channel.close();
            ending
        }
        Err(error) => error.into(),
    }
}

/// Carries out one message. A frontend goes when that fails, since it would believe that all is
/// well; but of memory that is refused it is told if it wants to know, and all is as before.
fn serve_message(
    channel: &mut Channel,
    handler: &mut BackendReqHandler<Mutex<Device>>,
) -> std::result::Result<(), Ending> {
    let request = channel.receive()?;
    let result = handler.handle_request();
    if fault::broken() {
        return Err(Ending::Fault(fault::WORDS.into()));
    }
    let answered = channel.answer()?;
    match result {
        Ok(()) => Ok(()),
        Err(error) if answered && is_about_memory(request) => {
            report::say(&format!("memory of the guest is refused: {error}"));
            Ok(())
        }
        Err(error) => Err(Ending::Fault(error.to_string())),
    }
}

fn is_about_memory(request: u32) -> bool {
    use FrontendReq::*;
    [SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG].map(|known| known as u32).contains(&request)
}
