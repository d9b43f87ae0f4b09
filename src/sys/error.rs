//! A failure: the errno that a C caller gets, and the words that `blkalign_errmsg` gives.

use std::ffi::c_int;
use std::fmt;

/// The largest errno of Linux (MAX_ERRNO).
const ERRNO_MAX: i32 = 4095;

/// The number, if the kernel takes such a number for an errno; else EIO. Other numbers might mean
/// something inside the library.
pub fn known_errno(number: u64) -> i32 {
    match i32::try_from(number) {
        Ok(errno @ 1..=ERRNO_MAX) => errno,
        _ => libc::EIO,
    }
}

/// What code of the program answers: 0, or -errno. A positive answer cannot be trusted: EIO.
pub fn answer_of(ret: c_int) -> Result<(), i32> {
    match ret {
        0 => Ok(()),
        ret if ret < 0 => Err(known_errno(u64::from(ret.unsigned_abs()))),
        _ => Err(libc::EIO),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Positive, as in errno.h; the C door negates it.
    pub errno: i32,
    /// What failed and where; the errno's own text is added where the error is printed.
    pub words: String,
}

impl Error {
    pub fn new(errno: i32, words: impl Into<String>) -> Error {
        Error { errno, words: words.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = std::io::Error::from_raw_os_error(self.errno);
        let reason = reason.to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
        write!(f, "{}: {}", self.words, reason)
    }
}
