//! blkalign: I/O of any size at any offset on storage that only takes large aligned blocks.
//!
//! The rooms, from the top of the house to its bottom; none calls a room above it
//! (docs/DESIGN.md has the picture): `capi`, `handle`, `node`, `request`, `engine` and
//! `completion`, `driver`, `probe`, `sys`. Every room but `request` may say what happens in `log`.

// Public for the test of the C interface; the library's users see `<blkalign.h>`.
#[doc(hidden)]
pub mod capi;
mod completion;
mod driver;
mod engine;
mod handle;
mod header;
mod log;
mod node;
mod probe;
// Not these but its own ones has the simulator: `proof::world`.
#[cfg(not(feature = "simulation"))]
mod kernel;
#[cfg(not(feature = "simulation"))]
mod sync;
mod sys;

#[cfg(feature = "simulation")]
use proof::world::{ring as kernel, sync};

// What proves the rest, and is in no product.
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
#[path = "../proof/mod.rs"]
pub mod proof;
