//! The system calls, and the one form in which every room reports a failure.

mod calls;
mod cancel;
#[cfg(any(test, feature = "simulation"))]
pub mod deed;
mod descriptor;
mod error;
mod eventfd;
#[cfg(test)]
pub mod faulty;
#[cfg(test)]
pub mod gated;
#[cfg(test)]
pub mod injector;
mod memory;
mod panics;
#[cfg(test)]
pub mod ram;
#[cfg(test)]
mod ram_object;
#[cfg(test)]
pub mod short_memory;
mod signals;
#[cfg(test)]
pub mod simulated;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(test)]
pub mod testbed;

#[cfg(any(test, feature = "simulation"))]
pub use calls::with_calls;
#[cfg(test)]
pub use calls::Linux;
pub use calls::{calls, Calls, Errno, Outside};
pub use cancel::{hold_off_cancel, uncancelled};
pub use descriptor::Descriptor;
pub use error::Error;
pub use eventfd::{signal_eventfd, EventFd};
pub use memory::{could_map, page_bytes};
pub use panics::{caught, outside};
pub use signals::{
    this_thread_blocks_signals, with_signals_blocked, without_any_file_size_signal,
    without_file_size_signal,
};
