//! An overlay: a file of raw data over a backing object, and the map that says which clusters of
//! the data are there. docs/OVERLAY.md has the format of the map.

#[allow(dead_code, reason = "nothing opens an overlay yet")]
pub mod map;
