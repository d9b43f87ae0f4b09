//! What is underneath: a file or block device, or a C caller's callbacks.

pub mod callbacks;
mod file;
#[cfg(test)]
mod file_atomic_tests;
mod file_change;
#[cfg(test)]
mod file_change_tests;
mod file_open;
#[cfg(test)]
mod file_open_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod file_zram_tests;
mod image_lock;
#[cfg(test)]
mod image_lock_tests;
pub mod way;

pub use blkalign_machine::{
    Alignments, Io, IoId, Lane, MemoryCopy, Op, Segment, Segments, ENDS_EARLY, NOT_NOW,
};
pub use callbacks::{CDriver, CallbackDriver};
pub use file::{FileDriver, FileOptions};
pub use file_open::Identity;
pub use image_lock::{ImageLock, Use};

use crate::sys::Error;

/// Storage that takes aligned I/O. One object per handle: it owns what is the handle's own
/// (descriptors with their flags); what all handles of a file share is the node's.
pub trait Driver: Send + Sync {
    /// Carries out `io` on this thread and returns the bytes moved (0 for a flush), or a positive
    /// errno. Short results and EINTR are the request machine's business: report them as they are.
    /// Does not run `io.copies`.
    fn perform(&self, io: &Io) -> Result<u64, i32>;

    /// Whether I/O of this kind is started with `start` instead of `perform`.
    fn is_asynchronous(&self, _op: Op) -> bool {
        false
    }

    /// Starts `io`; `done` gets it back with its result exactly once, on any thread, possibly
    /// before this returns.
    fn start(&self, _io: Io, _done: Done) {
        unreachable!("only asynchronous drivers are started");
    }

    /// Whether a write with `io.atomic` may carry that flag to the storage.
    fn takes_atomic(&self, _io: &Io) -> bool {
        false
    }

    /// What is meant where this I/O fails with `errno`.
    fn meant(&self, _io: &Io, errno: i32) -> i32 {
        errno
    }

    /// What may have led to `errno`, to be added to the words of a failure; or "".
    fn why(&self, _errno: i32) -> &'static str {
        ""
    }

    /// The exact length of the object in bytes.
    fn length(&self) -> Result<u64, Error>;
}

/// Takes back an I/O that a driver started.
pub type Done = Box<dyn FnOnce(Io, Result<u64, i32>) + Send>;
