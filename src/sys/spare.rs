//! What a thread keeps for the next time, to spare an allocation.
//!
//! A destructor of the program may call the library when the thread is about to end, and what the
//! thread keeps is gone already: destructors run in an order that nobody here chooses. Then there
//! is nothing spare, and nothing is kept. So whatever has a destructor in a `thread_local` is
//! reached by these functions or by `try_with`; all else would panic there.

use std::cell::Cell;
use std::thread::LocalKey;

/// What was kept; else a new one.
pub fn take_spare<T: Default>(place: &'static LocalKey<Cell<T>>) -> T {
    place.try_with(Cell::take).unwrap_or_default()
}

pub fn keep_spare<T>(place: &'static LocalKey<Cell<T>>, value: T) {
    let _ = place.try_with(|place| place.set(value));
}
