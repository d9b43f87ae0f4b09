//! What proves the library, and is no part of it. `machine/` is compiled with the machine's crate.

// Disks in memory, beds to test on, and system calls that fail.
#[cfg(test)]
pub(crate) mod disk;
#[cfg(test)]
mod faults;
#[cfg(feature = "simulation")]
pub mod library;
pub(crate) mod power;
pub(crate) mod rng;
// Threads, locks, memory, a kernel and a disk that a seed decides about.
#[cfg(feature = "simulation")]
pub(crate) mod world;
