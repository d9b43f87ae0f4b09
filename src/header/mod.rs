//! What `<blkalign.h>` declares beside its functions: numbers, structs, types of callbacks. Plain
//! declarations that know nothing. So any room that hands C what C has declared, as a driver's
//! table, names the declaration itself, and there is no second one. `capi` gives them meaning.
//!
//! cbindgen makes the header of these files and of those files in `capi` that have functions, so
//! their comments are written for C programmers.

// The types are named as in C.
#![allow(non_camel_case_types)]

mod constants;
mod driver;
mod latency;
mod notifier;
mod overlay;
mod throttle;
mod types;

pub use constants::*;
pub use driver::{blkalign_driver, blkalign_driver_done_fn};
pub use latency::*;
pub use notifier::*;
pub use overlay::*;
pub use throttle::*;
pub use types::*;
