//! The kernel's end of a ring, or the one that the simulator puts in its place.

#[cfg(not(feature = "simulation"))]
pub use super::ring_setup::open;
#[cfg(feature = "simulation")]
pub use super::ring_simulated::{open, wait, IoUring, SubmissionQueue};
#[cfg(not(feature = "simulation"))]
pub use io_uring::{IoUring, SubmissionQueue};

/// Longest sleep: should the ring break down meanwhile, nothing else ends it.
#[cfg(not(feature = "simulation"))]
const SLEEP_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Sleeps in the kernel until there is a completion, or the time is over: ETIME.
#[cfg(not(feature = "simulation"))]
pub fn wait(ring: &IoUring, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
    use io_uring::types::{SubmitArgs, Timespec};
    use io_uring::EnterFlags;

    let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
    let time = Timespec::from(timeout.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
    let arguments = SubmitArgs::new().timespec(&time);
    // SAFETY: the argument is what EXT_ARG promises, and lives through the call.
    unsafe { ring.submitter().enter(0, 1, flags.bits(), Some(&arguments)) }.map(drop)
}
