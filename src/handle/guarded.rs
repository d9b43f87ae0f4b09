//! Where a panic of the library stops, before it gets to the caller.

use super::Handle;
use crate::log;
use crate::sys::{caught, Error};

impl Handle {
    /// Runs a call of the library for this handle. A panic becomes an error, EIO. It may have left
    /// a read-modify-write half done, so the object takes no more requests.
    #[inline]
    pub fn guarded<T>(&self, body: impl FnOnce(&Handle) -> Result<T, Error>) -> Result<T, Error> {
        match caught(|| body(self)) {
            Ok(result) => result,
            Err(panic) => {
                log::error!("{panic}");
                // Poisoning may itself panic on what the first panic left behind. Nothing can be
                // done about that.
                let _ = caught(|| self.poison());
                Err(panic)
            }
        }
    }
}
