//! Loss of power, at any moment, on a disk in memory whose every write, flush and change of the
//! length is taken down (`proof/disk/gate.rs`).
//!
//! ```text
//!   workload   requests of several handles, and the order in which the storage works: a seed
//!   crash      what may be left if power is lost now: every subset of what was not flushed
//!   history    what was asked for, what of it is durable, and so what may be found
//!   check      all that may be left, sector by sector, against that
//!   runs       the tests
//! ```
//!
//! Promised, and looked at: what was flushed or written with FUA is there; bytes that no request
//! wrote are as they were, also beside those of a read-modify-write; every sector is old or new,
//! where it was only written as a whole; units of a torn-read promise likewise where the disk has
//! atomic writes; the length is one that the object has had since what is durable.
//!
//! The simulator of the whole library (`proof/library`) asks the same of rings and of drivers.
//!
//! What a run does depends on its seed alone. `BLKALIGN_POWER_SEED=n` runs that one only;
//! `BLKALIGN_POWER_SECONDS=n` goes on with further seeds for so long (`make check-power`).

mod check;
mod crash;
pub mod deed;
mod history;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod workload;

#[cfg(feature = "simulation")]
pub use check::{objection, Seen};
#[cfg(feature = "simulation")]
pub use history::{Asked, History};
