//! The system calls, and the one form in which every room reports a failure.

mod calls;
mod descriptor;
mod error;
#[cfg(test)]
pub mod simulated;
#[cfg(test)]
pub mod testbed;

pub use calls::{calls, Calls, Errno};
#[cfg(test)]
pub use calls::{with_calls, Linux};
pub use descriptor::Descriptor;
pub use error::Error;
