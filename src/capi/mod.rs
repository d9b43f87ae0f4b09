//! The C door: `<blkalign.h>`. It knows C (pointers, structs that grow, -errno, panics) and decides
//! nothing: what it lets in is well formed, and everything else is `handle`'s business.
//!
//! The header is generated from `constants`, `types`, `driver` and the six files of functions, so
//! their comments are written for C programmers.

// The types are named as in C, and so are the functions, whose safety rules stand in their comments
// in C's terms: pointers are NULL where that is said, else valid, and handles are open.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod constants;
mod driver;
mod errmsg;
mod extensible;
mod guard;
mod options;
mod types;
mod vector;

mod aio;
mod control;
mod events;
mod open;
mod query;
mod sync;

pub use aio::*;
pub use constants::*;
pub use control::*;
pub use driver::{blkalign_driver, blkalign_driver_done_fn};
pub use events::*;
pub use open::*;
pub use query::*;
pub use sync::*;
pub use types::*;
