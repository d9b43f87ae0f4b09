//! A failure: the errno that a C caller gets, and the words that `blkalign_errmsg` gives.

use std::fmt;

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
