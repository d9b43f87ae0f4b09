//! The system calls, and the one form in which every room reports a failure.

mod error;
mod signals;

pub use error::Error;
pub use signals::with_signals_blocked;
