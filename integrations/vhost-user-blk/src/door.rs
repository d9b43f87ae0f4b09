//! Where frontends come from: a socket at a path, or one that whoever started us gave us.
//!
//! At a path a lock file beside it, PATH.lock, decides which daemon the path belongs to. Whoever
//! has it locked may take a dead socket away and put its own there. The file itself stays for good:
//! if one of us removed it, two could each have locked a file of that name.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::options::Endpoint;
use crate::report;
use crate::server::{Signals, Wake};

/// After a frontend could not be taken for lack of something, until the next attempt.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub enum Door {
    Listener {
        listener: UnixListener,
        /// None: it was given to us.
        _place: Option<Place>,
        /// The last attempt failed, and that was said.
        stuck: bool,
    },
    /// The only one that there will be.
    Connected(Option<UnixStream>),
}

impl Door {
    /// An error is words for the user.
    pub fn open(endpoint: &Endpoint) -> std::result::Result<Door, String> {
        match endpoint {
            Endpoint::Path(path) => {
                let words = |error: Error| format!("{}: {error}", path.display());
                let (listener, place) = Place::take(path).map_err(words)?;
                Door::listen(listener, Some(place)).map_err(words)
            }
            Endpoint::Fd(fd) => {
                Door::of_descriptor(*fd).map_err(|error| format!("descriptor {fd}: {error}"))
            }
        }
    }

    fn listen(listener: UnixListener, place: Option<Place>) -> Result<Door> {
        // Somebody else may take the frontend that we have seen.
        listener.set_nonblocking(true)?;
        Ok(Door::Listener { listener, _place: place, stuck: false })
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
        if listens != 0 {
            Door::listen(owned.into(), None)
        } else {
            Ok(Door::Connected(Some(owned.into())))
        }
    }

    /// The next frontend. None: there will be none, or a signal came.
    pub fn next(&mut self, signals: &Signals) -> Result<Option<UnixStream>> {
        let (listener, stuck) = match self {
            Door::Connected(stream) => return Ok(stream.take()),
            Door::Listener { listener, stuck, .. } => (listener, stuck),
        };
        loop {
            if signals.wait_for(listener.as_raw_fd(), libc::POLLIN, None)? == Wake::Signal {
                return Ok(None);
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    *stuck = false;
                    return Ok(Some(stream));
                }
                Err(error) if is_hopeless(&error) => return Err(error),
                Err(error) if passes_at_once(&error) => {}
                Err(error) => {
                    // The frontend stays in the queue, so that the socket stays readable.
                    if !std::mem::replace(stuck, true) {
                        report::say(&format!("a frontend waits to be accepted: {error}"));
                    }
                    if signals.wait_until(Instant::now() + RETRY_AFTER)? == Wake::Signal {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

/// The frontend has gone again, or another process has taken it.
fn passes_at_once(error: &Error) -> bool {
    let errno = error.raw_os_error();
    [libc::ECONNABORTED, libc::EINTR, libc::EAGAIN, libc::EPROTO].map(Some).contains(&errno)
}

/// It is no socket that listens, and will not be one.
fn is_hopeless(error: &Error) -> bool {
    let errno = error.raw_os_error();
    [libc::EBADF, libc::ENOTSOCK, libc::EINVAL, libc::EOPNOTSUPP].map(Some).contains(&errno)
}

/// Device and inode.
type Identity = (u64, u64);

/// A path that is ours as long as this is there; then the socket goes, if it still is ours.
pub struct Place {
    path: PathBuf,
    socket: Identity,
    _lock: File,
}

impl Place {
    fn take(path: &Path) -> Result<(UnixListener, Place)> {
        let lock = lock_beside(path)?;
        remove_dead(path)?;
        let listener = UnixListener::bind(path)?;
        let socket = socket_at(path)
            .ok_or_else(|| Error::other("another program removed the new socket"))?;
        Ok((listener, Place { path: path.to_owned(), socket, _lock: lock }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if socket_at(&self.path) == Some(self.socket) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn socket_at(path: &Path) -> Option<Identity> {
    let data = fs::symlink_metadata(path).ok()?;
    data.file_type().is_socket().then(|| (data.dev(), data.ino()))
}

fn lock_beside(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let in_words = |error: Error| {
        let words = match error.raw_os_error() {
            Some(libc::EWOULDBLOCK) => "in use by another daemon".into(),
            _ => error.to_string(),
        };
        Error::new(error.kind(), format!("{words} (its lock file is {})", name.display()))
    };
    loop {
        // What is no file is opened without waiting, and then not locked.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CREAT;
        let file = OpenOptions::new().read(true).custom_flags(flags).mode(0o600).open(&name);
        let file = file.map_err(|error| match error.raw_os_error() {
            // Of the directory, which is the socket's, too.
            Some(libc::ENOENT) => error,
            _ => in_words(error),
        })?;
        let ours = file.metadata()?;
        if !ours.is_file() {
            return Err(in_words(Error::other("not a regular file")));
        }
        // SAFETY: the file is open.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } < 0 {
            return Err(in_words(Error::last_os_error()));
        }
        // Somebody may have removed it meanwhile, and another daemon have made one anew.
        let there = fs::symlink_metadata(&name);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
}

/// Removes a socket that nobody has any more. What is anything else stays.
fn remove_dead(path: &Path) -> Result<()> {
    let Some(socket) = socket_at(path) else { return Ok(()) };
    match nobody_has(path) {
        Ok(true) if socket_at(path) == Some(socket) => fs::remove_file(path),
        Ok(_) => Err(Error::new(std::io::ErrorKind::AddrInUse, "another program's socket, in use")),
        Err(error) => {
            Err(Error::new(error.kind(), format!("a socket is there, and perhaps in use: {error}")))
        }
    }
}

/// Whether the socket at `path` belongs to no process. The question is asked by a datagram socket:
/// one that listens for connections refuses that because of its type, without noticing and without
/// a place in its queue; it need not listen yet either.
fn nobody_has(path: &Path) -> Result<bool> {
    match UnixDatagram::unbound()?.connect(path) {
        Ok(()) => Ok(false),
        Err(error) => match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Ok(true),
            Some(libc::EPROTOTYPE) => Ok(false),
            _ => Err(error),
        },
    }
}
