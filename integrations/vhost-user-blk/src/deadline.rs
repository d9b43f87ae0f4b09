//! A daemon that was asked to end ends, also where something hangs: storage that does not answer
//! keeps requests in flight, and these keep the guest's memory.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::{sleep, Builder};
use std::time::Duration;

use crate::report;

/// From the signal on.
const PATIENCE: Duration = Duration::from_secs(5);

/// `signals`: readable once a signal has come, and from then on.
pub fn watch(signals: OwnedFd) -> Result<()> {
    Builder::new().name("deadline".into()).spawn(move || {
        wait_for(&signals);
        sleep(PATIENCE);
        report::say(&format!(
            "the storage has not answered for {} seconds: requests remain in flight",
            PATIENCE.as_secs()
        ));
        report::finish();
        // SAFETY: ends the process; what others have in hand is theirs no more.
        unsafe { libc::_exit(1) }
    })?;
    Ok(())
}

fn wait_for(signals: &OwnedFd) {
    let mut entry = libc::pollfd { fd: signals.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry.
    while unsafe { libc::poll(&mut entry, 1, -1) } < 1 {
        // Nothing but a signal's handler interrupts it.
        debug_assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::EINTR));
    }
}
