//! The C door: `<blkalign.h>`. It knows C (pointers, structs that grow, -errno, panics) and decides
//! nothing. What it lets in is well formed; everything else is for `handle` to judge.
//!
//! The header is generated from the declarations in `header` and the files of functions here,
//! so their comments are written for C programmers.

// Functions are named as in C, and their safety rules stand in their comments in C's terms:
// pointers are NULL where that is said, else valid, and handles are open.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod checks;
mod errmsg;
mod extensible;
mod guard;
mod numbers;
mod options;
mod vector;

mod aio;
mod before_write;
mod control;
mod events;
mod log;
mod open;
mod operations;
mod overlay;
mod query;
mod sync;
mod threads;
mod throttle;

pub use crate::header::*;
pub use aio::*;
pub use before_write::*;
pub use control::*;
pub use events::*;
pub use log::*;
pub use open::*;
pub use operations::*;
pub use overlay::*;
pub use query::*;
pub use sync::*;
pub use threads::*;
pub use throttle::*;
