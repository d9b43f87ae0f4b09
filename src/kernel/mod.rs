//! The kernel's end of a ring of io_uring: made, and waited for. The simulator has its own
//! (`proof/world/ring`).

mod setup;

pub use io_uring::{IoUring, SubmissionQueue};
pub use setup::open;

/// Longest sleep: should the ring break down meanwhile, nothing else ends it.
const SLEEP_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Sleeps in the kernel until there is a completion, or the time is over: ETIME.
pub fn wait(ring: &IoUring, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
    use io_uring::types::{SubmitArgs, Timespec};
    use io_uring::EnterFlags;

    let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
    let time = Timespec::from(timeout.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
    let arguments = SubmitArgs::new().timespec(&time);
    // SAFETY: the argument is what EXT_ARG promises, and lives through the call.
    unsafe { ring.submitter().enter(0, 1, flags.bits(), Some(&arguments)) }.map(drop)
}
