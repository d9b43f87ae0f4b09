//! The length that a handle shows: that of its object, or its window's part of it. The node knows
//! the object's length; other programs may have changed the storage since.

use super::storage::Storage;
use super::window::Window;
use super::{Handle, Submission};
use crate::driver::{Op, Segments};
use crate::sys::Error;
use blkalign_machine::RequestFlags;

impl Handle {
    /// The length of the object, or of the window. If the object ends inside the window: of the
    /// part of the window before that end.
    pub fn length(&self) -> u64 {
        let length = self.endpoint.node.length();
        self.window.map_or(length, |window| window.length_on(length))
    }

    /// As `length`, once all handles of the object have taken over what the storage says now.
    /// EDEADLK inside a callback; EINVAL: a driver's length is no multiple of a request alignment.
    pub fn refresh_length(&self) -> Result<u64, Error> {
        self.check_may_wait("refreshing the length")?;
        if let Storage::Overlay(_) = self.storage {
            return Ok(self.length());
        }
        self.catch_up(self.endpoint.driver.length()?)?;
        Ok(self.length())
    }

    /// `seen`: what the storage has said just now. If the node knows another length, a request asks
    /// the storage again, in its turn among the other requests: one of these may be changing the
    /// length, and `seen` may be from before or after that change.
    pub(super) fn catch_up(&self, seen: u64) -> Result<(), Error> {
        if seen == self.endpoint.node.length() {
            return Ok(());
        }
        if self.endpoint.node.is_paused() {
            let words = format!(
                "{}: the length has changed to {seen} bytes, and is taken over only when the \
                 object is not paused any more",
                self.endpoint.name
            );
            return Err(Error::new(libc::EBUSY, words));
        }
        let block = self.limits().alignments.request;
        if matches!(self.storage, Storage::Callbacks(_)) && !seen.is_multiple_of(block) {
            return Err(no_multiple(&self.endpoint.name, seen, block));
        }
        self.run_anywhere(Submission {
            op: Op::Length,
            flags: RequestFlags::default(),
            guest_block: 0,
            offset: seen,
            bytes: 0,
            segments: Segments::new(),
        })
    }

    /// A window lies inside the object when it is opened.
    pub(super) fn check_window(&self) -> Result<(), Error> {
        let Some(Window { offset, bytes }) = self.window else { return Ok(()) };
        let (bytes, length) = (bytes.unwrap_or(0), self.endpoint.node.length());
        // The C door has checked both against the largest offset, so their sum does not overflow.
        if offset + bytes <= length {
            return Ok(());
        }
        let name = &self.endpoint.name;
        let words = format!(
            "{name}: a window of {bytes} bytes at offset {offset} passes the end at {length}"
        );
        Err(Error::new(libc::EINVAL, words))
    }
}

/// The error for a driver whose length is not whole blocks: no lane takes a part of a block there.
pub(super) fn no_multiple(name: &str, length: u64, block: u64) -> Error {
    let words = format!(
        "{name}: a length of {length} bytes is no multiple of the request alignment {block}, and a \
         driver has whole blocks only"
    );
    Error::new(libc::EINVAL, words)
}
