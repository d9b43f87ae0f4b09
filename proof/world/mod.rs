//! Locks, atomics, threads and a clock that a seed decides about. Threads are real ones, of which
//! one runs at a time: before each thing that another thread could see, it asks the scheduler
//! (`scheduler.rs`) which thread goes on. Time passes when the scheduler says so: no test waits for
//! it.
//!
//! On threads that belong to no simulation everything here is parking_lot's and std's.

pub mod atomic;
pub mod channel;
mod choice;
pub mod lock;
pub mod memory;
pub mod ring;
mod scheduler;
mod state;
pub mod sync;
pub mod system;
pub mod thread;
pub mod time;

pub use choice::{Choice, Paths, Rng};
pub use scheduler::{
    block, choose, fail, idle_hook, in_simulation, me, now, outside_limits, percent, point, steps,
    trace, wake_all, world, Class, Key, Woken, World,
};
