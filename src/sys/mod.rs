//! The system calls, and the one form in which every room reports a failure.

mod calls;
mod cancel;
mod copies;
pub mod descriptor;
mod error;
mod eventfd;
mod memory;
mod panics;
mod signals;
mod spare;
pub mod trace;

pub use crate::table::calls;
pub use calls::{Calls, Errno, Linux, Outside};
pub use cancel::{hold_off_cancel, uncancelled};
pub use copies::{claim, count_copies, Claim, Claimed};
pub use descriptor::Descriptor;
pub use error::{answer_of, known_errno, Error};
pub use eventfd::{signal_eventfd, EventFd};
pub use memory::{could_map, page_bytes};
pub use panics::{caught, outside};
pub use signals::{
    file_size_limit, this_thread_blocks_signals, with_signals_blocked,
    without_any_file_size_signal, without_file_size_signal,
};
pub use spare::{keep_spare, take_spare};
