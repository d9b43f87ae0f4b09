//! blkalign: I/O of any size at any offset on storage that only takes large aligned blocks.
//!
//! The rooms, from the top of the house to its bottom; none calls a room above it
//! (docs/DESIGN.md has the picture): `capi`, `handle`, `throttle`, `node`, then the request
//! machine, which is the crate `blkalign-machine`, `engine` and `completion`, `driver`, `probe`,
//! `sys`. Every room but the machine and `sys` may say what happens in `log`.

// Public for the test that compares the header with Rust; programs use `<blkalign.h>`.
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
mod rust;
mod sys;
mod throttle;

pub use rust::*;

// The seams: three modules that a build which proves something replaces by its own. The first is
// the kernel's end of a ring.
#[cfg(not(any(test, feature = "simulation")))]
mod kernel;
#[cfg(all(test, not(feature = "simulation")))]
use proof::rings as kernel;
#[cfg(feature = "simulation")]
use proof::world::ring as kernel;
// The second is what threads meet at.
#[cfg(not(feature = "simulation"))]
mod sync;
#[cfg(feature = "simulation")]
use proof::world::sync;
// The third says which table of system calls is in force.
#[cfg(any(test, feature = "simulation"))]
use proof::table;
#[cfg(not(any(test, feature = "simulation")))]
#[path = "sys/table.rs"]
mod table;

// What proves the library, and is in no product.
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
#[path = "../proof/mod.rs"]
pub mod proof;
