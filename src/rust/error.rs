//! A failure, as a Rust program gets it.

use std::{fmt, io};

use crate::sys;

/// Why a call or a request failed: an errno, and words that say what failed, where, and why.
///
/// ```
/// let error = blkalign::OpenOptions::new().open("/no/such/file").unwrap_err();
/// assert_eq!(error.raw_os_error(), libc::ENOENT);
/// assert!(error.to_string().contains("/no/such/file"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error(sys::Error);

impl Error {
    /// The errno: positive, as in errno.h.
    ///
    /// ```
    /// # let error = blkalign::OpenOptions::new().open("/no/such/file").unwrap_err();
    /// assert_eq!(error.raw_os_error(), libc::ENOENT);
    /// ```
    pub fn raw_os_error(&self) -> i32 {
        self.0.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}, {:?})", self.0.errno, self.0.to_string())
    }
}

impl std::error::Error for Error {}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Error {
        Error(error)
    }
}

/// Keeps the words and the kind of the errno. `raw_os_error` of the `io::Error` is None: an
/// `io::Error` has either words or a number.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(error.raw_os_error()).kind(), error)
    }
}

/// The errno of a failure that Rust code reports: EIO where it has none.
pub fn errno_of(error: &io::Error) -> i32 {
    if let Some(Error(inner)) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return inner.errno;
    }
    match (error.raw_os_error(), error.kind()) {
        (Some(errno), _) => sys::known_errno(u64::try_from(errno).unwrap_or(0)),
        (None, io::ErrorKind::Unsupported) => libc::ENOTSUP,
        (None, io::ErrorKind::StorageFull) => libc::ENOSPC,
        (None, io::ErrorKind::PermissionDenied) => libc::EPERM,
        (None, io::ErrorKind::InvalidInput) => libc::EINVAL,
        (None, io::ErrorKind::OutOfMemory) => libc::ENOMEM,
        (None, io::ErrorKind::TimedOut) => libc::ETIMEDOUT,
        (None, _) => libc::EIO,
    }
}
