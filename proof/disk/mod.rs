//! One disk in memory ([`Disk`]) behind the table of system calls, real ones to test on
//! (`testbed`), and what stands before either of them and makes calls fail, wait or known
//! (`hooked`).

mod calls;
#[cfg(test)]
pub mod gate;
pub mod hooked;
#[cfg(test)]
pub mod injector;
#[cfg(test)]
pub mod notes;
mod shape;
#[cfg(test)]
pub mod short_memory;
mod state;
#[cfg(test)]
pub mod testbed;

use std::os::fd::RawFd;

use parking_lot::{Mutex, MutexGuard};

pub use shape::{initial, Shape};
pub use state::{Opened, State, FIRST_FD};

/// A file or a block device in memory. It takes what Linux takes of its kind and what its shape
/// says, and knows what would be left after a loss of power. Whatever the library is never to do
/// (a close too many, a misaligned direct write) is taken down in its `wrongs`.
///
/// Its table of system calls is [`crate::sys::Calls`], in `calls.rs`. It has no faults of its own
/// but those that a disk is born with (`Shape`); a call that fails or waits is a hook's doing.
pub struct Disk(Mutex<State>);

impl Disk {
    /// Lives as long as the process.
    pub fn table(shape: Shape) -> &'static Disk {
        let disk = Disk(Mutex::default());
        disk.reset(shape);
        Box::leak(Box::new(disk))
    }

    /// Another object in its place, as new, with the bytes that tests know.
    pub fn reset(&self, shape: Shape) {
        let bytes = if shape.exists { shape.bytes } else { 0 };
        self.reset_to(shape, (0..bytes).map(initial).collect());
    }

    /// The same with `content`.
    pub fn reset_to(&self, shape: Shape, content: Vec<u8>) {
        *self.0.lock() = State::new(shape, content);
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// What was done that is never to be done, since it was asked last.
    pub fn wrongs(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().wrongs)
    }

    /// With what flags `fd` was opened; None: it is not open.
    pub fn flags(&self, fd: RawFd) -> Option<i32> {
        self.0.lock().flags(fd).ok()
    }

    pub fn open_descriptors(&self) -> usize {
        self.0.lock().open.len()
    }
}
