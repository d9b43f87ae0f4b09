//! What the storage below really needs, and who says so. Asked once, when a handle is opened.

mod limits;

pub use limits::{Limits, Source};
