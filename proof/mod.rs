//! What proves the library, and is no part of it.
//!
//! ```text
//!   machine/   the machine alone, against a model of bytes; compiled with the machine's crate
//!   library/   all of the library, on simulated threads, rings and disks: a seed decides
//!   faults/    handles while any system call, or any answer of a ring, fails
//!   power/     what a loss of power at any moment may leave
//!   interface/ the Rust interface, as a program uses it
//!   process/   tests that want a process of their own
//! ```
//!
//! What these run on: `disk/`, one disk in memory behind the table of system calls, and hooks that
//! make calls fail, wait or known, before it or before Linux; `world/`, the simulator's scheduler,
//! locks, memory and ring; `rings.rs`, real rings that fail as told; `table.rs`, which table of
//! calls is in force; `model.rs`, which bytes may be there; `inside.rs`, what the library has open;
//! `rng.rs`.
//!
//! The product knows three names that are this room's in a build which proves something: `kernel`,
//! `sync` and `table`. `src/lib.rs` chooses, and no other file of `src/` asks what is built.

// A disk in memory, beds to test on, and system calls that fail.
// Each of the provers needs a part of it.
#[allow(dead_code, unused_imports)]
pub(crate) mod disk;
#[cfg(test)]
pub(crate) mod faults;
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
