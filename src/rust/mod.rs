//! The Rust door: `Disk`, `Queue` and what belongs to them. Knows Rust's ownership and decides
//! nothing else: what a request may do is judged in `handle`, as for the C door beside this one.
//!
//! Who may touch memory, and until when, is the subject here. Memory that a request borrows without
//! the compiler's knowledge is the caller's promise (`unsafe`). Memory that a safe function gets
//! for a request that goes on after the call belongs to the queue until the result is there
//! (`requests.rs`). A queue that is leaked leaks such memory with it, so nothing is ever freed
//! under an I/O.

mod buffer;
mod disk;
mod driver;
mod driver_memory;
mod driver_pending;
mod error;
mod facts;
mod flags;
mod foreign;
#[cfg(feature = "async")]
mod futures;
mod log;
mod notifier;
mod open;
mod open_handle;
mod open_options;
mod operations;
mod overlay;
mod queue;
mod requests;
mod threads;
mod throttle;
#[cfg(feature = "vm-memory")]
mod volatile;

pub use buffer::Buffer;
pub use disk::Disk;
pub use driver::Driver;
pub use driver_memory::{ReadTarget, WriteSource};
pub use driver_pending::{PendingFlush, PendingRead, PendingWrite};
pub use error::Error;
pub use facts::{Limits, Source, Stats};
pub use flags::Flags;
pub use log::{set_log, LogLevel};
pub use notifier::{Change, ChangeKind, Done, Notifier};
pub use open_options::{Engine, OpenOptions};
pub use operations::{BlockStatus, LateRequest, Latency, Operation, Paused};
pub use queue::Queue;
pub use threads::set_thread_hook;
pub use throttle::{Bucket, Throttle, ThrottleLimits};
#[cfg(feature = "vm-memory")]
pub use volatile::VolatileSlices;
