//! Before-write notifiers for Rust programs.

use std::fmt;

use crate::driver::Op;
use crate::handle::{answer_question, Added, Change as Told, Notify, Token};

use super::Error;
use crate::sys::known_errno;

/// What is about to change bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    Write,
    WriteZeroes,
    Discard,
    /// The length: the range is what goes, or what comes.
    SetLen,
}

/// A change that a notifier is told of: this range of the disk is about to change. It is rounded
/// out to the notifier's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Change {
    pub kind: ChangeKind,
    pub offset: u64,
    pub bytes: u64,
}

/// The answer to a [`Change`], which waits for it. It may be given on any thread, now or later. If
/// it is dropped without an answer the change fails with EIO.
pub struct Done {
    /// None: it was answered.
    token: Option<Token>,
}

impl Done {
    /// The change goes on.
    pub fn proceed(mut self) {
        self.answer(Ok(()));
    }

    /// The change fails with this errno, and nothing of it is written. What is no errno is EIO.
    pub fn refuse(mut self, errno: i32) {
        self.answer(Err(errno));
    }

    fn answer(&mut self, result: Result<(), i32>) {
        let result = result.map_err(|errno| known_errno(u64::try_from(errno).unwrap_or(0)));
        if let Some(token) = self.token.take() {
            answer_question(token, result);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.answer(Err(libc::EIO));
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").finish_non_exhaustive()
    }
}

/// A notifier of a [`Disk`](super::Disk); it is removed when this is dropped. See
/// [`Disk::before_write`](super::Disk::before_write).
pub struct Notifier {
    added: Added,
}

impl Notifier {
    pub(super) fn new(added: Added) -> Notifier {
        Notifier { added }
    }

    /// Removes the notifier, and returns when none of its calls is outstanding: each has returned
    /// and was answered. EDEADLK inside a notifier, or a callback of the C interface: then the
    /// notifier is told of nothing more, but its calls may be outstanding.
    pub fn remove(self) -> Result<(), Error> {
        // Where this is refused the drop does what can be done.
        Ok(self.added.remove()?)
    }
}

impl Drop for Notifier {
    /// Does not wait: the closure stays until its last call is over.
    fn drop(&mut self) {
        self.added.withdraw();
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

/// What the library calls.
pub(super) struct Closure<F>(pub F);

impl<F: Fn(Change, Done) + Send + Sync> Notify for Closure<F> {
    fn before(&self, told: Told, token: Token) -> Result<(), i32> {
        let Told { op, offset, bytes } = told;
        let kind = match op {
            Op::Write => ChangeKind::Write,
            Op::WriteZeroes => ChangeKind::WriteZeroes,
            Op::Discard => ChangeKind::Discard,
            _ => ChangeKind::SetLen,
        };
        let done = Done { token: Some(token) };
        // A panic drops `done`, which is an answer.
        crate::sys::outside(|| self.0(Change { kind, offset, bytes }, done));
        Ok(())
    }
}
