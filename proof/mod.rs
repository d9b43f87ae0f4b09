//! What proves the library, and is no part of it. `machine/` is compiled with the machine's crate.

// A disk in memory, beds to test on, and system calls that fail.
// Each of the provers needs a part of it.
#[allow(dead_code, unused_imports)]
pub(crate) mod disk;
#[cfg(test)]
mod faults;
pub(crate) mod inside;
#[cfg(feature = "simulation")]
pub mod library;
pub(crate) mod model;
pub(crate) mod power;
#[cfg(all(test, not(feature = "simulation")))]
pub(crate) mod rings;
pub(crate) mod rng;
// The simulator has a kernel of its own, and asks nobody for the faults of a ring.
#[cfg_attr(feature = "simulation", allow(dead_code))]
pub(crate) mod table;
// Threads, locks, memory, a kernel and a disk that a seed decides about.
#[cfg(feature = "simulation")]
pub(crate) mod world;
