//! The system calls, and the one form in which every room reports a failure.

mod error;

pub use error::Error;
