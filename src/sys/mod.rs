//! The system calls, and the one form in which every room reports a failure.

mod calls;
mod descriptor;
mod error;
mod eventfd;
#[cfg(test)]
pub mod faulty;
mod memory;
mod signals;
#[cfg(test)]
pub mod simulated;
#[cfg(test)]
pub mod testbed;

pub use calls::{calls, Calls, Errno};
#[cfg(test)]
pub use calls::{with_calls, Linux};
pub use descriptor::Descriptor;
pub use error::Error;
pub use eventfd::EventFd;
pub use memory::page_bytes;
pub use signals::with_signals_blocked;
