//! The limit of time that a handle has for requests at the storage.

use std::time::Duration;

use super::{inside_callback, Handle, TooLongFn};
use crate::sys::Error;

impl Handle {
    /// The function is told of each request that is at the storage for longer; None: no function
    /// is. ENOTSUP: the handle has no thread that could look.
    pub fn set_timeout(&self, limit: Option<(Duration, TooLongFn)>) -> Result<(), Error> {
        if limit.is_some() && self.endpoint.pool.is_unmanned() {
            let words = format!("{}: set_timeout: the system gives no thread", self.endpoint.name);
            return Err(Error::new(libc::ENOTSUP, words));
        }
        self.endpoint.set_timeout(limit, !inside_callback());
        Ok(())
    }
}
