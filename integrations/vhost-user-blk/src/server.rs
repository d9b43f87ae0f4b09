//! The socket: frontends come, one at a time, and go; signals end the daemon.

use std::fs;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vhost::vhost_user::{BackendReqHandler, Error as ProtocolError};

use crate::device::Device;
use crate::options::Endpoint;

/// How long a frontend may take from the start of a message to its end.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// SIGINT and SIGTERM, as a descriptor: all threads of the daemon have them blocked.
pub struct Signals(OwnedFd);

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

    /// Waits until `fd` is readable. False: a signal came first.
    fn wait_for(&self, fd: RawFd) -> Result<bool> {
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [entry(self.0.as_raw_fd()), entry(fd)];
        loop {
            // SAFETY: two entries.
            if unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } > 0 {
                return Ok(fds[0].revents == 0);
            }
            let error = Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINTR) {
                return Err(error);
            }
        }
    }
}

/// Where frontends come from.
pub enum Door {
    Listener(UnixListener, Option<PathBuf>),
    /// The only one that there will be.
    Connected(Option<UnixStream>),
}

impl Door {
    pub fn open(endpoint: &Endpoint) -> Result<Door> {
        match endpoint {
            Endpoint::Path(path) => {
                remove_stale(path)?;
                Ok(Door::Listener(UnixListener::bind(path)?, Some(path.clone())))
            }
            Endpoint::Fd(fd) => Door::of_descriptor(*fd),
        }
    }

    fn of_descriptor(fd: RawFd) -> Result<Door> {
        let mut listens: libc::c_int = 0;
        let mut bytes = size_of::<libc::c_int>() as libc::socklen_t;
        let to = (&raw mut listens).cast();
        // SAFETY: an integer, and its size.
        let result =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, to, &mut bytes) };
        if result < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: it is open, and the command line has made it ours.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(if listens != 0 {
            Door::Listener(owned.into(), None)
        } else {
            Door::Connected(Some(owned.into()))
        })
    }

    /// The next frontend. None: there will be none, or a signal came.
    fn next(&mut self, signals: &Signals) -> Result<Option<UnixStream>> {
        match self {
            Door::Connected(stream) => Ok(stream.take()),
            Door::Listener(listener, _) => match signals.wait_for(listener.as_raw_fd())? {
                true => Ok(Some(listener.accept()?.0)),
                false => Ok(None),
            },
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Door::Listener(_, Some(path)) = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// A socket that a daemon before us left there. One on which somebody listens stays.
fn remove_stale(path: &Path) -> Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        return fs::remove_file(path);
    }
    Ok(())
}

/// Serves frontends until a signal comes, or there can be no other.
pub fn serve(mut door: Door, device: Device, signals: &Signals) -> Result<()> {
    let device = Arc::new(Mutex::new(device));
    while let Some(stream) = door.next(signals)? {
        let stays = serve_one(stream, &device, signals);
        device.lock().expect("panics end the daemon").disconnected();
        if !stays? {
            break;
        }
    }
    Ok(())
}

/// Serves one frontend until it goes. False: a signal came.
fn serve_one(stream: UnixStream, device: &Arc<Mutex<Device>>, signals: &Signals) -> Result<bool> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
    let fd = stream.as_raw_fd();
    let mut handler = BackendReqHandler::from_stream(stream, device.clone());
    while signals.wait_for(fd)? {
        match handler.handle_request() {
            Ok(()) => {}
            Err(ProtocolError::Disconnected | ProtocolError::SocketBroken(_)) => return Ok(true),
            Err(error) => {
                eprintln!("blkalign-vhost-user-blk: the frontend is let go: {error}");
                return Ok(true);
            }
        }
    }
    Ok(false)
}
