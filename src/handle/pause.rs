//! Pauses of the object by a handle, and what they mean for this handle's own waiting calls.

use super::Handle;
use crate::completion::Mark;
use crate::node::{dispatch, with_actions};
use crate::sys::Error;

impl Handle {
    /// Holds back all requests of all handles of the object, and returns when nothing is at the
    /// storage any more. Nests. EDEADLK inside a callback; EIO: the object takes no I/O any more.
    pub fn pause(&self) -> Result<(), Error> {
        self.check_may_wait("pause")?;
        let waiter = with_actions(|actions| {
            let waiter = self.endpoint.node.begin_pause(actions);
            dispatch(actions);
            waiter
        });
        self.endpoint.node.wait_for(&waiter).map_err(|_| self.poisoned())?;
        *self.pauses.lock() += 1;
        Ok(())
    }

    /// Ends a pause of this handle. EINVAL: the handle has none.
    pub fn resume(&self) -> Result<(), Error> {
        let mut pauses = self.pauses.lock();
        let Some(left) = pauses.checked_sub(1) else {
            let words = format!("{}: resume: this handle has not paused it", self.endpoint.name);
            return Err(Error::new(libc::EINVAL, words));
        };
        *pauses = left;
        drop(pauses);
        with_actions(|actions| {
            self.endpoint.node.resume(actions);
            dispatch(actions);
        });
        Ok(())
    }

    /// The handle closes: its pauses go with it.
    pub(super) fn end_own_pauses(&self) {
        while self.resume().is_ok() {}
    }

    /// EBUSY: this handle has paused the object, and the call named `what` would wait for what
    /// waits in the pause.
    pub(super) fn check_not_paused_here(&self, what: &str) -> Result<(), Error> {
        if *self.pauses.lock() == 0 {
            return Ok(());
        }
        let words = format!("{}: {what}: this handle has paused the object", self.endpoint.name);
        Err(Error::new(libc::EBUSY, words))
    }

    /// A drain up to the mark waits for requests of this handle. EBUSY: this handle holds them back
    /// itself.
    pub(super) fn check_may_end(&self, mark: Mark) -> Result<(), Error> {
        let paused = *self.pauses.lock() > 0;
        if !paused || self.endpoint.completions.is_over(mark) || self.stats().in_flight == 0 {
            return Ok(());
        }
        let words = format!(
            "{}: drain: the requests wait for blkalign_resume(), since this handle has paused the \
             object",
            self.endpoint.name
        );
        Err(Error::new(libc::EBUSY, words))
    }
}
