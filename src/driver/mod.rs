//! What is underneath: a file or block device, or a C caller's callbacks.

pub mod callbacks;
mod file;
mod identity;
mod image_lock;
mod kind;
mod overlay;
mod status;
mod unanswered;
pub mod way;

pub use blkalign_machine::{
    Alignments, Io, IoId, Lane, MemoryCopy, Op, Segment, Segments, Slot, ENDS_EARLY, NOT_NOW,
};
pub use callbacks::CallbackDriver;
pub use file::{FileDriver, FileOptions};
pub use identity::Identity;
pub use image_lock::{ImageLock, Use};
pub use kind::kind_number;
pub use overlay::map::MapFile;
pub use overlay::{create_overlay, map_path, Backing, Layers, OverlayDriver};
pub use status::BlockStatus;
pub use unanswered::{Token, Unanswered};

use crate::sys::Error;

/// Storage that takes aligned I/O. There is one for each handle of a file, which owns what only
/// that handle has (descriptors with their flags). What all handles of a file share is in the node.
pub trait Driver: Send + Sync {
    /// Carries out `io` on this thread and returns the bytes moved (0 for a flush), or a positive
    /// errno. Short results and EINTR are for the request machine: they are returned as they are.
    /// Does not run `io.copies`.
    fn perform(&self, io: &Io) -> Result<u64, i32>;

    /// Whether I/O of this kind is started with `start` instead of `perform`.
    fn is_asynchronous(&self, _op: Op) -> bool {
        false
    }

    /// Whether `perform` can carry out such I/O. An asynchronous driver may offer both forms.
    fn is_synchronous(&self, op: Op) -> bool {
        !self.is_asynchronous(op)
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

    /// The errno that tells what is wrong, where the storage fails this I/O with `errno`.
    fn true_errno(&self, _io: &Io, errno: i32) -> i32 {
        errno
    }

    /// What may have led to `errno`, to be added to the words of a failure; or "".
    fn possible_cause(&self, _errno: i32) -> &'static str {
        ""
    }

    /// What lies at `offset`, and for how many bytes at least: whole blocks, as the arguments are.
    /// Or a positive errno. An overlay asks the layer that has the cluster.
    fn block_status(&self, _offset: u64, bytes: u64) -> Result<(BlockStatus, u64), i32> {
        Ok((BlockStatus::Data, bytes))
    }

    /// The exact length of the object in bytes.
    fn length(&self) -> Result<u64, Error>;
}

/// Takes back an I/O that a driver started.
pub type Done = Box<dyn FnOnce(Io, Result<u64, i32>) + Send>;
