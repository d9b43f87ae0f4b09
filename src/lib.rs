//! blkalign: I/O of any size at any offset on storage that only takes large aligned blocks.
//!
//! The rooms, from the top of the house to its bottom; none calls a room above it
//! (docs/DESIGN.md has the picture): `capi`, `handle`, `node`, `request`, `engine` and
//! `completion`, `driver`, `probe`, `sys`. Every room but `request` may say what happens in `log`.

// For bench/ alone.
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod bench_internals;
// Public for the test of the C interface; the library's users see `<blkalign.h>`.
#[doc(hidden)]
pub mod capi;
mod completion;
mod driver;
mod engine;
#[cfg(test)]
mod faults;
mod handle;
mod log;
mod node;
#[cfg(any(test, feature = "simulation"))]
mod power;
mod probe;
mod request;
#[cfg(any(test, feature = "simulation"))]
mod rng;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod sim;
mod sync;
mod sys;
