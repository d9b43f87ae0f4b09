//! Which table of system calls is in force, in builds that prove something: the system's own, or
//! the one that a test has put in its place on this thread. Takes the place of `src/sys/table.rs`.
//!
//! A ring makes its calls without the table, so its faults stand beside it ([`RingFaults`]). A
//! handle keeps what was in force when it was opened: a test's faults follow it to every thread.

use std::cell::Cell;

use crate::sys::{Calls, Errno, Linux};

thread_local! {
    static TABLE: Cell<Option<&'static dyn Calls>> = const { Cell::new(None) };
}

/// The table through which this thread opens files.
pub fn calls() -> &'static dyn Calls {
    TABLE.get().unwrap_or(&Linux)
}

/// What `body` opens on this thread goes through `table`, for as long as it stays open.
pub fn with_calls<R>(table: &'static dyn Calls, body: impl FnOnce() -> R) -> R {
    with(&TABLE, table, body)
}

/// Runs `body` with `value` in `place`, and puts back what was there before, also after a panic.
fn with<T: Copy + 'static, R>(
    place: &'static std::thread::LocalKey<Cell<Option<T>>>,
    value: T,
    body: impl FnOnce() -> R,
) -> R {
    struct Restore<T: Copy + 'static>(&'static std::thread::LocalKey<Cell<Option<T>>>, Option<T>);
    impl<T: Copy> Drop for Restore<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(place, place.replace(Some(value)));
    body()
}

/// Why a thread enters a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entering {
    Submit,
    Wait,
}

/// What a ring answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answered {
    Read,
    Write,
    Flush,
}

/// What a test makes of a ring's calls and answers.
pub trait RingFaults: Send + Sync {
    /// Asked before io_uring_enter: an errno is its answer, and the kernel hears nothing.
    fn enter(&self, _why: Entering) -> Result<(), Errno> {
        Ok(())
    }

    /// What becomes of the kernel's answer.
    fn answer(&self, _what: Answered, answer: i32) -> i32 {
        answer
    }
}

thread_local! {
    static FAULTS: Cell<Option<&'static dyn RingFaults>> = const { Cell::new(None) };
}

/// The faults of rings that this thread opens.
pub fn ring_faults() -> Option<&'static dyn RingFaults> {
    FAULTS.get()
}

/// Rings that `body` opens on this thread have these faults as long as they are open.
pub fn with_ring_faults<R>(faults: &'static dyn RingFaults, body: impl FnOnce() -> R) -> R {
    with(&FAULTS, faults, body)
}
